"""Who is slowed down now, and ending that: an address, a network, an account, or all.

Rule: see accounts.throttled. It is never needed, since each ends by itself.
"""

from __future__ import annotations

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import overseeing
from mailauth.accounts.administration import Administrator
from mailauth.accounts.overseeing import SlowedDown
from mailauth.accounts.roles import Role, Verb
from mailauth.guessing import ACCOUNT, NETWORK, SOURCE
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.admin_entry import MAX_NAME_CHARACTERS, THROTTLE, administrators, asked, page
from mailauth.portal.visit import Visit

WHY = {
    SOURCE.kind: "admin_throttle.source",
    NETWORK.kind: "admin_throttle.network",
    ACCOUNT.kind: "admin_throttle.account",
}


async def show(visit: Visit, who: Administrator) -> Response:
    """The list; also once more, for a form that was out of date."""
    problem = visit.text("errors.stale_text") if visit.stale else ""
    return await _page(visit, who, 403 if visit.stale else 200, problem)


async def clear(visit: Visit, who: Administrator) -> Response:
    """Begin the proof for it."""
    subject = "" if visit.form.has("everything") else visit.form.text("subject")[:MAX_NAME_CHARACTERS]
    if not subject and not visit.form.has("everything"):
        return await _page(visit, who, 422, visit.text("admin_refused.no-source"))
    response, problem = await asked(visit, Verb.CLEAR_THROTTLE, subject)
    return response or await _page(visit, who, 422, problem)


async def _page(visit: Visit, who: Administrator, status: int, problem: Markup | str) -> Response:
    slowed: SlowedDown = await visit.ask(overseeing.slowed_down, who, now=visit.now)
    return page(
        visit,
        "admin_throttle",
        "throttle",
        status,
        listed=slowed.listed,
        why={kind: visit.text(key) for kind, key in WHY.items()},
        may_clear_all=slowed.may_clear_all,
        may_clear=visit.me.role != Role.AUDITOR,
        typed=visit.form.text("subject"),
        problem=problem,
    )


_show = administrators(show)
PAGES: tuple[Page, ...] = (Page(THROTTLE, Entry.MEMBER, _show, administrators(clear), again=_show),)
