"""Accounts as administrators find them: the list, by how a login begins and by domain; and adding one.

Rule: a page of the list is as quick at a hundred thousand accounts as at ten.
"""

from __future__ import annotations

from urllib.parse import urlencode

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import levels, searching
from mailauth.accounts.administration import Administrator, Denied
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.roles import Denial, Role, Verb
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.admin_entry import (
    ACCOUNTS,
    ADMIN,
    MAX_NAME_CHARACTERS,
    administrators,
    asked,
    page,
    refusal_text,
)
from mailauth.portal.visit import Visit

NEW = f"{ADMIN}/new-account"
MOST_OFFERED = 50  # domains, in the field that asks for one


async def show(visit: Visit, who: Administrator) -> Response:
    """One page of the list."""
    text, domain = [visit.query(name).strip()[:MAX_NAME_CHARACTERS] for name in ("text", "domain")]
    after, problem, found = visit.query("after"), Markup(), searching.Page((), None)
    try:
        found = await visit.ask(searching.found, who, text, domain=domain or None, after=after, now=visit.now)
    except (NoSuch, Refused):
        problem = visit.text("admin_refused.no-domain")
    offered = await visit.ask(levels.domains, who, limit=MOST_OFFERED, now=visit.now)
    return page(
        visit,
        "admin_accounts",
        "accounts",
        text=text,
        domain=domain,
        problem=problem,
        accounts=found.accounts,
        is_first=not after,
        following=_address(text, domain, found.following),
        first=_address(text, domain, ""),
        domains=[view.name for view in offered.domains],
        may_add=Verb.SET_SITE in offered.allowed or visit.me.role == Role.DOMAIN_ADMIN,
    )


def _address(text: str, domain: str, after: str | None) -> str:
    """Of a page of the list; "": there is none."""
    if after is None:
        return ""
    said = {name: value for name, value in (("text", text), ("domain", domain), ("after", after)) if value}
    return f"{ACCOUNTS}?{urlencode(said)}" if said else ACCOUNTS


async def show_add(visit: Visit, who: Administrator) -> Response:
    """The form; also once more, for one that was out of date."""
    if visit.me.role == Role.AUDITOR:
        raise Denied(Denial.READ_ONLY)
    if visit.stale:
        return await _form(visit, who, 403, visit.text("errors.stale_text"))
    return await _form(visit, who)


async def add(visit: Visit, who: Administrator) -> Response:
    """Begin the proof for it."""
    login, recovery = visit.form.text("login"), visit.form.text("recovery")
    change = {"recovery_address": recovery} if recovery else {}
    try:
        response, problem = await asked(visit, Verb.ADD_ACCOUNT, login, change)
    except NoSuch:
        response, problem = None, refusal_text(visit, "no-domain")
    except Denied as denial:
        if denial.why is not Denial.NOT_YOUR_DOMAIN:
            raise
        response, problem = None, refusal_text(visit, "not-your-domain")
    return response or await _form(visit, who, 422, problem)


async def _form(visit: Visit, who: Administrator, status: int = 200, problem: Markup | str = "") -> Response:
    offered = await visit.ask(levels.domains, who, limit=MOST_OFFERED, now=visit.now)
    return page(
        visit,
        "admin_account_new",
        "accounts",
        status,
        login=visit.form.text("login"),
        recovery=visit.form.text("recovery"),
        problem=problem,
        domains=[view.name for view in offered.domains],
    )


_add_form = administrators(show_add)
PAGES: tuple[Page, ...] = (
    Page(ACCOUNTS, Entry.MEMBER, administrators(show)),
    Page(NEW, Entry.MEMBER, _add_form, administrators(add), again=_add_form),
)
