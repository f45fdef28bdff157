"""Servers that say what they are told to, for a keeper to log in at."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Scripted:
    """One server. here: how many connections it has; seen: each line that it was said."""

    port: int = 0
    here: int = 0
    most: int = 0
    seen: list[bytes] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """Until the end, when nobody may be left."""
    found = Scripted()
    running: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.here += 1
        found.most = max(found.most, found.here)
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                await serve(reader, writer)
        finally:
            found.here -= 1
            running.discard(task)
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def imap(
    after: Serve | None = None, behind: bytes = b"", answer: bytes = b"OK [CAPABILITY IMAP4rev1 IDLE] in"
) -> Serve:
    """An IMAP server that lets everybody in. after: what it does then; behind: said in one go with the OK."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")
        line = await reader.readline()
        if not line:
            return
        writer.write(line.split()[0] + b" " + answer + b"\r\n" + behind)
        await (after or echo)(reader, writer)

    return serve


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says back what it hears, and ends when that ends."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says nothing, and waits for the end."""
    await reader.read()
