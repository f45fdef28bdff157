"""After a good login: the same web password under today's hash, behind the reply.

Rule: its failure costs nothing; the next login tries again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from mailauth.interfaces import BadRecord, HashUnavailable, Lane, PoolBusy, StoreUnavailable
from mailauth.verify.proofs import Hashes

log = logging.getLogger(__name__)


class Records(Protocol):
    """Where web passwords' hashes are kept: a Passdb."""

    async def replace_web_record(self, account_id: int, old: str, new: str) -> None:
        """See interfaces.Passdb."""


class Rehashing:
    """At most one at a time for each account."""

    def __init__(self, hashes: Hashes, records: Records) -> None:
        self._hashes = hashes
        self._records = records
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def begin_if_outdated(self, account_id: int, record: str, secret: bytes) -> None:
        """Put a stronger hash of this secret, which made this record, in its place. Raises BadRecord."""
        if not self._hashes.outdated(record) or account_id in self._tasks:
            return
        task = asyncio.get_running_loop().create_task(self._rehash(account_id, record, secret))
        self._tasks[account_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(account_id, None))

    async def close(self) -> None:
        """Wait for what was begun."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _rehash(self, account_id: int, old: str, secret: bytes) -> None:
        try:
            await self._records.replace_web_record(account_id, old, await self._hashes.hash(secret, Lane.LAST))
        except PoolBusy as busy:  # expected in a rush of old hashes
            log.debug("web password of account %d not rehashed, will be at its next login: %s", account_id, busy)
        except (StoreUnavailable, BadRecord, HashUnavailable) as fault:
            log.warning("web password of account %d not rehashed, will be at its next login: %s", account_id, fault)
