"""The operator's submission server, played, and the way to it: everybody who asks is logged in there already."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

from mailauth.attempt import Attempt
from mailauth.ends import NOWHERE, Ends
from mailauth.serving.backing import BackendUnavailable, Opened
from mailauth.verdict import Principal

OFFER = (
    "SIZE 1000000",
    "8BITMIME",
    "SMTPUTF8",
    "PIPELINING",
    "ENHANCEDSTATUSCODES",
    "DSN",
    "XCLIENT LOGIN",
    "CHUNKING",
)
CLOSE = None  # as an answer: the connection is closed in place of it


@dataclass
class ServerBehind:
    """Speaks SMTP as told. answers: by command, or "end" for the message; a list is used up first to last.

    heard: the lines of each connection, in their order. messages: as sent, with the end. silent: answers that wait.
    """

    answers: dict[str, str | list[str | None] | None] = field(default_factory=dict)
    heard: list[list[str]] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    silent: dict[str, asyncio.Event] = field(default_factory=dict)
    asked: deque[str] = field(default_factory=deque)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    cut_short: list[bytes] = field(default_factory=list)
    port: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def _answer(self, command: str) -> str | None:
        usual = {"DATA": "354 go", "MAIL": "250 2.1.0 Ok", "RCPT": "250 2.1.5 Ok", "QUIT": "221 2.0.0 Bye"}
        answer = self.answers.get(command, usual.get(command, "250 2.0.0 Ok: queued as 4XYZ"))
        if isinstance(answer, list):
            return answer.pop(0) if answer else usual.get(command, "250 2.0.0 Ok")
        return answer

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines: list[str] = []
        self.heard.append(lines)
        self.writers.append(writer)
        self._tasks.append(cast("asyncio.Task[None]", asyncio.current_task()))
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            while True:
                line = (await reader.readuntil(b"\r\n"))[:-2].decode()
                lines.append(line)
                command = line.split(" ")[0].upper()
                answer = await self._considered(command)
                while answer is not None:
                    writer.write(answer.encode("latin-1") + b"\r\n")
                    if not answer.startswith("354"):
                        break
                    await self._message(reader)
                    answer = await self._considered("end")
                if answer is CLOSE or command == "QUIT":
                    break
        writer.close()

    async def _message(self, reader: asyncio.StreamReader) -> None:
        try:
            reader._buffer[:0] = b"\r\n"  # type: ignore[attr-defined]  # the end may come at once
            self.messages.append((await reader.readuntil(b"\r\n.\r\n"))[2:])
        except asyncio.IncompleteReadError as partly:
            self.cut_short.append(partly.partial[2:])
            raise

    async def _considered(self, command: str) -> str | None:
        self.asked.append(command)
        if command in self.silent:
            await self.silent[command].wait()
        return self._answer(command)

    @property
    def lines(self) -> list[str]:
        """All that was heard, whatever the connection."""
        return [line for lines in self.heard for line in lines]

    def hang_up(self) -> None:
        """Close all connections at once."""
        for writer in self.writers:
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[ServerBehind]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**26)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.hang_up()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks)


@dataclass
class WayThere:
    """Backends: one server. fault: why it cannot be reached; gate: what opening waits for, if it can."""

    server: ServerBehind
    offer: tuple[str, ...] | None = OFFER
    fault: str | None = None
    gate: asyncio.Event | None = None
    asked: list[tuple[Attempt, Principal]] = field(default_factory=list)
    told: list[Ends] = field(default_factory=list)
    opened: list[socket.socket] = field(default_factory=list)
    unread: bytes = b""

    async def open(self, attempt: Attempt, principal: Principal, ends: Ends = NOWHERE) -> Opened:
        self.asked.append((attempt, principal))
        self.told.append(ends)
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise BackendUnavailable(self.fault)
        sock = socket.socket()
        sock.setblocking(False)
        self.opened.append(sock)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.server.port))
        except BaseException:
            sock.close()
            raise
        return Opened(sock, unread=self.unread)

    async def smtp_offer(self) -> tuple[str, ...]:
        if self.offer is None:
            raise BackendUnavailable("nobody was ever asked")
        return self.offer


@contextlib.asynccontextmanager
async def behind_us(**answers: str | list[str | None] | None) -> AsyncIterator[tuple[ServerBehind, WayThere]]:
    async with ServerBehind(dict(answers)).listening() as server:
        yield server, WayThere(server)
