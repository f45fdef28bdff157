"""Messages between two processes over a UNIX socket, and with some of them an open connection.

Source: unix(7), SCM_RIGHTS; a frame is its length (4 bytes, big-endian), whether a descriptor goes with it (1), and
JSON. Rule: a descriptor leaves with its frame's first byte, so it is there before its frame is whole. What cannot be
understood ends the channel.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

HEAD = struct.Struct(">I?")
MOST_FRAME_BYTES = 256 * 1024
MOST_QUEUED = 10_000  # frames that the other side has not read
READ_BYTES = 64 * 1024
MOST_DESCRIPTORS = 16  # that one look can bring
CLOSED_IN_CHILDREN = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

Message = dict[str, Any]


class Channel:
    """One end. received: gets each message, and the connection that came with it, which is then its own; None also
    where one was sent and there was no descriptor left for it.

    ended: called once, when the other side has gone or cannot be understood; not after `close`.
    """

    def __init__(
        self,
        sock: socket.socket,
        received: Callable[[Message, socket.socket | None], object],
        ended: Callable[[], object],
    ) -> None:
        self._sock = sock
        self._received = received
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._heard = bytearray()
        self._carried: deque[socket.socket | None] = deque()  # came, and their frames did not yet; None: was lost
        self._queue: deque[tuple[bytes, socket.socket | None]] = deque()
        self._is_open = True
        sock.setblocking(False)
        self._loop.add_reader(sock, self._readable)

    def send(self, message: Mapping[str, object], carried: socket.socket | None = None) -> None:
        """Send this some time soon. carried: goes with it, and is closed here."""
        body = json.dumps(message, separators=(",", ":")).encode()
        if not self._is_open:
            if carried is not None:
                carried.close()
            return
        self._queue.append((HEAD.pack(len(body), carried is not None) + body, carried))
        if len(self._queue) > MOST_QUEUED:
            self._end()
        elif len(self._queue) == 1:
            self._flush()

    def close(self) -> None:
        """Send and take no more."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        for carried in (*self._carried, *[carried for _, carried in self._queue]):
            if carried is not None:
                carried.close()
        self._carried.clear()
        self._queue.clear()

    # ---- inside

    def _end(self) -> None:
        if self._is_open:
            self.close()
            self._ended()

    def _flush(self) -> None:
        try:
            while self._queue:
                frame, carried = self._queue[0]
                sent = self._send(frame, carried)
                if carried is not None:
                    carried.close()
                self._queue[0] = (frame[sent:], None)
                if sent < len(frame):
                    break
                self._queue.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._end()
            return
        if self._queue:
            self._loop.add_writer(self._sock, self._flush)
        else:
            self._loop.remove_writer(self._sock)

    def _send(self, frame: bytes, carried: socket.socket | None) -> int:
        if carried is None:
            return self._sock.send(frame)
        rights = array.array("i", [carried.fileno()])
        return self._sock.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    def _readable(self) -> None:
        size = array.array("i").itemsize
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(
                READ_BYTES, socket.CMSG_SPACE(MOST_DESCRIPTORS * size), CLOSED_IN_CHILDREN
            )
        except BlockingIOError:
            return
        except OSError:
            self._end()
            return
        is_whole = not flags & socket.MSG_CTRUNC
        if not ancillary and not is_whole:  # we have no descriptor left: this one session cannot be had, and no more
            self._carried.append(None)
            is_whole = True
        for level, kind, rights in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                is_whole &= self._take(rights[: len(rights) - len(rights) % size])
        self._heard += data
        if not data or not is_whole or not self._understood():
            self._end()

    def _take(self, rights: bytes) -> bool:
        """Keep what came until its frames are there; False: something among it is no connection."""
        is_all = True
        for descriptor in array.array("i", rights):
            os.set_inheritable(descriptor, False)
            try:
                self._carried.append(socket.socket(fileno=descriptor))
            except OSError:
                os.close(descriptor)
                is_all = False
        return is_all

    def _understood(self) -> bool:
        """Hand on all whole frames; False: this is none."""
        while self._is_open and len(self._heard) >= HEAD.size:
            length, has_descriptor = HEAD.unpack_from(self._heard)
            if length > MOST_FRAME_BYTES:
                return False
            if len(self._heard) < HEAD.size + length:
                return True
            body = bytes(self._heard[HEAD.size : HEAD.size + length])
            del self._heard[: HEAD.size + length]
            if has_descriptor and not self._carried:
                return False
            carried = self._carried.popleft() if has_descriptor else None
            try:
                message = json.loads(body)
            except (ValueError, RecursionError):
                message = None
            if type(message) is not dict:
                if carried is not None:
                    carried.close()
                return False
            self._received(message, carried)
        return True
