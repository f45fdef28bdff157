"""Client passwords as their owner deals with them at the portal: the switch, making, deleting, naming.

Source: the guide of the switch and of "Generate": who generates one turns the mode on. Rule: a new one, and switching
the mode off, take a fresh proof in the same transaction; what closes something or calls it otherwise does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from mailauth import apppassword
from mailauth.accounts import apppasswords, freshproof
from mailauth.accounts.apppasswords import Confirmed, Minted, Revoked
from mailauth.accounts.finding import account_row
from mailauth.accounts.freshproof import Act, NotProven
from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import PortalSession, SignedOut, Stage, acting, require
from mailauth.accounts.refusals import Refused
from mailauth.accounts.terms import label_from, networks_from, services_from
from mailauth.accounts.unit import Unit, looking
from mailauth.accounts.views import AppPasswordView, app_password_view, locked_by, most_app_passwords
from mailauth.attempt import Service
from mailauth.store.changes import Effect
from mailauth.store.engine import Row


@dataclass(frozen=True, slots=True)
class ClientPasswords:
    """All of an account. most: so many may there be, expired ones counted."""

    listed: tuple[AppPasswordView, ...]
    most: int


@dataclass(frozen=True, slots=True)
class Generated:
    """A new one, which is shown this once. turned_on: whether the mode was off before."""

    minted: Minted = field(repr=False)
    turned_on: bool


def listed(means: Means, session: PortalSession, *, now: float | None = None) -> ClientPasswords:
    """Those of the account, oldest first. Raises SignedOut, StoreUnavailable, BadRecord."""
    with looking(means.store, now) as unit:
        account = _account(unit, session)
        rows = apppasswords.live_rows(unit, account)
        return ClientPasswords(tuple([app_password_view(row, unit.now) for row in rows]), most_app_passwords(account))


def ask_to_generate(
    means: Means,
    session: PortalSession,
    *,
    label: str | None = None,
    services: Iterable[Service | str] = tuple(Service),
    networks: Iterable[str] = (),
    expires_at: float | None = None,
    now: float | None = None,
) -> str:
    """Begin the proof for a new one; see freshproof.begin. label: None: it is said at `generate`.

    Raises Refused (of the terms, or at the maximum), SignedOut, StoreUnavailable.
    """
    with looking(means.store, now) as unit:
        apppasswords.refuse_at_maximum(_account(unit, session))
        apppasswords.terms_of(label or "unnamed", services, networks, expires_at, unit.now)
    terms: dict[str, Any] = {
        "services": sorted([str(service) for service in services_from(services)]),
        "networks": list(networks_from(networks)),
        "expires_at": expires_at,
    }
    if label is not None:
        terms["label"] = label_from(label)
    return freshproof.begin(means, session, Act.APP_PASSWORD, terms, now=now)


def generate(
    means: Means,
    session: PortalSession,
    token: str,
    *,
    label: str | None = None,
    now: float | None = None,
    effect: Effect | None = None,
) -> Generated:
    """Make what was proven for, and turn the mode on, in one transaction.

    token: of ask_to_generate. label: of one whose proof was begun without. effect: see unit.changing.
    Raises NotProven, Refused, SignedOut, NoSuch, HashUnavailable, WrongKey, StoreUnavailable; then the proof is good
    for another try.
    """
    asked = freshproof.action(means, session, token, now=now)
    if asked.kind is not Act.APP_PASSWORD or not asked.is_proven:
        raise NotProven
    before: list[Row] = []

    def first(unit: Unit) -> None:
        before[:] = [require(unit, means, session)]
        freshproof.take(unit, session, token, Act.APP_PASSWORD, asked.params)
        _set_mode(unit, session, before[0], on=True)

    minted = apppasswords.mint(
        means.store,
        means.ring(),
        means.hashing,
        session.login,
        **{"label": label or "", **asked.params},
        alphabet=means.rules.alphabet,
        actor=session.actor,
        now=now,
        effect=effect,
        peer=session.peer,
        agent=session.agent,
        first=first,
    )
    return Generated(minted, not before[0]["mode_on"])


def is_one(means: Means, login: str, secret: bytes) -> bool:
    """Whether this is an app password of the account, also a deleted one: such opens no page, whatever else it is.

    login: folded. Slow only if its selector says so. Raises StoreUnavailable, BadRecord, HashUnavailable.
    """
    cleaned = apppassword.clean(secret)
    if cleaned is None:
        return False
    hits = frozenset(means.ring().selectors(login, cleaned))
    with looking(means.store) as unit:
        rows = unit.tx.rows(unit.sql.APP_PASSWORD_RECORDS, login=login)
    near = [row["record"] for row in rows if (row["key_id"], row["selector"]) in hits]
    return any(means.hashing.verify(record, cleaned.encode()) for record in near)


def turn_on(means: Means, session: PortalSession, *, now: float | None = None, effect: Effect | None = None) -> None:
    """Client passwords only, from now on. Raises SignedOut, StoreUnavailable."""
    with acting(means, session, now=now, effect=effect) as (unit, row):
        _set_mode(unit, session, row, on=True)


def ask_to_turn_off(means: Means, session: PortalSession, *, delete_all: bool = False, now: float | None = None) -> str:
    """Begin the proof for switching the mode off. delete_all: all client passwords go too.

    Raises Refused (locked by policy), SignedOut, StoreUnavailable.
    """
    _refuse_locked(session.locked_by)
    return freshproof.begin(means, session, Act.MODE_OFF, {"delete_all": delete_all}, now=now)


def turn_off(
    means: Means, session: PortalSession, token: str, *, now: float | None = None, effect: Effect | None = None
) -> list[Revoked]:
    """Let mail programs in with the web password again, and say what was deleted. token: of ask_to_turn_off.

    Raises NotProven, Refused (locked by policy by now), SignedOut, StoreUnavailable.
    """
    with acting(means, session, now=now, effect=effect) as (unit, row):
        proven = freshproof.take(unit, session, token, Act.MODE_OFF)
        account = _account(unit, session)
        _refuse_locked(locked_by(account, unit.now))
        _set_mode(unit, session, row, on=False)
        return apppasswords.revoke_rows(
            unit, account, apppasswords.live_rows(unit, account) if proven["delete_all"] else []
        )


def delete(
    means: Means,
    session: PortalSession,
    ids: Collection[int] | None,
    *,
    now: float | None = None,
    effect: Effect | None = None,
) -> list[Revoked]:
    """Delete those with these ids; None: all. Their sessions end; effect.ended says how many.

    All or none: raises NoSuch if one is not there. Raises SignedOut, StoreUnavailable.
    """
    with acting(means, session, now=now, effect=effect) as (unit, _):
        account = _account(unit, session)
        doomed = apppasswords.live_rows(unit, account) if ids is None else apppasswords.chosen_rows(unit, account, ids)
        return apppasswords.revoke_rows(unit, account, doomed)


def rename(
    means: Means, session: PortalSession, row_id: int, label: str, *, now: float | None = None
) -> AppPasswordView:
    """Call one otherwise. Raises NoSuch, Refused, SignedOut, StoreUnavailable."""
    label = label_from(label)
    with acting(means, session, now=now) as (unit, _):
        return apppasswords.rename_row(unit, _account(unit, session), row_id, label)


def confirm(means: Means, session: PortalSession, ids: Collection[int], *, now: float | None = None) -> list[Confirmed]:
    """Let suspended ones open mail again. Raises NoSuch, SignedOut, StoreUnavailable."""
    with acting(means, session, now=now) as (unit, _):
        account = _account(unit, session)
        return apppasswords.confirm_rows(unit, account, apppasswords.chosen_rows(unit, account, ids))


def set_mode(unit: Unit, account: Row, *, was_on: bool, on: bool, detail: str = "") -> None:
    """Switch the stored mode, within a larger change. account: with id and login."""
    if was_on == on:
        return
    unit.tx.write(unit.sql.SET_MODE, account_id=account["id"], mode_on=int(on))
    kind = "mode-on" if on else "mode-off"
    unit.record(kind, account, detail=detail)
    unit.touch(kind, account=account, set={"mode_on": int(on)})


def _set_mode(unit: Unit, session: PortalSession, row: Row, *, on: bool) -> None:
    set_mode(unit, session.account, was_on=bool(row["mode_on"]), on=on)


def _account(unit: Unit, session: PortalSession) -> Row:
    if session.stage is not Stage.IN:
        raise SignedOut
    account = account_row(unit, session.login)
    if account["id"] != session.account_id:
        raise SignedOut
    return account


def _refuse_locked(why: str) -> None:
    if why:
        raise Refused(f"the mode cannot be switched off, it is locked by policy ({why})")
