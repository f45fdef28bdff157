"""The start page: how the account is protected, and what needs attention.

Rule: nothing is done here; everything leads to the page where it is.
"""

from __future__ import annotations

from starlette.responses import Response

from mailauth.accounts.overview import overview
from mailauth.portal.guards import HOME, Entry, Page
from mailauth.portal.pages.passwords import advice_texts
from mailauth.portal.visit import Visit

MOST_ADVICE = 3


async def show(visit: Visit) -> Response:
    """The page."""
    has = await visit.ask(overview, visit.me, now=visit.now)
    return visit.page(
        "home",
        account=has.account,
        count=len(has.listed),
        left=has.left,
        mode_on=visit.me.client_passwords_only,
        factors=[view.kind for view in has.factors if view.is_alone],
        advice=advice_texts(visit, has.advice[:MOST_ADVICE]),
    )


PAGES = (Page(HOME, Entry.MEMBER, show),)
