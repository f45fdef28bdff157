"""Proving who one is at a provider: the browser goes there and comes back with a code, which is exchanged for an id.

Source: RFC 6749 sections 4.1 and 10.12, RFC 9700 section 4.7 (state bound to the session, used once).
Rule: the state is spent before the code is exchanged, right or wrong. What is kept is who it was, sealed, and for which
app; no token of the provider outlives the step.
"""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from mailauth.factors import typed
from mailauth.factors.factor import (
    Asked,
    Delay,
    Done,
    Given,
    Later,
    Occasion,
    Reason,
    Record,
    Step,
    Ticket,
    Wrong,
    ticket,
    unanswerable,
)
from mailauth.factors.fetch import RETRY_S, Answer
from mailauth.factors.sealed import NONCE_BYTES, Sealed

VALID_S = 600.0
MAX_CODE = 1024
IDENTITY = "provider-identity"


@dataclass(frozen=True, slots=True)
class Pending:
    """A way that is open. The provider hands `ticket.id` back as `state`."""

    ticket: Ticket
    name: str = ""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Who was bound.

    app_id: to which of the provider's apps open_id belongs; union_id: the same in all apps of one owner.
    """

    app_id: str
    open_id: Sealed
    union_id: Sealed | None
    confirmed_at: float
    used_at: float | None = None
    name: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who came back. union_id: "" when the provider did not give one."""

    app_id: str
    open_id: str = field(repr=False)
    union_id: str = field(default="", repr=False)


Proven = Callable[[Identity], Step]


class Provider(Protocol):
    """A factor of this kind, for whose class body `enrol`, `confirm`, `challenge` and `check` are.

    code_fields: of the way back, in which of them the code may stand. one_account: whether an identity may serve no
    other account.
    """

    code_fields: ClassVar[tuple[str, ...]]

    @property
    def name(self) -> str:
        """As Factor."""

    @property
    def one_account(self) -> bool:
        """As configured."""

    def exchange(self, code: str, state: Record, proven: Proven) -> Step:
        """Ask the provider who came with this code. proven: what to do with whoever that is."""


def enrol(_: object, occasion: Occasion, state: Record, given: Given) -> Step:
    """As Factor.enrol; given: `name` for it."""
    return Asked(state, opened(occasion, typed.name(given.get("name", ""))))


def confirm(provider: Provider, occasion: Occasion, state: Record, pending: Record, given: Given) -> Step:
    """As Factor.confirm; given: the query of the way back."""

    def proven(identity: Identity) -> Step:
        return enrolled_as(occasion, provider.name, identity, pending.name, provider.one_account)

    return _came_back(provider, occasion, state, pending, given, then=proven)


def challenge(_: object, occasion: Occasion, state: Record) -> Step:
    """As Factor.challenge."""
    return Asked(state, opened(occasion))


def check(provider: Provider, occasion: Occasion, state: Record, pending: Record, given: Given) -> Step:
    """As Factor.check; given: the query of the way back."""

    def proven(identity: Identity) -> Step:
        return recognised(occasion, provider.name, state, identity)

    return _came_back(provider, occasion, state, pending, given, then=proven)


def opened(occasion: Occasion, name: str = "") -> Pending:
    """A new way, with the name that is meant for what comes of it."""
    return Pending(ticket(occasion, VALID_S), name)


def _came_back(
    provider: Provider, occasion: Occasion, state: Record, pending: Record, given: Given, *, then: Proven
) -> Step:
    """Judge the way back, and exchange the code. then: what to do with whoever that is."""
    if pending is not None and not hmac.compare_digest(given.get("state", "").encode(), pending.ticket.id.encode()):
        return Wrong(Reason.ELSEWHERE, state, pending)  # a forged way back does not close the true one
    if (closed := unanswerable(occasion, state, pending)) is not None:
        return closed
    code = next((given[each] for each in provider.code_fields if given.get(each)), "")
    if not code:
        return Wrong(Reason.DECLINED, state, None)
    if len(code) > MAX_CODE or not code.isprintable():
        return Wrong(Reason.MALFORMED, state, None)
    return provider.exchange(code, state, then)


def unclear(answer: Answer | None, state: Record, detail: str) -> Later:
    """The provider could not say, or does not understand us. detail: its own code."""
    wait_s = (answer.retry_after_s if answer else None) or RETRY_S
    return Later(Delay.PROVIDER, wait_s, state, None, detail)


def enrolled_as(occasion: Occasion, provider: str, identity: Identity, name: str, one_account: bool) -> Done:
    """An enrolment. one_account: whether this identity may serve no other."""
    state = _state(occasion, provider, identity, name)
    return Done(state, claims=_claims(occasion, provider, identity) if one_account else ())


def recognised(occasion: Occasion, provider: str, state: Record, identity: Identity) -> Step:
    """A verification: whether it is who was bound. What the provider says now is kept in place of what it said then."""
    open_id, union_id = [
        occasion.box.open(_purpose(provider), each).decode() if each is not None else ""
        for each in (state.open_id, state.union_id)
    ]
    if union_id and identity.union_id:
        same = hmac.compare_digest(union_id.encode(), identity.union_id.encode())
    else:
        same = state.app_id == identity.app_id and hmac.compare_digest(open_id.encode(), identity.open_id.encode())
    if not same:
        return Wrong(Reason.OTHER_IDENTITY, state, None)
    fresh = _state(occasion, provider, identity, state.name)
    union = fresh.union_id or state.union_id
    return Done(dataclasses.replace(fresh, union_id=union, confirmed_at=state.confirmed_at, used_at=occasion.now))


def _state(occasion: Occasion, provider: str, identity: Identity, name: str) -> Enrolled:
    def seal(label: str, plain: str) -> Sealed:
        return occasion.box.seal(_purpose(provider), plain.encode(), occasion.draw(label, NONCE_BYTES))

    union_id = seal("union", identity.union_id) if identity.union_id else None
    return Enrolled(identity.app_id, seal("open", identity.open_id), union_id, occasion.now, name=name)


def _claims(occasion: Occasion, provider: str, identity: Identity) -> tuple[Sealed, ...]:
    claims = {"open": f"open {identity.app_id} {identity.open_id}"}
    if identity.union_id:
        claims["union"] = f"union {identity.union_id}"
    return tuple(
        [
            occasion.box.seal(_purpose(provider), plain.encode(), occasion.draw(f"claim {label}", NONCE_BYTES))
            for label, plain in claims.items()
        ]
    )


def _purpose(provider: str) -> str:
    return f"{provider}-{IDENTITY}"
