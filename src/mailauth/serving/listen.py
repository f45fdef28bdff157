"""Listening sockets: bound first, then served; closed with a goodbye."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from mailauth.dialogue import Ending
from mailauth.ends import Ends
from mailauth.serving import memory
from mailauth.serving.accept import BACKLOG, BATCH, CountedEntrance, LoopEntrance
from mailauth.serving.census import Census
from mailauth.serving.shortage import Shortage, room

LOOK_S = 1.0  # how long what cannot be accepted now waits at most
CROWD = 500  # connections; when so many have left, their memory is worth to be given back
GOODBYE_S = 6.0  # a little longer than a connection takes to cut a client that does not leave


class CannotListen(Exception):
    """The address cannot be bound. The text names it and what to do."""


@dataclass(frozen=True, slots=True)
class Door:
    """One listening address. protocol: makes a connection's protocol; its argument is what a proxy said of the client.

    tls: for implicit TLS only. proxies: networks whose connections must begin with a PROXY header.
    admits: whether this connection may come in at all, asked before a word is said; None: whoever can connect.
    """

    name: str
    sock: socket.socket
    protocol: Callable[[Ends | None], asyncio.Protocol]
    tls: ssl.SSLContext | None = None
    handshake_s: float = 15.0
    proxies: Sequence[IPv4Network | IPv6Network] = ()
    admits: Callable[[socket.socket], bool] | None = None


def bind(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A bound, listening, non-blocking socket. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With proto 0 asyncio would leave out TCP_NODELAY, and every TLS close would wait for a delayed ACK.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except (OSError, OverflowError) as error:
        sock.close()
        raise CannotListen(f"cannot listen on {host}:{port}: {_advice(error)}") from None
    return sock


def _advice(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return "the port is in use; stop what uses it, or choose another port"
    if number == errno.EACCES:
        return "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE or a higher port"
    if number == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return str(error)


@dataclass(slots=True)
class Server:
    """Everything that listens, and everyone who is connected. descriptors_each: what a session takes in all."""

    census: Census
    doors: Sequence[Door]
    descriptors_each: int = 1
    _shortage: Shortage = field(default_factory=Shortage)
    _entrances: list[LoopEntrance | CountedEntrance] = field(default_factory=list)
    _looking: asyncio.TimerHandle | None = None
    _most: int = 0  # connections, since memory was given back

    @property
    def names(self) -> list[str]:
        """For the lines that say what listens."""
        return [door.name for door in self.doors]

    async def start(self) -> None:
        """Accept connections from now on."""
        memory.keep_little()
        for door in self.doors:
            entrance = (
                CountedEntrance(door, self.census, self._shortage)
                if door.tls is not None or door.proxies or door.admits is not None
                else LoopEntrance(door, self._shortage)
            )
            self._entrances.append(entrance)
            await entrance.open()
        self._look()
        self.census.bound(room() // self.descriptors_each)

    async def stop(self) -> None:
        """Accept no more, say goodbye to everyone, and wait a little for them to leave."""
        if self._looking is not None:
            self._looking.cancel()
        for entrance in self._entrances:
            await entrance.close()
        for door in self.doors:
            door.sock.close()
        self._shortage.close()
        gone = asyncio.get_running_loop().create_future()
        self.census.when_empty = gone.cancel  # wakes the wait below
        for connection in self.census.everyone():
            connection.end(Ending.SHUTDOWN)
        if len(self.census):
            await asyncio.wait([gone], timeout=GOODBYE_S)
        self.census.when_empty = None

    def _look(self) -> None:
        """Every second: is there room for new connections, are all doors open, has a crowd left?"""
        loop = asyncio.get_running_loop()
        self._looking = loop.call_later(LOOK_S, self._look)
        is_short = not self._shortage.look()
        for _ in range(BATCH if is_short else 0):
            self.census.make_room()
        for entrance in self._entrances:
            entrance.look(is_short=is_short)
        present = len(self.census)
        self._most = max(self._most, present)
        if self._most - present >= max(CROWD, present):
            self._most = present
            loop.run_in_executor(None, memory.give_back)
