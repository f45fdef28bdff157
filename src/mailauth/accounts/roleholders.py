"""Roles of accounts in the store: who has which, and giving them.

Rule: whoever gets another role is signed out of the portal, so that no session outlives what it was opened with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mailauth.accounts.finding import domain_row, folded, folded_domain, locked_account_row
from mailauth.accounts.refusals import Refused
from mailauth.accounts.roles import Role
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.store.engine import Row, Store


@dataclass(frozen=True, slots=True)
class RoleHolder:
    """An account that has a role. domains: names, of a domain administrator."""

    login: str
    role: Role
    domains: tuple[str, ...]


def listed(store: Store) -> list[RoleHolder]:
    """All that are more than users, by login. Raises StoreUnavailable."""
    with looking(store) as unit:
        return listed_in(unit)


def listed_in(unit: Unit) -> list[RoleHolder]:
    """The same, within a unit."""
    return [
        RoleHolder(row["login"], Role(row["role"]), domain_names(unit, row["id"]))
        for row in unit.tx.rows(unit.sql.ADMINISTRATORS)
    ]


def set_role(
    store: Store, login: str, role: Role, domains: Iterable[str] = (), *, actor: str, now: float | None = None
) -> RoleHolder:
    """Give an account a role. domains: names, of a domain administrator; none: the account's own.

    Raises NoSuch, Refused, StoreUnavailable.
    """
    login = folded(login)
    with changing(store, actor, now) as unit:
        row = locked_account_row(unit, login)
        put_role(unit, row, role, domains)
        return RoleHolder(login, role, domain_names(unit, row["id"]))


def put_role(unit: Unit, account: Row, role: Role, domains: Iterable[str]) -> None:
    """The same within a larger change. account: of statements.ACCOUNT, locked. Raises NoSuch, Refused."""
    names = [folded_domain(name) for name in domains]
    if names and role is not Role.DOMAIN_ADMIN:
        raise Refused("domains are for a domain administrator")
    if role is Role.DOMAIN_ADMIN and not names:
        names = [account["domain"]]
    unit.tx.write(unit.sql.SET_ROLE, account_id=account["id"], role=str(role))
    unit.tx.write(unit.sql.DROP_DOMAIN_ADMIN, account_id=account["id"])
    for domain_id in sorted({domain_row(unit, name)["id"] for name in names}):
        unit.tx.write(unit.sql.ADD_DOMAIN_ADMIN, account_id=account["id"], domain_id=domain_id)
    unit.tx.write(unit.sql.END_PORTAL_SESSIONS, account_id=account["id"], keep="")
    told = f"{account['role']} -> {role}" + (f" of {', '.join(names)}" if names else "")
    unit.record("role-changed", account, detail=told)
    unit.touch("role-changed", account=account, role=str(role))


def role_from(text: object) -> Role:
    """Raises Refused."""
    try:
        return Role(str(text))
    except ValueError:
        raise Refused(f"a role is one of {', '.join(Role)}") from None


def domain_names(unit: Unit, account_id: int) -> tuple[str, ...]:
    """The domains that an account administrates."""
    return tuple([row["name"] for row in unit.tx.rows(unit.sql.ADMINISTERED_DOMAINS, account_id=account_id)])
