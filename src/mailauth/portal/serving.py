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
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 20.0  # for the head of the first request
KEEP_ALIVE_S = 15
STOPPING_S = 5
MAX_HEAD_BYTES = 32 * 1024
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
            app,
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
        if self._task is not None:
            await self._task

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; and say so."""
        await super().startup(sockets)
        self._up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: uvicorn would take them from the program, and raise them again when it has ended."""
        yield
