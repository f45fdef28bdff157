"""How connections come in at one door: accepted by the event loop, or one by one by ourselves.

Where nothing comes before the first word, the event loop's own C code accepts, and the connection counts itself as
soon as it is made. Where a PROXY header or a handshake comes first, or not everybody may come in, we accept, so that
it counts all the while and can be cut. Accepting takes 5 to 15 us more then: nothing beside a handshake, but a tenth of
a login without one.
Rule: whatever accepting meets, it goes on; `look`, called every second, takes up again what had to stop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, cast

from mailauth.attempt import address_text
from mailauth.dialogue import Ending
from mailauth.ends import Ends
from mailauth.serving.census import Census, Connection
from mailauth.serving.proxy import BadHeader, read_header
from mailauth.serving.shortage import Shortage

if TYPE_CHECKING:
    from mailauth.serving.listen import Door

log = logging.getLogger(__name__)

BACKLOG = 1024
BATCH = 16  # connections accepted in a row, before others may run
OF_THE_CLIENT = frozenset(  # accept(2): what has befallen the connection that waited, and not us
    (errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH)
)


@dataclass(slots=True, eq=False)
class LoopEntrance:
    """The event loop accepts, on a duplicate of the socket: it closes what it is given, and there is no other way to
    make it rest. It has to while nothing can be accepted, for libuv would try again and again without a pause.
    """

    door: Door
    shortage: Shortage
    _server: asyncio.Server | None = None
    _opening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Let connections in. Raises OSError."""
        loop, sock = asyncio.get_running_loop(), self.door.sock.dup()
        self._server = await loop.create_server(lambda: self.door.protocol(None), sock=sock, backlog=BACKLOG)

    def look(self, *, is_short: bool) -> None:
        """Rest, and turn away who waits, or go on."""
        if is_short:
            self._rest()
            for _ in range(BACKLOG):
                if not self.shortage.turn_away(self.door.sock):
                    break
        elif self._server is None and (self._opening is None or self._opening.done()):
            self._opening = asyncio.get_running_loop().create_task(self._go_on())

    async def close(self) -> None:
        """Let nobody in any more."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        self._rest()

    def _rest(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _go_on(self) -> None:
        try:
            await self.open()
        except OSError as error:
            self.shortage.note(error)


@dataclass(slots=True, eq=False)
class Arrival:
    """A connection that cannot speak yet. peer: who has connected."""

    peer: str
    task: asyncio.Task[None] | None = None

    def end(self, cause: Ending) -> None:  # noqa: ARG002  there is no way to say why
        """Cut it."""
        if self.task is not None:
            self.task.cancel()


@dataclass(slots=True, eq=False)
class CountedEntrance:
    """We accept. What a proxy has yet to name counts in the total only: the proxy is the source of all its clients."""

    door: Door
    census: Census
    shortage: Shortage
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _arriving: set[asyncio.Task[None]] = field(default_factory=set)
    _is_open: bool = False

    async def open(self) -> None:
        """Let connections in."""
        self._go_on()

    def look(self, *, is_short: bool) -> None:  # noqa: ARG002  it is found out, and the next is turned away
        """Go on, where there was nothing to accept connections with."""
        self._go_on()

    async def close(self) -> None:
        """Let nobody in any more, and cut those who cannot be told so."""
        self._rest()
        arriving = list(self._arriving)
        for task in arriving:
            task.cancel()
        await asyncio.gather(*arriving, return_exceptions=True)

    def _go_on(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._loop.add_reader(self.door.sock.fileno(), self._accept)

    def _rest(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self.door.sock.fileno())

    def _accept(self) -> None:
        for _ in range(BATCH):
            try:
                sock, address = self.door.sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in OF_THE_CLIENT:
                    continue
                self.shortage.note(error)
                if not self.shortage.turn_away(self.door.sock):
                    self._rest()
                self.census.make_room()  # for the next
                return
            self._receive(sock, address_text(address))

    def _receive(self, sock: socket.socket, peer: str) -> None:
        if self.door.admits is not None and not self.door.admits(sock):
            sock.close()
            return
        is_proxy = _is_within(peer, self.door.proxies)
        arrival = Arrival(peer)
        # One that will be able to speak has its source counted when it can be told that there are too many.
        if self.census.enter(arrival, None if is_proxy or self.door.tls is None else peer) is not None:
            sock.close()
            return
        arrival.task = self._loop.create_task(self._arrive(arrival, sock, is_proxy=is_proxy))
        self._arriving.add(arrival.task)
        arrival.task.add_done_callback(partial(self._arrived, arrival, sock))

    async def _arrive(self, arrival: Arrival, sock: socket.socket, *, is_proxy: bool) -> None:
        door = self.door
        proxied: Ends | None = None
        if is_proxy:
            sock.setblocking(False)
            proxied = await read_header(sock, door.handshake_s)
            source = arrival.peer if proxied is None else proxied.client.address
            if door.tls is not None and self.census.enter(arrival, source) is not None:
                sock.close()
                return
        protocol = door.protocol(proxied)
        self.census.hand_over(arrival, cast("Connection", protocol))  # what doors make can be told to end
        await self._loop.connect_accepted_socket(
            lambda: protocol, sock, ssl=door.tls, ssl_handshake_timeout=door.handshake_s if door.tls else None
        )

    def _arrived(self, arrival: Arrival, sock: socket.socket, task: asyncio.Task[None]) -> None:
        """It speaks for itself from now on, or it has failed; if it was cut at once, the task has never begun."""
        self._arriving.discard(task)
        self.census.leave(arrival)
        error = None if task.cancelled() else task.exception()
        if error is None and not task.cancelled():
            return
        sock.close()
        if isinstance(error, BadHeader):
            log.warning("%s: %s closed: %s", self.door.name, arrival.peer, error)
        elif error is not None and not isinstance(error, OSError):  # an OSError: it left, or failed its handshake
            log.error("%s: connection dropped: %s", self.door.name, type(error).__name__, exc_info=error)


def _is_within(peer: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    if not networks:
        return False
    address = ip_address(peer)
    return any(address in network for network in networks)
