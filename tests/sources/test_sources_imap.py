"""IMAP: against a real Dovecot, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Iterator

import daemons
import pytest
from daemons import ALICE_PASSWORD, ImapServer

from mailauth.factors.section import BadSection
from mailauth.interfaces import SourceUnavailable
from mailauth.sources import imap
from strange_servers import serving

ALICE = "alice@example.test"
RIGHT = ALICE_PASSWORD.encode()


@pytest.fixture(scope="module")
def dovecot() -> Iterator[ImapServer]:
    with daemons.imap_server() as there:
        yield there


@pytest.fixture(scope="module")
def broken_dovecot() -> Iterator[ImapServer]:
    with daemons.imap_server(broken=True) as there:
        yield there


def source(there: ImapServer, tls: str = "implicit", **options: object) -> imap.ImapSource:
    port = there.tls_port if tls == "implicit" else there.port
    return imap.build({"host": "localhost", "port": port, "tls": tls, "ca": there.ca, **options})


@pytest.mark.system
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
async def test_the_right_password_is_a_yes_and_any_other_a_no(dovecot, tls):
    there = source(dovecot, tls)
    assert await there.check(ALICE, RIGHT)
    assert not await there.check(ALICE, b"wrong")
    assert not await there.check(ALICE, b"\xff\xfe wrong")
    assert not await there.check(ALICE, b'") a LOGOUT\r\n')
    assert not await there.check("nobody@example.test", RIGHT)
    assert await source(dovecot, tls, user="{local}@{domain}").check(ALICE, RIGHT)


@pytest.mark.system
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
async def test_a_server_that_cannot_look_says_nothing_about_the_password(broken_dovecot, tls):
    with pytest.raises(SourceUnavailable):
        await source(broken_dovecot, tls).check(ALICE, RIGHT)


@pytest.mark.system
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
async def test_a_server_that_cannot_prove_its_name_hears_nothing(dovecot, tls):
    with pytest.raises(SourceUnavailable, match="TLS"):
        await source(dovecot, tls, ca="").check(ALICE, RIGHT)
    with pytest.raises(SourceUnavailable):
        await source(dovecot, tls, host="127.0.0.2").check(ALICE, RIGHT)


@pytest.mark.system
async def test_twenty_at_once(dovecot):
    there = source(dovecot)
    passwords = [RIGHT if number % 2 else b"wrong" for number in range(20)]
    said = await asyncio.gather(*[there.check(ALICE, password) for password in passwords])
    assert said == [password == RIGHT for password in passwords]


async def test_a_server_that_is_not_there_is_a_fault():
    with pytest.raises(SourceUnavailable):
        await imap.build({"host": "127.0.0.1", "port": 1, "tls": "off"}).check(ALICE, RIGHT)


# ---- servers that misbehave


@contextlib.asynccontextmanager
async def server_that_says(
    ending: str,
    *,
    greeting: str = "* OK hello",
    capability: str = "AUTH=PLAIN",
    heard: list[bytes] | None = None,
) -> AsyncIterator[imap.ImapSource]:
    """ending: of the login, with TAG for its tag; "" hangs up."""
    heard = [] if heard is None else heard

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting.encode() + b"\r\n")
        while line := await reader.readline():
            tag, _, command = line.partition(b" ")
            heard.append(command)
            if command.startswith(b"CAPABILITY"):
                writer.write(b"* CAPABILITY " + capability.encode() + b"\r\n" + tag + b" OK done\r\n")
                continue
            if command.startswith(b"LOGOUT"):
                return
            if "EARLY" not in ending:
                writer.write(b"+ \r\n")
                heard.append(await reader.readline())
                if command.startswith(b"LOGIN"):
                    writer.write(b"+ \r\n")
                    heard.append(await reader.readline())
            if ending:
                writer.write(ending.replace("EARLY ", "").encode().replace(b"TAG", tag) + b"\r\n")
                await writer.drain()
                writer.write_eof()
                await reader.read()
            return

    async with serving(serve) as port:
        yield imap.build({"host": "127.0.0.1", "port": port, "tls": "off"})


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("TAG OK in", True),
        ("TAG ok [CAPABILITY IMAP4rev1] in", True),
        ("* CAPABILITY IMAP4rev1\r\nTAG OK in", True),
        ("TAG NO", False),
        ("TAG NO Authentication failed.", False),
        ("TAG NO [AUTHENTICATIONFAILED] no", False),
        ("TAG NO [authenticationfailed] no", False),
    ],
)
async def test_what_an_answer_says_of_the_password(ending, said):
    async with server_that_says(ending) as there:
        assert await there.check(ALICE, RIGHT) is said


CODES = [
    "UNAVAILABLE",
    "AUTHORIZATIONFAILED",
    "EXPIRED",
    "PRIVACYREQUIRED",
    "CONTACTADMIN",
    "INUSE",
    "LIMIT",
    "SERVERBUG",
]


@pytest.mark.parametrize(
    "ending",
    [
        *[f"TAG NO [{code}] not now" for code in (*CODES, "ALERT", "X-UNKNOWN", "UNAVAILABLE some more")],
        *("TAG BAD what", "TAG BAD [CLIENTBUG] what", "* BYE going", "TAG NOPE", "TAG", "a1 OK in", "* OK in", ""),
        *("EARLY TAG NO no such mechanism", "EARLY TAG OK in", "EARLY TAG BAD what", "EARLY * BYE"),
        *("EARLY " + "* noise\r\n" * 200, "* noise\r\n" * 200, "x" * 100_000),
    ],
)
async def test_every_other_answer_is_a_fault(ending):
    async with server_that_says(ending) as there:
        with pytest.raises(SourceUnavailable) as fault:
            await there.check(ALICE, b"hunter2")
    assert "hunter2" not in str(fault.value)


@pytest.mark.parametrize("greeting", ["* PREAUTH you are in", "* BYE full", "+OK pop3", "HTTP/1.1 400"])
async def test_where_no_login_means_anything_none_is_tried(greeting):
    heard: list[bytes] = []
    async with server_that_says("TAG OK in", greeting=greeting, heard=heard) as there:
        with pytest.raises(SourceUnavailable):
            await there.check(ALICE, RIGHT)
    assert heard == []


async def test_where_there_is_no_plain_login_is_used_with_literals():
    heard: list[bytes] = []
    async with server_that_says("TAG OK in", capability="IMAP4rev1", heard=heard) as there:
        assert await there.check(ALICE, b'a "quoted" \xff')
    assert heard[1:4] == [b"LOGIN {18}\r\n", b"alice@example.test {12}\r\n", b'a "quoted" \xff\r\n']


async def test_plain_carries_every_byte():
    heard: list[bytes] = []
    async with server_that_says("TAG OK in", heard=heard) as there:
        assert await there.check(ALICE, b"\xff\r\n\x01")
    assert base64.b64decode(heard[2]) == b"\0alice@example.test\0\xff\r\n\x01"


async def test_where_neither_may_be_used_nothing_is_sent():
    heard: list[bytes] = []
    async with server_that_says("TAG OK in", capability="IMAP4rev1 LOGINDISABLED", heard=heard) as there:
        with pytest.raises(SourceUnavailable):
            await there.check(ALICE, RIGHT)
    assert set(heard) <= {b"CAPABILITY\r\n", b"LOGOUT\r\n"}


async def test_a_server_without_starttls_hears_no_password():
    heard: list[bytes] = []
    async with server_that_says("EARLY TAG BAD what", heard=heard) as there:
        without = imap.build({"host": "localhost", "port": there.port, "tls": "starttls"})
        with pytest.raises(SourceUnavailable):
            await without.check(ALICE, RIGHT)
    assert heard == [b"STARTTLS\r\n"]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({}, "host"),
        ({"host": "mail.example.test", "tls": "off"}, "tls"),
        ({"host": "x", "tls": "ssl"}, "tls"),
        ({"host": "x", "port": 70_000}, "port"),
        ({"host": "x", "user": "alice"}, "user"),
        ({"host": "x", "user": "{name}"}, "user"),
        ({"host": "x", "ca": "/no/such/file"}, "ca"),
    ],
)
def test_a_section_that_cannot_be_is_refused_with_its_key(options, key):
    with pytest.raises(BadSection) as bad:
        imap.build(options)
    assert bad.value.key == key
