"""One request, as a page sees it: who asks, in which language, what was posted; and the ways to answer.

Rule: pages get nothing of the request but this.
"""

from __future__ import annotations

import asyncio
import functools
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import PortalSession, Stage
from mailauth.accounts.steps import settled
from mailauth.portal import cookies, language
from mailauth.portal.cookies import Said
from mailauth.portal.forms import Form
from mailauth.portal.house import House
from mailauth.portal.language import Language
from mailauth.store.engine import Store

P = ParamSpec("P")
T = TypeVar("T")

NAVIGATION = (("home", "/"), ("passwords", "/passwords"), ("security", "/security"), ("activity", "/activity"))
ADMINISTRATION = ("admin", "/admin/accounts")
LOCAL = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")  # a path here: no host, no backslash, no space, nothing hidden
MAX_PATH_CHARACTERS = 500
IN_PATHS = "/:@!$&'()*+,;=~"  # RFC 3986 section 3.3, besides letters, digits and -._
FORM_TOKEN_BYTES = 24
NO_ROLE = "user"


@dataclass(frozen=True, slots=True)
class Me:
    """Who is signed in, as far as every page shows it. is_in: all the way."""

    login: str
    is_in: bool
    notices: int


@dataclass(slots=True)
class Visit:
    """session: None before the web password. form: empty unless something was posted. peer: the client's address."""

    request: Request = field(repr=False)
    house: House
    session: PortalSession | None
    language: Language
    peer: str
    now: float
    form: Form = field(default_factory=Form)
    stale: bool = False
    _new_form_token: str = field(default="", repr=False)

    @property
    def me(self) -> PortalSession:
        """The session of a page that only those come to who have one."""
        if self.session is None:
            raise LookupError("this page is open to everybody")
        return self.session

    @property
    def means(self) -> Means:
        """What the use cases work with."""
        return self.house.means

    @property
    def csrf(self) -> str:
        """What a form must send back: the session's, or, before there is one, that of the form's own cookie."""
        if self.session is not None:
            return self.session.csrf
        kept = self.house.jar.get(self.request, cookies.FORM)
        if not kept and not self._new_form_token:
            self._new_form_token = secrets.token_urlsafe(FORM_TOKEN_BYTES)
        return kept or self._new_form_token

    @property
    def here(self) -> str:
        """The address of this page, to come back to."""
        scope = self.request.scope
        query = scope["query_string"].decode("latin-1") if scope["method"] == "GET" else ""
        return local(quote(scope["path"], safe=IN_PATHS) + (f"?{query}" if query else ""))

    @property
    def agent(self) -> str:
        """What the browser calls itself."""
        return self.request.headers.get("user-agent", "")

    def query(self, name: str) -> str:
        """A value of the address; "": there is none."""
        return self.request.query_params.get(name, "")

    def path(self, name: str) -> str:
        """A part of the path, by its name in the route."""
        return str(self.request.path_params[name])

    def number(self, name: str) -> int:
        """The same, of a number."""
        return int(self.request.path_params[name])

    def text(self, key: str, **values: object) -> Markup:
        """A text in the language of this page."""
        return self.language.text(key, **values)

    async def ask(self, use: Callable[Concatenate[Means, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a use case, which waits for the store, in a thread."""
        return await asyncio.to_thread(use, self.means, *args, **kwargs)

    async def settle(self, use: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The same for a use case that may have to ask the outside world; see steps.settled."""
        return await settled(functools.partial(use, self.means, *args, **kwargs), self.house.send)

    async def look(self, use: Callable[Concatenate[Store, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a use case that needs no more than the store, in a thread."""
        return await asyncio.to_thread(use, self.means.store, *args, **kwargs)

    def page(self, template: str, status: int = 200, *, leaves_nothing: bool = False, **values: Any) -> Response:
        """Answer with a page. leaves_nothing: it is shown once, so nothing on it but its own way out leads away."""
        session = self.session
        said = self._said()
        response = self.house.rendering.page(
            template,
            self.language,
            status,
            me=None if session is None else Me(session.login, session.stage is Stage.IN, session.notices),
            csrf=self.csrf,
            here=self.here,
            nav=NAVIGATION if session is None or session.role == NO_ROLE else (*NAVIGATION, ADMINISTRATION),
            said=said,
            leaves_nothing=leaves_nothing,
            **values,
        )
        self._finish(response)
        if said is not None:
            self.house.jar.drop(response, cookies.SAID)
        return response

    def go(self, path: str, said: str = "", **values: object) -> Response:
        """Answer by sending the browser to another page, which says this sentence. path: one of ours."""
        response = RedirectResponse(path, 303)
        if said:
            told: Mapping[str, str] = {name: str(value) for name, value in values.items()}
            self.house.jar.say(response, Said(said, told))
        self._finish(response)
        return response

    def _finish(self, response: Response) -> None:
        if self._new_form_token:
            self.house.jar.set(response, cookies.FORM, self._new_form_token)

    def _said(self) -> Markup | None:
        said = self.house.jar.said(self.request)
        try:
            return None if said is None else self.text(said.key, **said.values)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError):  # made up, or of another version
            return None


def arrived(house: House, request: Request) -> Visit:
    """A request of which nothing is known yet but where it comes from."""
    peer = request.client.host if request.client else ""
    return Visit(request, house, None, spoken(house, request, None), peer, house.clock())


def local(path: str) -> str:
    """This path, if it is one of this portal, with its query; else the start page."""
    return path if len(path) <= MAX_PATH_CHARACTERS and LOCAL.fullmatch(path) else "/"


def spoken(house: House, request: Request, session: PortalSession | None) -> Language:
    """The language to answer in: of the account, else as chosen in this browser, else as the browser asks."""
    chosen = (session.language if session is not None else None) or house.jar.get(request, cookies.LANGUAGE)
    code = chosen if chosen in house.texts else language.wanted(request.headers.get("accept-language", ""))
    return house.texts[code]
