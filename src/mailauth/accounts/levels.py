"""Domains and the site as administrators find them, with what they may do there.

Rule: read in one state of the store, with the role of who asks.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailauth.accounts import roleholders
from mailauth.accounts.administration import Administrator, actor_of, allowed_verbs, reading, require_verb
from mailauth.accounts.finding import domain_row
from mailauth.accounts.means import Means
from mailauth.accounts.roleholders import RoleHolder
from mailauth.accounts.roles import SITE, Role, Target, Verb
from mailauth.accounts.unit import Unit, looking
from mailauth.accounts.views import DomainView, SiteView, domain_view, site_view
from mailauth.interfaces import BadRecord

PAGE_ROWS = 50


@dataclass(frozen=True, slots=True)
class DomainPage:
    """Some domains by name. following: the next page is what comes after this; None: there is none."""

    domains: tuple[DomainView, ...]
    following: str | None
    allowed: frozenset[Verb]


@dataclass(frozen=True, slots=True)
class DomainDetails:
    """One domain, below this site. allowed: what whoever asks may do to it."""

    view: DomainView
    site: SiteView
    allowed: frozenset[Verb]


@dataclass(frozen=True, slots=True)
class SiteDetails:
    """The site. holders: everybody with a role; empty for who sees less than the site."""

    view: SiteView
    holders: tuple[RoleHolder, ...]
    allowed: frozenset[Verb]


def domains(
    means: Means, who: Administrator, *, after: str = "", limit: int = PAGE_ROWS, now: float | None = None
) -> DomainPage:
    """The domains that are shown to who asks. Raises Denied, StoreUnavailable."""
    with looking(means.store, now) as unit:
        allowed = allowed_verbs(unit, who, SITE)
        if actor_of(unit, who).role is Role.DOMAIN_ADMIN:
            names = roleholders.domain_names(unit, who.account_id)
            rows = [domain_row(unit, name) for name in [name for name in names if name > after][: limit + 1]]
        else:
            require_verb(unit, who, Verb.LIST_ACCOUNTS)
            rows = unit.tx.rows(unit.sql.DOMAINS, after=after, page=limit + 1)
    views = tuple([domain_view(row) for row in rows[:limit]])
    return DomainPage(views, views[-1].name if len(rows) > limit else None, allowed)


def domain(means: Means, who: Administrator, name: str, *, now: float | None = None) -> DomainDetails:
    """One domain. Raises Denied, NoSuch, Refused, StoreUnavailable."""
    with reading(means, who, Verb.SHOW_DOMAIN, name, now=now) as (unit, row):
        allowed = allowed_verbs(unit, who, Target(domain_id=row["id"]))
        return DomainDetails(domain_view(row), _site(unit), allowed)


def site(means: Means, who: Administrator, *, now: float | None = None) -> SiteDetails:
    """The site. Raises Denied, StoreUnavailable."""
    with reading(means, who, Verb.SHOW_SITE, now=now) as (unit, _):
        allowed = allowed_verbs(unit, who, SITE)
        holders = roleholders.listed_in(unit) if Verb.LIST_ACCOUNTS in allowed else []
        return SiteDetails(_site(unit), tuple(holders), allowed)


def _site(unit: Unit) -> SiteView:
    row = unit.tx.row(unit.sql.SITE)
    if row is None:
        raise BadRecord("the store has lost the row of its site: restore a backup")
    return site_view(row)
