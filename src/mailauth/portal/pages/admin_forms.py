"""What takes a form of its own: the role of an account, its recovery address, its aliases, app passwords to delete.

Rule: each begins a proof; what was typed is shown again with what is wrong with it.
"""

from __future__ import annotations

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import searching
from mailauth.accounts.administration import Administrator
from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.roles import Role, Verb
from mailauth.accounts.searching import AccountDetails
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.admin_entry import (
    LOGIN,
    account_at,
    administrators,
    asked,
    page,
    permit,
    refusal_text,
)
from mailauth.portal.visit import Visit

ROLES = (Role.USER, Role.AUDITOR, Role.DOMAIN_ADMIN, Role.SITE_ADMIN)
MAX_DIGITS = 18
MOST_TOLD, MOST_TOLD_CHARACTERS = 10, 40  # of labels, in the words for a proof


# ---- the role


async def show_role(visit: Visit, who: Administrator) -> Response:
    """The form; also once more, for one that was out of date."""
    details = await _details(visit, who, Verb.SET_ROLE)
    problem = visit.text("errors.stale_text") if visit.stale else ""
    return _role_page(visit, details, 403 if visit.stale else 200, problem)


async def set_role(visit: Visit, who: Administrator) -> Response:
    """Begin the proof for another one."""
    details = await _details(visit, who, Verb.SET_ROLE)
    role, names = visit.form.text("role"), visit.form.lines("domains")
    if role not in ROLES:
        return _role_page(visit, details, 422, visit.text("admin_role.missing"))
    domains = list(names) if role == Role.DOMAIN_ADMIN else []
    if (role, sorted(domains)) == (details.view.role, sorted(details.administers)):
        return visit.go(account_at(details.view.login), "admin.nothing_changed")
    change = {"role": role, "domains": domains} if domains else {"role": role}
    try:
        response, problem = await asked(visit, Verb.SET_ROLE, details.view.login, change)
    except NoSuch:
        response, problem = None, refusal_text(visit, "no-domain")
    return response or _role_page(visit, details, 422, problem)


def _role_page(visit: Visit, details: AccountDetails, status: int, problem: Markup | str) -> Response:
    sent = visit.request.method == "POST"
    return page(
        visit,
        "admin_role",
        "accounts",
        status,
        login=details.view.login,
        domain=details.view.domain,
        at=account_at(details.view.login),
        roles=ROLES,
        role=visit.form.text("role") if sent else details.view.role,
        domains=visit.form.raw("domains") if sent else "\n".join(details.administers),
        problem=problem,
    )


# ---- the recovery address


async def show_recovery(visit: Visit, who: Administrator) -> Response:
    """The form; also once more, for one that was out of date."""
    details = await _details(visit, who, Verb.SET_RECOVERY_ADDRESS)
    problem = visit.text("errors.stale_text") if visit.stale else ""
    return _recovery_page(visit, details, 403 if visit.stale else 200, problem)


async def set_recovery(visit: Visit, who: Administrator) -> Response:
    """Begin the proof for another one, or for none."""
    details = await _details(visit, who, Verb.SET_RECOVERY_ADDRESS)
    typed = visit.form.text("address")
    if not typed and not visit.form.has("none"):
        return _recovery_page(visit, details, 422, visit.text("admin_refused.no-address"))
    change = {"address": None if visit.form.has("none") else typed}
    response, problem = await asked(visit, Verb.SET_RECOVERY_ADDRESS, details.view.login, change)
    return response or _recovery_page(visit, details, 422, problem)


def _recovery_page(visit: Visit, details: AccountDetails, status: int, problem: Markup | str) -> Response:
    return page(
        visit,
        "admin_recovery",
        "accounts",
        status,
        login=details.view.login,
        at=account_at(details.view.login),
        present=details.recovery_address,
        typed=visit.form.text("address"),
        problem=problem,
    )


# ---- aliases


async def show_alias(visit: Visit, who: Administrator) -> Response:
    """The form; also once more, for one that was out of date."""
    details = await _details(visit, who, Verb.ADD_ALIAS)
    problem = visit.text("errors.stale_text") if visit.stale else ""
    return _alias_page(visit, details, 403 if visit.stale else 200, problem)


async def add_alias(visit: Visit, who: Administrator) -> Response:
    """Begin the proof for it."""
    details = await _details(visit, who, Verb.ADD_ALIAS)
    change = {"alias": visit.form.text("alias")}
    response, problem = await asked(visit, Verb.ADD_ALIAS, details.view.login, change)
    return response or _alias_page(visit, details, 422, problem)


def _alias_page(visit: Visit, details: AccountDetails, status: int, problem: Markup | str) -> Response:
    return page(
        visit,
        "admin_alias",
        "accounts",
        status,
        login=details.view.login,
        at=account_at(details.view.login),
        typed=visit.form.text("alias"),
        problem=problem,
    )


async def remove_alias(visit: Visit, who: Administrator) -> Response:
    """Begin the proof for it."""
    details = await _details(visit, who, Verb.ADD_ALIAS)
    at = account_at(details.view.login)
    if visit.form.raw("alias") not in details.view.aliases:
        return visit.go(at, "admin.gone")
    response, problem = await asked(visit, Verb.REMOVE_ALIAS, visit.form.raw("alias"))
    return response or visit.go(at, "admin.not_done", why=problem)


# ---- app passwords, and API tokens


async def revoke(visit: Visit, who: Administrator) -> Response:
    """Begin the proof for deleting those that are ticked."""
    details = await _details(visit, who, Verb.REVOKE)
    sent = visit.form.every("id")
    ids = {int(text) for text in sent if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS}
    chosen = [view for view in details.app_passwords if view.id in ids]
    at = account_at(details.view.login)
    if not sent:
        return visit.go(at, "admin.none_ticked")
    if len(chosen) < len(ids) or not chosen:
        return visit.go(at, "admin.gone")
    labels = [view.label[:MOST_TOLD_CHARACTERS] for view in chosen[:MOST_TOLD]]
    change = {"ids": [view.id for view in chosen], "labels": labels}
    response, problem = await asked(visit, Verb.REVOKE, details.view.login, change)
    return response or visit.go(at, "admin.not_done", why=problem)


async def revoke_token(visit: Visit, who: Administrator) -> Response:
    """Begin the proof for one of its API tokens."""
    details = await _details(visit, who, Verb.REVOKE_TOKEN)
    at = account_at(details.view.login)
    chosen = next((token for token in details.api_tokens if str(token.id) == visit.form.text("token")), None)
    if chosen is None:
        return visit.go(at, "admin.gone")
    change = {"id": chosen.id, "label": chosen.label}
    response, problem = await asked(visit, Verb.REVOKE_TOKEN, details.view.login, change)
    return response or visit.go(at, "admin.not_done", why=problem)


async def _details(visit: Visit, who: Administrator, verb: Verb) -> AccountDetails:
    """The account that the address names. Raises Denied, NoSuch, Refused."""
    await permit(visit, who, verb, visit.path("login"))
    details: AccountDetails = await visit.ask(searching.details, who, visit.path("login"), now=visit.now)
    return details


_role, _recovery, _alias = administrators(show_role), administrators(show_recovery), administrators(show_alias)
PAGES: tuple[Page, ...] = (
    Page(LOGIN + "/role", Entry.MEMBER, _role, administrators(set_role), again=_role),
    Page(LOGIN + "/recovery-address", Entry.MEMBER, _recovery, administrators(set_recovery), again=_recovery),
    Page(LOGIN + "/new-alias", Entry.MEMBER, _alias, administrators(add_alias), again=_alias),
    Page(LOGIN + "/remove-alias", Entry.MEMBER, post=administrators(remove_alias)),
    Page(LOGIN + "/app-passwords", Entry.MEMBER, post=administrators(revoke)),
    Page(LOGIN + "/revoke-token", Entry.MEMBER, post=administrators(revoke_token)),
)
