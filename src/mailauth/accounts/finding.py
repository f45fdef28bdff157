"""From what a postmaster typed to the row it means.

Rule: a name that cannot be one is Refused, one that is nobody's is NoSuch.
"""

from __future__ import annotations

from mailauth import names
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.unit import Unit
from mailauth.store.engine import Row


def folded(login: str) -> str:
    """The one spelling of this address. Raises Refused."""
    try:
        return names.fold(login)
    except names.NotALogin as error:
        raise Refused(str(error), "no-address") from None


def folded_domain(name: str) -> str:
    """The one spelling of this domain. Raises Refused."""
    try:
        return names.fold_domain(name)
    except names.NotALogin as error:
        raise Refused(str(error), "no-domain") from None


def account_row(unit: Unit, login: str) -> Row:
    """The row of this account (statements.ACCOUNT). login: folded. Raises NoSuch."""
    row = unit.tx.row(unit.sql.ACCOUNT, login=login)
    if row is not None:
        return row
    alias = unit.tx.row(unit.sql.ALIAS, address=login)
    if alias is not None:
        raise NoSuch(f"{login} is an alias of {alias['login']}; name that account")
    raise NoSuch(f"there is no account {login}; `mailauth account list` shows those there are")


def locked_account_row(unit: Unit, login: str) -> Row:
    """The same, and until the transaction ends nobody else changes this account. Raises NoSuch."""
    unit.tx.row(unit.sql.LOCK_ACCOUNT, login=login)
    return account_row(unit, login)


def domain_row(unit: Unit, name: str) -> Row:
    """The row of this domain (statements.DOMAIN). name: folded. Raises NoSuch."""
    row = unit.tx.row(unit.sql.DOMAIN, name=name)
    if row is None:
        raise NoSuch(f"there is no domain {name}; `mailauth domain list` shows those there are")
    return row


def locked_domain_row(unit: Unit, name: str) -> Row:
    """The same, and until the transaction ends nobody else changes this domain or adds an address in it."""
    unit.tx.row(unit.sql.LOCK_DOMAIN, name=name)
    return domain_row(unit, name)
