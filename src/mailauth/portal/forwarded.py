"""Who the client is and whether its connection is secret, when a proxy may stand before the portal.

Source: RFC 7239 section 8 (what such headers are worth); X-Forwarded-For and X-Forwarded-Proto as proxies send them.
Rule: only what a trusted proxy says is believed. What comes by another way than the public one is sent there.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mailauth import guessing
from mailauth.portal.api.problem import Problem, is_api

HEALTH = "/healthz"  # asked by machines, by whatever name and way
SAFE = ("GET", "HEAD")
Networks = Sequence[IPv4Network | IPv6Network]


class Forwarded:
    """ASGI middleware. origin: the portal's own. proxies: those that are trusted; none: browsers come directly."""

    def __init__(self, app: ASGIApp, origin: str, proxies: Networks) -> None:
        self._app = app
        self._origin = origin
        self._host = origin.partition("://")[2]
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on with the true client, or send to the public address."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        peer = scope["client"][0] if scope.get("client") else ""
        named = client(peer, headers.getlist("x-forwarded-for"), self._proxies)
        if not self._is_public(peer, headers) and scope["path"] != HEALTH:
            await self._elsewhere(scope)(scope, receive, send)
            return
        await self._app({**scope, "client": (named, 0), "scheme": self._origin.partition(":")[0]}, receive, send)

    def _is_public(self, peer: str, headers: Headers) -> bool:
        """Whether this came as the public address says."""
        if self._proxies:
            said = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
            return _is_within(peer, self._proxies) and said == "https"
        return headers.get("host", "").lower() == self._host

    def _elsewhere(self, scope: Scope) -> Response:
        if is_api(scope["path"]):  # to be sent on would have a program send its token in the clear for ever
            return Problem("misdirected", f"this portal is at {self._origin}").response()
        if scope["method"] in SAFE:
            query = scope.get("query_string", b"").decode("latin-1")
            return RedirectResponse(f"{self._origin}{scope['path']}" + (f"?{query}" if query else ""), 307)
        return PlainTextResponse(f"This portal is at {self._origin}.\n", 421)


def client(peer: str, forwarded_for: Sequence[str], proxies: Networks) -> str:
    """The address of the client: the last one in the headers that is no trusted proxy's, if a trusted one says so."""
    named = peer
    for said in reversed(",".join(forwarded_for).split(",")):
        if not _is_within(named, proxies):
            break
        address = guessing.parsed(said.strip())
        if address is None:
            break
        named = str(address)
    address = guessing.parsed(named)
    return named if address is None else str(address)


def _is_within(peer: str, networks: Networks) -> bool:
    address = guessing.parsed(peer)
    return address is not None and any(address in network for network in networks)
