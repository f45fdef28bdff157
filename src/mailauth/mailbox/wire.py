"""One connection after login: lines and octets in, whole replies out, time limits, and a goodbye from the server.

Rule: knows no protocol. A goodbye never falls into the middle of a reply, and a client that does not read what we say
loses the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from mailauth.dialogue import Ending

CHUNK_BYTES = 65_536
STALL_S = 300.0  # for the client to take one chunk of what we say
GOODBYE_S = 2.0  # for a reply under way to end, and for the goodbye to leave
WITHDRAWN_GOODBYE_S = 0.3  # whose access is withdrawn gets little more of what he has asked for

T = TypeVar("T")


class LineTooLong(Exception):
    """A line is longer than the reader's limit: there is no getting back in step."""


class Silence(Exception):
    """The client has said nothing for too long."""


class Wire:
    """Streams with limits.

    The reader's limit must be at least the longest line that is to be accepted.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle_s: float) -> None:
        self._reader = reader
        self._writer = writer
        self._idle_s = idle_s
        self._pending = bytearray()
        self._replying = asyncio.Lock()

    async def line(self) -> bytes:
        """The next line with its end; b"" when the client has left. Raises LineTooLong, Silence."""
        try:
            return await self._in_time(self._reader.readuntil(b"\n"))
        except asyncio.IncompleteReadError:
            return b""
        except asyncio.LimitOverrunError:
            raise LineTooLong from None

    async def octets(self, count: int) -> bytes:
        """Exactly so many octets; b"" when the client has left before. Raises Silence."""
        try:
            return await self._in_time(self._reader.readexactly(count))
        except asyncio.IncompleteReadError:
            return b""

    async def _in_time(self, reading: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._idle_s):
                return await reading
        except TimeoutError:
            raise Silence from None

    @asynccontextmanager
    async def reply(self) -> AsyncIterator[None]:
        """Say one whole reply: what is written within leaves as one, and no goodbye interrupts it."""
        async with self._replying:
            yield
            await self.flush()

    def write(self, data: bytes | memoryview) -> None:
        """Add to the reply."""
        self._pending += data

    async def send(self, data: bytes | memoryview) -> None:
        """Add to the reply, however much it is, as fast as the client takes it.

        Raises ConnectionError and TimeoutError, both OSErrors.
        """
        view = memoryview(data)
        while view:
            self.write(view[:CHUNK_BYTES])
            view = view[CHUNK_BYTES:]
            if len(self._pending) >= CHUNK_BYTES:
                await self.flush()

    async def flush(self) -> None:
        """Let what is written leave. Raises ConnectionError and TimeoutError, both OSErrors."""
        if self._pending:
            self._writer.write(bytes(self._pending))
            self._pending.clear()
        try:
            async with asyncio.timeout(STALL_S):
                await self._writer.drain()
        except TimeoutError:
            self._writer.transport.abort()
            raise

    async def say(self, data: bytes) -> None:
        """One whole reply."""
        async with self.reply():
            self.write(data)

    async def goodbye(self, line: bytes, within_s: float) -> None:
        """Say a last line, if there is one; if a reply is under way and does not end in time, cut the connection."""
        text = line.rstrip(b"\r\n")
        try:
            async with asyncio.timeout(within_s):
                await self.say(text + b"\r\n" if text else b"")
        except TimeoutError:
            self._writer.transport.abort()
        except OSError:
            pass  # the client is gone


async def talk_until(
    wire: Wire, talk: Awaitable[None], ending: asyncio.Future[Ending], goodbye: Callable[[Ending], bytes]
) -> None:
    """Run a session until it is over, the client has left, or `ending` is done: then say goodbye(cause)."""
    session = asyncio.ensure_future(talk)
    try:
        either: set[asyncio.Future[Any]] = {session, ending}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not session.done() and not ending.cancelled():
            cause = ending.result()
            await wire.goodbye(goodbye(cause), WITHDRAWN_GOODBYE_S if cause is Ending.REVOKED else GOODBYE_S)
    finally:
        session.cancel()
        await asyncio.wait({session})
        fault = None if session.cancelled() else session.exception()
    if fault is not None and not isinstance(fault, (OSError, EOFError)):
        raise fault
