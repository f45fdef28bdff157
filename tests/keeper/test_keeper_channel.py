"""Messages and open connections between two processes: each with its own, in order, and nothing left open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from mailauth.keeper.channel import HEAD, MOST_FRAME_BYTES, Channel, Message
from wire import eventually


@dataclass
class End:
    """One end, and what came there."""

    sock: socket.socket
    received: list[tuple[Message, socket.socket | None]] = field(default_factory=list)
    ended: int = 0
    channel: Channel = field(init=False)

    def __post_init__(self) -> None:
        self.channel = Channel(self.sock, lambda message, carried: self.received.append((message, carried)), self.over)

    def over(self) -> None:
        self.ended += 1

    def close(self) -> None:
        self.channel.close()
        for _, carried in self.received:
            if carried is not None:
                carried.close()


def named(name: bytes) -> socket.socket:
    """A connection that says its name."""
    ours, theirs = socket.socketpair()
    ours.sendall(name)
    ours.close()
    return theirs


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """This process can open nothing beyond what it has."""
    free = os.dup(0)  # the lowest that there is
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_each_message_has_its_own_connection() -> None:
    """Many at once, through a buffer that takes a part of one only."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    one, other = End(ours), End(theirs)
    for number in range(150):
        carried = named(b"%d" % number) if number % 3 else None
        one.channel.send({"number": number, "long": "x" * (number % 7) * 3000}, carried)
    await eventually(lambda: len(other.received) == 150)
    for number, (message, carried) in enumerate(other.received):
        assert message["number"] == number
        assert (carried is None) == (number % 3 == 0)
        if carried is not None:
            assert carried.recv(100) == b"%d" % number
            assert not os.get_inheritable(carried.fileno())
    other.channel.send({"back": True})
    await eventually(lambda: one.received == [({"back": True}, None)])
    one.close()
    await eventually(lambda: other.ended == 1)
    other.close()
    assert (one.ended, other.ended) == (0, 1)


async def test_frames_may_come_in_pieces() -> None:
    ours, theirs = socket.socketpair()
    end = End(theirs)
    body = json.dumps({"a": "ä"}).encode()
    for octet in (HEAD.pack(len(body), False) + body) * 2:
        ours.send(bytes([octet]))
        await asyncio.sleep(0)
    await eventually(lambda: end.received == [({"a": "ä"}, None)] * 2)
    ours.close()
    end.close()


GARBAGE = {
    "too long": HEAD.pack(MOST_FRAME_BYTES + 1, False),
    "no JSON": HEAD.pack(3, False) + b"{{}",
    "no object": HEAD.pack(2, False) + b"[]",
    "deep": HEAD.pack(100_000, False) + b"[" * 100_000,
    "no connection": HEAD.pack(2, True) + b"{}",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "the end": b"",
}


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_what_cannot_be_understood_ends_it(garbage: str) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    end = End(theirs)
    await asyncio.get_running_loop().sock_sendall(ours, GARBAGE[garbage])
    if not GARBAGE[garbage]:
        ours.shutdown(socket.SHUT_WR)
    await eventually(lambda: end.ended == 1)
    assert end.received == []
    assert ours.recv(1) == b""
    ours.close()
    end.channel.send({"after": "the end"}, named(b"closed"))
    end.close()
    assert end.ended == 1


async def test_a_connection_whose_frame_is_none_is_closed() -> None:
    ours, theirs = socket.socketpair()
    end = End(theirs)
    carried, other = socket.socketpair()
    with ours, other:
        socket.send_fds(ours, [HEAD.pack(2, True) + b"[]"], [carried.fileno()])
        carried.close()
        await eventually(lambda: end.ended == 1)
        assert other.recv(1) == b""
    end.close()


async def test_what_is_no_connection_ends_it_and_is_closed() -> None:
    ours, theirs = socket.socketpair()
    end = End(theirs)
    reading, writing = os.pipe()
    with ours:
        socket.send_fds(ours, [HEAD.pack(2, True) + b"{}"], [reading, theirs.fileno()])
        os.close(reading)
        await eventually(lambda: end.ended == 1)
        assert end.received == []
        with pytest.raises(BrokenPipeError):  # nobody reads from it any more
            os.write(writing, b"x")
        os.close(writing)
        assert ours.recv(1) == b""
    end.close()


@pytest.mark.skipif(sys.platform != "linux", reason="others say nothing of what was lost")
async def test_without_a_descriptor_one_connection_is_lost_and_nothing_else() -> None:
    ours, theirs = socket.socketpair()
    one, other = End(ours), End(theirs)
    carried, far = socket.socketpair()
    with far, named(b"next") as after:
        one.channel.send({"number": 1}, carried)
        with no_descriptor_left():
            other.channel._readable()
        assert other.received == [({"number": 1}, None)]
        assert far.recv(1) == b""
        one.channel.send({"number": 2}, after.dup())
        await eventually(lambda: len(other.received) == 2)
        message, came = other.received[1]
        assert message == {"number": 2}
        assert came is not None
        assert came.recv(100) == b"next"
        assert (one.ended, other.ended) == (0, 0)
    one.close()
    other.close()


async def test_who_does_not_read_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailauth.keeper.channel.MOST_QUEUED", 20)
    ours, theirs = socket.socketpair()
    end = End(ours)
    carried, other = socket.socketpair()
    end.channel.send({"long": "x" * 200_000}, carried)
    for _ in range(21):
        end.channel.send({"long": "x" * 200_000}, named(b"waiting"))
    assert end.ended == 1
    theirs.close()
    assert other.recv(1) == b""
    other.close()
    end.close()
