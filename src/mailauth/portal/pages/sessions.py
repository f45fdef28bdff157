"""The browsers that are signed in to the portal, and ending them.

Rule: what a browser calls itself is shown as a name and a system, if it can be told, else as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from mailauth.accounts import portalsessions
from mailauth.accounts.portalsessions import PortalSessionView, Stage
from mailauth.portal.guards import Entry, Page
from mailauth.portal.visit import Visit

SESSIONS = "/sessions"
MAX_AGENT_CHARACTERS = 80
BROWSERS = (  # the first whose mark is there; later ones also say the names of earlier ones
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("MicroMessenger/", "WeChat"),
    ("DingTalk/", "DingTalk"),
    ("QQBrowser/", "QQ Browser"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("HarmonyOS", "HarmonyOS"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One of them. browser: for people."""

    session: PortalSessionView
    browser: str
    is_half: bool


async def show(visit: Visit) -> Response:
    """The list."""
    views = await visit.ask(portalsessions.listed, visit.me, now=visit.now)
    listed = [Listed(view, browser(view.agent), view.stage is not Stage.IN) for view in views]
    return visit.page("sessions", listed=listed)


async def end(visit: Visit) -> Response:
    """End one of them, or all others."""
    if visit.form.has("others"):
        count = await visit.ask(portalsessions.end_others, visit.me, now=visit.now)
        return visit.go(SESSIONS, "sessions.ended_others", count=count)
    ended = await visit.ask(portalsessions.end, visit.me, visit.form.text("session"), now=visit.now)
    return visit.go(SESSIONS, "sessions.ended" if ended else "sessions.gone")


def browser(agent: str) -> str:
    """What this User-Agent (RFC 9110 section 10.1.5) is to people; "" when it says nothing."""
    name = next((name for mark, name in BROWSERS if mark in agent), "")
    system = next((name for mark, name in SYSTEMS if mark in agent), "")
    return " · ".join([part for part in (name, system) if part]) or agent[:MAX_AGENT_CHARACTERS]


PAGES = (Page(SESSIONS, Entry.MEMBER, show, end),)
