"""When there is nothing to accept connections with. Out of descriptors for real: tests/overload."""

from __future__ import annotations

import errno
import os
import resource
import socket

import pytest

from mailauth.serving.listen import bind
from mailauth.serving.shortage import ADVICE, OVER_AFTER_S, Shortage, room


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Descriptors:
    """What the system says to whoever wants one, or to whoever gives one back: an errno, or nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fault: int | None = None
        for name in ("dup", "open"):
            monkeypatch.setattr(f"mailauth.serving.shortage.os.{name}", self._limited(getattr(os, name)))

    def _limited(self, call):  # type: ignore[no-untyped-def]
        def limited(*arguments):  # type: ignore[no-untyped-def]
            if self.fault is not None:
                raise OSError(self.fault, os.strerror(self.fault))
            return call(*arguments)

        return limited


@pytest.fixture
def descriptors(monkeypatch: pytest.MonkeyPatch) -> Descriptors:
    return Descriptors(monkeypatch)


@pytest.mark.parametrize(("left", "for_connections"), [(19_000, 18_900), (400, 300), (30, 15), (0, 0)])
def test_connections_leave_descriptors_to_others(
    monkeypatch: pytest.MonkeyPatch, left: int, for_connections: int
) -> None:
    lowest_free = os.dup(0)
    os.close(lowest_free)
    limit = lowest_free + left
    monkeypatch.setattr("mailauth.serving.shortage.resource.getrlimit", lambda _: (limit, limit))
    assert room() == for_connections


def test_connections_have_no_bound_where_descriptors_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = (resource.RLIM_INFINITY,) * 2
    monkeypatch.setattr("mailauth.serving.shortage.resource.getrlimit", lambda _: unlimited)
    assert room() > 2**31


def test_an_outage_is_told_once_and_once_more_when_it_is_over(
    descriptors: Descriptors, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    shortage = Shortage(clock)
    assert shortage.look()
    descriptors.fault = errno.EMFILE
    for _ in range(3):
        assert not shortage.look()
        shortage.note(OSError(errno.ENOBUFS, "No buffer space available"))
        clock.now += 1.0
    (line,) = caplog.messages
    assert line == f"no new connections: Too many open files{ADVICE[errno.EMFILE]}"
    descriptors.fault = None
    assert shortage.look()  # they come and go: it is not over yet
    shortage.note(OSError(errno.EMFILE, "Too many open files"))
    clock.now += OVER_AFTER_S - 0.1
    assert shortage.look()
    assert len(caplog.messages) == 1
    clock.now += 0.2
    for _ in range(3):
        assert shortage.look()
    assert caplog.messages[1:] == ["new connections are accepted again"]
    shortage.note(OSError(errno.ENFILE, "Too many open files in system"))
    assert caplog.messages[2:] == [f"no new connections: Too many open files in system{ADVICE[errno.ENFILE]}"]
    shortage.close()


def test_who_cannot_be_served_is_accepted_with_the_spare_descriptor_and_closed() -> None:
    shortage = Shortage()
    with bind("127.0.0.1", 0) as listening:
        assert not shortage.turn_away(listening)  # there is no spare before the first look
        shortage.look()
        clients = [socket.create_connection(listening.getsockname(), 5) for _ in range(2)]
        for client in clients:
            assert shortage.turn_away(listening)
            assert client.recv(1) == b""
            client.close()
        assert not shortage.turn_away(listening)  # nobody is waiting
    shortage.close()
    shortage.close()


def test_a_spare_descriptor_that_is_lost_is_found_again(descriptors: Descriptors) -> None:
    shortage = Shortage()
    shortage.look()
    with bind("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname(), 5) as client:
        descriptors.fault = errno.EMFILE  # somebody else was quicker
        assert shortage.turn_away(listening)
        assert client.recv(1) == b""
        assert not shortage.turn_away(listening)
        descriptors.fault = None
        shortage.look()
        with socket.create_connection(listening.getsockname(), 5) as another:
            assert shortage.turn_away(listening)
            assert another.recv(1) == b""
    shortage.close()
