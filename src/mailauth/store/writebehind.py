"""The audit of logins, last uses and observations, written by a thread behind the logins' back; and the store's upkeep.

Rule: a login never waits for a write, and never fails for want of one. What cannot be written is kept, within bounds;
that it cannot be is an alarm.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from mailauth.events import LoginJudged
from mailauth.interfaces import BadRecord, StoreUnavailable
from mailauth.logs import whereabouts
from mailauth.store import observations
from mailauth.store.engine import Store
from mailauth.store.faults import Clash
from mailauth.store.folding import Batch, Folding
from mailauth.store.upgrade import SchemaMismatch, require_current
from mailauth.store.upkeep import Pruning, Retention, local_domains, mark_reached

INTERVAL_S = 0.5
INTERVAL_WHILE_DOWN_S = 5.0
CLOSE_S = 5.0
MAX_WAITING = 10_000
MINUTE_S, HOUR_S = 60.0, 3600.0

log = logging.getLogger(__name__)


class Work:
    """What is tried again and again. An outage is logged once, and its end too. begins, ends: the texts."""

    def __init__(self, begins: str, ends: str) -> None:
        self._begins = begins
        self._ends = ends
        self.is_down = False

    def done(self, step: Callable[[], object]) -> bool:
        """Whether this step could be done."""
        try:
            step()
        except (StoreUnavailable, BadRecord, Clash, SchemaMismatch) as fault:
            return self._failed(str(fault))
        except Exception as bug:  # noqa: BLE001  whatever it is, the thread must go on
            return self._failed(whereabouts(bug))
        if self.is_down:
            log.warning("%s", self._ends)
        self.is_down = False
        return True

    def _failed(self, why: str) -> bool:
        if not self.is_down:
            log.error("%s: %s alarm", self._begins, why)
        self.is_down = True
        return False


class WriteBehind:
    """A listener of events, with its thread; subscribe it, and close it after the last login.

    clock: epoch seconds. also: more to be done each hour, in steps as those of upkeep.Pruning.
    """

    def __init__(
        self,
        store: Store,
        retention: Retention | None = None,
        *,
        clock: Callable[[], float] = time.time,
        also: Callable[[], Iterator[None]] = lambda: iter(()),
    ) -> None:
        self._store = store
        self._clock = clock
        self._pruning = Pruning(store, retention or Retention())
        self._also = also
        self._steps: Iterator[None] | None = None  # of what is done each hour, while it is under way
        self._writing = Work(
            "last uses and audit rows are kept in memory until the store takes them",
            "last uses and audit rows are written again",
        )
        self._upkeep = Work("upkeep of the store is put off", "upkeep of the store goes on")
        self._tables = Work("this process does not fit the store any more", "this process fits the store again")
        self._deleting = Work(
            "what is too old cannot be deleted, and is tried again in an hour", "old rows are deleted"
        )
        self._folding = Folding(secrets.token_hex(8))
        self._lock = threading.Lock()
        self._waiting: deque[tuple[LoginJudged, float]] = deque()  # not yet folded; either end is safe from any thread
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
        return not self._thread.is_alive() and not self._writing.is_down

    def _run(self) -> None:
        minute_at = hour_at = time.monotonic()
        while True:
            stopping = self._stopping.is_set()
            if time.monotonic() >= minute_at:
                minute_at += MINUTE_S
                self._upkeep.done(self._each_minute)
                self._tables.done(lambda: require_current(self._store))
            if time.monotonic() >= hour_at:
                hour_at += HOUR_S
                self._each_hour()
            self._write(everything=stopping)
            if stopping:
                return
            if self._steps is not None and not self._deleting.done(self._prune_some):
                self._steps = None  # until the next hour
            self._stopping.wait(INTERVAL_WHILE_DOWN_S if self._writing.is_down else INTERVAL_S)

    def _each_minute(self) -> None:
        mark_reached(self._store, self._clock())
        domains = local_domains(self._store)
        with self._lock:
            self._folding.local_domains = domains
            self._folding.forget(self._clock())

    def _each_hour(self) -> None:
        self._steps = self._hourly(self._clock())

    def _hourly(self, now: float) -> Iterator[None]:
        yield from self._pruning.steps(now)
        yield from self._also()

    def _prune_some(self) -> None:
        is_over = self._steps is None or next(self._steps, True)  # a step yields None
        self._steps = None if is_over else self._steps

    def _write(self, *, everything: bool) -> None:
        with self._lock:
            self._fold()
            batch = self._folding.take(self._clock(), everything=everything)
        if batch and not self._writing.done(lambda: self._write_batch(batch)):
            with self._lock:
                self._folding.give_back(batch)

    def _fold(self) -> None:
        """What is told again is the same object: of those of one second, one is looked at."""
        came: dict[tuple[int, int], tuple[LoginJudged, list[float]]] = {}
        while self._waiting:
            event, at = self._waiting.popleft()
            second = id(event), int(at)  # what waited longer, or while the clock was set, has times of its own
            known = came.get(second)
            if known is None:
                came[second] = event, [at]
            else:
                known[1].append(at)
        for event, times in came.values():
            self._folding.note(event, *times)

    def _write_batch(self, batch: Batch) -> None:
        """Rows and tables in one order in every process, so that no two wait for each other."""
        sql = self._store.sql
        with self._store.transaction() as tx:
            tx.write_each(sql.COUNT_LOGINS, batch.logins.values())
            observations.write(self._store, tx, batch.observations)
            tx.write_each(sql.NOTE_LAST_USE, [batch.uses[credential_id] for credential_id in sorted(batch.uses)])
