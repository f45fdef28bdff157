"""Back ends as a test wants them: what is said there, when it is there at all, and what it hears."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field

from mailauth.attempt import Attempt
from mailauth.ends import NOWHERE, Ends
from mailauth.serving.backing import Opened
from mailauth.verdict import Principal
from wire import Wire

OFFERED = ("IMAP4rev1", "IDLE", "X-BEHIND")


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = socket.create_connection(server.getsockname())
        there, _ = server.accept()
        return here, there


@dataclass
class Behind:
    """Backends whose far end the test holds. kind: tcp, or unix as where the keeper ends TLS.

    unread: what the back end said behind its answer; fault: what opening raises; go: opening waits for it.
    """

    kind: str = "tcp"
    unread: bytes = b""
    capabilities: tuple[str, ...] = OFFERED
    fault: Exception | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[Attempt, Principal]] = field(default_factory=list)
    told: list[Ends] = field(default_factory=list)
    given: list[socket.socket] = field(default_factory=list)
    abandoned: int = 0
    _far: asyncio.Queue[socket.socket] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.go.set()

    async def open(self, attempt: Attempt, principal: Principal, ends: Ends = NOWHERE) -> Opened:
        self.asked.append((attempt, principal))
        self.told.append(ends)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        if self.fault is not None:
            raise self.fault
        here, there = tcp_pair() if self.kind == "tcp" else socket.socketpair()
        for end in (here, there):
            end.setblocking(False)
        self.given.append(here)
        self._far.put_nowait(there)
        return Opened(here, self.capabilities, self.unread)

    async def smtp_offer(self) -> tuple[str, ...]:
        return ()

    async def far_end(self) -> Wire:
        """The back end's end of the next connection."""
        return Wire(await self._far.get())
