"""Whether what a program keeps sending to an account of app passwords is the web password: for its owner to know.

Off unless it is configured. It never changes a verdict, and nobody who sends a password can see the result: the hash is
computed after the refusal has left, in the last lane, once an account and day at most, and only for a secret that came
back again and again for an hour, as no guesser's does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from mailauth.attempt import Attempt
from mailauth.interfaces import Account, Lane
from mailauth.verify.faults import FAULTS
from mailauth.verify.proofs import Hashes

TIMES = 3
SPAN_S = 3600.0
AGAIN_S = 86400.0
MAX_REMEMBERED = 10_000
LATER_S = 5.0  # behind the slowest refusal

log = logging.getLogger(__name__)

Note = Callable[[int, Attempt, bool], Awaitable[None]]


class Recognising:
    """note: told the account, the attempt without its secret, and whether it was the web password; raises FAULTS.

    later_s: how long after the verdict the hash is computed. clock: monotonic seconds.
    """

    def __init__(
        self, hashes: Hashes, note: Note, *, later_s: float = LATER_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hashes = hashes
        self._note = note
        self._later_s = later_s
        self._clock = clock
        self._seen: dict[tuple[int, int, str], tuple[float, int]] = {}  # first seen, and how often
        self._looked_at: dict[int, float] = {}  # by account
        self._tasks: set[asyncio.Task[None]] = set()

    def refused(self, attempt: Attempt, account: Account, guess: int) -> None:
        """This secret was refused, unhashed, because the account takes app passwords only. guess: see Claim."""
        if account.web_record is None:
            return
        now = self._clock()
        key = (account.id, guess, attempt.peer)
        first, times = self._seen.pop(key, (now, 0))
        self._seen[key] = (first, times + 1)
        if len(self._seen) > MAX_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        if times + 1 < TIMES or now - first < SPAN_S or now - self._looked_at.get(account.id, -AGAIN_S) < AGAIN_S:
            return
        self._looked_at.pop(account.id, None)
        self._looked_at[account.id] = now
        if len(self._looked_at) > MAX_REMEMBERED:
            del self._looked_at[next(iter(self._looked_at))]
        task = asyncio.get_running_loop().create_task(self._look(attempt, account.id, account.web_record))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what was begun."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self, attempt: Attempt, account_id: int, record: str) -> None:
        await asyncio.sleep(self._later_s)
        try:
            is_web = await self._hashes.verify(record, attempt.credential.secret, Lane.LAST)
            await self._note(account_id, attempt.without_secret(), is_web)
        except FAULTS as fault:
            self._looked_at.pop(account_id, None)  # some other time
            log.info("account %d: not looked at what a refused program sends: %s", account_id, fault)
