"""What a policy is set for: an account, a domain, the site. The pages that set one are the same for all three.

Rule: what a form changes is what differs from what it was shown with, so that two who change different things at once
do not undo each other's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import partial
from typing import Any

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import levels, searching
from mailauth.accounts.administration import Administrator
from mailauth.accounts.roles import Verb
from mailauth.accounts.views import AccountView, DomainView, SiteView
from mailauth.interfaces import PolicyLevel
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.admin_entry import DOMAIN, LOGIN, SITE, account_at, administrators, domain_at
from mailauth.portal.visit import Visit


class Kind(StrEnum):
    """Of a level."""

    ACCOUNT = "account"
    DOMAIN = "domain"
    SITE = "site"


VERBS = {Kind.ACCOUNT: Verb.SET_ACCOUNT, Kind.DOMAIN: Verb.SET_DOMAIN, Kind.SITE: Verb.SET_SITE}
PLACES = {Kind.ACCOUNT: LOGIN, Kind.DOMAIN: DOMAIN, Kind.SITE: SITE}
TABS = {Kind.ACCOUNT: "accounts", Kind.DOMAIN: "domains", Kind.SITE: "site"}

LevelHandler = Callable[[Kind, Visit, Administrator], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Level:
    """One of them, as it stands. name: login, domain, or "" of the site. at: the address of its page.

    is_observed: whether it is being written down who gets in with the web password.
    """

    kind: Kind
    name: str
    at: str
    view: AccountView | DomainView | SiteView
    is_observed: bool

    @property
    def verb(self) -> Verb:
        """What changes it."""
        return VERBS[self.kind]

    @property
    def tab(self) -> str:
        """Of TABS."""
        return TABS[self.kind]


async def level_of(kind: Kind, visit: Visit, who: Administrator) -> Level:
    """The one that the address names. Raises Denied, NoSuch, Refused."""
    match kind:
        case Kind.ACCOUNT:
            account = (await visit.ask(searching.details, who, visit.path("login"), now=visit.now)).view
            observed = account.effective_policy == PolicyLevel.OBSERVE
            return Level(kind, account.login, account_at(account.login), account, observed)
        case Kind.DOMAIN:
            domain = await visit.ask(levels.domain, who, visit.path("name"), now=visit.now)
            at = domain_at(domain.view.name)
            return Level(kind, domain.view.name, at, domain.view, _observed(domain.view, domain.site))
        case _:
            site = await visit.ask(levels.site, who, now=visit.now)
            return Level(kind, "", SITE, site.view, _observed(site.view))


def pages(more: str, show: LevelHandler, post: LevelHandler) -> Iterable[Page]:
    """The same page for each level. more: at the end of its address."""
    for kind in Kind:
        get = administrators(partial(show, kind))
        yield Page(PLACES[kind] + more, Entry.MEMBER, get, administrators(partial(post, kind)), again=get)


def day_of(visit: Visit, at: float | None) -> str:
    """As a field for dates has it; "" for none."""
    if at is None or at <= visit.now:
        return ""
    try:
        return datetime.fromtimestamp(at, visit.house.rendering.zone).date().isoformat()
    except (ValueError, OverflowError, OSError):  # beyond the years that a calendar has
        return ""


def start_of_day(visit: Visit, day: str) -> float | None:
    """When it begins in the zone that the pages have; None: it is no day, or has begun."""
    try:
        begins = date.fromisoformat(day)
        at = datetime(begins.year, begins.month, begins.day, tzinfo=visit.house.rendering.zone).timestamp()
    except (ValueError, OverflowError):
        return None
    return at if at > visit.now else None


def day_problem(visit: Visit, day: str) -> Markup:
    """What is wrong with the day that something is to start on; "" when nothing is, or none was given."""
    return visit.text("admin_policy.day_bad") if day and start_of_day(visit, day) is None else Markup()


def start_change(visit: Visit, day: str) -> dict[str, Any]:
    """The part of a change that says from when."""
    return {"enforce_from": start_of_day(visit, day)} if day else {}


def _observed(*views: DomainView | SiteView) -> bool:
    return any(view.policy != PolicyLevel.OPTIONAL for view in views)
