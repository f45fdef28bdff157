"""Mails what owners are told of changes to their accounts, and letters of an hour, such as a reset link.

Rule: a notice is in the store until it is mailed, and one process has it at a time. What could not be mailed is tried
again at growing intervals, to those whom it has not reached. The log names no address.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from mailauth.accounts import notices
from mailauth.accounts.notices import ToMail
from mailauth.carriage import Carried, Carrier
from mailauth.interfaces import BadRecord, StoreUnavailable
from mailauth.logs import whereabouts
from mailauth.portal.letters import Letters
from mailauth.store.engine import Store
from mailauth.store.faults import Clash

POLL_S = 3.0
FAULT_S = 10.0  # after the store could not be read or written
BATCH = 8  # mailed at once
HELD_S = 300.0  # of the ten minutes that one is ours: after these no other address of it is begun
FIRST_AGAIN_S, LONGEST_AGAIN_S = 60.0, 4 * 3600.0  # as long as it has been tried already, between these
GIVING_UP_S = 3600.0  # between two looks for what is too old
POST_S = 30.0  # whoever has a letter posted waits for it
CLOSE_S = 5.0

log = logging.getLogger(__name__)


class Postman:
    """One for a process; started and closed in its event loop.

    carrier: None: there is neither a relay nor a mailbox here; notices stay on the portal. clock: epoch seconds.
    """

    def __init__(
        self,
        store: Store,
        letters: Letters,
        carrier: Carrier | None,
        *,
        clock: Callable[[], float] = time.time,
        poll_s: float = POLL_S,
        fault_s: float = FAULT_S,
    ) -> None:
        self._store = store
        self._letters = letters
        self._carrier = carrier
        self._clock = clock
        self._poll_s = poll_s
        self._fault_s = fault_s
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._owed: list[Callable[[], None]] = []  # what is to be written of notices that were mailed
        self._is_down = False
        self._gave_up_at = 0.0

    def start(self) -> None:
        """Mail from now on; without a carrier say that nothing will be."""
        if self._carrier is None:
            log.warning("owners are told of changes on the portal only: there is neither a [relay] nor a mailbox here")
            return
        self._task = asyncio.get_running_loop().create_task(self._run(self._carrier))
        self._task.add_done_callback(_ended)

    async def close(self) -> None:
        """Begin no more, and wait a moment for what is under way."""
        self._closing.set()
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=CLOSE_S)
        self._task.cancel()
        await asyncio.wait([self._task])
        try:
            await asyncio.to_thread(self._settle)
        except (StoreUnavailable, BadRecord, Clash) as fault:
            log.error("letters: %d that were mailed could not be written down: %s", len(self._owed), fault)

    async def post(self, to: str, language: str, kind: str, **values: str) -> bool:
        """Mail a letter that must not be stored, now or not at all; whether it is on its way.

        kind, values: see letters.ONE_TIME; KeyError for others.
        """
        content = self._letters.one_time(to, language, kind, values, self._now())
        if self._carrier is None:
            return False
        try:
            async with asyncio.timeout(POST_S):
                return await self._carrier.carry(to, content) is Carried.TAKEN
        except TimeoutError:
            log.error("letters: one was not taken within %.0f s", POST_S)
            return False

    async def _run(self, carrier: Carrier) -> None:
        while not self._closing.is_set():
            pause_s = self._poll_s
            try:
                if await self._round(carrier):
                    pause_s = 0.0
                self._note(None)
            except (StoreUnavailable, BadRecord, Clash) as fault:
                self._note(fault)
                pause_s = self._fault_s
            if pause_s:
                await self._wait(pause_s)

    async def _round(self, carrier: Carrier) -> bool:
        """Mail some; whether there may be more. Raises StoreUnavailable, BadRecord, Clash."""
        await asyncio.to_thread(self._settle)
        began = asyncio.get_running_loop().time()
        taken = await asyncio.to_thread(notices.take_to_mail, self._store, limit=BATCH, now=self._clock())
        await asyncio.gather(*[self._mail(carrier, notice, began + HELD_S) for notice in taken])
        await asyncio.to_thread(self._settle)
        return len(taken) == BATCH

    async def _mail(self, carrier: Carrier, notice: ToMail, until: float) -> None:
        """Mail one to all its addresses, and owe what is to be written of it. until: by the loop's clock."""
        left: list[str] = []
        mailed_at = notice.mailed_at
        for to in notice.to:
            if self._closing.is_set() or asyncio.get_running_loop().time() > until:
                left.append(to)
                continue
            carried = await carrier.carry(to, self._letters.notice(notice, to, self._now()))
            if carried is Carried.TAKEN:
                mailed_at = self._clock()
            if carried is Carried.LATER:
                left.append(to)
        if not left:
            self._owed.append(lambda: notices.done(self._store, notice, mailed_at))
            return
        now = self._clock()
        again_at = now if self._closing.is_set() else now + min(max(FIRST_AGAIN_S, now - notice.at), LONGEST_AGAIN_S)
        self._owed.append(lambda: notices.put_off(self._store, notice, tuple(left), mailed_at, again_at=again_at))

    def _settle(self) -> None:
        """Write what is owed; now and then give up what is too old. Raises StoreUnavailable."""
        while self._owed:
            self._owed[0]()
            self._owed.pop(0)
        if self._clock() - self._gave_up_at >= GIVING_UP_S:
            count = notices.give_up(self._store, now=self._clock())
            self._gave_up_at = self._clock()
            if count:
                log.error("letters: %d notices could not be mailed for three days and stay on the portal alarm", count)

    def _note(self, fault: Exception | None) -> None:
        """Say once that the store is away, and once that it is back."""
        if fault is not None and not self._is_down:
            log.error("owners are mailed nothing at the moment: %s", fault)
        if fault is None and self._is_down:
            log.warning("owners are mailed again")
        self._is_down = fault is not None

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            pass

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _ended(task: asyncio.Task[None]) -> None:
    """It ends when it is closed, and else by a fault of this program's own."""
    if task.cancelled():
        return
    bug = task.exception()
    if isinstance(bug, Exception):
        log.error("owners are mailed nothing any more: %s alarm", whereabouts(bug))
