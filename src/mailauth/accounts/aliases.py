"""Aliases: further addresses an account sends as and receives at.

Source: RFC 2142 (names of roles), CA/Browser Forum Baseline Requirements section 3.2.2.4.4 (names that prove a domain).
"""

from __future__ import annotations

from mailauth.accounts.finding import folded, locked_account_row
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.unit import Unit, changing
from mailauth.store.engine import Store
from mailauth.store.faults import Clash

# Who receives at one of these speaks for its domain: certificates are given for it, and complaints come to it.
# RFC 2142 sections 4 to 6; names of departments, such as sales (section 3), say nothing.
RESERVED = frozenset(
    {
        *("abuse", "noc", "security", "postmaster", "hostmaster", "webmaster", "www", "ftp", "uucp", "usenet", "news"),
        *("admin", "administrator", "root", "mailer-daemon"),
    }
)


def is_reserved(address: str) -> bool:
    """Whether an address is one of its domain, and not of a person. address: folded."""
    return address.rpartition("@")[0].partition("+")[0] in RESERVED


def add_alias(store: Store, login: str, alias: str, *, actor: str, now: float | None = None) -> str:
    """Give an account another address, and say its one spelling. Its domain must be one of ours.

    Raises NoSuch, Refused (not an address, somebody's already, a foreign domain), StoreUnavailable.
    """
    login, alias = folded(login), folded(alias)
    try:
        with changing(store, actor, now) as unit:
            added_alias(unit, login, alias)
    except Clash:
        raise Refused(f"somebody else changed {alias} or {login} just now: look, and try again") from None
    return alias


def remove_alias(store: Store, alias: str, *, actor: str, now: float | None = None) -> str:
    """Take an alias away, and say whose it was. Raises NoSuch, Refused, StoreUnavailable."""
    alias = folded(alias)
    with changing(store, actor, now) as unit:
        return removed_alias(unit, alias)


def removed_alias(unit: Unit, alias: str) -> str:
    """The same within a larger change. alias: folded. Raises NoSuch."""
    row = unit.tx.row(unit.sql.ALIAS, address=alias)
    if row is None or not unit.tx.write(unit.sql.REMOVE_ALIAS, address=alias):
        raise NoSuch(f"there is no alias {alias}; `mailauth account show` lists those of an account")
    login: str = row["login"]
    account = {"login": login, "id": row["account_id"]}
    unit.record("alias-removed", account, detail=alias)
    unit.touch("alias-removed", account=account, alias=alias)
    return login


def added_alias(unit: Unit, login: str, alias: str) -> None:
    """Give an account another address within a larger change. Both folded. Raises NoSuch, Refused, Clash."""
    domain = alias.rpartition("@")[2]
    # Whoever adds an address in this domain, account or alias, holds its row: so none can become both.
    if unit.tx.row(unit.sql.LOCK_DOMAIN, name=domain) is None:
        raise Refused(f"{domain} is not one of our domains: `mailauth domain add {domain}` makes it one", "no-domain")
    account = locked_account_row(unit, login)
    if unit.tx.row(unit.sql.LOCK_ACCOUNT, login=alias) is not None:
        raise Refused(f"{alias} is an account of its own, and cannot be an alias", "is-account")
    taken = unit.tx.row(unit.sql.ALIAS, address=alias)
    if taken is not None:
        raise Refused(f"{alias} is an alias of {taken['login']} already", "alias-taken")
    unit.tx.write(unit.sql.ADD_ALIAS, address=alias, account_id=account["id"], created_at=unit.now)
    unit.record("alias-added", account, detail=alias)
    unit.touch("alias-added", account=account, alias_added=alias)
