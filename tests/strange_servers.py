"""Servers of a few lines, for what no real one does."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from servers import authority

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """The port of a server that does this with each connection; at the end all are over."""
    tasks: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.transport.abort()

    async with await asyncio.start_server(handle, host, 0) as server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Postgresql:
    """One as far as the first that it is told of users. heard: what came after TLS was asked for."""

    context: ssl.SSLContext | None = None
    heard: list[bytes] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As a Handler."""
        length, code = struct.unpack("!II", await reader.readexactly(8))
        assert (length, code) == (8, 80877103)  # SSLRequest
        writer.write(b"S" if self.context else b"N")
        try:
            if self.context:
                await writer.start_tls(self.context)
            self.heard.append(await reader.read(1000))
        except OSError:  # there was no TLS in the end
            self.heard.append(b"")

    @property
    def was_told(self) -> bool:
        """Whether of `mailauth`, which is to be the user's name."""
        assert self.heard
        return any(b"mailauth" in heard for heard in self.heard)


def certified() -> Postgresql:
    """One with a certificate for 127.0.0.2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("127.0.0.2", common_name="127.0.0.2").configure_cert(context)
    return Postgresql(context)
