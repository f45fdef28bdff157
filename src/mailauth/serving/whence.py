"""From where app passwords were let in, for a host that can end what is open of a user from one address.

Rule: what is not known for certain is not said. It is, from what this process has told bridges since it was started,
and from the audit log's rows over all the time since the app password was made, if all of them are kept, with whole
addresses. Rows are written a moment later: what another process has let in just now is in its own memory, and each
process has its own ended. What one let in that then died before it wrote that down, nobody knows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from mailauth.attempt import Attempt, Service
from mailauth.interfaces import BadRecord, StoreUnavailable
from mailauth.verdict import Accept

MOST_ADDRESSES = 16  # one request for each: of more, all of the user's is as good
MOST_KEPT = 10_000  # app passwords; the one that was not used for longest goes first


class OnRecord(Protocol):
    """The audit log."""

    async def let_in_from(self, login: str, credential_id: int, most: int) -> frozenset[str] | None:
        """From where this app password was let in to IMAP and POP3 since it was made; at most so many of them.

        login: of its account. Each as it is on record: an address, a network, or what the bridge is called. None: rows
        of that time may be gone. Raises StoreUnavailable, BadRecord.
        """


@dataclass(slots=True)
class Whence:
    """For all bridges of this process; belongs to its event loop."""

    on_record: OnRecord
    _kept: OrderedDict[int, set[str]] = field(default_factory=OrderedDict)

    def note(self, attempt: Attempt, accept: Accept) -> None:
        """A host is told that this one may come in. SMTP has no session that would be ended there."""
        credential_id = accept.principal.credential_id
        if credential_id is None or attempt.service is Service.SMTP:
            return
        peers = self._kept.setdefault(credential_id, set())
        if len(peers) <= MOST_ADDRESSES:
            peers.add(attempt.peer)
        self._kept.move_to_end(credential_id)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    async def addresses(self, login: str, credential_ids: Iterable[int]) -> tuple[str, ...] | None:
        """All addresses that these app passwords of this account were let in from; None: it is not certain."""
        peers: set[str] = set()
        for credential_id in credential_ids:
            try:
                on_record = await self.on_record.let_in_from(login, credential_id, MOST_ADDRESSES + 1)
            except (StoreUnavailable, BadRecord):
                return None
            if on_record is None:
                return None
            peers |= on_record | self._kept.get(credential_id, set())
        if len(peers) > MOST_ADDRESSES or not all(map(_is_whole, peers)):
            return None
        return tuple(sorted(peers))


def _is_whole(peer: str) -> bool:
    """Whether it is one address, such as Dovecot reads it."""
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    return not isinstance(address, IPv6Address) or address.scope_id is None
