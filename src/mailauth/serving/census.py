"""Who is connected: how many in all and from each source, and who has to go when there is no room.

A connection is counted from its accept on, although it can speak only later, when a proxy has named the client and the
TLS handshake is done. So it has one place from first to last, which changes hands once: from what was accepted to what
speaks. Rule: no clocks, no sockets; a connection is anything with `end`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(slots=True, eq=False)
class Place:
    """One connection's. source: None until it is named; heir: who comes for it."""

    connection: Connection
    source: str | None = None
    heir: Connection | None = None


class Census:
    """Counts connections. trusted: networks (webmail, proxies) whose sources have no bound of their own."""

    def __init__(self, max_total: int, max_per_source: int, trusted: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._max_total = max_total
        self._max_per_source = max_per_source
        self._trusted = trusted
        self._per_source: dict[str, int] = {}
        self._strangers: OrderedDict[Place, None] = OrderedDict()  # not logged in, oldest first
        self._places: dict[Connection, Place] = {}
        self._heirs: dict[Connection, Place] = {}
        self.when_empty: Callable[[], object] | None = None  # told each time the last one leaves

    def __len__(self) -> int:
        return len(self._places)

    def bound(self, most: int) -> None:
        """There is no room for more than so many, whatever was said before."""
        self._max_total = min(self._max_total, most)

    def enter(self, connection: Connection, peer: str | None) -> Ending | None:
        """Count a connection; an Ending: there is no room for it. A full house drops its oldest stranger first.

        peer: None: not known yet; it counts towards the total, and towards its source once it enters again with a name.
        One that has a place, or is the heir of one, keeps that.
        """
        place = self._places.get(connection) or self._inherited(connection)
        source = None
        if peer is not None and (place is None or place.source is None):
            source = source_of(peer)
            if self._per_source.get(source, 0) >= self._max_per_source and not self._is_trusted(peer):
                self.leave(connection)
                return Ending.CROWDED
        if place is None:
            if len(self._places) >= self._max_total and not self.make_room():
                return Ending.CROWDED
            place = self._places[connection] = Place(connection)
            self._strangers[place] = None
        if source is not None:
            place.source = source
            self._per_source[source] = self._per_source.get(source, 0) + 1
        return None

    def hand_over(self, connection: Connection, heir: Connection) -> None:
        """Let the heir have this one's place when it enters. Until then it cannot be told to end, and this one is."""
        place = self._places.get(connection)
        if place is not None:
            place.heir = heir
            self._heirs[heir] = place

    def make_room(self) -> bool:
        """Drop the oldest stranger; False: there is none."""
        if not self._strangers:
            return False
        oldest = next(iter(self._strangers)).connection
        self.leave(oldest)
        oldest.end(Ending.CROWDED)
        return True

    def logged_in(self, connection: Connection) -> None:
        """This one is no stranger any more."""
        place = self._places.get(connection)
        if place is not None:
            self._strangers.pop(place, None)

    def leave(self, connection: Connection) -> None:
        """This one is gone; told twice, it counts once."""
        place = self._places.pop(connection, None)
        if place is None:
            return
        self._strangers.pop(place, None)
        if place.heir is not None:
            del self._heirs[place.heir]
        if place.source is not None:
            left = self._per_source[place.source] - 1
            if left:
                self._per_source[place.source] = left
            else:
                del self._per_source[place.source]
        if not self._places and self.when_empty is not None:
            self.when_empty()

    def everyone(self) -> list[Connection]:
        """All connections there are now."""
        return list(self._places)

    def _inherited(self, heir: Connection) -> Place | None:
        place = self._heirs.pop(heir, None)
        if place is not None:
            del self._places[place.connection]
            place.connection, place.heir = heir, None
            self._places[heir] = place
        return place

    def _is_trusted(self, peer: str) -> bool:
        if not self._trusted:
            return False
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)
