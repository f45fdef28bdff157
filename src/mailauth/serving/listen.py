"""Listening sockets: bound first, then served; closed with a goodbye.

Plain listeners accept in the event loop's own C code. A listener behind a proxy accepts by itself, because the PROXY
header must be taken off before TLS sees the first byte.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address

from mailauth.attempt import address_text
from mailauth.dialogue import Ending
from mailauth.serving.census import Census
from mailauth.serving.proxy import BadHeader, read_header

log = logging.getLogger(__name__)

BACKLOG = 1024
ACCEPT_AGAIN_S = 1.0  # out of descriptors: some connections have to end first
GOODBYE_S = 6.0  # a little longer than a connection takes to cut a client that does not leave


class CannotListen(Exception):
    """The address cannot be bound. The text names it and what to do."""


@dataclass(frozen=True, slots=True)
class Door:
    """One listening address. protocol: makes a connection's protocol; its argument is the client that a proxy named.

    tls: for implicit TLS only. proxies: networks whose connections must begin with a PROXY header.
    """

    name: str
    sock: socket.socket
    protocol: Callable[[str | None], asyncio.Protocol]
    tls: ssl.SSLContext | None = None
    handshake_s: float = 15.0
    proxies: Sequence[IPv4Network | IPv6Network] = ()


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
    """Everything that listens, and everyone who is connected."""

    census: Census
    doors: Sequence[Door]
    _servers: list[asyncio.Server] = field(default_factory=list)
    _accepting: list[asyncio.Task[None]] = field(default_factory=list)
    _arriving: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        for door in self.doors:
            if door.proxies:
                self._accepting.append(loop.create_task(self._accept(door)))
                continue
            self._servers.append(
                await loop.create_server(
                    lambda door=door: door.protocol(None),
                    sock=door.sock,
                    ssl=door.tls,
                    ssl_handshake_timeout=door.handshake_s if door.tls else None,
                )
            )

    async def stop(self) -> None:
        """Accept no more, say goodbye to everyone, and wait a little for them to leave."""
        for server in self._servers:
            server.close()
        at_work = [*self._accepting, *self._arriving]
        for task in at_work:
            task.cancel()
        await asyncio.gather(*at_work, return_exceptions=True)
        for door in self.doors:
            door.sock.close()
        gone = asyncio.get_running_loop().create_future()
        self.census.when_empty = gone.cancel  # wakes the wait below
        for connection in self.census.everyone():
            connection.end(Ending.SHUTDOWN)
        if len(self.census):
            await asyncio.wait([gone], timeout=GOODBYE_S)
        self.census.when_empty = None

    async def _accept(self, door: Door) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(door.sock)
            except OSError as error:
                log.error("%s: cannot accept: %s", door.name, error.strerror)
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            task = loop.create_task(self._arrive(door, sock, address))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    async def _arrive(self, door: Door, sock: socket.socket, address: tuple[str, int]) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer: str | None = None
        try:
            if _is_within(address_text(address), door.proxies):
                peer = await read_header(sock, door.handshake_s)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: door.protocol(peer),
                sock,
                ssl=door.tls,
                ssl_handshake_timeout=door.handshake_s if door.tls else None,
            )
        except BadHeader as bad:
            log.warning("%s: %s closed: %s", door.name, address_text(address), bad)
            sock.close()
        except OSError:  # it left, or failed its handshake
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise


def _is_within(peer: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    address = ip_address(peer)
    return any(address in network for network in networks)
