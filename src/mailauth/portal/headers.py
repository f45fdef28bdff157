"""What every answer of the portal carries, and which posts are not from a page of ours.

Source: w3.org/TR/CSP3, fetch.spec.whatwg.org (Origin), w3.org/TR/fetch-metadata.
Rule: no inline code, nothing from elsewhere, nothing kept by a cache but what never changes.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ALWAYS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",  # for browsers that do not know frame-ancestors
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
HSTS = "max-age=31536000"
SAFE = ("GET", "HEAD")
STATIC = "/static/"
FOREVER = "public, max-age=31536000, immutable"


class Guarding:
    """ASGI middleware. origin: the portal's own, such as https://mail.example.com; refusal: answers foreign posts."""

    def __init__(self, app: ASGIApp, origin: str, refusal: ASGIApp) -> None:
        self._app = app
        self._origin = origin
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._dress(MutableHeaders(scope=message), scope["path"], message["status"])
            await send(message)

        own = scope["method"] in SAFE or is_own(Headers(scope=scope), self._origin)
        await (self._app if own else self._refusal)(scope, receive, dressed)

    def _dress(self, headers: MutableHeaders, path: str, status: int) -> None:
        for name, value in ALWAYS.items():
            headers[name] = value
        headers["cache-control"] = FOREVER if path.startswith(STATIC) and status == 200 else "no-store"
        if self._origin.startswith("https://"):
            headers["strict-transport-security"] = HSTS


def is_own(headers: Headers, origin: str) -> bool:
    """Whether a request that changes something was made by a page of this origin, or by no browser at all.

    Browsers say Sec-Fetch-Site, and Origin with every POST; a program that says neither cannot have been lured. Since
    our pages have no referrer, their Origin is "null" (fetch.spec.whatwg.org section 3.2); that a page elsewhere can
    say too, but its Sec-Fetch-Site is another, and the field `csrf` is asked for in any case.
    """
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    return headers.get("origin", origin) in (origin, "null")
