"""How a message that this program itself has written gets to where it goes: a Protocol, as those of `interfaces`."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Carried(StrEnum):
    """What became of one message to one address."""

    TAKEN = "taken"  # it is in the mailbox, or another server's now
    REFUSED = "refused"  # for good
    LATER = "later"  # not now
    NOWHERE = "nowhere"  # it is of another domain, and there is no way out


class Carrier(Protocol):
    """Takes messages that this program itself has written to where they go."""

    async def carry(self, to: str, content: bytes) -> Carried:
        """Deliver or hand on one message, under the null return path. to: an address, folded; content: with CRLF."""
