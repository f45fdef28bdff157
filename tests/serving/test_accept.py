"""How connections come in: counted from their accept on, whatever they do; and what accepting itself may meet."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any, NoReturn, cast

import pytest

from doors import IMAP, Words, greeted
from doubles import Doorman
from mailauth.ends import Ends
from mailauth.serving.census import Census
from mailauth.serving.house import TimeLimits
from mailauth.serving.lines import LineConnection
from mailauth.serving.listen import Door, Server, bind
from servers import Running, imap, listening
from wire import Wire, eventually

BEHIND_A_PROXY = ("127.0.0.0/8",)
FROM_AFAR = b"PROXY TCP4 198.51.100.7 192.0.2.1 50000 993\r\n"

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


async def silent(running: Running, said: bytes = b"") -> Wire:
    """A client that has connected and been counted, and says nothing more."""
    count = len(running.census)
    wire = await Wire.to(running.port)
    if said:
        await wire.send_raw(said)
    await eventually(lambda: len(running.census) == count + 1)
    return wire


# ---- handshakes count


async def test_handshakes_count_for_their_source(words: Words) -> None:
    async with listening(words.dialogue(), Doorman(), tls="implicit", census=Census(100, 2)) as running:
        first, second = await silent(running), await silent(running, b"\x16\x03\x01")
        third = await Wire.to(running.port)
        assert await third.rest() == b""  # no handshake, no words
        assert len(running.census) == 2
        first.close()
        await eventually(lambda: len(running.census) == 1)
        late = await greeted(running.port, tls=True)
        for wire in (second, third, late):
            wire.close()


async def test_a_full_house_drops_its_oldest_handshake(words: Words) -> None:
    async with listening(words.dialogue(), Doorman(), tls="implicit", census=Census(2, 100)) as running:
        oldest, younger = await silent(running), await silent(running)
        late = await greeted(running.port, tls=True)
        assert await oldest.rest() == b""
        assert await late.exchange(words.noop) == words.noop_done
        assert len(running.census) == 2
        for wire in (oldest, younger, late):
            wire.close()


async def test_a_handshake_makes_nobody_younger(words: Words) -> None:
    async with listening(words.dialogue(), Doorman(), tls="implicit", census=Census(2, 100)) as running:
        oldest, younger = await silent(running), await greeted(running.port, tls=True)
        await oldest.start_tls()
        assert b"OK" in await oldest.line()
        late = await greeted(running.port, tls=True)
        assert b"Too many connections" in await oldest.rest()
        assert await younger.exchange(words.noop) == words.noop_done
        for wire in (oldest, younger, late):
            wire.close()


async def test_a_connection_is_counted_once_from_first_to_last(words: Words) -> None:
    async with listening(words.dialogue(), Doorman(), tls="implicit", census=Census(100, 1)) as running:
        for _ in range(3):
            wire = await greeted(running.port, tls=True)
            assert len(running.census) == 1
            await wire.send(words.login)
            await wire.until(words.accepted)
            assert len(running.census) == 1
            wire.close()
            await eventually(lambda: len(running.census) == 0)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"])
async def test_a_handshake_that_fails_leaves_nothing(words: Words, said: bytes) -> None:
    limits = TimeLimits(handshake_s=0.1)
    async with listening(words.dialogue(), Doorman(), tls="implicit", limits=limits) as running:
        wire = await Wire.to(running.port)
        await wire.send_raw(said)
        await wire.rest()
        await eventually(lambda: len(running.census) == 0)
        wire.close()
        again = await Wire.to(running.port)
        await again.send_raw(said)
        again.reset()
        await eventually(lambda: len(running.census) == 0)


async def test_a_stopped_server_cuts_handshakes_and_headers(unfinished: Callable[[], int]) -> None:
    before = unfinished()
    async with (
        listening(imap(), Doorman(), tls="implicit") as in_handshake,
        listening(imap(), Doorman(), proxies=BEHIND_A_PROXY) as behind_proxy,
    ):
        wires = [await silent(in_handshake), await silent(behind_proxy)]
        await asyncio.gather(in_handshake.server.stop(), behind_proxy.server.stop())
        assert unfinished() == before
        for wire in wires:
            assert await wire.rest() == b""
            wire.close()


# ---- behind a proxy


async def test_clients_behind_a_proxy_are_not_its_own(words: Words) -> None:
    async with listening(
        words.dialogue(), Doorman(), tls="implicit", proxies=BEHIND_A_PROXY, census=Census(100, 1)
    ) as running:
        waiting = [await silent(running) for _ in range(3)]
        wire = await silent(running, FROM_AFAR)
        crowded = await Wire.to(running.port)
        await crowded.send_raw(FROM_AFAR)
        assert await crowded.rest() == b""
        await wire.start_tls()
        assert b"OK" in await wire.line()
        for other in (wire, crowded, *waiting):
            other.close()


async def test_clients_behind_a_proxy_count_in_the_total_before_they_are_named(words: Words) -> None:
    async with listening(words.dialogue(), Doorman(), proxies=BEHIND_A_PROXY, census=Census(2, 100)) as running:
        oldest, younger = await silent(running), await silent(running)
        late = await Wire.to(running.port)
        await late.send_raw(FROM_AFAR)
        assert b"OK" in await late.line()
        assert await oldest.rest() == b""
        for wire in (oldest, younger, late):
            wire.close()


async def test_a_house_full_of_members_lets_nobody_wait_for_a_header(words: Words) -> None:
    async with listening(
        words.dialogue(clear=True), Doorman(), tls="off", proxies=BEHIND_A_PROXY, census=Census(1, 100)
    ) as running:
        member = await silent(running, FROM_AFAR)
        await member.send(words.login)
        await member.until(words.accepted)
        late = await Wire.to(running.port)
        assert await late.rest() == b""
        member.close()
        late.close()


# ---- what accepting meets


class Greeter(asyncio.Protocol):
    """Says hello and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = cast("asyncio.Transport", transport)
        made.write(b"hello" if made.get_extra_info("socket").getsockopt(IPPROTO_TCP, TCP_NODELAY) else b"by and by")
        made.close()


class Troubled:
    """A listening socket that meets these errors first."""

    def __init__(self, sock: socket.socket, errors: list[int]) -> None:
        self._sock = sock
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def accept(self) -> Any:
        if self._errors:
            number = self._errors.pop(0)
            raise OSError(number, os.strerror(number))
        return self._sock.accept()


@asynccontextmanager
async def troubled(
    *errors: int, protocol: Callable[[Ends | None], asyncio.Protocol] | None = None
) -> AsyncIterator[int]:
    """The port of a door at which we accept, whose socket meets these errors first."""
    sock = bind("127.0.0.1", 0)
    door = Door(
        "imap",
        Troubled(sock, list(errors)),  # type: ignore[arg-type]
        protocol or (lambda proxied: Greeter()),
        proxies=(ip_network("192.0.2.0/24"),),
    )
    server = Server(Census(10, 10), [door])
    await server.start()
    try:
        yield sock.getsockname()[1]
    finally:
        await server.stop()


async def said(port: int) -> bytes:
    wire = await Wire.to(port)
    heard = await wire.rest()
    wire.close()
    return heard


async def test_a_connection_that_is_gone_before_it_is_accepted_costs_only_itself() -> None:
    async with troubled(errno.ECONNABORTED, errno.EPROTO) as port:
        assert await said(port) == b"hello"


async def test_who_cannot_be_accepted_is_closed_at_once_and_the_next_gets_in(caplog: pytest.LogCaptureFixture) -> None:
    async with troubled(errno.EMFILE) as port:
        assert await said(port) == b""
        assert await said(port) == b"hello"
    assert [message.partition(";")[0] for message in caplog.messages] == ["no new connections: Too many open files"]
    caplog.clear()


async def test_where_a_spare_descriptor_does_not_help_accepting_rests(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mailauth.serving.listen.LOOK_S", 0.01)
    async with troubled(errno.ENOBUFS, errno.ENOBUFS, errno.EINVAL, errno.ENOMEM) as port:
        assert await said(port) == b"hello"  # it waited in the queue meanwhile
    assert caplog.messages == ["no new connections: No buffer space available"]
    caplog.clear()


async def test_a_stranger_goes_for_the_next_when_descriptors_run_out(
    words: Words, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(words.dialogue(), Doorman(), tls="implicit") as running:
        (door,) = running.server.doors
        oldest, younger = await silent(running), await silent(running)
        (entrance,) = running.server._entrances
        entrance.door = replace(door, sock=Troubled(door.sock, [errno.ENFILE]))
        turned_away = await Wire.to(running.port)
        assert await turned_away.rest() == b""
        assert await oldest.rest() == b""
        late = await greeted(running.port, tls=True)
        for wire in (oldest, younger, turned_away, late):
            wire.close()
    caplog.clear()


async def test_a_fault_of_ours_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    faults = [RuntimeError("a bug")]

    def make(proxied: Ends | None) -> asyncio.Protocol:
        if faults:
            raise faults.pop()
        return Greeter()

    async with troubled(protocol=make) as port:
        assert await said(port) == b""
        assert await said(port) == b"hello"
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "imap: connection dropped: RuntimeError")
    caplog.clear()


async def test_where_the_event_loop_accepts_it_rests_in_a_shortage(
    words: Words, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mailauth.serving.listen.LOOK_S", 0.01)
    monkeypatch.setattr("mailauth.serving.shortage.OVER_AFTER_S", 0.0)
    async with listening(words.dialogue(), Doorman()) as running:
        inside = await greeted(running.port)
        with monkeypatch.context() as patch:
            patch.setattr("mailauth.serving.shortage.os.dup", _none_left)
            assert b"Too many connections" in await inside.rest()  # the oldest stranger
            (entrance,) = running.server._entrances
            await eventually(lambda: entrance._server is None)
            turned_away = await Wire.to(running.port)
            assert await turned_away.rest() == b""
        for wire in (inside, turned_away, await greeted(running.port)):  # this one may have waited in the queue
            wire.close()
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "no new connections: Too many open files",
        "new connections are accepted again",
    ]
    caplog.clear()


async def test_a_door_that_cannot_be_opened_again_yet_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mailauth.serving.listen.LOOK_S", 0.01)
    async with listening(imap(), Doorman()) as running:
        (entrance,) = running.server._entrances
        entrance.look(is_short=True)
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "dup", _none_left)
            await eventually(lambda: bool(caplog.messages))
        wire = await greeted(running.port)
        wire.close()
    assert caplog.messages[0].startswith("no new connections: Too many open files")
    caplog.clear()


def _none_left(_: object) -> NoReturn:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_many_at_once_are_all_accepted(words: Words) -> None:
    """More than are accepted in a row."""
    made: list[LineConnection] = []

    class Noted(LineConnection):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    async with listening(words.dialogue(), Doorman(), tls="implicit", connection=Noted) as running:
        wires = await asyncio.gather(*(greeted(running.port, tls=True) for _ in range(50)))
        assert len(running.census) == len(made) == 50
        for wire in wires:
            wire.close()


async def test_one_that_is_cut_before_its_task_has_begun_is_closed() -> None:
    async with listening(IMAP.dialogue(), Doorman(), tls="implicit", census=Census(1, 100)) as running:
        wires = [await Wire.to(running.port) for _ in range(8)]  # accepted in one go, each in place of the one before
        await eventually(lambda: len(running.census) == 1)
        for wire in wires[:-1]:
            assert await wire.rest() == b""
            wire.close()
        wires[-1].close()
