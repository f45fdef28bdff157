"""What the owner of an account is told of changes to it, until he says that he has read it.

Rule: reading is said with a button; showing the page is not reading it.
"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import notices
from mailauth.accounts.notices import NoticeView
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.activity import event_text
from mailauth.portal.visit import Visit

NOTICES = "/notices"
MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Told:
    """One of them, in words."""

    view: NoticeView
    what: Markup
    by: Markup


async def show(visit: Visit) -> Response:
    """The latest, read ones too."""
    views = await visit.ask(notices.listed, visit.me, now=visit.now)
    told = [
        Told(view, event_text(visit, view.kind, view.label, view.detail), visit.text(f"activity.by_{view.by}"))
        for view in views
    ]
    return visit.page("notices", told=told, last_id=max([view.id for view in views], default=0))


async def acknowledge(visit: Visit) -> Response:
    """One, or all that were shown."""
    if visit.form.has("all"):
        await visit.ask(notices.acknowledge_all, visit.me, _number(visit, "all"), now=visit.now)
    else:
        await visit.ask(notices.acknowledge, visit.me, _number(visit, "notice"), now=visit.now)
    return visit.go(NOTICES)


def _number(visit: Visit, name: str) -> int:
    text = visit.form.text(name)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else 0


PAGES = (Page(NOTICES, Entry.MEMBER, show, acknowledge),)
