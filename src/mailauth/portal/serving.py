"""uvicorn in our own event loop, on a socket that we have bound.

Source: RFC 9112 (HTTP/1.1). Rule: signals are the program's, not uvicorn's; and nobody holds a connection open by
saying nothing, or a little at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import sys
from collections.abc import Iterator

import h11
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 20.0  # for the head of the first request
KEEP_ALIVE_S = 15
STOPPING_S = 5
MAX_HEAD_BYTES = 16 * 1024
TOO_LONG = 431  # RFC 6585 section 5
LAST_WORDS_S = 1.0  # for what is said to who still waits, when the time for answers is over
MAX_CONNECTIONS = 2000


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that waits so long for the head of each request; between requests uvicorn has its own clock."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Once a request is there, the wait is over; with a part of the next one another begins."""
        super().data_received(data)
        if bool(self.cycle) and not self.cycle.response_complete:
            self._stop_waiting()
        else:
            self._wait()

    def send_400_response(self, msg: str) -> None:
        """As uvicorn's, called while it handles what h11 found wrong; a head without an end has a status of its own."""
        if getattr(sys.exception(), "error_status_hint", 0) != TOO_LONG:
            super().send_400_response(msg)
            return
        body = b"The head of this request is too long.\n"
        headers = [("content-type", "text/plain; charset=utf-8"), ("connection", "close")]
        for event in (h11.Response(status_code=TOO_LONG, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(REQUEST_S, self._give_up)

    def _give_up(self) -> None:
        self.transport.close()

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class PortalServer(uvicorn.Server):
    """Serves until `stop`. Its sockets are bound by whoever makes it, and closed by it."""

    def __init__(self, app: ASGIApp, sockets: list[socket.socket], tls: ssl.SSLContext | None) -> None:
        """tls: None: plain HTTP, for this machine or a proxy."""
        options = uvicorn.Config(
            bounded(app),
            http=PatientProtocol,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOPPING_S,
        )
        options.load()
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what clients do wrong is theirs to know
        options.ssl = tls
        super().__init__(options)
        self._sockets = sockets
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accept connections from now on."""
        self._task = asyncio.create_task(self.serve(self._sockets))
        up = asyncio.create_task(self._up.wait())
        await asyncio.wait([up, self._task], return_when=asyncio.FIRST_COMPLETED)
        if not self._up.is_set():
            up.cancel()
            await self._task

    async def stop(self) -> None:
        """Accept no more, and give answers under way a little time."""
        self.should_exit = True
        if self._task is None:
            return
        await self._task
        if self.server_state.tasks:  # cancelled, and about to say so
            await asyncio.wait(self.server_state.tasks, timeout=LAST_WORDS_S)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; and say so."""
        await super().startup(sockets)
        self._up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: uvicorn would take them from the program, and raise them again when it has ended."""
        yield


def bounded(app: ASGIApp) -> ASGIApp:
    """The application, for requests whose head is not too long: one that comes whole at once h11 does not measure."""
    refusal = PlainTextResponse("The head of this request is too long.\n", TOO_LONG, {"connection": "close"})

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        is_too_long = scope["type"] == "http" and _head_bytes(scope) > MAX_HEAD_BYTES
        await (refusal if is_too_long else app)(scope, receive, send)

    return serve


def _head_bytes(scope: Scope) -> int:
    """Of the request line and the fields, but for spaces that mean nothing."""
    fields = sum([len(name) + len(value) + len(": \r\n") for name, value in scope["headers"]])
    return len(scope["raw_path"]) + len(scope["query_string"]) + fields
