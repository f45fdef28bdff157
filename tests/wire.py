"""A client that says exactly these bytes in exactly these segments, in clear or through TLS, on either event loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress

from servers import client_tls

DEADLINE_S = 5.0  # longer than anything a test waits for: reached, it is a failure
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: no goodbye


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what the server does by itself and tells nobody."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class Wire:
    """One connection of a client."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()
        self._heard = bytearray()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls: ssl.SSLObject | None = None

    @classmethod
    async def to(cls, port: int, *, tls: bool = False, host: str = "127.0.0.1", receive_bytes: int = 0) -> Wire:
        """Connect. receive_bytes: a small window, for a client that does not listen."""
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = cls(sock)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await wire._loop.sock_connect(sock, (host, port))
            if tls:
                await wire.start_tls()
        except BaseException:
            sock.close()
            raise
        return wire

    async def send(self, data: bytes) -> None:
        """Say this in one go."""
        if self.tls is not None:
            self.tls.write(data)
            data = self._outgoing.read()
        await self.send_raw(data)

    async def send_raw(self, data: bytes) -> None:
        """Put these bytes on the wire, TLS or not."""
        async with asyncio.timeout(DEADLINE_S):
            await self._loop.sock_sendall(self.sock, data)

    async def dribble(self, data: bytes) -> None:
        """Say this one byte at a time."""
        for byte in data:
            await self.send(bytes((byte,)))

    async def start_tls(self, before: bytes = b"", behind: bytes = b"", context: ssl.SSLContext | None = None) -> None:
        """Make the handshake.

        before: said in clear, in one segment with the ClientHello; behind: said in TLS, in one with the Finished.
        """
        tls = (context or client_tls()).wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.send_raw(before + self._outgoing.read())
                before = b""
                await self._fill()
            else:
                break
        if behind:
            tls.write(behind)
        await self.send_raw(self._outgoing.read())
        self.tls = tls

    async def _fill(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            data = await self._loop.sock_recv(self.sock, 65536)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _recv(self) -> bytes:
        """Some more bytes; b"": the server has closed, however."""
        try:
            while self.tls is not None:
                try:
                    return self.tls.read(65536)
                except ssl.SSLWantReadError:
                    await self._fill()
            async with asyncio.timeout(DEADLINE_S):
                return await self._loop.sock_recv(self.sock, 65536)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    async def until(self, end: bytes) -> bytes:
        """All up to and with these bytes; less, if the server closes before."""
        while end not in self._heard:
            data = await self._recv()
            if not data:
                break
            self._heard += data
        size = self._heard.find(end) + len(end) if end in self._heard else len(self._heard)
        heard = bytes(self._heard[:size])
        del self._heard[:size]
        return heard

    async def line(self) -> bytes:
        """The next line with its end; b"": the server has closed."""
        return await self.until(b"\n")

    async def some(self) -> bytes:
        """What comes next; b"": the server has closed."""
        heard = bytes(self._heard) or await self._recv()
        self._heard.clear()
        return heard

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        while data := await self._recv():
            self._heard += data
        heard = bytes(self._heard)
        self._heard.clear()
        return heard

    async def exchange(self, data: bytes) -> bytes:
        """Say this and hear one line."""
        await self.send(data)
        return await self.line()

    async def end(self) -> None:
        """Say that nothing more is said: close_notify in TLS, and TCP's FIN."""
        if self.tls is not None:
            with suppress(ssl.SSLWantReadError):
                self.tls.unwrap()
            await self.send_raw(self._outgoing.read())
        self.half_close()

    def half_close(self) -> None:
        """Say no more, and go on listening."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Leave, as a program does that is ended."""
        self.sock.close()

    def reset(self) -> None:
        """Leave without a goodbye."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self.sock.close()
