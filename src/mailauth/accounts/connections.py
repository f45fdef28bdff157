"""Who reads and sends mail now, for one account, in all processes of a store.

Rule: a process that is alone asks nobody. Others are asked at most every few seconds for one account, since an answer
costs each of them a change to apply.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from mailauth.accounts.sessions import live_sessions
from mailauth.accounts.unit import looking
from mailauth.interfaces import StoreUnavailable
from mailauth.store.engine import Store

FRESH_S = 5.0
MOST_KEPT = 1000
ACTOR = "portal"

Counts = Mapping[int | None, int]


class Here(Protocol):
    """The live sessions of this process."""

    def counts(self, account_id: int) -> Counts:
        """By app password, None: the web password's."""


class MailConnections:
    """See portal.house.MailConnections."""

    def __init__(self, store: Store, here: Here) -> None:
        self._store = store
        self._here = here
        self._kept: dict[int, tuple[float, Counts | None]] = {}

    async def open_now(self, account_id: int, login: str) -> Counts | None:
        """By app password, None: the web password's; None: not every process could be asked."""
        now = time.monotonic()
        at, kept = self._kept.get(account_id, (-FRESH_S, None))
        if now - at < FRESH_S:
            return kept
        try:
            if await asyncio.to_thread(self._is_alone):
                return self._here.counts(account_id)
            asked = await asyncio.to_thread(live_sessions, self._store, login, actor=ACTOR)
        except StoreUnavailable:
            return None
        found = None if asked.silent else Counter([session.app_password for session in asked.sessions])
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[account_id] = now, found
        return found

    def _is_alone(self) -> bool:
        with looking(self._store) as unit:
            return len(unit.tx.rows(unit.sql.PROCESSES)) <= 1
