"""What is done to an account with no more to be said than that it is meant: each has a page that says what it means.

Rule: what cannot be taken back takes the login typed, besides the proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import searching
from mailauth.accounts.administration import Administrator
from mailauth.accounts.roles import Verb
from mailauth.accounts.searching import AccountDetails
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.admin_entry import LOGIN, account_at, administrators, asked, page, permit
from mailauth.portal.visit import Visit


@dataclass(frozen=True, slots=True)
class Plain:
    """One of them. name: in its address and in the keys of its texts. is_for_good: the login has to be typed."""

    name: str
    verb: Verb
    is_heavy: bool = False
    is_for_good: bool = False


ALL = (
    Plain("sign-out", Verb.SIGN_OUT),
    Plain("close-sessions", Verb.CLOSE_SESSIONS),
    Plain("delete-app-passwords", Verb.REVOKE, is_heavy=True),
    Plain("reset-password", Verb.RESET_PASSWORD),
    Plain("reset-second-step", Verb.RESET_FACTORS, is_heavy=True),
    Plain("enrolment-code", Verb.ENROLMENT_CODE),
    Plain("export", Verb.EXPORT_ACCOUNT),
    Plain("remove", Verb.REMOVE_ACCOUNT, is_heavy=True, is_for_good=True),
    Plain("erase", Verb.ERASE_ACCOUNT, is_heavy=True, is_for_good=True),
)


async def show(plain: Plain, visit: Visit, who: Administrator) -> Response:
    """What it means; also once more, for a form that was out of date."""
    details = await _details(plain, visit, who)
    problem = visit.text("errors.stale_text") if visit.stale else ""
    return _page(visit, plain, details, 403 if visit.stale else 200, problem)


async def ask(plain: Plain, visit: Visit, who: Administrator) -> Response:
    """Begin the proof for it."""
    details = await _details(plain, visit, who)
    login = details.view.login
    if plain.is_for_good and visit.form.text("typed").lower() != login:
        return _page(visit, plain, details, 422, error=visit.text("admin_deed.typed_wrong", login=login))
    response, problem = await asked(visit, plain.verb, login)
    return response or _page(visit, plain, details, 409, problem)


def _page(
    visit: Visit,
    plain: Plain,
    details: AccountDetails,
    status: int = 200,
    problem: Markup | str = "",
    *,
    error: Markup | str = "",
) -> Response:
    return page(
        visit,
        "admin_deed",
        "accounts",
        status,
        plain=plain,
        details=details,
        login=details.view.login,
        at=account_at(details.view.login),
        typed=visit.form.text("typed"),
        problem=problem,
        error=error,
    )


async def _details(plain: Plain, visit: Visit, who: Administrator) -> AccountDetails:
    await permit(visit, who, plain.verb, visit.path("login"))
    details: AccountDetails = await visit.ask(searching.details, who, visit.path("login"), now=visit.now)
    return details


def _pages(plain: Plain) -> Page:
    get = administrators(partial(show, plain))
    return Page(f"{LOGIN}/{plain.name}", Entry.MEMBER, get, administrators(partial(ask, plain)), again=get)


PAGES: tuple[Page, ...] = tuple([_pages(plain) for plain in ALL])
