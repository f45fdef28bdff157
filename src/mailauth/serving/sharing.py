"""What processes tell each other of guesses, each second: memory decides, the store only carries.

Rule: an exchange that fails costs nothing; the next one tells the same again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from mailauth.guessing import Count, Told
from mailauth.interfaces import BadRecord, StoreUnavailable

EVERY_S = 1.0

log = logging.getLogger(__name__)

Exchange = Callable[[Sequence[Told]], list[Count]]


class Shared(Protocol):
    """Whose counts are shared: verify.throttle.GuessThrottle."""

    def exchange_out(self) -> list[Told]:
        """What is to be told; nothing is forgotten before `merge` has confirmed it."""

    def merge(self, counts: Iterable[Count], told: Iterable[Told] = ()) -> None:
        """Take over what others have told, and that this was told."""


class Sharing:
    """One process's part. exchange: writes what is told, reads what others told; blocks, raises StoreUnavailable."""

    def __init__(self, shared: Shared, exchange: Exchange, every_s: float = EVERY_S) -> None:
        self._shared = shared
        self._exchange = exchange
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    async def start(self) -> None:
        """Read what has been counted before, and go on from there."""
        await self._round([])
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Tell what is left."""
        self._over.set()
        if self._task is not None:
            await self._task  # a round that is under way ends first: two at once would tell the same twice
        await self._round(self._shared.exchange_out())

    async def _run(self) -> None:
        while not self._over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), self._every_s)
                return
            await self._round(self._shared.exchange_out())

    async def _round(self, told: list[Told]) -> None:
        try:
            counts = await asyncio.to_thread(self._exchange, told)
        except (StoreUnavailable, BadRecord) as fault:
            log.debug("counts of guesses not exchanged, will be in a moment: %s", fault)
            return
        self._shared.merge(counts, told)
