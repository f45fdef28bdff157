"""The switches of an account or a domain, and how many app passwords somebody may have.

Rule: see admin_levels.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts.administration import Administrator
from mailauth.accounts.changes import MOST_APP_PASSWORDS
from mailauth.portal.guards import Page
from mailauth.portal.pages.admin_entry import asked, page, permit
from mailauth.portal.pages.admin_levels import Kind, Level, level_of, pages
from mailauth.portal.visit import Visit

SWITCHES = {
    Kind.ACCOUNT: ("enabled", "client_logon", "imap", "pop3", "smtp"),
    Kind.DOMAIN: ("enabled", "imap", "pop3", "smtp"),
    Kind.SITE: (),
}
MOST = "max_app_passwords"


async def show(kind: Kind, visit: Visit, who: Administrator) -> Response:
    """The form; also once more, for one that was out of date."""
    level = await _permitted(kind, visit, who)
    if visit.stale:
        return _page(visit, level, 403, visit.text("errors.stale_text"))
    return _page(visit, level)


async def change(kind: Kind, visit: Visit, who: Administrator) -> Response:
    """Begin the proof for what differs."""
    level = await _permitted(kind, visit, who)
    typed, most = _typed(visit, kind), visit.form.text("most")
    wanted: dict[str, Any] = {name: on for name, on in typed.items() if (name in _were(visit)) != on}
    if most != visit.form.text("most_was"):
        if not (most.isascii() and most.isdigit() and len(most) <= 3 and int(most) <= MOST_APP_PASSWORDS):
            return _page(visit, level, 422, error=visit.text("admin_refused.most-out-of-range"))
        wanted[MOST] = int(most)
    if not wanted:
        return visit.go(level.at, "admin.nothing_changed")
    response, problem = await asked(visit, level.verb, level.name, wanted)
    return response or _page(visit, level, 409, problem)


def _page(
    visit: Visit, level: Level, status: int = 200, problem: Markup | str = "", *, error: Markup | str = ""
) -> Response:
    sent = visit.request.method == "POST"
    are = {name: bool(getattr(level.view, name)) for name in SWITCHES[level.kind]}
    most = "" if level.view.max_app_passwords is None else str(level.view.max_app_passwords)
    return page(
        visit,
        "admin_settings",
        level.tab,
        status,
        level=level,
        switches=_typed(visit, level.kind) if sent else are,
        were=visit.form.raw("were") if sent else " ".join([name for name, on in are.items() if on]),
        most=visit.form.text("most") if sent else most,
        most_was=visit.form.text("most_was") if sent else most,
        most_ever=MOST_APP_PASSWORDS,
        problem=problem,
        error=error,
    )


def _typed(visit: Visit, kind: Kind) -> dict[str, bool]:
    return {name: visit.form.has(name) for name in SWITCHES[kind]}


def _were(visit: Visit) -> set[str]:
    """The switches that were on when the form was shown."""
    return set(visit.form.raw("were").split())


async def _permitted(kind: Kind, visit: Visit, who: Administrator) -> Level:
    level = await level_of(kind, visit, who)
    await permit(visit, who, level.verb, level.name)
    return level


PAGES: tuple[Page, ...] = tuple(pages("/settings", show, change))
