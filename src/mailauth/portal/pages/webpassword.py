"""Another web password: by who knows the present one, or by a reset link that an administrator has had sent.

Source: NIST SP 800-63B-4 section 3.1.1 (length counts, rules of composition do not). Rule: no password that was typed
is ever put into a page again.
"""

from __future__ import annotations

import asyncio
from typing import assert_never

from starlette.responses import Response

from mailauth.accounts import clientpasswords, webpassword
from mailauth.interfaces import WebMatch
from mailauth.portal.guards import SIGN_IN, Entry, Page
from mailauth.portal.pages.closing import went
from mailauth.portal.pages.security import SECURITY
from mailauth.portal.pages.signin import judged, noted
from mailauth.portal.visit import Visit
from mailauth.store.changes import Effect

PASSWORD = "/password"  # noqa: S105  an address
RESET = "/reset"
LEAST_CHARACTERS = 10
MOST_BYTES = 1024
LEAST_DIFFERENT = 5  # characters; with fewer it is one that everybody tries
LEAST_PART = 4  # of an address; a shorter one may well be in a good password
MAX_DIGITS = 18


async def show(visit: Visit) -> Response:
    """The form, and the client passwords to look at; also once more, for a form that was out of date."""
    return await _page(visit, 403, visit.text("errors.again_text")) if visit.stale else await _page(visit)


async def change(visit: Visit) -> Response:
    """Judge both passwords, and set the new one."""
    form = visit.form
    new = form.raw("new")
    problem = new_problem(visit, new, visit.me.login) or _difference(visit, new)
    if problem:
        return await _page(visit, 422, problem)
    match = await judged(visit, visit.me.login, form.raw("current"))
    match match:
        case WebMatch():
            return await _set(visit, match, new)
        case None:
            return noted(visit, await _page(visit, 422, visit.text("web.wrong")), visit.me.login)
        case float() | int():
            return await _page(visit, 429, visit.text("signin.wait", wait=visit.language.wait(match)))
        case _:
            assert_never(match)


async def _set(visit: Visit, match: WebMatch, new: str) -> Response:
    if new == visit.form.raw("current"):
        return await _page(visit, 422, visit.text("web.same"))
    if await visit.ask(clientpasswords.is_one, visit.me.login, new.encode()):
        return await _page(visit, 422, visit.text("web.is_client"))
    web_record = await asyncio.to_thread(visit.means.hashing.hash, new.encode())
    effect = Effect()
    revoked = await visit.ask(
        webpassword.change, visit.me, match, web_record, _ticked(visit), now=visit.now, effect=effect
    )
    return went(visit, SECURITY, effect, "web.done", count=len(revoked))


def new_problem(visit: Visit, new: str, login: str) -> str:
    """What is wrong with a new web password, for people; "": nothing."""
    if len(new) < LEAST_CHARACTERS:
        return visit.text("web.short", least=LEAST_CHARACTERS)
    if len(new.encode()) > MOST_BYTES:
        return visit.text("web.long", most=MOST_BYTES)
    local, _, domain = login.partition("@")
    known = [part for part in (login, local, domain) if len(part) >= LEAST_PART]
    if any(part in new.lower() for part in known) or len(set(new)) < LEAST_DIFFERENT:
        return visit.text("web.is_known")
    return ""


def _difference(visit: Visit, new: str) -> str:
    return "" if new == visit.form.raw("again") else visit.text("web.differ")


def _ticked(visit: Visit) -> frozenset[int]:
    sent = visit.form.every("revoke")
    return frozenset([int(text) for text in sent if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS])


async def _page(visit: Visit, status: int = 200, problem: str = "") -> Response:
    suspects = await visit.ask(webpassword.suspects, visit.me, now=visit.now)
    was_sent = visit.request.method == "POST"
    ticked = _ticked(visit) if was_sent else {each.view.id for each in suspects if each.is_ticked}
    views = [each.view for each in suspects]
    return visit.page("web_password", status, views=views, ticked=ticked, problem=problem, least=LEAST_CHARACTERS)


# ---- by a reset link


async def show_reset(visit: Visit) -> Response:
    """The form, for who comes with a code that is good."""
    return await _reset_page(visit)


async def again_reset(visit: Visit) -> Response:
    """The same, for a form that was out of date."""
    return await _reset_page(visit, 403, visit.text("signin.stale"))


async def reset(visit: Visit) -> Response:
    """Set it; that signs nobody in."""
    code, new = visit.form.raw("code"), visit.form.raw("new")
    login = await visit.look(webpassword.reset_login, code, now=visit.now)
    if login is None:
        return await _no_code(visit, code)
    problem = new_problem(visit, new, login) or _difference(visit, new)
    if not problem and await visit.ask(clientpasswords.is_one, login, new.encode()):
        problem = visit.text("web.is_client")
    if problem:
        return await _reset_page(visit, 422, problem)
    web_record = await asyncio.to_thread(visit.means.hashing.hash, new.encode())
    effect = Effect()
    whose = await visit.look(webpassword.reset, code, web_record, peer=visit.peer, now=visit.now, effect=effect)
    if whose is None:
        return await _no_code(visit, code)
    return went(visit, SIGN_IN, effect, "web.reset_done")


async def _reset_page(visit: Visit, status: int = 200, problem: str = "") -> Response:
    code = visit.form.raw("code") or visit.query("code")
    login = await visit.look(webpassword.reset_login, code, now=visit.now)
    if login is None:
        return await _no_code(visit, code)
    return visit.page("reset", status, code=code, login=login, problem=problem, least=LEAST_CHARACTERS)


async def _no_code(visit: Visit, code: str) -> Response:
    """A wrong code is a guess like a wrong password, and is counted as one."""
    said = await visit.house.web_passwords.check(RESET, code or "-", visit.peer)
    if isinstance(said, float | int):
        problem = visit.text("signin.wait", wait=visit.language.wait(said))
        return visit.page("reset_over", 429, problem=problem)
    return visit.page("reset_over", 410, problem="")


PAGES = (
    Page(PASSWORD, Entry.MEMBER, show, change, again=show),
    Page(RESET, Entry.ANYBODY, show_reset, reset, again=again_reset),
)
