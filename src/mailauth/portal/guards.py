"""Who comes to which page: the session of a request, its stage, and whether what was posted is meant.

Source: OWASP ASVS 5.0 chapter V7. Rule: a page that does not say whom it is for cannot be made. Before the second
factor only its own pages open; who must enrol one comes to nothing else; a post counts only with its session's token.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mailauth.accounts import portalsessions
from mailauth.accounts.portalsessions import SignedOut, Stage
from mailauth.portal import cookies, failures, forms
from mailauth.portal.headers import SAFE
from mailauth.portal.house import House
from mailauth.portal.visit import Visit, arrived, spoken

Handler = Callable[[Visit], Awaitable[Response]]

SIGN_IN, SECOND, ENROL, HOME = "/signin", "/signin/second", "/enrol", "/"


class Entry(Enum):
    """Whom a page is for. The value: the stages that it opens to."""

    ANYBODY = frozenset({None, *Stage})
    SIGNED_OUT = frozenset({None, Stage.PASSWORD, Stage.CODE, Stage.ENROL})
    SECOND = frozenset({Stage.PASSWORD})
    DEMANDED = frozenset({Stage.CODE, Stage.ENROL})
    ENROLLING = frozenset({Stage.ENROL})
    STARTED = frozenset(Stage)
    MEMBER = frozenset({Stage.IN})


PLACES = {
    None: SIGN_IN,
    Stage.PASSWORD: SECOND,
    Stage.CODE: ENROL,
    Stage.ENROL: ENROL,
    Stage.IN: HOME,
}  # where somebody at this stage belongs


@dataclass(frozen=True, slots=True)
class Page:
    """One address. post: what a form of it does. again: shows that form once more, with what was typed, when it was of
    a session that has been renewed since."""

    path: str
    entry: Entry
    get: Handler | None = None
    post: Handler | None = None
    again: Handler | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets requests to one page, or does not."""

    house: House
    page: Page

    def route(self) -> Route:
        """For the application."""
        methods = [name for name, handler in (("GET", self.page.get), ("POST", self.page.post)) if handler is not None]
        return Route(self.page.path, self.serve, methods=methods)

    async def serve(self, request: Request) -> Response:
        """Answer one request."""
        visit = await entered(self.house, request)
        stage = None if visit.session is None else visit.session.stage
        if stage not in self.page.entry.value:
            return await self._elsewhere(visit, stage)
        try:
            if request.method in SAFE:
                return await self._shown(visit)
            visit.form = await forms.read(request)
            if not is_meant(visit):
                visit.stale = True
                return await (self.page.again or _out_of_date)(visit)
            return await _handler(self.page.post)(visit)
        except SignedOut:  # ended, or come to another stage meanwhile: then its place is found at the next request
            return _signed_out(visit) if request.method in SAFE else visit.go(HOME)

    async def _shown(self, visit: Visit) -> Response:
        """The page; once more with what was typed on it, if signing in came between."""
        kept = self.house.jar.kept(visit.request, visit.request.url.path) if self.page.again else None
        if kept is None or self.page.again is None:
            return await _handler(self.page.get)(visit)
        visit.form, visit.stale = forms.Form(kept), True
        response = await self.page.again(visit)
        self.house.jar.drop(response, cookies.TYPED)
        return response

    async def _elsewhere(self, visit: Visit, stage: Stage | None) -> Response:
        """To where somebody at this stage belongs; signing in leads back here."""
        if stage is not None:
            return visit.go(PLACES[stage])
        if self.page.entry is not Entry.MEMBER:
            return _signed_out(visit)
        if visit.request.method in SAFE:
            return _signed_out(visit, visit.here)
        if self.page.again is None:
            return _signed_out(visit)
        if not self.house.jar.get(visit.request, cookies.SESSION):  # nobody was signed in here: it is no form of ours
            return _signed_out(visit, visit.here)
        typed = await forms.read(visit.request)
        response = _signed_out(visit, visit.here)
        self.house.jar.keep(response, visit.request.url.path, typed.values)
        return response


async def entered(house: House, request: Request) -> Visit:
    """A request with the session that it belongs to. Raises StoreUnavailable, BadRecord."""
    visit = arrived(house, request)
    request.state.visit = visit  # for what is said if anything fails from here on
    bearer = house.jar.get(request, cookies.SESSION)
    if bearer:
        visit.session = await visit.ask(portalsessions.find, bearer, peer=visit.peer, now=visit.now)
        visit.language = spoken(house, request, visit.session)
    return visit


def is_meant(visit: Visit) -> bool:
    """Whether the form was made for this session, or, before there is one, for this browser."""
    sent, expected = visit.form.raw("csrf"), visit.csrf
    return bool(expected) and hmac.compare_digest(sent.encode(), expected.encode())


def _handler(handler: Handler | None) -> Handler:
    if handler is None:
        raise LookupError("the route lets only through what has a handler")
    return handler


async def _out_of_date(visit: Visit) -> Response:
    return failures.page(visit, failures.STALE)


def _signed_out(visit: Visit, back: str = HOME) -> Response:
    """To the sign-in, with what was the matter, and back afterwards."""
    jar = visit.house.jar
    had_session = bool(jar.get(visit.request, cookies.SESSION))
    query = "" if back == HOME else f"?next={quote(back, safe='/')}"
    response = visit.go(f"{SIGN_IN}{query}", "signin.ended" if had_session else "")
    if had_session:
        jar.drop(response, cookies.SESSION)
    return response
