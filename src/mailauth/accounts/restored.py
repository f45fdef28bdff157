"""After a backup was put in the store's place: what had been taken away since is taken away again.

What that was, the high-water file tells; whatever it does not tell of, a suspension stands for until the owner says
that the app password is still wanted. Rule: one transaction, in which nothing is given back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailauth.accounts.changes import POLICY_COLUMNS, differences
from mailauth.accounts.restoredportal import end_portal, factors_removed_again, role_lowered_again
from mailauth.accounts.unit import Unit, changing_any
from mailauth.accounts.views import DEFAULT_MOST_APP_PASSWORDS
from mailauth.store.changes import Effect
from mailauth.store.engine import Row, Store
from mailauth.store.highwater import RESTORED, HighWater

SPARE = 1000  # numbers left out: a process that had seen changes which the file missed must not know the next ones
SWITCHES = ("services", "enabled")
OF_ACCOUNT = (*POLICY_COLUMNS, *SWITCHES, "client_logon", "mode_on")
RANK = {"optional": 0, "observe": 1, "enforced": 2}
DEMANDS = (("policy", "enforce_from", "policy_reached"), ("two_factor", "two_factor_from", "two_factor_reached"))
NARROWER: Mapping[str, Callable[[int, int], int]] = {
    "services": lambda mask, other: mask & other,
    "enabled": min,
    "client_logon": min,
    "mode_on": max,
}


@dataclass(frozen=True, slots=True)
class Redone:
    """One thing that was taken away again. kind: as the audit log has it; about: an account, a domain or the site."""

    kind: str
    about: str
    detail: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done. number: of the newest change in the backup; known: of the newest one before it was restored.

    is_complete: whether the high-water file tells everything that was taken away between the two. suspended: how many
    app passwords are, until they are confirmed.
    """

    number: int
    known: int
    is_complete: bool
    redone: tuple[Redone, ...]
    suspended: int


@dataclass(slots=True)
class _Subject:
    """What was taken from one account or domain, or the site. final: what columns were set to in the end."""

    final: dict[str, Any] = field(default_factory=dict)
    is_removed: bool = False
    web_password: bool = False
    factors: set[str] = field(default_factory=set)
    role: str | None = None


@dataclass(slots=True)
class _Gap:
    """What was taken away in the time that the backup does not know. aliases: by address, whose they had been."""

    site: _Subject = field(default_factory=_Subject)
    domains: dict[str, _Subject] = field(default_factory=dict)
    accounts: dict[str, _Subject] = field(default_factory=dict)
    app_passwords: list[int] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    api_tokens: set[int] = field(default_factory=set)
    has_suspensions: bool = False


def take_away_again(
    store: Store,
    highwater: HighWater,
    *,
    keep: bool,
    actor: str,
    now: float | None = None,
    effect: Effect | None = None,
) -> Restored | None:
    """Bring a restored store past everything that is known of it; None: it is not behind, and nothing was changed.

    Suspends all app passwords, unless `keep`, and the file tells everything, and there were no suspended ones. May be
    run again after any interruption. effect: see unit.changing. Raises Unreadable, StoreUnavailable, CommitUnknown.
    """
    with changing_any(store, actor, now, effect) as unit:
        unit.tx.row(unit.sql.LOCK_CHANGE_NUMBER)
        level, number = highwater.standing(store, unit.tx)
        if number >= level.number:
            return None
        _raise_ids(unit, level.ids)
        gap = _gap([takes for at, takes in level.taken if at > number])
        redone = tuple(_redo(unit, gap))
        is_complete = level.since <= number
        suspends = not (keep and is_complete and not gap.has_suspensions)
        suspended = _suspend_all(unit) if suspends else 0
        end_portal(unit, None if suspends else gap.api_tokens)
        unit.tx.write(unit.sql.SET_CHANGE_NUMBER, number=level.number + SPARE)
        told = f"a backup at change {number} was in place of change {level.number}; suspended {suspended} app passwords"
        unit.record(RESTORED, detail=told)
        unit.touch(RESTORED, suspended=suspends)
        return Restored(number, level.number, is_complete, redone, suspended)


def _gap(taken: Iterable[Mapping[str, Any]]) -> _Gap:
    gap = _Gap()
    for takes in taken:
        login, domain = takes.get("login"), takes.get("domain")
        subject = gap.site
        if login is not None:
            subject = gap.accounts.setdefault(login, _Subject())
        elif domain is not None:
            subject = gap.domains.setdefault(domain, _Subject())
        subject.final.update(takes.get("set", {}))
        subject.is_removed |= takes.get("removed", False)  # whatever of this name there was afterwards is another
        subject.web_password |= takes.get("web_password", False)
        subject.factors |= set(takes.get("factors", ()))
        subject.role = takes.get("role", subject.role)
        gap.api_tokens |= set(takes.get("api_tokens", ()))
        gap.app_passwords.extend(takes.get("app_passwords", ()))
        gap.has_suspensions |= takes.get("suspended", False)
        if "alias" in takes:
            gap.aliases[takes["alias"]] = login or ""
        added = takes.get("alias_added")
        if added is not None and gap.aliases.get(added) == login:
            del gap.aliases[added]
    return gap


def _redo(unit: Unit, gap: _Gap) -> Iterator[Redone]:
    site = unit.tx.row(unit.sql.SITE)
    if site is not None:
        yield from _set_again(unit, "site", site, gap.site, POLICY_COLUMNS)
    for name, subject in gap.domains.items():
        unit.tx.row(unit.sql.LOCK_DOMAIN, name=name)
        row = unit.tx.row(unit.sql.DOMAIN, name=name)
        if row is not None:
            yield from _set_again(unit, "domain", row, subject, POLICY_COLUMNS + SWITCHES)
    for login, subject in gap.accounts.items():
        unit.tx.row(unit.sql.LOCK_ACCOUNT, login=login)
        row = unit.tx.row(unit.sql.ACCOUNT, login=login)
        if row is not None:
            yield from _set_again(unit, "account", row, subject, OF_ACCOUNT)
            yield from _unset_web_password(unit, row, subject)
            told = [*factors_removed_again(unit, row, subject.factors), *role_lowered_again(unit, row, subject.role)]
            yield from [Redone(kind, login, detail) for kind, detail in told]
    for row_id in gap.app_passwords:
        yield from _revoke_again(unit, row_id)
    for address, login in gap.aliases.items():
        yield from _remove_alias_again(unit, address, login)


def _set_again(unit: Unit, what: str, row: Row, subject: _Subject, columns: Iterable[str]) -> Iterator[Redone]:
    """Set what is narrower than in the row. What was removed is disabled: there may be mail that is wanted."""
    values = {column: row[column] for column in columns}
    final = subject.final | ({"enabled": 0} if subject.is_removed else {})
    narrowed = _narrowed(values, final)
    told = [differences(row, narrowed)] if narrowed != values else []
    if subject.is_removed:
        told.append("it had been removed, and is only disabled now, since its mail may be wanted")
    if not told:
        return
    about = row["login"] if what == "account" else row["name"] if what == "domain" else "the site"
    if narrowed != values:
        statement = {"account": unit.sql.SET_ACCOUNT, "domain": unit.sql.SET_DOMAIN, "site": unit.sql.SET_SITE}[what]
        unit.tx.write(statement, row_id=row["id"], **narrowed)
    kind, detail = f"{what}-{'removed' if subject.is_removed else 'changed'}-again", "; ".join(told)
    if what == "account":
        unit.record(kind, row, detail=detail)
    else:
        unit.record(kind, detail=f"{about}: {detail}")
    yield Redone(kind, about, detail)


def _narrowed(values: Mapping[str, Any], final: Mapping[str, Any]) -> dict[str, Any]:
    """These columns, where what they were set to in the end lets fewer in."""
    narrowed = dict(values)
    for column, narrower in NARROWER.items():
        if column in values and column in final:
            narrowed[column] = narrower(values[column], final[column])
    for columns in DEMANDS:
        wanted = {column: final.get(column, values[column]) for column in columns}
        if _demanded(wanted.values()) > _demanded([values[column] for column in columns]):
            narrowed |= wanted
    most, most_then = values["max_app_passwords"], final.get("max_app_passwords")
    if most_then is not None and most_then < (DEFAULT_MOST_APP_PASSWORDS if most is None else most):
        narrowed["max_app_passwords"] = most_then
    return narrowed


def _demanded(columns: Iterable[Any]) -> tuple[int, float]:
    """The more, the stricter. columns: of DEMANDS."""
    level, start, reached = columns
    return RANK.get(level, 0) if isinstance(level, str) else level, 0.0 if reached or start is None else -start


def _unset_web_password(unit: Unit, row: Row, subject: _Subject) -> Iterator[Redone]:
    """The one in the backup is an older one, which must not open anything any more."""
    if not subject.web_password or not row["has_web_password"]:
        return
    unit.tx.write(unit.sql.SET_WEB_RECORD, row_id=row["id"], web_record=None, web_changed_at=unit.now)
    detail = "it had been changed, and the one in the backup is unset; a new one must be set"
    unit.record("web-password-unset", row, detail=detail)
    yield Redone("web-password-unset", row["login"], detail)


def _revoke_again(unit: Unit, row_id: int) -> Iterator[Redone]:
    owner = unit.tx.row(unit.sql.LIVE_APP_PASSWORD, row_id=row_id)
    if owner is None:
        return
    unit.tx.write(unit.sql.REVOKE_APP_PASSWORD, row_id=row_id, revoked_at=unit.now)
    unit.record("app-password-revoked-again", owner, credential_id=row_id, label=owner["label"])
    yield Redone("app-password-revoked-again", owner["login"], f"{row_id} {owner['label']}")


def _remove_alias_again(unit: Unit, address: str, login: str) -> Iterator[Redone]:
    owner = unit.tx.row(unit.sql.ALIAS, address=address)
    if owner is None or owner["login"] != login:
        return
    unit.tx.write(unit.sql.REMOVE_ALIAS, address=address)
    account = {"id": owner["account_id"], "login": login}
    unit.record("alias-removed-again", account, detail=address)
    yield Redone("alias-removed-again", login, address)


def _suspend_all(unit: Unit) -> int:
    unit.tx.write(unit.sql.RECORD_SUSPENSIONS, at=unit.now, actor=unit.actor, kind="app-password-suspended")
    return unit.tx.write(unit.sql.SUSPEND_ALL)


def _raise_ids(unit: Unit, ids: Mapping[str, int]) -> None:
    """No id that was given since the backup may be given again: the audit logs of both times would be mixed up."""
    driver = unit.store.driver
    given = {row["name"]: row["id"] for row in unit.tx.rows(driver.given_ids)}
    for table, highest in ids.items():
        if highest > given.get(table, 0):
            for statement in driver.raise_ids:
                unit.tx.write(statement, name=table, id=highest)
