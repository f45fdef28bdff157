"""Reads that outwait a store which is away for a moment: tried again until they succeed, or a deadline has passed.

Rule: a client that has shown its password waits, and is not told of what is over soon. Tries are bounded in number, and
no two readers make theirs at the same moments, so a store that comes back is not met by everybody at once. What the
store has answered is final: BadRecord is not asked for again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any

from mailauth.begun import in_a_task
from mailauth.interfaces import StoreUnavailable
from mailauth.store.engine import AtOnce, Reader

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.002, 0.5  # doubled from one to the other: a lock is short, an outage is not


class PatientReader:
    """A Reader over another one whose `rows` is one try. deadline_s: for one question, however many tries it takes."""

    def __init__(self, reader: Reader, deadline_s: float) -> None:
        self._reader = reader
        self._deadline_s = deadline_s

    async def rows(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """See engine.Reader."""
        began = time.monotonic()  # asking for the loop, to ask it for the time, is a call of the system
        try:
            return await self._reader.rows(statement, values)
        except StoreUnavailable as fault:
            left_s = self._deadline_s - (time.monotonic() - began)
            return await self._rows_within(left_s, statement, values, fault)

    @property
    def at_once(self) -> AtOnce | None:
        """See engine.Reader. Nothing is waited for, so nothing is done here."""
        return self._reader.at_once

    def together(self) -> None:
        """See engine.Reader."""
        self._reader.together()

    def apart(self) -> None:
        """See engine.Reader."""
        self._reader.apart()

    async def close(self) -> None:
        """See engine.Reader."""
        await self._reader.close()

    async def _rows_within(
        self, left_s: float, statement: str, values: Mapping[str, Any], fault: StoreUnavailable
    ) -> list[tuple[Any, ...]]:
        """Try again. Raises the newest fault when the time is over."""
        await in_a_task()
        pause_s = FIRST_PAUSE_S
        try:
            async with asyncio.timeout(left_s):
                while True:
                    await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  spreads, hides nothing
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                    try:
                        return await self._reader.rows(statement, values)
                    except StoreUnavailable as newer:
                        fault = newer
        except TimeoutError:
            raise fault from None
