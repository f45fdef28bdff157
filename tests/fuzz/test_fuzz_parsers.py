"""Any bytes to the parsers under the Dialogues and before them."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailauth import plugins
from mailauth.attempt import Credential
from mailauth.ends import End, Ends
from mailauth.imap import syntax
from mailauth.sasl.encoded import Broken, EncodedExchange, Prompt
from mailauth.sasl.mechanism import Malformed, decode, decode_initial, encode
from mailauth.serving.proxy import SIGNATURE, BadHeader, parse_version_1, parse_version_2, read_header

EXAMPLES = settings(max_examples=300, deadline=None)
BASE64ISH = (
    st.binary(max_size=60) | st.text("ABab01+/=*", max_size=40).map(str.encode) | st.binary(max_size=30).map(encode)
)


@given(encoded=BASE64ISH)
@EXAMPLES
def test_base64_is_read_or_malformed(encoded: bytes) -> None:
    for read in (decode, decode_initial):
        with suppress(Malformed):
            assert encode(read(encoded)) == encoded or encoded == b"="


@given(message=st.binary(max_size=200))
@EXAMPLES
def test_what_is_encoded_is_read_again(message: bytes) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("name", ["plain", "login"])
@given(initial=st.none() | BASE64ISH, answers=st.lists(BASE64ISH, min_size=3, max_size=3))
@EXAMPLES
def test_an_exchange_always_comes_to_an_end(name: str, initial: bytes | None, answers: list[bytes]) -> None:
    exchange = EncodedExchange(plugins.load("sasl", name))
    turn = exchange.begin(initial)
    for answer in answers:
        if not isinstance(turn, Prompt):
            break
        turn = exchange.answer(answer)
    assert isinstance(turn, Credential | Broken)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(authzid=TEXT | st.just(""), authcid=TEXT, password=TEXT)
@EXAMPLES
def test_plain_gives_back_what_was_put_in(authzid: str, authcid: str, password: str) -> None:
    message = encode(f"{authzid}\0{authcid}\0{password}".encode())
    assert EncodedExchange(plugins.load("sasl", "plain")).begin(message) == Credential(authcid, password, authzid)


def quoted(value: bytes) -> bytes:
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def literal(value: bytes) -> bytes:
    return b"{%d+}\r\n%s" % (len(value), value)


@given(values=st.lists(st.tuples(st.binary(max_size=30), st.booleans()), max_size=6))
@EXAMPLES
def test_strings_give_back_what_was_put_in(values: list[tuple[bytes, bool]]) -> None:
    texts = [
        quoted(value) if is_quoted and not set(value) & set(b"\r\n\0") else literal(value)
        for value, is_quoted in values
    ]
    assert syntax.strings(b" ".join(texts)) == [value for value, _ in values]


IMAPISH = st.binary(max_size=80) | st.text('ab01 (){}+"\\\r\n%*', max_size=80).map(str.encode)


@given(text=IMAPISH)
@EXAMPLES
def test_arguments_are_read_or_bad(text: bytes) -> None:
    for read in (syntax.strings, syntax.pairs):
        try:
            read(text)
        except syntax.BadSyntax as bad:
            assert str(bad).isascii()
    found = syntax.announced(text)
    assert found is None or found.size_bytes >= 0


def are_ends(said: Ends) -> bool:
    return all(
        str(ip_address(end.address)) == end.address and 0 <= end.port < 65536 for end in (said.client, said.server)
    )


@given(line=st.binary(max_size=120) | st.text("PROXYTCP46UNKW 0123456789.:abcf%\r\n", max_size=107).map(str.encode))
@EXAMPLES
def test_a_version_1_header_is_read_or_bad(line: bytes) -> None:
    for text in (line, b"PROXY TCP4 " + line + b"\r\n", b"PROXY TCP6 " + line + b"\r\n"):
        try:
            said = parse_version_1(text)
        except BadHeader:
            continue
        assert said is None or are_ends(said)


@given(head=st.binary(min_size=16, max_size=16), body=st.binary(max_size=60))
@EXAMPLES
def test_a_version_2_header_is_read_or_bad(head: bytes, body: bytes) -> None:
    for start in (head, SIGNATURE + head[12:], SIGNATURE + b"\x21" + head[13:], SIGNATURE + b"\x21\x21" + head[14:]):
        try:
            said = parse_version_2(start, body)
        except BadHeader:
            continue
        assert said is None or are_ends(said)


PORTS = st.integers(0, 65535)


@given(client=st.ip_addresses(), port=PORTS)
@EXAMPLES
def test_a_header_gives_back_the_client(client: IPv4Address | IPv6Address, port: int) -> None:
    proxy = "192.0.2.1" if client.version == 4 else "2001:db8::1"
    expected = Ends(End(str(getattr(client, "ipv4_mapped", None) or client), port), End(proxy, 993))
    assert parse_version_1(f"PROXY TCP{client.version} {client} {proxy} {port} 993\r\n".encode()) == expected
    body = client.packed + ip_address(proxy).packed + struct.pack(">HH", port, 993)
    head = SIGNATURE + bytes((0x21, 0x11 if client.version == 4 else 0x21)) + struct.pack(">H", len(body))
    assert parse_version_2(head, body) == expected


@given(
    data=st.binary(max_size=80),
    version=st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0"]),
)
@settings(max_examples=80, deadline=None)
def test_whatever_a_proxy_sends_it_is_read_or_bad(data: bytes, version: bytes) -> None:
    async def read() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.send(version + data)
            theirs.close()
            with suppress(BadHeader):
                await read_header(ours, 5.0)

    with asyncio.Runner() as runner:
        runner.run(read())
