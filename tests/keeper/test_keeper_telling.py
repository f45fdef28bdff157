"""What a back end is told of the client's connection, by whoever asks: of this version, of another, or taken over."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from scripted import serving

from keepers import asked, backend, keeper_of
from mailauth.ends import UNKNOWN, End, Ends
from mailauth.serving.proxy import parse_version_1, parse_version_2

HERE = End("198.51.100.1", 993)
WITHOUT_PORTS = {"do": "open", "service": "imap", "account": "a@b.test", "peer": "192.0.2.7", "tls": True, "client": ""}
WITH_PORTS = {**WITHOUT_PORTS, "port": 4001, "server": HERE.address, "server_port": HERE.port}
ADDRESS = '"x-originating-ip" "192.0.2.7"'
CLIENT = ADDRESS + ' "x-originating-port" "4001"'


async def told(origin: str, message: dict[str, Any]) -> tuple[bytes, End, End]:
    """What an IMAP server hears before the login, and the ends of the connection it heard it on: ours and its own."""
    heard: list[tuple[bytes, End, End]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK [CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN] ready\r\na3 OK done\r\n")
        said = (await reader.readuntil(b"a4 AUTHENTICATE ")).removesuffix(b"a4 AUTHENTICATE ")
        names = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        heard.append((said, End.of(names[0]), End.of(names[1])))
        writer.write(b"a4 OK [CAPABILITY IMAP4rev1] in\r\n")
        await reader.read()

    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(serve))
        keeper = keeper_of(backend(imap=server.address, origin=origin))
        _, sock = await (await stack.enter_async_context(asked(keeper))).ask(message, 30.0)
        assert sock is not None
        sock.close()
    (found,) = heard
    return found


BY_ID = {
    "all": (WITH_PORTS, f'{CLIENT} "x-connected-ip" "198.51.100.1" "x-connected-port" "993"'),
    "older": (WITHOUT_PORTS, ADDRESS),
    "the client's alone": ({**WITH_PORTS, "server": "", "server_port": 0}, CLIENT),
    "a UNIX socket": ({**WITH_PORTS, "peer": "", "port": 0}, ""),
    "a bridge": ({**WITH_PORTS, "peer": "bridge:x"}, ""),
    "no ports": ({**WITH_PORTS, "port": "4001", "server": 7, "server_port": 65536}, ADDRESS),
    "a port that is none": ({**WITH_PORTS, "port": 65536, "server": "x", "server_port": -1}, ADDRESS),
    "more than a port": (
        {**WITH_PORTS, "port": '1" "x-forward-a', "server": '::1" "x', "server_port": True},
        ADDRESS,
    ),
}


@pytest.mark.parametrize("case", BY_ID)
async def test_id_tells_what_is_known_and_no_more(case: str) -> None:
    message, pairs = BY_ID[case]
    said, _, _ = await told("id", message)
    assert said == (f"a3 ID ({pairs})\r\n".encode() if pairs else b"")


async def test_nothing_is_told_where_that_is_not_wanted() -> None:
    assert (await told("none", WITH_PORTS))[0] == b""


async def test_a_header_tells_both_ends() -> None:
    expected = Ends(End("192.0.2.7", 4001), HERE)
    assert parse_version_1((await told("proxy1", WITH_PORTS))[0]) == expected
    header, _, _ = await told("proxy2", WITH_PORTS)
    assert parse_version_2(header[:16], header[16:]) == expected


@pytest.mark.parametrize("message", [WITHOUT_PORTS, {**WITH_PORTS, "port": 0, "server_port": 0}], ids=["older", "0"])
async def test_a_header_has_our_connection_in_place_of_what_is_not_known(message: dict[str, Any]) -> None:
    """Version 1 never has a port of 0, which Dovecot takes for a mistake."""
    header, ours, its = await told("proxy1", message)
    assert parse_version_1(header) == Ends(End("192.0.2.7", ours.port), its)
    header, _, its = await told("proxy2", message)
    assert parse_version_2(header[:16], header[16:]) == Ends(End("192.0.2.7", 0), its)


async def test_a_header_says_that_nobody_is_known() -> None:
    nobody = {**WITH_PORTS, "peer": ""}
    assert (await told("proxy1", nobody))[0] == b"PROXY UNKNOWN\r\n"
    header, _, _ = await told("proxy2", nobody)
    assert parse_version_2(header[:16], header[16:]) is None


@pytest.mark.parametrize("name", ["", "/run/mailauth/socket", b"\0abstract", None, (), ("192.0.2.7",)])
def test_who_has_no_address_has_no_end(name: object) -> None:
    assert End.of(name) == UNKNOWN


def test_an_end_is_as_everywhere() -> None:
    assert End.of(("::ffff:192.0.2.7", 4001, 0, 0)) == End("192.0.2.7", 4001)
    assert End.of(("fe80::1%eth0", 4001, 0, 2)) == End("fe80::1", 4001)
