"""Last uses and the audit of logins, written by a thread behind the logins' back; and the store's upkeep.

Rule: a login never waits for a write, and never fails for want of one. What cannot be written is kept, within bounds.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable

from mailauth.events import LoginJudged
from mailauth.interfaces import BadRecord, StoreUnavailable
from mailauth.logs import whereabouts
from mailauth.store.engine import Store
from mailauth.store.faults import Clash
from mailauth.store.folding import Batch, Folding
from mailauth.store.upkeep import local_domains, mark_reached, prune

INTERVAL_S = 0.5
INTERVAL_WHILE_DOWN_S = 5.0
CLOSE_S = 5.0
MAX_WAITING = 10_000
MINUTE_S, HOUR_S = 60.0, 3600.0

log = logging.getLogger(__name__)


class WriteBehind:
    """A listener of events, with its thread; subscribe it, and close it after the last login.

    audit_days: how long rows of the audit log are kept. clock: epoch seconds.
    """

    def __init__(self, store: Store, *, audit_days: int = 180, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._audit_days = audit_days
        self._clock = clock
        self._folding = Folding(secrets.token_hex(8))
        self._lock = threading.Lock()
        self._waiting: deque[tuple[LoginJudged, float]] = deque()  # not yet folded; either end is safe from any thread
        self._down = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mailauth-writebehind", daemon=True)
        self._thread.start()

    def __call__(self, event: LoginJudged) -> None:
        """Take one login into account; it is folded by the thread, with all that came meanwhile."""
        self._waiting.append((event, self._clock()))
        if len(self._waiting) >= MAX_WAITING:  # the thread is busy with a slow store
            with self._lock:
                self._fold()

    def close(self, deadline_s: float = CLOSE_S) -> bool:
        """Write what is left, and say whether it was written in time."""
        self._stopping.set()
        self._thread.join(deadline_s)
        return not self._thread.is_alive() and not self._down

    def _run(self) -> None:
        minute_at = hour_at = time.monotonic()
        while True:
            stopping = self._stopping.is_set()
            if time.monotonic() >= minute_at:
                minute_at += MINUTE_S
                self._try(self._each_minute)
            if time.monotonic() >= hour_at:
                hour_at += HOUR_S
                self._try(self._each_hour)
            self._write(all_uses=stopping)
            if stopping:
                return
            self._stopping.wait(INTERVAL_WHILE_DOWN_S if self._down else INTERVAL_S)

    def _each_minute(self) -> None:
        mark_reached(self._store, self._clock())
        domains = local_domains(self._store)
        with self._lock:
            self._folding.local_domains = domains
            self._folding.forget(self._clock())

    def _each_hour(self) -> None:
        prune(self._store, self._clock(), self._audit_days)

    def _write(self, *, all_uses: bool) -> None:
        with self._lock:
            self._fold()
            batch = self._folding.take(self._clock(), all_uses=all_uses)
        if batch and not self._try(lambda: self._write_batch(batch)):
            with self._lock:
                self._folding.give_back(batch)

    def _fold(self) -> None:
        while self._waiting:
            self._folding.note(*self._waiting.popleft())

    def _write_batch(self, batch: Batch) -> None:
        with self._store.transaction() as tx:
            tx.write_each(self._store.sql.COUNT_LOGINS, batch.logins.values())
            tx.write_each(self._store.sql.NOTE_LAST_USE, batch.uses.values())

    def _try(self, step: Callable[[], None]) -> bool:
        """Whether the step was done. An outage is logged once, and its end too."""
        try:
            step()
        except (StoreUnavailable, BadRecord, Clash) as fault:
            return self._kept(str(fault))
        except Exception as bug:  # noqa: BLE001  whatever it is, this thread must go on
            return self._kept(whereabouts(bug))
        if self._down:
            log.warning("last uses and audit rows are written again")
        self._down = False
        return True

    def _kept(self, why: str) -> bool:
        if not self._down:
            log.warning("last uses and audit rows are kept in memory until the store takes them: %s", why)
        self._down = True
        return False
