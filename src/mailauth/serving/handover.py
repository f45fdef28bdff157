"""A connection on its way from the Dialogue to the mailbox: on streams from then on, and not a byte is lost.

Source: docs.python.org/3/library/asyncio-protocol.html (set_protocol), asyncio-stream.html.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from mailauth.dialogue import Ending
from mailauth.verdict import Principal


class MailboxSession(Protocol):
    """Serves a client that is in."""

    async def __call__(
        self,
        principal: Principal,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ending: asyncio.Future[Ending],
        *,
        named: Callable[[str], None],
    ) -> None:
        """Return when the client has left, or has been told goodbye since `ending` is done; the caller closes.

        named: wants to be told what the client calls itself, whenever it says so. Raises OSError and EOFError.
        """


def streams(
    transport: asyncio.Transport, unread: bytes, loop: asyncio.AbstractEventLoop, *, is_choked: bool, is_done: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The connection as streams. unread: what came and was not acted on.

    is_choked: the client does not read what is said; is_done: it has closed its sending half.
    """
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if is_choked:
        protocol.pause_writing()
    transport.resume_reading()  # paused, if something is held; from now on the reader sets the pace
    reader.feed_data(unread)
    if is_done:
        reader.feed_eof()
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
