"""Who is at the other end of a UNIX socket, and whether they may ask.

Source: unix(7), SO_PEERCRED; unix(4) of macOS and FreeBSD, LOCAL_PEERCRED (struct xucred of sys/ucred.h).
Rule: asked once for each connection, before a word is said. Groups are those of the user database, as login(1) would
give them: a mail server's processes may have dropped theirs.
"""

from __future__ import annotations

import grp
import logging
import os
import pwd
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

from mailauth.attempt import address_text

UCRED = struct.Struct("iII")  # pid, uid, gid
XUCRED = struct.Struct("=IIhxx16I")  # version, uid, how many groups, groups
SOL_LOCAL, LOCAL_PEERCRED = 0, 1
MOST_USERS = 64  # whose groups are remembered, and of whom it is said once that they may not ask

log = logging.getLogger(__name__)


class NoSuchName(Exception):
    """This system knows no such user or group. The text says which, and what to do."""


def user_id(name: str) -> int:
    """A user's number; a number stands for itself. Raises NoSuchName."""
    try:
        return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise NoSuchName(f"there is no user {name!r} on this machine; make it, or name another") from None


def group_id(name: str) -> int:
    """A group's number; a number stands for itself. Raises NoSuchName."""
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise NoSuchName(f"there is no group {name!r} on this machine; make it, or name another") from None


def credentials(sock: socket.socket) -> tuple[int, frozenset[int]]:
    """The user and the groups of the process that connected. Raises OSError."""
    if sys.platform == "darwin" or "bsd" in sys.platform:
        _, uid, count, *groups = XUCRED.unpack(sock.getsockopt(SOL_LOCAL, LOCAL_PEERCRED, XUCRED.size))
        return uid, frozenset(groups[:count])
    _, uid, gid = UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
    return uid, _groups_of(uid) | {gid}


@lru_cache(MOST_USERS)
def _groups_of(uid: int) -> frozenset[int]:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))


@dataclass(slots=True)
class LocalPeers:
    """Admits root, ourselves, these users and the members of these groups. name: of the door, for the log."""

    name: str
    users: Iterable[int] = ()
    groups: Iterable[int] = ()
    _turned_away: set[int] = field(default_factory=set)

    def __call__(self, sock: socket.socket) -> bool:
        """Whether this connection may come in."""
        try:
            uid, groups = credentials(sock)
        except OSError as error:  # it has left already
            log.debug("%s: a peer cannot be told: %s", self.name, error.strerror)
            return False
        if uid in {0, os.geteuid(), *self.users} or groups & {*self.groups}:
            return True
        if uid not in self._turned_away and len(self._turned_away) < MOST_USERS:
            self._turned_away.add(uid)
            log.error(
                "%s: a process of user %s was turned away; if it is your mail server's, name it in users",
                self.name,
                uid,
            )
        return False


@dataclass(slots=True)
class NetworkPeers:
    """Admits these networks. name: of the door, for the log."""

    name: str
    networks: Sequence[IPv4Network | IPv6Network]
    _turned_away: set[str] = field(default_factory=set)

    def __call__(self, sock: socket.socket) -> bool:
        """Whether this connection may come in."""
        try:
            peer = address_text(sock.getpeername())
        except OSError:  # it has left already
            return False
        if any(ip_address(peer) in network for network in self.networks):
            return True
        if peer not in self._turned_away and len(self._turned_away) < MOST_USERS:
            self._turned_away.add(peer)
            log.error("%s: %s was turned away; if it is your mail server, name it in hosts", self.name, peer)
        return False
