"""Just enough of a web application for a simulated provider: one request in, one reply out.

Source: ASGI 3.0, HTTP. Rule: no state, and no knowledge of any provider.
"""

from __future__ import annotations

import html
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

MAX_BODY_BYTES = 65536
PAGE_HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Call:
    """One request. path: below where the provider is mounted; headers: names in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    raw_query: str = ""

    def form(self) -> dict[str, str]:
        """The body as a form."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def fields(self) -> dict[str, Any]:
        """The body as a JSON object; empty if it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = field(default=())


class Application:
    """An ASGI application of one function."""

    def __init__(self, handle: Callable[[Call], Reply]) -> None:
        self._handle = handle

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more and len(body) <= MAX_BODY_BYTES:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        raw_query = scope["query_string"].decode("latin-1")
        reply = self._handle(
            Call(
                scope["method"],
                scope["path"].removeprefix(scope.get("root_path", "")),
                dict(parse_qsl(raw_query, keep_blank_values=True)),
                {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
                body,
                raw_query,
            )
        )
        headers = [(name.lower().encode(), value.encode()) for name, value in reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


def found(where: str) -> Reply:
    """A redirect."""
    return Reply(302, headers=(("Location", where),))


def as_json(fields: dict[str, Any], status: int = 200, label: str = "application/json") -> Reply:
    """A JSON object."""
    return Reply(status, json.dumps(fields, ensure_ascii=False).encode(), (("Content-Type", label),))


def page(title: str, lines: list[str], status: int = 200, *, again_s: int = 0) -> Reply:
    """A page that says that it is simulated. lines: HTML. again_s: seconds until it is loaded anew; 0: never."""
    head = f"<!doctype html><html lang='zh-CN'><meta charset='utf-8'><title>{html.escape(title)}</title>"
    view = "<meta name='viewport' content='width=device-width'>"
    note = "<p><strong>模拟页面，仅供演示 · Simulated, for the demo only</strong></p>"
    body = "".join([f"<p>{line}</p>" for line in lines])
    whole = f"{head}{view}<main><h1>{html.escape(title)}</h1>{note}{body}</main></html>"
    refresh = (("Refresh", str(again_s)),) if again_s else ()
    return Reply(status, whole.encode(), PAGE_HEADERS + refresh)


def link(where: str, told: str) -> str:
    """A link in HTML. where, told: plain text."""
    return f"<a href='{html.escape(where)}'>{html.escape(told)}</a>"
