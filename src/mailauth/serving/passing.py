"""A client's connection and the back end's side by side: what comes on one goes out on the other, unread.

Source: docs.python.org/3/library/asyncio-protocol.html. Rule: no byte is looked at, so none of ours can be put between:
who has to go is cut without a word. What one side does not take, the other does not get to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from mailauth.serving.backing import Opened
from mailauth.serving.house import TimeLimits

# Every connection reads into this one place and takes away what came before the next one reads. It is a little smaller
# than what has pages of its own (`memory`): with those, had and given back for each read, a MiB costs twice as much.
ROOM_BYTES = 120 * 1024
ROOM = memoryview(bytearray(ROOM_BYTES))


class Side(asyncio.BufferedProtocol):
    """One of the two connections. transport: None until it is there, and when it is gone."""

    __slots__ = ("_passage", "is_choked", "is_done", "other", "transport")

    def __init__(self, passage: Passage, other: Side | None = None) -> None:
        self._passage = passage
        self.other = self if other is None else other
        self.other.other = self
        self.transport: asyncio.Transport | None = None
        self.is_choked = self.is_done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return ROOM

    def buffer_updated(self, nbytes: int) -> None:
        self._passage.spoke()
        self.other.say(bytes(ROOM[:nbytes]))

    def eof_received(self) -> bool:
        """It says no more, and hears of it when the other says no more either. TLS knows no half of a connection."""
        self.is_done = True
        out = self.other.transport
        if out is None or out.is_closing():
            return False
        self._passage.drain()
        if self.other.is_done or not out.can_write_eof():
            out.close()
            return False
        out.write_eof()
        return self.transport is not None and self.transport.can_write_eof()

    def pause_writing(self) -> None:
        self.is_choked = True
        if self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.is_choked = False
        if self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.transport = None
        self._passage.lost(self)

    def say(self, data: bytes) -> None:
        """Send this, if there is still somebody to hear it."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)


class Passage:
    """One client that is in, and its back end.

    over: told once, when both connections are gone. is_choked: the client does not read what is said.
    """

    __slots__ = ("_backend", "_client", "_due", "_is_cut", "_limits", "_loop", "_over", "_there_count", "_timer")

    def __init__(
        self, client: asyncio.Transport, limits: TimeLimits, over: Callable[[], None], *, is_choked: bool
    ) -> None:
        """From now on the client's connection belongs here. It is not read before `open`."""
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._over = over
        self._client = Side(self)
        self._backend = Side(self, self._client)
        self._client.is_choked = is_choked
        self._client.connection_made(client)
        self._is_cut = False
        self._there_count = 2
        self._due = self._loop.time() + limits.idle_s
        self._timer = self._loop.call_later(limits.idle_s, self._strike)
        client.pause_reading()
        client.set_protocol(self._client)

    async def open(self, opened: Opened, unread: bytes, *, is_done: bool) -> None:
        """Join the two. unread: what the client has said and nobody acted on; is_done: it says no more."""
        if opened.unread:
            self._client.say(opened.unread)
        try:
            await self._loop.create_connection(lambda: self._backend, sock=opened.sock)
        except BaseException:
            opened.sock.close()
            self.cut()
            self._left()
            raise
        if self._is_cut:
            self.cut()
            return
        if unread:
            self._backend.say(unread)
        if self._client.is_choked:
            self._client.pause_writing()
        if is_done or self._client.transport is None:
            self._client.eof_received()
        if not self._backend.is_choked:
            self._backend.resume_writing()

    def spoke(self) -> None:
        """One of the two has said something."""
        self._due = self._loop.time() + self._limits.idle_s

    def drain(self) -> None:
        """One of the two says no more. The other has not for ever to take what is on its way to it."""
        self._timer.cancel()
        self._due = self._loop.time() + self._limits.drain_s
        self._strike()

    def lost(self, side: Side) -> None:
        """One of the two is gone, and the other goes too."""
        if side.other.transport is not None:
            side.other.transport.close()
        self.drain()
        self._left()

    def cut(self) -> None:
        """End both now, in the middle of whatever they say."""
        self._is_cut = True
        for side in (self._client, self._backend):
            if side.transport is not None:
                side.transport.abort()

    def _left(self) -> None:
        self._there_count -= 1
        if self._there_count == 0:
            self._timer.cancel()
            over = self._over
            del self._over  # or it and this would hold each other, and much memory, until the collector comes
            over()

    def _strike(self) -> None:
        remaining_s = self._due - self._loop.time()
        if remaining_s > 0:
            self._timer = self._loop.call_later(remaining_s, self._strike)
        else:
            self.cut()
