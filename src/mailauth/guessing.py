"""What is counted of wrong guesses, and how many anybody may have: the bounds, and who counts as one source.

Source: NIST SP 800-63B-4, section 3.2.2 (100 wrong passwords in a row on one account, then a wait that grows from 30 s
to an hour); RFC 6177 (an IPv6 site has a /48, one of its networks a /64). A count is of distinct wrong secrets, and
falls by time alone.
Rule: values and arithmetic; whoever counts, stores or shows guesses does it by these.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from mailauth.attempt import BRIDGE

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NEAR_NOTHING = 1e-6  # of a guess: so much is rounding
FIRST_DELAY_S, LONGEST_DELAY_S = 30.0, 3600.0
DELAYS_UNTIL_LONGEST = 7  # 30 s doubled seven times is more than an hour

SOURCE_BITS = {4: 32, 6: 64}
NETWORK_BITS = {4: 24, 6: 48}


@dataclass(frozen=True, slots=True)
class Limit:
    """How many guesses a subject of one kind has.

    kind: as it is stored. guesses: so many at once; refill_s: after this time, one more. lent: so many more to whoever
    has a reserve; None: any number, and the reserve pays for them alone. worth: with fewer, nobody else is told.
    delays: beyond `guesses`, it is a growing delay since the last wrong one that admits the next.
    """

    kind: str
    guesses: float
    refill_s: float
    lent: float | None = 0.0
    worth: float = 2.0
    delays: bool = False

    @property
    def most(self) -> float:
        """More is not counted, so that whatever processes add up between them ends soon."""
        return self.guesses + DELAYS_UNTIL_LONGEST if self.delays else 2 * self.guesses

    def after(self, spent: float, elapsed_s: float) -> float:
        """What is left of a count after so long. A clock that was set back takes nothing away and adds nothing."""
        return max(0.0, spent - max(0.0, elapsed_s) / self.refill_s)

    def wait_s(self, spent: float, held: int, idle_s: float) -> float:
        """How long until one more guess is admitted; 0: now. held: admitted, not judged yet. idle_s: since the last."""
        over = spent + held + 1.0 - self.guesses
        if over <= NEAR_NOTHING:
            return 0.0
        if not self.delays:
            return over * self.refill_s
        doublings = min(max(0.0, over - 1.0), DELAYS_UNTIL_LONGEST)
        delay_s = min(FIRST_DELAY_S * math.exp2(doublings), LONGEST_DELAY_S, over * self.refill_s)
        return delay_s if held else max(0.0, delay_s - max(0.0, idle_s))

    def lends(self, spent: float, held: int) -> bool:
        """Whether one more guess is admitted to whoever has a reserve."""
        return self.lent is None or spent + held + 1.0 <= self.guesses + self.lent + NEAR_NOTHING


# What one source has, the six lent to its known-good pairs included, is 39 at once, and one more in 30 s: 40.
SOURCE = Limit("source", 33, 30.0, lent=6)
NETWORK = Limit("network", 264, 3.75, lent=48, worth=16.0)
ACCOUNT = Limit("account", 100, 864.0, lent=None, delays=True)  # of web passwords; by time alone, 100 in a day
RESERVE = Limit("reserve", 5, 300.0)  # of a known-good pair of source and account
DEVICE = Limit("device", 5, 300.0, worth=math.inf)  # of a device that its account's owner has signed in on
LIMITS = {limit.kind: limit for limit in (SOURCE, NETWORK, ACCOUNT, RESERVE, DEVICE)}

KNOWN = "known"  # not counted but remembered: a known-good pair
KNOWN_S = 30 * 86400.0  # so long after somebody last got in
ACCOUNTS, SOURCES, EVERYTHING = "account", "source", "all"  # what can be cleared


@dataclass(frozen=True, slots=True)
class Told:
    """What one process tells the others: so much was added to the count of this subject, or the pair was known now."""

    kind: str
    subject: str
    added: float


@dataclass(frozen=True, slots=True)
class Count:
    """What the others have told: the count of all processes together, as it was idle_s ago."""

    kind: str
    subject: str
    spent: float
    idle_s: float


def parsed(peer: str) -> Address | None:
    """The address of a peer, an IPv4-mapped one as IPv4; None: it has none (a UNIX socket)."""
    try:
        address = ip_address(peer)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def source_of(address: Address) -> str:
    """What counts as one source: an IPv4 address, an IPv6 /64."""
    return str(address) if address.version == 4 else _around(address, SOURCE_BITS)


def network_of(address: Address) -> str:
    """What counts as one network: an IPv4 /24, an IPv6 /48."""
    return _around(address, NETWORK_BITS)


def pair(whence: str, account_id: int) -> str:
    """The subject of a known-good pair and of its reserve. whence: a source or a device."""
    return f"{whence}|{account_id}"


def cleared_by(scope: str, subject: str) -> dict[str, Callable[[str], bool]]:
    """By kind, which subjects are cleared by this; of kinds that are not in it, none. Who is known stays known.

    scope: ACCOUNTS, with an account's id; SOURCES, with an address, a network or a bridge; EVERYTHING.
    Raises ValueError.
    """
    if scope == EVERYTHING:
        return dict.fromkeys(LIMITS, _any)
    if scope == ACCOUNTS:
        end = f"|{int(subject)}"
        return {"account": subject.__eq__, "reserve": _ends_with(end), "device": _ends_with(end)}
    if scope == SOURCES:
        meets = subject.__eq__ if subject.startswith(BRIDGE) else _meets(ip_network(subject))
        return {"source": meets, "network": meets, "reserve": lambda of: meets(of.partition("|")[0])}
    raise ValueError(f"nothing is cleared by {scope!r}")


def _around(address: Address, bits: dict[int, int]) -> str:
    """The network of so many bits; a third of the time that `ip_network` takes, for each new source."""
    length = bits[address.version]
    free = address.max_prefixlen - length
    return f"{type(address)(int(address) >> free << free)}/{length}"


def _any(_: str) -> bool:
    return True


def _ends_with(end: str) -> Callable[[str], bool]:
    return lambda subject: subject.endswith(end)


def _meets(network: Network) -> Callable[[str], bool]:
    """Whether an address or network, as `source_of` and `network_of` write them, shares an address with this one.

    100,000 of them are looked through in the event loop, in which `ipaddress` would take ten times as long.
    """
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    whole, own, bits = network.max_prefixlen, network.prefixlen, int(network.network_address)

    def meets(subject: str) -> bool:
        if (":" in subject) != (family == socket.AF_INET6):
            return False
        host, _, length = subject.partition("/")
        try:
            packed = socket.inet_pton(family, host)
            shared = min(own, int(length)) if length else own
        except (OSError, ValueError):  # a row that no version of ours wrote
            return False
        return (int.from_bytes(packed, "big") ^ bits) >> (whole - shared) == 0

    return meets
