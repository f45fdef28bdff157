"""The PROXY protocol, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt), from configured networks only.

Rule: exactly the header is read from the socket, so that a ClientHello in the same segment is still there for TLS.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from ipaddress import IPv4Address, IPv6Address

from mailauth.ends import End, Ends

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1_SHORTEST = len(b"PROXY UNKNOWN\r\n")  # as long as what tells the versions apart, and no header is shorter
V1_LONGEST = 107  # section 2.1
V2_HEAD = 16
V2_LONGEST = 2048  # addresses and TLVs; real ones stay far below


class BadHeader(Exception):
    """A proxy that should have sent a header did not, or not a right one."""


async def read_header(sock: socket.socket, timeout_s: float) -> Ends | None:
    """The real client, and where it connected; None: the proxy speaks for itself (LOCAL, UNKNOWN).

    sock: non-blocking, nothing read yet. Raises BadHeader, also when it takes too long; OSError when the peer left.
    """
    try:
        async with asyncio.timeout(timeout_s):
            head = await _exactly(sock, V1_SHORTEST)
            if head.startswith(SIGNATURE):
                return await _version_2(sock, head)
            if head.startswith(b"PROXY "):
                return parse_version_1(await _to_line_end(sock, head))
    except TimeoutError:
        raise BadHeader("no PROXY header in time") from None
    raise BadHeader("no PROXY header")


def parse_version_1(line: bytes) -> Ends | None:
    """What a whole v1 line says. Raises BadHeader."""
    if not line.endswith(b"\r\n"):
        raise BadHeader("PROXY v1 line without end")
    words = line[:-2].split(b" ")
    if words[:2] == [b"PROXY", b"UNKNOWN"]:
        return None
    if len(words) != 6 or words[1] not in {b"TCP4", b"TCP6"} or not (_is_port(words[4]) and _is_port(words[5])):
        raise BadHeader("unreadable PROXY v1 line")
    family = IPv4Address if words[1] == b"TCP4" else IPv6Address
    try:
        source, target = (family(word.decode("ascii")) for word in words[2:4])
    except ValueError:
        raise BadHeader("unreadable address in PROXY v1 line") from None
    return Ends(End(_text(source), int(words[4])), End(_text(target), int(words[5])))


def parse_version_2(head: bytes, body: bytes) -> Ends | None:
    """What a v2 header says. head: its first 16 octets; body: as long as they say. Raises BadHeader."""
    version, command = head[12] >> 4, head[12] & 0x0F
    family, transport = head[13] >> 4, head[13] & 0x0F
    if version != 2 or command > 1:
        raise BadHeader("unknown PROXY v2 version or command")
    if command == 0 or family == 0:  # LOCAL: a health check of the proxy's own; UNSPEC: it cannot tell
        return None
    if family == 1 and transport == 1 and len(body) >= 12:
        return _ends(IPv4Address(body[:4]), IPv4Address(body[4:8]), body[8:12])
    if family == 2 and transport == 1 and len(body) >= 36:
        return _ends(IPv6Address(body[:16]), IPv6Address(body[16:32]), body[32:36])
    raise BadHeader("PROXY v2 header without a TCP address")


def _ends(source: IPv4Address | IPv6Address, target: IPv4Address | IPv6Address, ports: bytes) -> Ends:
    of_source, of_target = struct.unpack(">HH", ports)
    return Ends(End(_text(source), of_source), End(_text(target), of_target))


def _text(address: IPv4Address | IPv6Address) -> str:
    """As everywhere: mapped IPv4 is IPv4. Raises BadHeader for a scope id: it names an interface of somebody else's."""
    if isinstance(address, IPv4Address):
        return str(address)
    if address.scope_id is not None:
        raise BadHeader("address with a scope id in PROXY header")
    return str(address.ipv4_mapped or address)


async def _version_2(sock: socket.socket, head: bytes) -> Ends | None:
    head += await _exactly(sock, V2_HEAD - len(head))
    (length,) = struct.unpack(">H", head[14:16])
    if length > V2_LONGEST:
        raise BadHeader("PROXY v2 header too long")
    return parse_version_2(head, await _exactly(sock, length))


async def _exactly(sock: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    got = b""
    while len(got) < count:
        more = await loop.sock_recv(sock, count - len(got))
        if not more:
            raise BadHeader("connection closed within the PROXY header")
        got += more
    return got


async def _to_line_end(sock: socket.socket, got: bytes) -> bytes:
    """The rest of a v1 line. What is in the socket is looked at first, so that nothing behind the line is taken."""
    while b"\r\n" not in got:
        if len(got) >= V1_LONGEST:
            raise BadHeader("PROXY v1 line too long")
        try:
            ahead = sock.recv(V1_LONGEST - len(got), socket.MSG_PEEK)
        except BlockingIOError:
            ahead = b""
        end = (got + ahead).find(b"\r\n")
        wanted = end + 2 - len(got) if end >= 0 else len(ahead)
        got += await _exactly(sock, max(wanted, 1))
    return got


def _is_port(word: bytes) -> bool:
    return word.isdigit() and len(word) <= 5 and int(word) <= 65535
