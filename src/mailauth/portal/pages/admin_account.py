"""One account on one page: how it stands, who uses it, and what whoever looks may do to it.

Rule: a second factor is shown by its kind, a recovery address masked; what may not be done has no button.
"""

from __future__ import annotations

from starlette.responses import Response

from mailauth.accounts import observations, overseeing, searching
from mailauth.accounts.administration import Administrator
from mailauth.accounts.history import AuditRow
from mailauth.accounts.roles import Verb
from mailauth.accounts.searching import AccountDetails
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.admin_audit import told_of
from mailauth.portal.pages.admin_entry import LOGIN, account_at, administrators, page
from mailauth.portal.pages.admin_words import lock_text
from mailauth.portal.visit import Visit

AUDIT_ROWS = 15


async def show(visit: Visit, who: Administrator) -> Response:
    """The page."""
    details: AccountDetails = await visit.ask(searching.details, who, visit.path("login"), now=visit.now)
    login = details.view.login
    if visit.path("login") != login:  # written otherwise
        return visit.go(account_at(login))
    rows: tuple[AuditRow, ...] = await visit.ask(
        overseeing.audited_account, who, login, limit=AUDIT_ROWS, now=visit.now
    )
    open_now = await visit.house.connections.open_now(details.id, login)
    return page(
        visit,
        "admin_account",
        "accounts",
        details=details,
        account=details.view,
        at=account_at(login),
        may={str(verb) for verb in details.allowed},
        locked=lock_text(visit, details.view.why),
        open_now=open_now,
        open_count=None if open_now is None else sum(open_now.values()),
        programs=await visit.look(observations.observed, login),
        rows=[told_of(visit, row) for row in rows],
        is_own=details.id == visit.me.account_id,
        may_do=any(verb in details.allowed for verb in (Verb.SIGN_OUT, Verb.SET_ACCOUNT)),
    )


PAGES: tuple[Page, ...] = (Page(LOGIN, Entry.MEMBER, administrators(show)),)
