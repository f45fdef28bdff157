"""Signing in with the web password, signing out, and the language of the pages.

Rule: one sentence for whatever is wrong; a fault or a full bucket is never called a wrong password.
"""

from __future__ import annotations

import asyncio
import time
from urllib.parse import quote, unquote

from starlette.background import BackgroundTask
from starlette.responses import Response

from mailauth.accounts import clientpasswords, portalsessions, signin
from mailauth.accounts.portalsessions import SignedOut, Stage
from mailauth.interfaces import BadRecord, HashUnavailable, PoolBusy, SourceUnavailable, StoreUnavailable, WebMatch
from mailauth.portal import cookies, failures
from mailauth.portal.guards import HOME, PLACES, SIGN_IN, Entry, Page
from mailauth.portal.visit import Visit, local

RETRY_S = "30"
REFUSAL_S = 1.0  # interfaces.WebPasswords takes as long for a refusal


async def show(visit: Visit) -> Response:
    """The form."""
    return _form(visit)


async def again(visit: Visit) -> Response:
    """The form once more: its token is of another time."""
    return _form(visit, 403, visit.text("signin.stale"))


async def check(visit: Visit) -> Response:
    """Judge what was typed."""
    address, password = visit.form.text("address"), visit.form.raw("password")
    if not address or not password:
        return _form(visit, 422, visit.text("signin.missing"))
    try:
        match = await judged(visit, address, password)
        if isinstance(match, WebMatch):
            return await _begin(visit, match)
    except (StoreUnavailable, SourceUnavailable, PoolBusy, HashUnavailable, BadRecord) as fault:
        failures.note(fault)
        response = _form(visit, 503, visit.text("signin.unavailable"))
        response.headers["retry-after"] = RETRY_S
        return response
    match match:
        case None:
            return noted(visit, _form(visit, 401, visit.text("signin.wrong")), address)
        case float() | int():
            response = _form(visit, 429, visit.text("signin.wait", wait=visit.language.wait(match)))
            response.headers["retry-after"] = str(int(match) + 1)
            return response


async def judged(visit: Visit, login: str, password: str) -> WebMatch | float | None:
    """As interfaces.WebPasswords.check; and an app password of the account is no web password, even if it is one."""
    device = visit.house.jar.get(visit.request, cookies.DEVICE)
    began = time.monotonic()
    match = await visit.house.web_passwords.check(login, password, visit.peer, device)
    if isinstance(match, WebMatch) and await visit.ask(clientpasswords.is_one, match.login, password.encode()):
        await asyncio.sleep(max(0.0, began + REFUSAL_S - time.monotonic()))  # as any other wrong one
        return None
    return match


async def _begin(visit: Visit, match: WebMatch) -> Response:
    jar = visit.house.jar
    try:
        opened = await visit.ask(
            signin.begin,
            match,
            peer=visit.peer,
            agent=visit.agent,
            device=jar.get(visit.request, cookies.DEVICE),
            replaces=jar.get(visit.request, cookies.SESSION),
            language=chosen if (chosen := jar.get(visit.request, cookies.LANGUAGE)) in visit.house.texts else None,
            now=visit.house.clock(),
        )
    except SignedOut:  # the password was changed while it was being looked at
        return _form(visit, 401, visit.text("signin.wrong"))
    wanted = local(visit.form.raw("next"))
    response = visit.go(wanted if opened.stage is Stage.IN else with_next(PLACES[opened.stage], wanted))
    enter(visit, response, opened)
    if opened.stage is not Stage.IN and wanted != HOME:
        jar.set(response, cookies.WANTED, quote(wanted, safe="/"))
    return response


def first_wanted(visit: Visit) -> str:
    """The page that was asked for before this sign-in, for those whose pages lead over others; else the start page."""
    return local(unquote(visit.house.jar.get(visit.request, cookies.WANTED)))


def enter(visit: Visit, response: Response, opened: signin.SignedIn) -> None:
    """Give the browser the session that it has from now on."""
    jar = visit.house.jar
    jar.set(response, cookies.SESSION, opened.token)
    jar.drop(response, cookies.FORM)
    jar.drop(response, cookies.WANTED)
    if opened.device:
        jar.set(response, cookies.DEVICE, opened.device)


def noted(visit: Visit, response: Response, login: str) -> Response:
    """The same answer; when it is out, its refusal is written down for the owner of the account, if it is one's.

    Then, so that no answer takes longer where there is such an account.
    """
    response.background = BackgroundTask(_note_refused, visit, login)
    return response


async def _note_refused(visit: Visit, login: str) -> None:
    try:
        await visit.look(signin.note_refused, login, peer=visit.peer, agent=visit.agent, now=visit.now)
    except StoreUnavailable as fault:
        failures.note(fault)


def with_next(path: str, wanted: str) -> str:
    """The address of a page of the sign-in that leads on to another."""
    return path if wanted == HOME else f"{path}?next={quote(wanted, safe='/')}"


def _form(visit: Visit, status: int = 200, problem: str = "") -> Response:
    wanted = visit.form.raw("next") or visit.query("next")
    return visit.page("signin", status, problem=problem, address=visit.form.text("address"), next=local(wanted))


async def sign_out(visit: Visit) -> Response:
    """End this session."""
    await visit.ask(portalsessions.end, visit.me, now=visit.now)
    response = visit.go(SIGN_IN)
    visit.house.jar.drop(response, cookies.SESSION)
    return response


async def switch_language(visit: Visit) -> Response:
    """Show the pages in another language from now on."""
    response = visit.go(local(visit.form.raw("next")))
    code = visit.form.text("language")
    if code in visit.house.texts:
        visit.house.jar.set(response, cookies.LANGUAGE, code)
        if visit.session is not None:
            await visit.ask(portalsessions.set_language, visit.session, code, now=visit.now)
    return response


PAGES = (
    Page(SIGN_IN, Entry.SIGNED_OUT, show, check, again),
    Page("/signout", Entry.STARTED, post=sign_out),
    Page("/language", Entry.ANYBODY, post=switch_language),
)
