"""What happened to an account, told to its owner: sign-ins, mail programs, refusals with the true reason, changes.

Rule: in plain words. What this version has no words for is called a change, never shown raw.
"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import history
from mailauth.accounts.history import AuditRow
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.sessions import browser
from mailauth.portal.visit import Visit
from mailauth.store.engine import Store

ACTIVITY = "/activity"
MOST_ROWS = 200
MAIL_LOGIN = "login"
PORTAL = "portal"
SERVICES = ("imap", "pop3", "smtp")
OWN, PROGRAM = "portal:", "api:"  # how actors begin


@dataclass(frozen=True, slots=True)
class Told:
    """One line. outcome: accept, reject, defer or done. place: an address or network; program: what it calls itself."""

    at: float
    what: Markup
    outcome: str
    service: str
    place: str
    program: str
    count: int
    by: str


async def show(visit: Visit) -> Response:
    """The latest first."""
    days = visit.house.activity_days
    rows = await visit.look(_rows, visit.me.login, days, visit.now)
    told = [told_of(visit, row) for row in reversed(rows)]
    return visit.page("activity", rows=told, days=days, most=MOST_ROWS if len(rows) == MOST_ROWS else 0)


def _rows(store: Store, login: str, days: int, now: float) -> list[AuditRow]:
    return list(history.activity(store, login, days=days, limit=MOST_ROWS, now=now))


def told_of(visit: Visit, row: AuditRow) -> Told:
    """One row of the audit log as its owner reads it."""
    is_login = row.kind == MAIL_LOGIN
    by = "" if is_login or row.service == PORTAL else actor_text(visit, row.actor)
    service = visit.text(f"service.{row.service}") if row.service in SERVICES else ""
    what = _login_text(visit, row) if is_login else event_text(visit, row.kind, row.label)
    program = browser(row.client) if row.service == PORTAL else row.client
    return Told(row.at, what, row.outcome, service, row.peer, program, row.count, by)


def event_text(visit: Visit, kind: str, label: str | None) -> Markup:
    """A change, by its kind in the audit log. label: of the app password, or the kind of factor."""
    key = f"event.{kind}"
    if not visit.language.has(key):
        return visit.text("activity.other")
    factor = f"factor.{label}"
    return visit.text(key, label=visit.text(factor) if visit.language.has(factor) else label or "–")


def actor_text(visit: Visit, actor: str) -> Markup:
    """Who did it: the owner, a program that has a token of his, or somebody else."""
    by = "program" if actor.startswith(PROGRAM) else "administrator"
    return visit.text(f"activity.by_{'owner' if actor == OWN + visit.me.login else by}")


def _login_text(visit: Visit, row: AuditRow) -> Markup:
    if row.outcome == "accept":
        if row.credential_id is None:
            return visit.text("activity.accept_web")
        return (
            visit.text("activity.accept_app", label=row.label) if row.label else visit.text("activity.accept_app_gone")
        )
    group = "deferred" if row.outcome == "defer" else "refused"
    key = f"{group}.{row.detail}"
    said = visit.text(key if visit.language.has(key) else f"{group}.other")
    if group == "deferred":
        return visit.text("activity.defer", cause=said)
    if row.label:
        said = visit.text("activity.which", reason=said, label=row.label)
    return visit.text("activity.reject", reason=said)


PAGES = (Page(ACTIVITY, Entry.MEMBER, show),)
