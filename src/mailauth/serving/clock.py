"""Refusals leave on a clock: on the first tick at a fixed delay after the attempt, not when the work is done.

So the time of a refusal tells nothing about what was looked up or hashed. A refusal that is not ready at its tick has
missed it, and must be said as a Defer.
"""

from __future__ import annotations

import asyncio
import math

TICK_S = 0.1
FACTORS = (1, 1, 2, 4)  # of the delay, by earlier refusals on the same connection; from then on the last


class RefusalClock:
    """Wakes waiting refusals together, tick by tick. delay_s: 0 lets refusals leave at once."""

    def __init__(self, delay_s: float, tick_s: float = TICK_S) -> None:
        self.delay_s = delay_s
        self._tick_s = tick_s
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def hold(self, arrived: float, earlier_count: int = 0) -> bool:
        """Wait for the tick of an attempt that arrived at this loop time; False: the tick has passed already.

        earlier_count: refusals on this connection before. A typo costs a moment, going on guessing costs more.
        """
        if self.delay_s <= 0:
            return True
        loop = asyncio.get_running_loop()
        delay_s = self.delay_s * FACTORS[min(earlier_count, len(FACTORS) - 1)]
        tick = math.ceil((arrived + delay_s) / self._tick_s)
        if loop.time() > tick * self._tick_s:
            return False
        leaving = self._waiting.get(tick)
        if leaving is None:
            leaving = self._waiting[tick] = loop.create_future()
            loop.call_at(tick * self._tick_s, self._strike, tick)
        await asyncio.shield(leaving)
        return True

    def _strike(self, tick: int) -> None:
        self._waiting.pop(tick).set_result(None)


class FewHeld:
    """Holds refusals by a clock, but never more than so many at once: the one held longest leaves for a new one.

    For a mail server that has a process or a place taken as long as it waits for us.
    """

    def __init__(self, clock: RefusalClock, most: int) -> None:
        self._clock = clock
        self._most = most
        self._held: dict[asyncio.Task[bool], None] = {}

    async def hold(self, arrived: float) -> bool:
        """As RefusalClock.hold, or shorter."""
        if self._clock.delay_s <= 0:
            return True
        while len(self._held) >= self._most:
            longest = next(iter(self._held))
            del self._held[longest]
            longest.cancel()
        held = asyncio.get_running_loop().create_task(self._clock.hold(arrived))
        self._held[held] = None
        try:
            await asyncio.wait([held])
        finally:
            self._held.pop(held, None)
            held.cancel()
        return held.cancelled() or held.result()
