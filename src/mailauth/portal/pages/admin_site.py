"""The site's own policy, above all domains, and everybody who has a role."""

from __future__ import annotations

from starlette.responses import Response

from mailauth.accounts import levels
from mailauth.accounts.administration import Administrator
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.admin_entry import SITE, administrators, page
from mailauth.portal.visit import Visit


async def show(visit: Visit, who: Administrator) -> Response:
    """The page."""
    details = await visit.ask(levels.site, who, now=visit.now)
    may = {str(verb) for verb in details.allowed}
    return page(visit, "admin_site", "site", site=details.view, holders=details.holders, at=SITE, may=may)


PAGES: tuple[Page, ...] = (Page(SITE, Entry.MEMBER, administrators(show)),)
