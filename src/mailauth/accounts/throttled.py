"""Who is slowed down now, and ending it.

Rule: what is shown is what the running processes have told each other, up to a second ago. Ending it forgets counts,
in the store and in every process; it is never needed, since each ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network

from mailauth import guessing
from mailauth.accounts.finding import account_row, folded
from mailauth.accounts.refusals import Refused
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.attempt import BRIDGE, address_text
from mailauth.guessing import ACCOUNT, NETWORK, SOURCE, Limit
from mailauth.store.changes import Effect
from mailauth.store.engine import Row, Store

CLEARED = "throttle-cleared"  # the change that every process acts on, and the event of the audit log
WHY = {
    SOURCE.kind: "wrong passwords from this address",
    NETWORK.kind: "wrong passwords from this network",
    ACCOUNT.kind: "wrong web passwords of this account",
}


@dataclass(frozen=True, slots=True)
class ThrottledView:
    """One source, network or account that has to wait.

    subject: the address, an IPv6 address as its /64; the network; or the login. spent: wrong ones that still count,
    guesses: so many are admitted at once. until_at: when the next is admitted, epoch seconds.
    """

    kind: str
    subject: str
    why: str
    spent: float
    guesses: int
    until_at: float


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was forgotten. scope: of guessing.cleared_by; subject: the login or the network, "" for everything."""

    scope: str
    subject: str
    counts: int


@dataclass(frozen=True, slots=True)
class _Target:
    """What an operator named. subject: as in guessing.cleared_by."""

    scope: str
    subject: str
    account: Row | None = None


def throttled(store: Store, subject: str | None = None, *, now: float | None = None) -> list[ThrottledView]:
    """Who is slowed down now, the longest to wait first.

    subject: an account, an address, a network or a bridge; None: all. Raises NoSuch, Refused, StoreUnavailable.
    """
    with looking(store, now) as unit:
        return throttled_in(unit, subject)


def throttled_in(unit: Unit, subject: str | None) -> list[ThrottledView]:
    """The same, within a unit."""
    target = _target(unit, subject)
    wanted = guessing.cleared_by(target.scope, target.subject)
    shown = [limit for limit in (SOURCE, NETWORK, ACCOUNT) if limit.kind in wanted]
    found = [view for limit in shown for view in _slowed(unit, limit, wanted[limit.kind])]
    return sorted(found, key=lambda view: (-view.until_at, view.kind, view.subject))


def clear(
    store: Store, subject: str | None = None, *, actor: str, now: float | None = None, effect: Effect | None = None
) -> Cleared:
    """Forget what was counted of an account, of an address or a network with all that is in it, or, None, of all.

    effect: filled in once every process has forgotten it too. Raises NoSuch, Refused, StoreUnavailable.
    """
    with changing(store, actor, now, effect) as unit:
        return cleared(unit, subject)


def cleared(unit: Unit, subject: str | None) -> Cleared:
    """The same within a larger change. Raises NoSuch, Refused."""
    target = _target(unit, subject)
    counts = _deleted(unit, target)
    _tell_processes(unit, target)
    named = target.account["login"] if target.account else target.subject
    counted = f"{counts} counts forgotten"
    unit.record(CLEARED, target.account, detail=f"{named}: {counted}" if named else f"everything: {counted}")
    return Cleared(target.scope, named, counts)


def _tell_processes(unit: Unit, target: _Target) -> None:
    """Have each process do verify.throttle.GuessThrottle.cleared with this."""
    unit.touch(CLEARED, account=target.account, scope=target.scope, subject=target.subject)


def _target(unit: Unit, subject: str | None) -> _Target:
    """What this names. Raises NoSuch, Refused."""
    if subject is None:
        return _Target(guessing.EVERYTHING, "")
    if "@" in subject:
        row = account_row(unit, folded(subject))
        return _Target(guessing.ACCOUNTS, str(row["id"]), row)
    if subject.startswith(BRIDGE):
        return _Target(guessing.SOURCES, subject)
    try:
        network = ip_network(address_text(subject.strip()), strict=False)
    except ValueError:
        told = f"{subject!r} is neither a mail address nor an IP address or network"
        raise Refused(told, "no-source") from None
    alone = network.prefixlen == network.max_prefixlen
    return _Target(guessing.SOURCES, str(network.network_address) if alone else str(network))


def _slowed(unit: Unit, limit: Limit, wanted: Callable[[str], bool]) -> list[ThrottledView]:
    found = []
    for row in unit.tx.rows(unit.sql.GUESSES_ABOVE, kind=limit.kind, spent=limit.guesses - 1.0):
        idle_s = max(0.0, unit.now - row["at"])
        spent = limit.after(row["spent"], idle_s)
        wait_s = limit.wait_s(spent, 0, idle_s)
        if wait_s <= 0 or not wanted(row["subject"]):
            continue
        named = _login(unit, row["subject"]) if limit is ACCOUNT else row["subject"]
        if named is not None:
            until_at = unit.now + wait_s
            found.append(
                ThrottledView(limit.kind, named, WHY[limit.kind], round(spent, 1), int(limit.guesses), until_at)
            )
    return found


def _login(unit: Unit, subject: str) -> str | None:
    """None: the account was removed meanwhile."""
    row = unit.tx.row(unit.sql.ACCOUNT_LOGIN, account_id=int(subject))
    return None if row is None else str(row["login"])


def _deleted(unit: Unit, target: _Target) -> int:
    """How many counts were deleted; in the order in which they are added to, so that nobody waits in a circle."""
    if target.scope == guessing.EVERYTHING:
        return unit.tx.write(unit.sql.CLEAR_GUESSES)
    chosen = guessing.cleared_by(target.scope, target.subject)
    keys = [(row["kind"], row["subject"]) for row in unit.tx.rows(unit.sql.GUESS_KEYS)]
    gone = sorted([(kind, of) for kind, of in keys if kind in chosen and chosen[kind](of)])
    unit.tx.write_each(unit.sql.CLEAR_GUESS, [{"kind": kind, "subject": subject} for kind, subject in gone])
    return len(gone)
