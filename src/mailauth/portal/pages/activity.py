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
MAIL_LOGIN, SIGN_IN, SECOND_FACTOR, SETTINGS = "login", "sign-in", "second-factor", "account-changed"  # kinds of rows
PORTAL = "portal"
REFUSED = "reject"
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
    what = login_text(visit, row) if is_login else _told(visit, row)
    program = browser(row.client) if row.service == PORTAL else row.client
    return Told(row.at, what, row.outcome, service, row.peer, program, row.count, by)


def _told(visit: Visit, row: AuditRow) -> Markup:
    if row.outcome != REFUSED or row.kind not in {SIGN_IN, SECOND_FACTOR}:
        return event_text(visit, row.kind, row.label, row.detail)
    if row.kind == SIGN_IN:
        return visit.text("activity.web_refused", reason=_reason(visit, "refused", row.detail))
    kind, _, reason = row.detail.partition(": ")
    said = _reason(visit, "second_refused", reason.partition(" ")[0])
    return visit.text("activity.second_refused", factor=factor_text(visit, kind), reason=said)


def _reason(visit: Visit, group: str, reason: str) -> Markup:
    key = f"{group}.{reason}"
    return visit.text(key if visit.language.has(key) else f"{group}.other")


def factor_text(visit: Visit, kind: str) -> Markup | str:
    """What people call this kind of factor."""
    key = f"factor.{kind}"
    return visit.text(key) if visit.language.has(key) else kind


def event_text(visit: Visit, kind: str, label: str | None, detail: str = "") -> Markup:
    """A change, by its kind in the audit log. label: of the app password, or the kind of factor. detail: as there."""
    if kind == SETTINGS and (changes := _changes(visit, detail)):
        return visit.text("activity.settings", changes=Markup(" · ").join(changes))
    key = f"event.{kind}"
    if not visit.language.has(key):
        return visit.text("activity.other")
    return visit.text(key, label=factor_text(visit, label or "–"))


def _changes(visit: Visit, detail: str) -> list[Markup]:
    """What was changed, as far as there are words for it. detail: of accounts.changes.differences."""
    told = []
    for name, _, change in [each.partition(": ") for each in detail.split("; ")]:
        new = change.rpartition(" -> ")[2]
        key = f"changed.{name}" if new.isdigit() else f"changed.{name}_{new}"
        if visit.language.has(key):
            told.append(visit.text(key, count=new))
    return told


def actor_text(visit: Visit, actor: str) -> Markup:
    """Who did it: the owner, a program that has a token of his, or somebody else."""
    by = "program" if actor.startswith(PROGRAM) else "administrator"
    return visit.text(f"activity.by_{'owner' if actor == OWN + visit.me.login else by}")


def login_text(visit: Visit, row: AuditRow) -> Markup:
    """A login of a mail program."""
    if row.outcome == "accept":
        if row.credential_id is None:
            return visit.text("activity.accept_web")
        return (
            visit.text("activity.accept_app", label=row.label) if row.label else visit.text("activity.accept_app_gone")
        )
    group = "deferred" if row.outcome == "defer" else "refused"
    said = _reason(visit, group, row.detail)
    if group == "deferred":
        return visit.text("activity.defer", cause=said)
    if row.label:
        said = visit.text("activity.which", reason=said, label=row.label)
    return visit.text("activity.reject", reason=said)


PAGES = (Page(ACTIVITY, Entry.MEMBER, show),)
