"""The two ends of a client's connection, each with its port.

Source: ip(7), and ipv6(7) for the longer names of sockets. Rule: told to servers behind us, and judged by nowhere: who
is let in and who is counted is `Attempt.peer`, which has no port.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailauth.attempt import address_text


@dataclass(frozen=True, slots=True)
class End:
    """address: IP, as text, "" when it is not known or there is none; port: 0 when it is not known."""

    address: str = ""
    port: int = 0

    @classmethod
    def of(cls, name: object) -> End:
        """A socket's name, or its peer's; nothing is known of UNIX sockets and of None."""
        return cls(address_text(name), int(name[1])) if isinstance(name, tuple) and len(name) > 1 else UNKNOWN


@dataclass(frozen=True, slots=True)
class Ends:
    """client: where it comes from; server: the address of ours that it connected to, or of the proxy before us."""

    client: End
    server: End


UNKNOWN = End()
NOWHERE = Ends(UNKNOWN, UNKNOWN)
