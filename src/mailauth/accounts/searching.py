"""Accounts as administrators find them: a page of those whose login begins so, and everything about one.

Rule: every page is one range of an index, however many accounts there are: no counting, no skipping.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

from mailauth.accounts import apppasswords, roleholders
from mailauth.accounts.administration import Administrator, actor_of, allowed_verbs, reading, require_verb
from mailauth.accounts.factorrows import FactorView, factor_views
from mailauth.accounts.finding import domain_row, folded_domain
from mailauth.accounts.means import Means
from mailauth.accounts.recovery import masked
from mailauth.accounts.roles import Role, Target, Verb
from mailauth.accounts.tokens import TokenView, own_views
from mailauth.accounts.unit import Unit, looking
from mailauth.accounts.views import AccountView, AppPasswordView, account_view, app_password_view
from mailauth.names import MAX_LOGIN_BYTES
from mailauth.store.engine import Row

PAGE_ROWS = 50
MOST_ROWS = 200
BEHIND_ALL = "\U0010ffff"  # no login holds it, and in the order of bytes it comes behind every character


@dataclass(frozen=True, slots=True)
class Page:
    """Some accounts by login. following: the next page is what comes after this; None: there is none."""

    accounts: tuple[AccountView, ...]
    following: str | None


@dataclass(frozen=True, slots=True)
class AccountDetails:
    """Everything that an administrator is shown of an account.

    recovery_address: masked. administers: names of domains. sessions: how many are open at the portal. allowed: what
    whoever asks may do to it.
    """

    id: int
    view: AccountView
    recovery_address: str | None
    administers: tuple[str, ...]
    factors: tuple[FactorView, ...]
    app_passwords: tuple[AppPasswordView, ...]
    api_tokens: tuple[TokenView, ...]
    sessions: int
    allowed: frozenset[Verb]


def found(
    means: Means,
    who: Administrator,
    text: str = "",
    *,
    domain: str | None = None,
    after: str = "",
    limit: int = PAGE_ROWS,
    now: float | None = None,
) -> Page:
    """Accounts whose login begins with a text, or one that has it as an alias; of one domain, or all that are shown
    to who asks. after: the `following` of the page before. Raises Denied, NoSuch, Refused, StoreUnavailable."""
    limit = max(1, min(limit, MOST_ROWS))
    begin = text.strip().lower()[:MAX_LOGIN_BYTES]
    with looking(means.store, now) as unit:
        wanted = {"first": max(begin, after), "behind": begin + BEHIND_ALL, "after": after, "page": limit + 1}
        rows = _rows(unit, who, domain, wanted)
        if not after and "@" in begin:
            rows = [*rows, *_by_alias(unit, who, begin, rows)]
        views = [account_view(row, (), unit.now) for row in rows[:limit]]
    return Page(tuple(views), views[-1].login if len(rows) > limit else None)


def details(means: Means, who: Administrator, login: str, *, now: float | None = None) -> AccountDetails:
    """One account. Raises Denied, NoSuch, Refused, StoreUnavailable."""
    with reading(means, who, Verb.SHOW_ACCOUNT, login, now=now) as (unit, row):
        whose = {"account_id": row["id"]}
        aliases = tuple([alias["address"] for alias in unit.tx.rows(unit.sql.ALIASES, **whose)])
        idle_since = unit.now - means.rules.idle_s
        passwords = [app_password_view(one, unit.now) for one in apppasswords.live_rows(unit, row)]
        return AccountDetails(
            id=row["id"],
            view=account_view(row, aliases, unit.now),
            recovery_address=masked(row["recovery_address"]),
            administers=roleholders.domain_names(unit, row["id"]),
            factors=tuple(factor_views(unit, row["id"], means.factors)),
            app_passwords=tuple(passwords),
            api_tokens=tuple(own_views(unit, row["id"])),
            sessions=len(unit.tx.rows(unit.sql.PORTAL_SESSIONS, **whose, now=unit.now, idle_since=idle_since)),
            allowed=allowed_verbs(unit, who, Target(row["id"], Role(row["role"]), row["domain_id"])),
        )


def domains_of(means: Means, who: Administrator) -> tuple[str, ...] | None:
    """The domains that somebody is shown accounts of; None: all there are. Raises Denied, StoreUnavailable."""
    with looking(means.store) as unit:
        if actor_of(unit, who).role is Role.DOMAIN_ADMIN:
            return roleholders.domain_names(unit, who.account_id)
        require_verb(unit, who, Verb.LIST_ACCOUNTS)
    return None


def _rows(unit: Unit, who: Administrator, domain: str | None, wanted: dict[str, Any]) -> list[Row]:
    statements = unit.sql.FOUND_ACCOUNTS
    actor = actor_of(unit, who)
    if domain is not None:
        row = domain_row(unit, folded_domain(domain))
        require_verb(unit, who, Verb.LIST_ACCOUNTS, Target(domain_id=row["id"]))
        return unit.tx.rows(statements["domain"], **wanted, domain_id=row["id"])
    if actor.role is not Role.DOMAIN_ADMIN:
        require_verb(unit, who, Verb.LIST_ACCOUNTS)
        return unit.tx.rows(statements["everywhere"], **wanted)
    pages = [unit.tx.rows(statements["domain"], **wanted, domain_id=domain_id) for domain_id in sorted(actor.domains)]
    merged = heapq.merge(*pages, key=lambda row: row["login"].encode())
    return [row for row, _ in zip(merged, range(wanted["page"]), strict=False)]


def _by_alias(unit: Unit, who: Administrator, address: str, rows: list[Row]) -> list[Row]:
    """The account that has this as an alias, if who asks is shown it, and it is not among the rows."""
    alias = unit.tx.row(unit.sql.ALIAS, address=address)
    row = None if alias is None else unit.tx.row(unit.sql.ACCOUNT, login=alias["login"])
    if row is None or any(row["id"] == other["id"] for other in rows):
        return []
    actor = actor_of(unit, who)
    return [] if actor.role is Role.DOMAIN_ADMIN and row["domain_id"] not in actor.domains else [row]
