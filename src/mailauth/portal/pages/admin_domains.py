"""Domains: the list, one on a page of its own, adding one and removing one with all that is in it.

Rule: removing takes the name typed, besides the proof, and says how many accounts go.
"""

from __future__ import annotations

from urllib.parse import urlencode

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import levels
from mailauth.accounts.administration import Administrator
from mailauth.accounts.levels import DomainDetails
from mailauth.accounts.roles import Verb
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.admin_entry import (
    ADMIN,
    DOMAIN,
    DOMAINS,
    administrators,
    asked,
    domain_at,
    page,
    permit,
)
from mailauth.portal.visit import Visit

NEW = f"{ADMIN}/new-domain"


async def show_all(visit: Visit, who: Administrator) -> Response:
    """One page of the list."""
    after = visit.query("after")
    found = await visit.ask(levels.domains, who, after=after, now=visit.now)
    return page(
        visit,
        "admin_domains",
        "domains",
        domains=found.domains,
        is_first=not after,
        first=DOMAINS,
        following=f"{DOMAINS}?{urlencode({'after': found.following})}" if found.following else "",
        may_add=Verb.ADD_DOMAIN in found.allowed,
        at=domain_at,
    )


async def show(visit: Visit, who: Administrator) -> Response:
    """One domain."""
    details: DomainDetails = await visit.ask(levels.domain, who, visit.path("name"), now=visit.now)
    name = details.view.name
    if visit.path("name") != name:  # written otherwise
        return visit.go(domain_at(name))
    may = {str(verb) for verb in details.allowed}
    return page(visit, "admin_domain", "domains", domain=details.view, site=details.site, at=domain_at(name), may=may)


async def show_add(visit: Visit, who: Administrator) -> Response:
    """The form; also once more, for one that was out of date."""
    await permit(visit, who, Verb.ADD_DOMAIN, "")
    problem = visit.text("errors.stale_text") if visit.stale else ""
    return _add_page(visit, 403 if visit.stale else 200, problem)


async def add(visit: Visit, who: Administrator) -> Response:  # noqa: ARG001  whom `asked` finds by the session
    """Begin the proof for it."""
    response, problem = await asked(visit, Verb.ADD_DOMAIN, visit.form.text("name"))
    return response or _add_page(visit, 422, problem)


def _add_page(visit: Visit, status: int, problem: Markup | str) -> Response:
    return page(visit, "admin_domain_new", "domains", status, typed=visit.form.text("name"), problem=problem)


async def show_remove(visit: Visit, who: Administrator) -> Response:
    """What it means; also once more, for a form that was out of date."""
    details = await _removable(visit, who)
    problem = visit.text("errors.stale_text") if visit.stale else ""
    return _remove_page(visit, details, 403 if visit.stale else 200, problem)


async def remove(visit: Visit, who: Administrator) -> Response:
    """Begin the proof for it."""
    details = await _removable(visit, who)
    name = details.view.name
    if visit.form.text("typed").lower() != name:
        return _remove_page(visit, details, 422, error=visit.text("admin_domain.typed_wrong", name=name))
    change = {"with_accounts": True, "accounts": details.view.accounts} if details.view.accounts else {}
    response, problem = await asked(visit, Verb.REMOVE_DOMAIN, name, change)
    return response or _remove_page(visit, details, 409, problem)


def _remove_page(
    visit: Visit,
    details: DomainDetails,
    status: int = 200,
    problem: Markup | str = "",
    *,
    error: Markup | str = "",
) -> Response:
    return page(
        visit,
        "admin_domain_remove",
        "domains",
        status,
        domain=details.view,
        at=domain_at(details.view.name),
        typed=visit.form.text("typed"),
        problem=problem,
        error=error,
    )


async def _removable(visit: Visit, who: Administrator) -> DomainDetails:
    await permit(visit, who, Verb.REMOVE_DOMAIN, visit.path("name"))
    details: DomainDetails = await visit.ask(levels.domain, who, visit.path("name"), now=visit.now)
    return details


_add, _remove = administrators(show_add), administrators(show_remove)
PAGES: tuple[Page, ...] = (
    Page(DOMAINS, Entry.MEMBER, administrators(show_all)),
    Page(NEW, Entry.MEMBER, _add, administrators(add), again=_add),
    Page(DOMAIN + "/remove", Entry.MEMBER, _remove, administrators(remove), again=_remove),
    Page(DOMAIN, Entry.MEMBER, administrators(show)),
)
