"""The portal as one ASGI application: routes to pages, static files, and what surrounds all of them.

Rule: every route to a page is made by a Gate; the others show nothing of anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mailauth.interfaces import StoreUnavailable
from mailauth.portal import failures
from mailauth.portal.api import serving as api
from mailauth.portal.api.problem import is_api
from mailauth.portal.ending import Ending
from mailauth.portal.forwarded import HEALTH, Forwarded, Networks
from mailauth.portal.guards import Gate, Page
from mailauth.portal.headers import Guarding
from mailauth.portal.house import House
from mailauth.portal.pages import PAGES
from mailauth.portal.rendering import StaticFile
from mailauth.portal.visit import arrived


def portal(
    house: House, proxies: Networks = (), *, pages: Sequence[Page] = (), routes: Sequence[BaseRoute] = ()
) -> ASGIApp:
    """The application. proxies: whose word for the client's address counts. pages, routes: of other rooms, besides."""
    inner = Starlette(
        routes=[
            *[Gate(house, page).route() for page in (*PAGES, *pages)],
            *[Route(file.path, _static(file), methods=["GET"]) for file in house.rendering.static.values()],
            Route(HEALTH, _health(house), methods=["GET"]),
            api.mounted(house),
            *routes,
        ],
        exception_handlers=failures.handlers(house),
    )
    inner.router.redirect_slashes = False  # by the name that a client gives to this host

    async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
        """Say to a page of somebody else's that it may not."""
        if is_api(scope["path"]):
            await api.foreign(scope, receive, send)
        else:
            await said(scope, failures.FORBIDDEN)(scope, receive, send)

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        """Say that the program ends."""
        await (api.late if is_api(scope["path"]) else said(scope, failures.UNKNOWN))(scope, receive, send)

    def said(scope: Scope, failure: failures.Failure) -> Response:
        return failures.page(arrived(house, Request({**scope, "app": inner, "state": {}})), failure)

    return Forwarded(Guarding(Ending(inner, late), house.origin, foreign), house.origin, proxies)


def _static(file: StaticFile) -> Callable[[Request], object]:
    async def serve(request: Request) -> Response:  # noqa: ARG001  there is one answer
        return Response(file.content, media_type=file.kind)

    return serve


def _health(house: House) -> Callable[[Request], object]:
    """Whether the portal can do anything: it reads the store."""

    def look() -> bool:
        try:
            with house.means.store.reading() as tx:
                return tx.row(house.means.store.sql.SITE) is not None
        except StoreUnavailable:
            return False

    async def serve(request: Request) -> Response:  # noqa: ARG001  there are two answers
        is_well = await asyncio.to_thread(look)
        return PlainTextResponse("ok\n" if is_well else "store unavailable\n", 200 if is_well else 503)

    return serve
