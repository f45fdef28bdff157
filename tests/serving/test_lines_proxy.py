"""Connections behind a proxy, and how many there may be."""

from __future__ import annotations

import pytest

from doors import Words, greeted
from doubles import Doorman
from mailauth.serving.census import Census
from mailauth.serving.house import TimeLimits
from servers import listening
from wire import Wire, eventually

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


# ---- the census


async def test_a_source_with_too_many_connections_is_told_so(words: Words) -> None:
    async with listening(words.dialogue(), Doorman(), census=Census(100, 2)) as running:
        wires = [await greeted(running.port) for _ in range(2)]
        late = await Wire.to(running.port)
        heard = await late.rest()
        assert heard.startswith(words.bye)
        assert b"Too many connections" in heard
        late.close()
        wires[0].close()
        await eventually(lambda: len(running.census) == 1)
        wires.append(await greeted(running.port))
        for wire in wires[1:]:
            wire.close()


async def test_a_full_house_sends_its_oldest_stranger_away(words: Words) -> None:
    async with listening(words.dialogue(clear=True), Doorman(), tls="off", census=Census(2, 100)) as running:
        member = await greeted(running.port)
        await member.send(words.login)
        await member.until(words.accepted)
        oldest = await greeted(running.port)
        newest = await greeted(running.port)
        assert b"Too many connections" in await oldest.rest()
        assert await newest.exchange(words.noop) == words.noop_done
        assert len(running.census) == 2
        await member.send(words.logout)
        assert await member.rest() == words.logout_done
        for wire in (member, oldest, newest):
            wire.close()


# ---- behind a proxy


HEADERS = {
    "v1": (b"PROXY TCP4 198.51.100.7 192.0.2.1 50000 993\r\n", "198.51.100.7"),
    "v1 on IPv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 993\r\n", "2001:db8::7"),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    "v2": (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\xc0\0\x02\x01\xc3\x50\x03\xe1", "198.51.100.7"),
    "v2 local": (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "127.0.0.1"),
}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("kind", ["implicit", "off"])
@pytest.mark.parametrize("dribbled", [False, True], ids=["one segment", "dribbled"])
async def test_the_client_that_a_proxy_names_is_the_one_that_is_judged(
    words: Words, header: str, kind: str, dribbled: bool
) -> None:
    doorman = Doorman()
    data, peer = HEADERS[header]
    door = words.dialogue(clear=True)
    async with listening(door, doorman, tls=kind, proxies=("192.0.2.0/24", "127.0.0.0/8")) as running:
        wire = await Wire.to(running.port)
        if dribbled:
            await wire.dribble(data)
            data = b""
        if kind == "implicit":
            await wire.start_tls(before=data)
            data = b""
        await wire.send(data + words.login + words.logout)
        heard = await wire.rest()
        assert heard.endswith(words.asked + words.accepted + words.logout_done)
        wire.close()
    assert doorman.attempts[0].peer == peer


async def test_the_client_that_a_proxy_names_is_the_one_that_is_counted(words: Words) -> None:
    async with listening(words.dialogue(), Doorman(), census=Census(100, 1), proxies=("127.0.0.0/8",)) as running:
        wires = []
        for address, greeting in ((b"2001:db8::1", b"OK"), (b"2001:db8::2", b"many"), (b"2001:db8:0:1::1", b"OK")):
            wire = await Wire.to(running.port)
            await wire.send(b"PROXY TCP6 " + address + b" ::1 50000 993\r\n")
            assert greeting in await wire.line()
            wires.append(wire)
        for wire in wires:
            wire.close()


@pytest.mark.parametrize("kind", ["implicit", "starttls"])
@pytest.mark.parametrize("header", [b"PROXY TCP4 nonsense\r\n", b"a LOGIN alice@example.test secret\r\n"])
async def test_without_a_right_header_nothing_is_said(
    words: Words, kind: str, header: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(words.dialogue(), Doorman(), tls=kind, proxies=("127.0.0.0/8",)) as running:
        wire = await Wire.to(running.port)
        await wire.send(header)
        assert await wire.rest() == b""
        wire.close()
    assert caplog.messages[0].startswith("test: 127.0.0.1 closed: ")
    assert "secret" not in caplog.text
    caplog.clear()


async def test_a_proxy_that_says_nothing_is_closed(words: Words, caplog: pytest.LogCaptureFixture) -> None:
    async with listening(
        words.dialogue(), Doorman(), proxies=("127.0.0.0/8",), limits=TimeLimits(handshake_s=0.05)
    ) as running:
        wire = await Wire.to(running.port)
        assert await wire.rest() == b""
        wire.close()
    assert caplog.messages == ["test: 127.0.0.1 closed: no PROXY header in time"]
    caplog.clear()


async def test_a_proxy_that_leaves_leaves_nothing(words: Words, caplog: pytest.LogCaptureFixture) -> None:
    async with listening(words.dialogue(), Doorman(), proxies=("127.0.0.0/8",), tls="implicit") as running:
        for said in (b"", b"PROXY UNK", b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN\r\n\x16\x03"):
            wire = await Wire.to(running.port)
            await wire.send(said)
            wire.reset()
        wire = await Wire.to(running.port)
        await wire.start_tls(before=b"PROXY UNKNOWN\r\n")
        assert b"OK" in await wire.line()
        wire.close()
        await eventually(lambda: len(running.census) == 0)
    caplog.clear()


async def test_a_header_from_anybody_else_is_a_bad_command(words: Words) -> None:
    doorman = Doorman()
    async with listening(words.dialogue(clear=True), doorman, tls="off", proxies=("192.0.2.0/24",)) as running:
        wire = await greeted(running.port)
        heard = await wire.exchange(HEADERS["v1"][0])
        assert heard.startswith((b"PROXY BAD ", b"-ERR "))
        await wire.send(words.login)
        await wire.until(words.accepted)
        wire.close()
    assert doorman.attempts[0].peer == "127.0.0.1"


async def test_at_a_door_without_proxies_a_header_is_a_bad_command(words: Words) -> None:
    doorman = Doorman()
    async with listening(words.dialogue(clear=True), doorman, tls="off") as running:
        wire = await greeted(running.port)
        assert (await wire.exchange(HEADERS["v1"][0])).startswith((b"PROXY BAD ", b"-ERR "))
        await wire.send(words.login)
        await wire.until(words.accepted)
        wire.close()
    assert doorman.attempts[0].peer == "127.0.0.1"
