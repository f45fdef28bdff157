"""What a PROXY header of ours says, as our own reader and the document have it."""

from __future__ import annotations

import struct

import pytest

from mailauth.backends.proxy_header import SIGNATURE, version_1, version_2
from mailauth.ends import UNKNOWN, End, Ends
from mailauth.serving.proxy import V1_LONGEST, parse_version_1, parse_version_2

V4, V6 = End("192.0.2.7", 4001), End("2001:db8::7", 4001)
SERVER_4, SERVER_6 = End("127.0.0.1", 143), End("::1", 143)
LONGEST = End("2001:db8:1111:2222:3333:4444:5555:6666", 65535)
ENDS = [(V4, SERVER_4), (V6, SERVER_6), (V4, SERVER_6), (V6, SERVER_4), (LONGEST, LONGEST), (End("192.0.2.7"), V4)]


@pytest.mark.parametrize("ends", [Ends(client, server) for client, server in ENDS])
def test_both_versions_name_the_client_and_where_it_connected(ends: Ends) -> None:
    line = version_1(ends)
    assert parse_version_1(line) == ends
    assert len(line) <= V1_LONGEST
    for tls in (False, True):
        header = version_2(ends, tls=tls)
        assert header.startswith(SIGNATURE)
        assert struct.unpack(">H", header[14:16])[0] == len(header) - 16
        assert parse_version_2(header[:16], header[16:]) == ends


def test_version_1_is_one_line() -> None:
    assert version_1(Ends(V4, SERVER_4)) == b"PROXY TCP4 192.0.2.7 127.0.0.1 4001 143\r\n"
    assert version_1(Ends(V6, SERVER_4)) == b"PROXY TCP6 2001:db8::7 ::ffff:7f00:1 4001 143\r\n"
    assert version_1(Ends(UNKNOWN, SERVER_4)) == b"PROXY UNKNOWN\r\n"
    assert parse_version_1(version_1(Ends(UNKNOWN, SERVER_4))) is None


def test_version_2_says_that_the_client_had_tls() -> None:
    plain, secured = (version_2(Ends(V4, SERVER_4), tls=tls) for tls in (False, True))
    assert plain[12:] == bytes.fromhex("2111000c c0000207 7f000001 0fa1008f")
    assert secured[12:] == bytes.fromhex("21110014 c0000207 7f000001 0fa1008f 200005 01 00000001")
    assert version_2(Ends(UNKNOWN, SERVER_4), tls=True)[12:] == bytes.fromhex("20000000")
