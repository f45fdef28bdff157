"""Who is connected: how many in all and from each source, and who has to go when there is no room.

Rule: no clocks, no sockets; a connection is anything with `end`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Protocol

from mailauth.dialogue import Ending

IPV6_SOURCE_BITS = 64  # one customer's network (RFC 6177): counted as one source


class Connection(Protocol):
    """One connection, as far as its place here matters."""

    def end(self, cause: Ending) -> None:
        """Say goodbye and close."""


def source_of(peer: str) -> str:
    """What counts as one source: the IPv4 address, or the IPv6 /64."""
    if ":" not in peer:
        return peer
    try:
        address = ip_address(peer)
    except ValueError:
        return peer
    return str(ip_network((address, IPV6_SOURCE_BITS), strict=False))


class Census:
    """Counts connections. trusted: networks (webmail, proxies) whose sources have no bound of their own."""

    def __init__(self, max_total: int, max_per_source: int, trusted: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._max_total = max_total
        self._max_per_source = max_per_source
        self._trusted = trusted
        self._per_source: dict[str, int] = {}
        self._strangers: dict[Connection, None] = {}  # not logged in, oldest first
        self._members: dict[Connection, str] = {}
        self.when_empty: Callable[[], object] | None = None  # told each time the last one leaves

    def __len__(self) -> int:
        return len(self._members)

    def enter(self, connection: Connection, peer: str) -> Ending | None:
        """Count a new connection; an Ending: there is no room for it. A full house drops its oldest stranger first."""
        source = source_of(peer)
        count = self._per_source.get(source, 0)
        if count >= self._max_per_source and not self._is_trusted(peer):
            return Ending.CROWDED
        if len(self._members) >= self._max_total:
            if not self._strangers:
                return Ending.CROWDED
            oldest = next(iter(self._strangers))
            self.leave(oldest)
            oldest.end(Ending.CROWDED)
        self._per_source[source] = self._per_source.get(source, 0) + 1
        self._members[connection] = source
        self._strangers[connection] = None
        return None

    def logged_in(self, connection: Connection) -> None:
        """This one is no stranger any more."""
        self._strangers.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """This one is gone; told twice, it counts once."""
        source = self._members.pop(connection, None)
        if source is None:
            return
        self._strangers.pop(connection, None)
        left = self._per_source[source] - 1
        if left:
            self._per_source[source] = left
        else:
            del self._per_source[source]
        if not self._members and self.when_empty is not None:
            self.when_empty()

    def everyone(self) -> list[Connection]:
        """All connections there are now."""
        return list(self._members)

    def _is_trusted(self, peer: str) -> bool:
        if not self._trusted:
            return False
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)
