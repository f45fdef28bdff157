"""What an operation of the API is: its address, who may call it, what it takes and what it answers.

Rule: an operation that does not say who may call it cannot be made; what is served and what is described are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailauth.accounts import administration
from mailauth.accounts.administration import Administrator
from mailauth.accounts.means import Means
from mailauth.accounts.roles import Denial, Role, Verb
from mailauth.accounts.tokens import OWN, Caller, Scope
from mailauth.portal.api import problem
from mailauth.portal.api.shapes import Field
from mailauth.portal.house import House
from mailauth.store.changes import Effect

BASE = "/api/v1"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call an operation. scope: that the token has to have; None: everybody, without a token.

    verb: what an administrator's role has to allow, of what the operation names; None: it is about one's own account.
    """

    scope: Scope | None
    verb: Verb | None = None


PUBLIC = Access(None)
OWN_READ, OWN_REVOKE, OWN_ASK = Access(Scope.OWN_READ), Access(Scope.OWN_REVOKE), Access(Scope.OWN_ASK)


def reads(verb: Verb) -> Access:
    """For whoever administrates, and changes nothing."""
    return Access(Scope.ADMIN_READ, verb)


def changes(verb: Verb) -> Access:
    """For whoever administrates."""
    return Access(Scope.ADMIN_WRITE, verb)


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail that is to be sent; see house.Post. then: what is said when it is on its way."""

    to: str
    language: str
    kind: str
    values: Mapping[str, str] = field(repr=False)
    then: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation says. body: a view, JSON text, or None for no content. location: of what was made."""

    body: Any = None
    location: str = ""
    letter: Letter | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read: all values have the types that use cases expect.

    who: whose token it is; None: of an operation that is open to everybody. now: epoch seconds.
    """

    house: House
    who: Caller | None
    access: Access
    now: float
    path: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def means(self) -> Means:
        """What the use cases work with."""
        return self.house.means

    @property
    def caller(self) -> Caller:
        """Whose token it is, of an operation that takes one."""
        if self.who is None:
            raise LookupError("this operation is open to everybody")
        return self.who

    @property
    def administrator(self) -> Administrator:
        """Who asks, of an operation of administrators. Raises Denied."""
        return administration.calling(self.caller, self.access.scope or Scope.ADMIN_WRITE)


Handler = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. path: below BASE, with the names of its fields in braces; name: unique, as operationId.

    answers: the dataclass of what it says, None: nothing; status: when it is done. body: None: it takes none;
    some_of: at least one of its fields has to be there.
    """

    method: str
    path: str
    name: str
    summary: str
    access: Access
    handler: Handler
    answers: Any = None
    status: int = 200
    params: tuple[Field, ...] = ()
    query: tuple[Field, ...] = ()
    body: tuple[Field, ...] | None = None
    some_of: bool = False
    about: str = ""


def let_in(access: Access, who: Caller) -> None:
    """Raise Problem or Denied if this token is not for such an operation at all, whatever it is about."""
    if access.scope is None:
        return
    if access.scope not in who.scopes:
        raise problem.out_of_scope(access.scope)
    if access.scope not in OWN and (who.account_id is None or who.role is Role.USER):
        raise administration.Denied(Denial.NO_ROLE)


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a change in the mail services. ended: connections; silent: processes that did not answer, in which
    nobody gets in by what was before either; of mail servers that ask us, ended_elsewhere: some were told to end what
    they have open, open_elsewhere: some could not be reached, and are tried until they can."""

    ended: int
    silent: tuple[str, ...]
    ended_elsewhere: bool
    open_elsewhere: bool


def ended(effect: Effect) -> Mapping[str, Any]:
    """The fields of Ended."""
    return {
        "ended": effect.ended,
        "silent": tuple(effect.without_answer),
        "ended_elsewhere": bool(effect.ended_elsewhere),
        "open_elsewhere": bool(effect.open_elsewhere),
    }
