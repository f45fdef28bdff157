"""Listening: what is bound, what is said when it cannot be, and how a server stops."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

import pytest
from test_census import Guest

from doubles import Doorman
from mailauth.dialogue import Ending
from mailauth.serving.census import Census
from mailauth.serving.house import TimeLimits
from mailauth.serving.listen import CannotListen, Server, bind
from servers import imap, listening
from wire import DEADLINE_S, Wire, eventually


def test_a_taken_port_is_named_with_advice() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"127.0.0.1:{port}: the port is in use"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port", "advice"),
    [
        ("192.0.2.1", 0, "192.0.2.1:0: this machine has no such address"),
        ("127.0.0.1", 70000, "127.0.0.1:70000: "),
        ("not.an.address.invalid", 0, "not.an.address.invalid:0: "),
    ],
)
def test_an_address_that_cannot_be_bound_is_named(host: str, port: int, advice: str) -> None:
    with pytest.raises(CannotListen, match=advice):
        bind(host, port)


def test_a_port_that_is_not_permitted_comes_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sock: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(CannotListen, match=r"127\.0\.0\.1:143: not permitted; .* CAP_NET_BIND_SERVICE"):
        bind("127.0.0.1", 143)


def test_processes_may_share_a_port() -> None:
    with bind("127.0.0.1", 0, reuse_port=True) as first:
        bind("127.0.0.1", first.getsockname()[1], reuse_port=True).close()


def test_ipv6_has_a_socket_of_its_own() -> None:
    with bind("::1", 0) as six, bind("127.0.0.1", six.getsockname()[1]):
        assert six.family == socket.AF_INET6


async def test_a_client_on_ipv6_is_served() -> None:
    doorman = Doorman()
    async with listening(imap(clear=True), doorman, tls="off", host="::1") as running:
        wire = await Wire.to(running.port, host="::1")
        await wire.line()
        assert (await wire.exchange(b"a LOGIN alice@example.test secret\r\n")).startswith(b"a OK ")
        wire.close()
    assert doorman.attempts[0].peer == "::1"


@pytest.mark.parametrize(("each", "most"), [(1, 10), (2, 5)])
async def test_there_is_room_for_as_many_as_have_descriptors(
    each: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailauth.serving.listen.room", lambda: 10)
    census = Census(100, 100)
    server = Server(census, [], descriptors_each=each)
    await server.start()
    refused = [census.enter(Guest(), "192.0.2.1") for _ in range(100)]
    assert (refused.count(None), len(census)) == (100, most)  # the oldest strangers have gone
    for guest in census.everyone():
        census.leave(guest)
    await server.stop()


async def test_a_stopped_server_takes_nobody_in() -> None:
    async with listening(imap(), Doorman()) as running:
        pass
    with pytest.raises(ConnectionRefusedError):
        await Wire.to(running.port)


async def test_a_server_stops_whoever_is_there(unfinished: Callable[[], int]) -> None:
    limits = TimeLimits(handshake_s=DEADLINE_S)
    async with (
        listening(imap(), Doorman(), limits=limits, proxies=("127.0.0.0/8",)) as behind_proxy,
        listening(imap(), Doorman(), limits=limits, proxies=("127.0.0.0/8",), tls="implicit") as in_handshake,
    ):
        silent = await Wire.to(behind_proxy.port)
        shaking = await Wire.to(in_handshake.port)
        await shaking.send_raw(b"PROXY UNKNOWN\r\n\x16\x03\x01")
        await eventually(lambda: len(in_handshake.census) == len(behind_proxy.census) == 1)
        await behind_proxy.server.stop()
        await in_handshake.server.stop()
        assert await silent.rest() == b""
        assert await shaking.rest() == b""
        silent.close()
        shaking.close()
        assert unfinished() == 0


class Stubborn:
    """A connection that never leaves."""

    def __init__(self) -> None:
        self.told: list[Ending] = []

    def end(self, cause: Ending) -> None:
        self.told.append(cause)


async def test_a_server_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailauth.serving.listen.GOODBYE_S", 0.01)
    census, stubborn = Census(10, 10), Stubborn()
    census.enter(stubborn, "192.0.2.1")
    server = Server(census, [])
    await server.start()
    async with asyncio.timeout(DEADLINE_S):
        await server.stop()
    assert stubborn.told == [Ending.SHUTDOWN]


async def test_memory_is_given_back_when_a_crowd_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr("mailauth.serving.listen.LOOK_S", 0.01)
    monkeypatch.setattr("mailauth.serving.listen.CROWD", 3)
    monkeypatch.setattr("mailauth.serving.listen.memory.give_back", lambda: loop.call_soon_threadsafe(given_back.set))
    census, guests = Census(10, 10), [Stubborn() for _ in range(5)]
    for guest in guests:
        census.enter(guest, "192.0.2.1")
    server = Server(census, [])
    await server.start()
    for guest in guests[:2]:
        census.leave(guest)
    for _ in range(3):
        server._look()
    assert not given_back.is_set()
    census.leave(guests[2])
    async with asyncio.timeout(DEADLINE_S):
        await given_back.wait()
    for guest in guests[3:]:
        census.leave(guest)
    await server.stop()
