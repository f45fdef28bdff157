"""Administrating from the portal or through the API: who asks, whether he may, and doing it.

Rule: role and domains of who asks, and the role of whom it is about, are read in the transaction of the act, with the
account concerned locked. On the portal every act takes a fresh proof that names it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from mailauth.accounts import freshproof
from mailauth.accounts.deeds import DEEDS, REHEARSALS, Deed
from mailauth.accounts.finding import account_row, domain_row, folded, folded_domain
from mailauth.accounts.freshproof import Act
from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import PortalSession, SignedOut, Stage, require
from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.roles import SITE, Actor, Denial, Role, Target, Verb, allowed, denied
from mailauth.accounts.tokens import Caller, Scope
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.store.changes import Effect
from mailauth.store.engine import Row

Deeds = Mapping[Verb, Callable[[Deed], Any]]
OF_DOMAIN = frozenset({Verb.SHOW_DOMAIN, Verb.SET_DOMAIN, Verb.REMOVE_DOMAIN})
OF_SITE = frozenset({Verb.SHOW_SITE, Verb.SET_SITE, Verb.ADD_DOMAIN})
OF_ANY = frozenset({Verb.LIST_ACCOUNTS, Verb.SHOW_REPORT, Verb.SHOW_THROTTLE, Verb.SHOW_AUDIT, Verb.CLEAR_THROTTLE})


class Denied(Exception):
    """Whoever asks may not do this. Nothing was changed."""

    def __init__(self, why: Denial) -> None:
        super().__init__(str(why))
        self.why = why


class _TakenBack(Exception):
    """What was done in this transaction was a rehearsal."""


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who asks. session: of the portal, None: through the API."""

    account_id: int
    actor: str
    peer: str
    session: PortalSession | None = None


def signed_in(session: PortalSession) -> Administrator:
    """Who is signed in, as an administrator. Raises Denied (he is none, or showed no more than a text message at the
    sign-in), SignedOut."""
    if session.stage is not Stage.IN:
        raise SignedOut
    if not session.administers:
        raise Denied(Denial.NO_ROLE)
    return Administrator(session.account_id, session.actor, session.peer, session)


def calling(caller: Caller, scope: Scope) -> Administrator:
    """Who calls the API, as an administrator. Raises Denied."""
    if caller.account_id is None or scope not in caller.scopes:
        raise Denied(Denial.NO_ROLE)
    return Administrator(caller.account_id, f"{caller.actor}:{caller.login}", caller.peer)


@contextmanager
def reading(
    means: Means, who: Administrator, verb: Verb, name: str = "", *, now: float | None = None
) -> Iterator[tuple[Unit, Row]]:
    """A unit in which something may be read, and the row that it is about, empty for the site.

    name: an account's login, a domain's name, "" for the site. Raises Denied, NoSuch, Refused, StoreUnavailable.
    """
    with looking(means.store, now) as unit:
        target, row = target_of(unit, verb, name)
        _refuse(denied(actor_of(unit, who), verb, target))
        yield unit, row


def require_verb(unit: Unit, who: Administrator, verb: Verb, target: Target = SITE) -> None:
    """Raise Denied if who asks may not do this."""
    _refuse(denied(actor_of(unit, who), verb, target))


def allowed_verbs(unit: Unit, who: Administrator, target: Target) -> frozenset[Verb]:
    """What a page about this may offer."""
    return allowed(actor_of(unit, who), target)


def ask(
    means: Means,
    session: PortalSession,
    verb: Verb,
    name: str,
    change: Mapping[str, Any] | None = None,
    *,
    now: float | None = None,
) -> str:
    """Begin the proof for an act; see freshproof.begin. change: plain JSON, see `deeds`.

    It is done and taken back first, so that nobody proves for what would be refused then.
    Raises Denied, NoSuch, Refused, Clash, SignedOut, StoreUnavailable.
    """
    who = signed_in(session)
    params = {"verb": str(verb), "name": name, "change": dict(change or {})}
    with suppress(_TakenBack), changing(means.store, who.actor, now, peer=who.peer) as unit:
        _done(unit, means, who, params, REHEARSALS)
        raise _TakenBack
    return freshproof.begin(means, session, Act.ADMINISTRATION, params, now=now)


def perform(
    means: Means, session: PortalSession, token: str, *, now: float | None = None, effect: Effect | None = None
) -> Any:
    """Do what was proven for, and give what came of it; see `deeds`. token: of `ask`. effect: see unit.changing.

    Raises NotProven, Denied, NoSuch, Refused, SignedOut, Clash, StoreUnavailable.
    """
    who = signed_in(session)
    with changing(means.store, who.actor, now, effect, peer=who.peer) as unit:
        require(unit, means, session)
        proven = freshproof.take(unit, session, token, Act.ADMINISTRATION)
        return _done(unit, means, who, proven)


def perform_for(
    means: Means,
    who: Administrator,
    verb: Verb,
    name: str,
    change: Mapping[str, Any] | None = None,
    *,
    now: float | None = None,
    effect: Effect | None = None,
) -> Any:
    """The same through the API, by a token that an administrator has proven for when he made it.

    Raises Denied, NoSuch, Refused, Clash, StoreUnavailable.
    """
    with changing(means.store, who.actor, now, effect, peer=who.peer) as unit:
        return _done(unit, means, who, {"verb": verb, "name": name, "change": change or {}})


def actor_of(unit: Unit, who: Administrator) -> Actor:
    """Who asks, as the rules of roles know him. Raises Denied: he is no administrator any more."""
    row = unit.tx.row(unit.sql.ADMINISTRATOR, account_id=who.account_id)
    if row is None or not row["enabled"] or not row["domain_enabled"]:
        raise Denied(Denial.NO_ROLE)
    domains = unit.tx.rows(unit.sql.ADMINISTERED_DOMAINS, account_id=who.account_id)
    return Actor(row["id"], Role(row["role"]), frozenset([domain["id"] for domain in domains]))


def target_of(unit: Unit, verb: Verb, name: str) -> tuple[Target, Row]:
    """What an act is about, and its row; empty for the site and for what is to be added. Raises NoSuch, Refused."""
    if verb in OF_SITE or (verb in OF_ANY and "@" not in name and not _is_domain(unit, name)):
        return SITE, {}
    if verb in OF_DOMAIN or (verb in OF_ANY and "@" not in name):
        row = domain_row(unit, folded_domain(name))
        return Target(domain_id=row["id"]), row
    login = folded(name)
    if verb is Verb.ADD_ACCOUNT:
        row = domain_row(unit, login.rpartition("@")[2])
        return Target(domain_id=row["id"]), {}
    if verb is Verb.REMOVE_ALIAS:
        alias = unit.tx.row(unit.sql.ALIAS, address=login)
        if alias is None:
            raise NoSuch(f"there is no alias {login}")
        login = alias["login"]
    row = account_row(unit, login)
    return Target(row["id"], Role(row["role"]), row["domain_id"]), row


def _done(unit: Unit, means: Means, who: Administrator, said: Mapping[str, Any], deeds: Deeds = DEEDS) -> Any:
    """said: `verb`, `name` and `change`."""
    verb, name = Verb(said["verb"]), said["name"]
    _lock(unit, verb, name)
    target, row = target_of(unit, verb, name)
    actor = actor_of(unit, who)
    _refuse(denied(actor, verb, target))
    if verb not in deeds:
        raise Denied(Denial.NOBODY)
    return deeds[verb](Deed(unit, means, actor, name, row, said["change"]))


def _lock(unit: Unit, verb: Verb, name: str) -> None:
    if verb in OF_DOMAIN:
        unit.tx.row(unit.sql.LOCK_DOMAIN, name=folded_domain(name))
    elif verb not in OF_SITE | {Verb.ADD_ACCOUNT} and "@" in name:
        unit.tx.row(unit.sql.LOCK_ACCOUNT, login=folded(name))


def _is_domain(unit: Unit, name: str) -> bool:
    return bool(name) and unit.tx.row(unit.sql.LOCAL_DOMAIN, name=name.lower()) is not None


def _refuse(why: Denial | None) -> None:
    if why is not None:
        raise Denied(why)
