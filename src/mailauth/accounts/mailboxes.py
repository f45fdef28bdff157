"""Accounts: adding, changing, showing and removing them, and their web passwords."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from mailauth.accounts import vouchers
from mailauth.accounts.apppasswords import revoke_rows
from mailauth.accounts.changes import AccountChange, changed, differences, policy_values, services_mask
from mailauth.accounts.domains import PAGE_ROWS, insert_domain
from mailauth.accounts.finding import account_row, domain_row, folded, folded_domain, locked_account_row
from mailauth.accounts.refusals import Refused
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.accounts.views import AccountView, account_view, locked_by
from mailauth.store.changes import Effect
from mailauth.store.engine import Row, Store
from mailauth.store.faults import Clash
from mailauth.store.rows import ALL_SERVICES, removed_digest
from mailauth.store.upgrade import NO_POLICY


@dataclass(frozen=True, slots=True)
class Added:
    """A new account. domain_added: its domain was new too."""

    login: str
    domain_added: bool


def add_account(store: Store, login: str, web_record: str | None, *, actor: str, now: float | None = None) -> Added:
    """Add an account: client logon and all services on, mode off; and its domain, if that is new.

    web_record: the web password's hash; None: it has none yet.
    Raises Refused (not an address, there already, an alias), StoreUnavailable.
    """
    login = folded(login)
    try:
        with changing(store, actor, now) as unit:
            return added_account(unit, login, web_record)
    except Clash:
        raise Refused(f"somebody else changed {login} or its domain just now: look, and try again") from None


def set_account(
    store: Store,
    login: str,
    change: AccountChange,
    *,
    actor: str,
    now: float | None = None,
    effect: Effect | None = None,
) -> AccountView:
    """Change an account, and show it as it is then. Raises NoSuch, Refused, StoreUnavailable.

    Sessions that would not be let in again end. effect: see unit.changing.
    """
    login = folded(login)
    with changing(store, actor, now, effect) as unit:
        return changed_account(unit, locked_account_row(unit, login), change)


def changed_account(unit: Unit, row: Row, change: AccountChange) -> AccountView:
    """The same within a larger change. row: the account's, locked. Raises Refused."""
    values = policy_values(row, change, unit.now)
    values["services"] = services_mask(row["services"], change)
    wanted = {"enabled": change.enabled, "client_logon": change.client_logon, "mode_on": change.mode}
    values |= {column: row[column] if on is None else int(on) for column, on in wanted.items()}
    locked = locked_by(row | values, unit.now)
    if change.mode is False and locked:
        raise Refused(f"{row['login']}: the mode cannot be switched off, it is locked by policy ({locked})")
    if any(row[column] != value for column, value in values.items()):
        unit.tx.write(unit.sql.SET_ACCOUNT, row_id=row["id"], **values)
        unit.record("account-changed", row, detail=differences(row, values))
        unit.touch("account-changed", account=row, set=changed(row, values))
    if not values["enabled"]:
        unit.tx.write(unit.sql.END_PORTAL_SESSIONS, account_id=row["id"], keep="")
    return account_view(row | values, _aliases(unit, row["id"]), unit.now)


def show_account(store: Store, login: str, *, now: float | None = None) -> AccountView:
    """Raises NoSuch, Refused, StoreUnavailable."""
    login = folded(login)
    with looking(store, now) as unit:
        row = account_row(unit, login)
        return account_view(row, _aliases(unit, row["id"]), unit.now)


def list_accounts(store: Store, domain: str | None = None, *, now: float | None = None) -> Iterator[AccountView]:
    """All accounts, or those of one domain, by login, read page by page. Raises NoSuch, Refused, StoreUnavailable."""
    of_domain = {}
    if domain is not None:
        name = folded_domain(domain)
        with looking(store) as unit:
            of_domain = {"domain_id": domain_row(unit, name)["id"]}
    return _pages(store, of_domain, time.time() if now is None else now)


def set_web_password(
    store: Store,
    login: str,
    web_record: str,
    keep_app_passwords: bool,
    *,
    actor: str,
    now: float | None = None,
    effect: Effect | None = None,
) -> int:
    """Set another web password, and say how many app passwords were revoked with the old one.

    web_record: its hash. Raises NoSuch, Refused, StoreUnavailable. effect: see unit.changing.
    """
    login = folded(login)
    with changing(store, actor, now, effect) as unit:
        row = locked_account_row(unit, login)
        put_web_record(unit, row, web_record)
        if keep_app_passwords:
            return 0
        return len(revoke_rows(unit, row, unit.tx.rows(unit.sql.APP_PASSWORDS, account_id=row["id"])))


def put_web_record(unit: Unit, account: Row, web_record: str, *, keep: str = "") -> None:
    """Set another web password within a larger change. account: locked, with id and login.

    Who is signed in to the portal is signed out, but for the session with the id `keep`; no browser is known any more.
    """
    unit.tx.write(unit.sql.SET_WEB_RECORD, row_id=account["id"], web_record=web_record, web_changed_at=unit.now)
    unit.tx.write(unit.sql.END_PORTAL_SESSIONS, account_id=account["id"], keep=keep)
    unit.tx.write(unit.sql.FORGET_DEVICES, account_id=account["id"])
    vouchers.drop(unit, account, vouchers.Kind.PASSWORD_RESET)
    unit.record("web-password-changed", account)
    unit.touch("web-password-changed", account=account, web_password=True)


def leave_to_sources(
    store: Store, login: str, *, actor: str, now: float | None = None, effect: Effect | None = None
) -> None:
    """Take an account's own web password away, so that from now on the configured sources judge it.

    Whoever got in by the old one is out. Raises NoSuch, Refused, StoreUnavailable. effect: see unit.changing.
    """
    login = folded(login)
    with changing(store, actor, now, effect) as unit:
        row = locked_account_row(unit, login)
        unit.tx.write(unit.sql.SET_WEB_RECORD, row_id=row["id"], web_record=None, web_changed_at=None)
        unit.tx.write(unit.sql.END_PORTAL_SESSIONS, account_id=row["id"], keep="")
        unit.record("web-password-left-to-sources", row)
        unit.touch("web-password-changed", account=row, web_password=True)


def remove_account(
    store: Store, login: str, *, actor: str, now: float | None = None, effect: Effect | None = None
) -> None:
    """Remove an account with its app passwords and aliases. The audit log stays. Raises NoSuch, Refused.

    effect: see unit.changing.
    """
    login = folded(login)
    with changing(store, actor, now, effect) as unit:
        removed_account(unit, locked_account_row(unit, login))


def removed_account(unit: Unit, row: Row) -> None:
    """The same within a larger change. row: the account's, locked."""
    unit.tx.write(unit.sql.REMOVE_ACCOUNT, row_id=row["id"])
    unit.tx.write(unit.sql.NOTE_REMOVED, digest=removed_digest(row["login"]), at=unit.now)
    unit.record("account-removed", row, detail=f"with {row['app_passwords']} app passwords")
    unit.touch("account-removed", account=row, removed=True)


def added_account(unit: Unit, login: str, web_record: str | None) -> Added:
    """Add an account within a larger change. login: folded. Raises Refused, Clash."""
    domain = login.rpartition("@")[2]
    known = unit.tx.row(unit.sql.LOCK_DOMAIN, name=domain)
    if known is None:
        insert_domain(unit, domain)
    if unit.tx.row(unit.sql.LOCK_ACCOUNT, login=login) is not None:
        raise Refused(f"there is an account {login} already; `mailauth account set` changes it", "account-exists")
    alias = unit.tx.row(unit.sql.ALIAS, address=login)
    if alias is not None:
        raise Refused(f"{login} is an alias of {alias['login']}: remove the alias first", "is-alias")
    values = NO_POLICY | {
        "domain_id": domain_row(unit, domain)["id"],
        "login": login,
        "web_record": web_record,
        "web_changed_at": None if web_record is None else unit.now,
        "created_at": unit.now,
        "enabled": 1,
        "client_logon": 1,
        "services": ALL_SERVICES,
        "mode_on": 0,
    }
    unit.tx.write(unit.sql.ADD_ACCOUNT, **values)
    unit.tx.write(unit.sql.FORGET_REMOVED, digest=removed_digest(login))
    added = account_row(unit, login)
    unit.record("account-added", added)
    unit.touch("account-added", account=added)
    return Added(login, known is None)


def _pages(store: Store, of_domain: dict[str, int], now: float) -> Iterator[AccountView]:
    statement = store.sql.ACCOUNTS_OF_DOMAIN if of_domain else store.sql.ACCOUNTS
    after = ""
    while True:
        with looking(store) as unit:
            rows = unit.tx.rows(statement, after=after, page=PAGE_ROWS, **of_domain)
            last = rows[-1]["login"] if rows else after
            addresses: dict[int, list[str]] = {}
            for alias in unit.tx.rows(unit.sql.ALIASES_OF_PAGE, after=after, last=last):
                addresses.setdefault(alias["account_id"], []).append(alias["address"])
        for row in rows:
            yield account_view(row, tuple(addresses.get(row["id"], ())), now)
        if len(rows) < PAGE_ROWS:
            return
        after = last


def _aliases(unit: Unit, account_id: int) -> tuple[str, ...]:
    return tuple([row["address"] for row in unit.tx.rows(unit.sql.ALIASES, account_id=account_id)])
