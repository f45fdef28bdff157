"""After a good login: the same app password under the newest server key, behind the reply.

Rule: it takes one thread, and its failure costs nothing. What is kept here while it waits is no secret.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from mailauth.interfaces import BadRecord, Keys, StoredAppPassword, StoreUnavailable

MAX_WAITING = 10_000  # rows; who finds no room finds it at the next login
MAX_TRIED = 100_000
PAUSE_S = 60.0  # after the store could not be written

log = logging.getLogger(__name__)


class SelectorRows(Protocol):
    """Where app passwords are kept: a Passdb."""

    async def reselect(self, credential_id: int, old_key: int, new_key: int, selector: int) -> None:
        """See interfaces.Passdb."""


class Reselecting:
    """Moves one app password after the other, and tries each once for each key. clock: monotonic seconds."""

    def __init__(self, keys: Keys, rows: SelectorRows, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._rows = rows
        self._clock = clock
        self._waiting: dict[int, tuple[int, int, int]] = {}  # by app password: old key, new key, selector
        self._tried: dict[int, int] = {}  # with which key; one that clashes stays where it is
        self._paused_until = 0.0
        self._task: asyncio.Task[None] | None = None

    def begin_if_outdated(self, login: str, stored: StoredAppPassword, cleaned: str) -> None:
        """Move this app password, which has been recognised. login: the account's own; a tombstone stays."""
        newest = self._keys.newest
        if stored.key_id >= newest or stored.revoked or self._tried.get(stored.id) == newest:
            return
        if len(self._waiting) >= MAX_WAITING or self._clock() < self._paused_until:
            return
        if len(self._tried) >= MAX_TRIED:
            self._tried.clear()
        self._tried[stored.id] = newest
        self._waiting[stored.id] = (stored.key_id, newest, dict(self._keys.selectors(login, cleaned))[newest])
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._move_all())

    async def close(self) -> None:
        """Let go of what waits, and wait for what was begun."""
        self._waiting.clear()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _move_all(self) -> None:
        try:
            while self._waiting:
                credential_id = next(iter(self._waiting))
                await self._rows.reselect(credential_id, *self._waiting.pop(credential_id))
        except (StoreUnavailable, BadRecord) as fault:
            log.warning("app passwords stay under their old server key until the store can be written: %s", fault)
            self._paused_until = self._clock() + PAUSE_S
            self._waiting.clear()
            self._tried.clear()
        finally:
            self._task = None
