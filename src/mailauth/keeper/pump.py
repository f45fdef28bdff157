"""Bytes between a back end that speaks TLS and a socket pair whose other end somebody else reads, in clear.

Rule: unread, and no more of them than one reading in each direction: what cannot be sent on is not read. An end in one
direction is passed on and leaves the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from mailauth.keeper.connecting import READ_BYTES, Connection

LOOK_S = 60.0  # while a pair is not read, its end is not seen: so often somebody looks whether anybody is there


class Pump:
    """Runs from `start` on by itself, until both directions have ended. gone: called then, once.

    connection: in TLS, and logged in. pair: our end of the socket pair.
    """

    def __init__(self, connection: Connection, pair: socket.socket, gone: Callable[[Pump], object]) -> None:
        assert connection.tls is not None  # noqa: S101  there is nothing to pump in clear
        self._tls = connection.tls
        self._incoming, self._outgoing = connection.incoming, connection.outgoing
        self._net, self._pair = connection.sock, pair
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._to_net, self._to_pair = b"", b""
        self._net_ended = self._pair_ended = False  # nothing more comes from there
        self._net_shut = self._pair_shut = False  # nothing more goes there
        self._watched: dict[socket.socket, tuple[bool, bool]] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._is_open = True
        pair.setblocking(False)

    def start(self) -> None:
        """From now on, with what the TLS layer has read already."""
        self._decrypt()

    def close(self) -> None:
        """End it in both directions."""
        if self._is_open:
            self._is_open = False
            if self._looking is not None:
                self._looking.cancel()
            for sock in (self._net, self._pair):
                self._watch(sock, reading=None, writing=None)
                sock.close()
            self._gone(self)

    # ---- inside

    def _from_net(self) -> None:
        try:
            data = self._net.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        self._decrypt()

    def _decrypt(self) -> None:
        """Take out of the TLS layer what is in it."""
        read = [self._to_pair]
        try:
            while piece := self._tls.read(READ_BYTES):
                read.append(piece)
            self._net_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:  # the end, with or without a goodbye
            self._net_ended = True
        self._to_pair = b"".join(read)
        self._push()

    def _from_pair(self) -> None:
        try:
            data = self._pair.recv(READ_BYTES)
            if data:
                self._tls.write(data)
        except BlockingIOError:
            return
        except OSError:  # ssl.SSLError is one
            self.close()
            return
        if not data:
            self._pair_ended = True
            if _is_closed(self._pair):
                self._pair_shut, self._to_pair = True, b""
        self._push()

    def _push(self) -> None:
        """Send what is here, pass on what has ended, and read where there is room."""
        if self._outgoing.pending:
            self._to_net += self._outgoing.read()
        try:
            self._to_net = _rest(self._net, self._to_net)
            self._to_pair = _rest(self._pair, self._to_pair)
            if self._pair_ended and not self._to_net and not self._net_shut:
                self._net_shut = True
                self._net.shutdown(socket.SHUT_WR)
            if self._net_ended and not self._to_pair and not self._pair_shut:
                self._pair_shut = True
                self._pair.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        if self._net_shut and self._pair_shut:
            self.close()
            return
        may_read_net = not self._net_ended and not self._to_pair and not self._pair_shut
        may_read_pair = not self._pair_ended and not self._to_net
        self._watch(self._net, reading=self._from_net if may_read_net else None, writing=self._writer(self._to_net))
        self._watch(self._pair, reading=self._from_pair if may_read_pair else None, writing=self._writer(self._to_pair))
        if not may_read_pair and self._looking is None:
            self._looking = self._loop.call_later(LOOK_S, self._look, self._to_net)

    def _look(self, waited: bytes) -> None:
        """End it when nobody is at the pair any more, and the back end takes nothing of what was said last."""
        self._looking = None
        if self._to_net is waited and _is_closed(self._pair):
            self.close()
        elif self._pair_ended or self._to_net:
            self._looking = self._loop.call_later(LOOK_S, self._look, self._to_net)

    def _writer(self, waiting: bytes) -> Callable[[], None] | None:
        return self._push if waiting else None

    def _watch(
        self, sock: socket.socket, *, reading: Callable[[], None] | None, writing: Callable[[], None] | None
    ) -> None:
        """Told to the loop only where something changes."""
        now = (reading is not None, writing is not None)
        was = self._watched.get(sock, (False, False))
        self._watched[sock] = now
        if reading is not None and not was[0]:
            self._loop.add_reader(sock, reading)
        elif was[0] and not now[0]:
            self._loop.remove_reader(sock)
        if writing is not None and not was[1]:
            self._loop.add_writer(sock, writing)
        elif was[1] and not now[1]:
            self._loop.remove_writer(sock)


def _is_closed(pair: socket.socket) -> bool:
    """Whether the other side has ended both directions, and not its own alone."""
    try:
        pair.send(b"")
    except BlockingIOError:  # it has room for no more, so it is there
        return False
    except OSError:
        return True
    return False


def _rest(sock: socket.socket, data: bytes) -> bytes:
    """Send; what could not be sent."""
    with contextlib.suppress(BlockingIOError):
        if data:
            return data[sock.send(data) :]
    return data
