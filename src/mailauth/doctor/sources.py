"""From which address a door is tried: one of this machine's that no proxy would have.

A daemon takes who comes from its own address for somebody at the same machine (Dovecot even for one on a safe line),
and a proxy comes from 127.0.0.1. So we come from elsewhere on the loopback, all of which is ours on Linux (RFC 1122
section 3.2.1.3); where that cannot be had, from where the system says.
"""

from __future__ import annotations

import secrets
import socket

from mailauth.doctor.hosts.host import Door

FIRST, LAST = 64, 127  # of the second octet: where nobody has anything of his own


def source_for(door: Door, number: int = 1, network: str = "") -> str:
    """The address to come from; "": the system's choice. number: 1 to 250; network: of `new_network`."""
    if ":" in door.host or not is_here(door.host):
        return ""
    address = f"{network or new_network()}.{number}"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        try:
            trial.bind((address, 0))
        except OSError:
            return ""
    return address


def new_network() -> str:
    """The first three octets of addresses that nobody else comes from just now."""
    return f"127.{secrets.randbelow(LAST - FIRST + 1) + FIRST}.{secrets.randbelow(254) + 1}"


def is_here(host: str) -> bool:
    """Whether this address, or all addresses of this name, are this machine's own."""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    return bool(found) and all(is_own(str(address)) for address in found)


def is_own(address: str) -> bool:
    """Whether this IP address is this machine's."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True
