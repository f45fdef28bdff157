"""A connection to a back end, in clear or in TLS, up to the end of the login.

Rule: the plain socket is never wrapped: after the login it is handed to another process as it is, or pumped from here.
Certificates are verified unless the configuration says otherwise in so many words.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from ipaddress import ip_address

READ_BYTES = 16 * 1024
CONNECT_S = 3.0  # for each address that the name has


class NoConnection(Exception):
    """It was not reached, or hung up, or its certificate is not right. The text says which."""


class Connection:
    """One connection. sock: non-blocking; tls: None in clear."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.tls: ssl.SSLObject | None = None
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def to(cls, host: str, port: int) -> Connection:
        """Connect to one of its addresses. Raises NoConnection."""
        fault: str = "its name has no address"
        for family, where in await _addresses(host, port):
            try:
                sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            except OSError as error:
                raise NoConnection(f"not reached: {error.strerror}") from None
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                async with asyncio.timeout(CONNECT_S):
                    await asyncio.get_running_loop().sock_connect(sock, where)
            except TimeoutError:
                fault = "it does not answer"
                sock.close()
            except OSError as error:
                fault = os.strerror(error.errno) if error.errno else type(error).__name__
                sock.close()
            except BaseException:
                sock.close()
                raise
            else:
                return cls(sock)
        raise NoConnection(f"not reached: {fault}")

    def close(self) -> None:
        """At once, without a goodbye."""
        self.sock.close()

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Make the handshake. Raises NoConnection."""
        tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        try:
            while True:
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    await self._flush()
                    await self._fill()
                else:
                    break
            await self._flush()
        except (OSError, ssl.CertificateError) as error:  # ssl.SSLError is an OSError
            with contextlib.suppress(OSError, NoConnection):  # our alert tells its log what was wrong
                await self._flush()
            reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error.strerror
            raise NoConnection(f"no TLS: {reason or type(error).__name__}") from None
        self.tls = tls

    async def send(self, data: bytes) -> None:
        """Raises NoConnection."""
        if self.tls is None:
            await self._send(data)
        else:
            self.tls.write(data)
            await self._flush()

    async def receive(self) -> bytes:
        """Some bytes, READ_BYTES at most. Raises NoConnection, also at its end."""
        while self.tls is not None:
            try:
                data = self.tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                break
            else:
                if data:
                    return data
                break
        if self.tls is not None:
            raise NoConnection("hung up before the login")
        return await self._receive()

    # ---- inside

    async def _flush(self) -> None:
        if self.outgoing.pending:
            await self._send(self.outgoing.read())

    async def _fill(self) -> None:
        self.incoming.write(await self._receive())

    async def _send(self, data: bytes) -> None:
        try:
            await self._loop.sock_sendall(self.sock, data)
        except OSError:
            raise NoConnection("hung up before the login") from None

    async def _receive(self) -> bytes:
        try:
            data = await self._loop.sock_recv(self.sock, READ_BYTES)
        except OSError:
            data = b""
        if not data:
            raise NoConnection("hung up before the login")
        return data


async def _addresses(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    with contextlib.suppress(ValueError):
        return [(socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET, (host, port))]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NoConnection(f"not reached: {error.strerror or 'its name is not known'}") from None
    return [(family, (str(where[0]), int(where[1]))) for family, _, _, _, where in found]
