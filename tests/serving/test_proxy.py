"""PROXY headers: what they say, what they may not say, and that nothing behind them is taken."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator

import pytest

from mailauth.ends import End, Ends
from mailauth.serving.proxy import SIGNATURE, BadHeader, parse_version_1, parse_version_2, read_header

BEHIND = b"\x16\x03\x01 the ClientHello"
ADDRESSES_4 = socket.inet_aton("198.51.100.7") + socket.inet_aton("192.0.2.1") + struct.pack(">HH", 50000, 993)
ADDRESSES_6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack(">HH", 50000, 993)
)
MAPPED = socket.inet_pton(socket.AF_INET6, "::ffff:198.51.100.7") * 2 + bytes(4)
FROM_4 = Ends(End("198.51.100.7", 50000), End("192.0.2.1", 993))
FROM_6 = Ends(End("2001:db8::7", 50000), End("2001:db8::1", 993))
LONGEST = ":".join(["ffff"] * 8)


def version_2(command: int, family: int, body: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(body) if length is None else length) + body


GOOD = [
    (b"PROXY TCP4 198.51.100.7 192.0.2.1 50000 993\r\n", Ends(End("198.51.100.7", 50000), End("192.0.2.1", 993))),
    (b"PROXY TCP4 1.1.1.1 1.1.1.1 0 0\r\n", Ends(End("1.1.1.1", 0), End("1.1.1.1", 0))),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 993\r\n", Ends(End("2001:db8::7", 50000), End("2001:db8::1", 993))),
    (b"PROXY TCP6 2001:0db8:0:0:0:0:0:0007 ::1 1 1\r\n", Ends(End("2001:db8::7", 1), End("::1", 1))),
    (b"PROXY TCP6 ::ffff:198.51.100.7 ::1 50000 993\r\n", Ends(End("198.51.100.7", 50000), End("::1", 993))),
    (b"PROXY TCP6 " + b" ".join([LONGEST.encode()] * 2) + b" 65535 65535\r\n", Ends(*[End(LONGEST, 65535)] * 2)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (b"PROXY UNKNOWN anything at all\r\n", None),
    (version_2(0x21, 0x11, ADDRESSES_4), FROM_4),
    (version_2(0x21, 0x11, ADDRESSES_4 + b"\x04\0\x03abc"), FROM_4),
    (version_2(0x21, 0x21, ADDRESSES_6), FROM_6),
    (version_2(0x21, 0x21, ADDRESSES_6 + bytes(2000)), FROM_6),
    (version_2(0x21, 0x21, MAPPED), Ends(End("198.51.100.7"), End("198.51.100.7"))),
    (version_2(0x20, 0x00, b""), None),
    (version_2(0x20, 0x11, ADDRESSES_4), None),
    (version_2(0x21, 0x00, b""), None),
    (version_2(0x21, 0x00, bytes(100)), None),
]
BAD = [
    b"PROXY TCP4 198.51.100.7 192.0.2.1 50000\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.1 50000 993 1\r\n",
    b"PROXY TCP4  198.51.100.7 192.0.2.1 50000 993\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.1 65536 993\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.1 -1 993\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.1 50000 \xb9\r\n",
    b"PROXY TCP4 198.51.100.256 192.0.2.1 1 1\r\n",
    b"PROXY TCP4 198.51.100.7 nowhere 1 1\r\n",
    b"PROXY TCP4 \xff 192.0.2.1 50000 993\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 1\r\n",
    b"PROXY TCP4 198.51.100.7 2001:db8::1 1 1\r\n",
    b"PROXY TCP6 198.51.100.7 192.0.2.1 1 1\r\n",
    b"PROXY TCP6 fe80::1%eth0 fe80::2 1 1\r\n",
    b"PROXY TCP6 fe80::1 fe80::2%eth0 1 1\r\n",
    b"PROXY UDP4 198.51.100.7 192.0.2.1 1 1\r\n",
    b"PROXY UNKNOWNS\r\n" + bytes(20),
    b"PROXY TCP4 \r\n\r\n\r\n\r\n\r\n",
    b"PROXY " + b"x" * 200 + b"\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.1 1 1\n" + b"x" * 100,
    b"proxy TCP4 198.51.100.7 192.0.2.1 1 1\r\n",
    b"a LOGIN alice@example.test secret\r\n",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 a ClientHello",
    SIGNATURE[:-1] + b"\rrest of it",
    version_2(0x11, 0x11, ADDRESSES_4),
    version_2(0x31, 0x11, ADDRESSES_4),
    version_2(0x22, 0x11, ADDRESSES_4),
    version_2(0x21, 0x12, ADDRESSES_4),  # UDP
    version_2(0x21, 0x31, bytes(216)),  # UNIX
    version_2(0x21, 0x41, ADDRESSES_4),
    version_2(0x21, 0x11, ADDRESSES_4[:11]),
    version_2(0x21, 0x11, b""),
    version_2(0x21, 0x21, ADDRESSES_4),
]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours and the proxy's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]
Said = Ends | None


@pytest.mark.parametrize(("header", "said"), GOOD)
async def test_a_header_is_read_and_not_one_byte_more(pair: Pair, header: bytes, said: Said) -> None:
    ours, theirs = pair
    theirs.send(header + BEHIND)
    assert await read_header(ours, 5.0) == said
    assert ours.recv(1000) == BEHIND


@pytest.mark.parametrize(("header", "said"), GOOD)
async def test_a_header_may_dribble(pair: Pair, header: bytes, said: Said) -> None:
    ours, theirs = pair
    reading = asyncio.ensure_future(read_header(ours, 5.0))
    for at in range(len(header)):
        theirs.send(header[at : at + 1])
        await asyncio.sleep(0)
    assert await reading == said
    theirs.send(BEHIND)
    assert ours.recv(1000) == BEHIND


@pytest.mark.parametrize("cut", [1, 14, 15, 16, 20, 44, 45, 46])
async def test_a_header_may_come_in_two(pair: Pair, cut: int) -> None:
    ours, theirs = pair
    data = GOOD[0][0] + BEHIND  # 46 octets of header
    reading = asyncio.ensure_future(read_header(ours, 5.0))
    theirs.send(data[:cut])
    for _ in range(3):  # it has taken what there is, and waits
        await asyncio.sleep(0)
    theirs.send(data[cut:])
    assert await reading == FROM_4
    assert ours.recv(1000) == BEHIND


@pytest.mark.parametrize("header", BAD)
async def test_anything_else_is_bad(pair: Pair, header: bytes) -> None:
    ours, theirs = pair
    theirs.send(header)
    with pytest.raises(BadHeader):
        await read_header(ours, 5.0)


@pytest.mark.parametrize("sent", [b"", b"PROXY", b"PROXY TCP4 198.51.100.7 192.", SIGNATURE, GOOD[9][0][:-1]])
async def test_a_header_cut_short_is_bad(pair: Pair, sent: bytes) -> None:
    ours, theirs = pair
    theirs.send(sent)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(BadHeader, match="closed"):
        await read_header(ours, 5.0)


@pytest.mark.parametrize("sent", [b"", b"PROXY", b"PROXY TCP4 198.51.100.7 192.", SIGNATURE, GOOD[9][0][:-1]])
async def test_a_header_that_does_not_come_is_bad(pair: Pair, sent: bytes) -> None:
    ours, theirs = pair
    theirs.send(sent)
    with pytest.raises(BadHeader, match="in time"):
        await read_header(ours, 0.01)


@pytest.mark.parametrize("length", [2049, 65535])
async def test_a_long_header_is_not_even_awaited(pair: Pair, length: int) -> None:
    ours, theirs = pair
    theirs.send(version_2(0x21, 0x11, ADDRESSES_4, length))
    with pytest.raises(BadHeader, match="too long"):
        await read_header(ours, 5.0)


def test_a_line_has_an_end() -> None:
    with pytest.raises(BadHeader):
        parse_version_1(b"PROXY UNKNOWN")


def test_a_local_connection_is_the_proxys_own_whatever_stands_behind() -> None:
    assert parse_version_2(version_2(0x20, 0xFF, b""), b"garbage") is None
