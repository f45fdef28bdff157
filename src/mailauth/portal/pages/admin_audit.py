"""The audit log as administrators read it: of one login, of a domain, or of all.

Rule: who did it is named. What this version has no words for is shown as it is written down, as text.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import overseeing
from mailauth.accounts.administration import Administrator
from mailauth.accounts.history import AuditRow
from mailauth.accounts.overseeing import AuditPage
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.activity import MAIL_LOGIN, PORTAL, PROGRAM, event_text, login_text
from mailauth.portal.pages.admin_entry import AUDIT, DOMAIN, MAX_NAME_CHARACTERS, administrators, domain_at, page
from mailauth.portal.pages.sessions import browser
from mailauth.portal.visit import Visit

EVENTS = {
    "account-added": "admin_event.account-added",
    "account-erased": "admin_event.account-erased",
    "account-removed": "admin_event.account-removed",
    "domain-added": "admin_event.domain-added",
    "domain-changed": "admin_event.domain-changed",
    "domain-removed": "admin_event.domain-removed",
    "site-changed": "admin_event.site-changed",
    "throttle-cleared": "admin_event.throttle-cleared",
}
NOBODY = frozenset({"", "client", "process"})
ACTORS = {
    "portal:": "admin_audit.by_portal",
    "cli:": "admin_audit.by_cli",
    PROGRAM: "admin_audit.by_api",
}
MAX_DETAIL_CHARACTERS = 300
MAX_NUMBER_CHARACTERS = 24


@dataclass(frozen=True, slots=True)
class Told:
    """One line. by: who did it; place: an address or network; program: what it calls itself; detail: as written."""

    at: float
    login: str
    what: Markup
    detail: str
    outcome: str
    by: Markup
    service: str
    place: str
    program: str
    count: int


async def show(visit: Visit, who: Administrator) -> Response:
    """A page of it, the latest first."""
    login = visit.query("login").strip()[:MAX_NAME_CHARACTERS]
    found = await visit.ask(overseeing.audited, who, login, before=_before(visit), now=visit.now)
    return _page(visit, found, login=login)


async def show_domain(visit: Visit, who: Administrator) -> Response:
    """The same, of everybody in one domain."""
    name = visit.path("name")
    found = await visit.ask(overseeing.audited, who, domain=name, before=_before(visit), now=visit.now)
    return _page(visit, found, domain=name.lower())


def _page(visit: Visit, found: AuditPage, *, login: str = "", domain: str = "") -> Response:
    path, following = (f"{domain_at(domain)}/audit" if domain else AUDIT), ""
    query = {"login": login} if login else {}
    if found.following is not None:
        at, row_id = found.following
        following = f"{path}?{urlencode({**query, 'at': repr(at), 'before': row_id})}"
    return page(
        visit,
        "admin_audit",
        "domains" if domain else "audit",
        login=login,
        domain=domain,
        at=domain_at(domain),
        rows=[told_of(visit, row) for row in found.rows],
        following=following,
        first=f"{path}?{urlencode(query)}" if query else path,
        is_first=_before(visit) is None,
    )


def told_of(visit: Visit, row: AuditRow) -> Told:
    """One row of the log."""
    is_login = row.kind == MAIL_LOGIN
    what = login_text(visit, row) if is_login else _event(visit, row)
    program = browser(row.client) if row.service == PORTAL else row.client
    detail = "" if is_login else row.detail[:MAX_DETAIL_CHARACTERS]
    return Told(
        *(row.at, row.login or "", what, detail, row.outcome, actor_text(visit, row.actor)),
        *("" if row.service == PORTAL else row.service.upper(), row.peer, program, row.count),
    )


def actor_text(visit: Visit, actor: str) -> Markup:
    """Who did it; "": whoever the row is about, or a process by itself."""
    if actor in NOBODY:
        return Markup()
    for begin, key in ACTORS.items():
        if actor.startswith(begin):
            name = actor.removeprefix(begin)
            token, _, whose = name.partition(":") if begin == PROGRAM else ("", "", "")
            return visit.text("admin_audit.by_api_of", token=token, name=whose) if whose else visit.text(key, name=name)
    return Markup("{}").format(actor)


def _event(visit: Visit, row: AuditRow) -> Markup:
    if row.kind in EVENTS:
        return visit.text(EVENTS[row.kind])
    if visit.language.has(f"event.{row.kind}"):
        return event_text(visit, row.kind, row.label)
    return Markup("{}").format(row.kind)


def _before(visit: Visit) -> tuple[float, int] | None:
    """Where the page begins; None: with the latest."""
    at, row_id = visit.query("at"), visit.query("before")
    if not row_id.isascii() or not row_id.isdigit() or max(len(at), len(row_id)) > MAX_NUMBER_CHARACTERS:
        return None
    try:
        return (float(at), int(row_id)) if abs(float(at)) < overseeing.LAST[0] and int(row_id) < 2**63 else None
    except ValueError:
        return None


PAGES: tuple[Page, ...] = (
    Page(AUDIT, Entry.MEMBER, administrators(show)),
    Page(DOMAIN + "/audit", Entry.MEMBER, administrators(show_domain)),
)
