"""The header before everything else that tells a server behind us who the client is.

Source: HAProxy's proxy-protocol.txt, sections 2.1, 2.2 and 2.2.6. Rule: `serving/proxy.py` reads what this writes.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from mailauth.ends import Ends

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6 = 0x11, 0x21
PP2_TYPE_SSL, PP2_CLIENT_SSL = 0x20, 0x01
NOT_VERIFIED = 1  # the field `verify`: the client has shown no certificate


def version_1(ends: Ends) -> bytes:
    """That it is not known, when the client is not."""
    if not ends.client.address:
        return b"PROXY UNKNOWN\r\n"
    source, target = _same_family(ends.client.address, ends.server.address)
    family = "TCP4" if source.version == 4 else "TCP6"
    return f"PROXY {family} {source} {target} {ends.client.port} {ends.server.port}\r\n".encode()


def version_2(ends: Ends, *, tls: bool) -> bytes:
    """tls: whether the client came over TLS."""
    if not ends.client.address:
        return SIGNATURE + struct.pack(">BBH", LOCAL, 0, 0)
    source, target = _same_family(ends.client.address, ends.server.address)
    body = source.packed + target.packed + struct.pack(">HH", ends.client.port, ends.server.port)
    if tls:
        body += struct.pack(">BHBI", PP2_TYPE_SSL, 5, PP2_CLIENT_SSL, NOT_VERIFIED)
    return SIGNATURE + struct.pack(">BBH", PROXY, TCP4 if source.version == 4 else TCP6, len(body)) + body


def _same_family(one: str, other: str) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    """Both as IPv4, or both as IPv6 (RFC 4291 section 2.5.5.2)."""
    source, target = ip_address(one), ip_address(other)
    if source.version == target.version:
        return source, target
    return _mapped(source), _mapped(target)


def _mapped(address: IPv4Address | IPv6Address) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")
