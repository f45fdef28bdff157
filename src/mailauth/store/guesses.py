"""The counts of wrong guesses of all processes together, so that they outlive each of them.

A process adds what it has counted since the last time to rows that fall by time in the meantime, and reads what others
have changed. Counts only: no secret is told apart from another here, and nothing is derived from one.
Rule: bounded, and made so that no step of the clock, forward or back, is felt for longer than the limits say.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from mailauth.guessing import KNOWN, KNOWN_S, LIMITS, Count, Told
from mailauth.store.engine import Row, Store

OVERLAP_S = 15.0  # so late a row may be seen after the time that is in it: the longest wait for the right to write
UPKEEP_S = 60.0
MOST_ROWS = {"known": 100_000, "counted": 100_000}
MOST_READ = 5000  # rows at a time, the newest
EVER_S = 1e15  # beyond any clock


class SharedGuesses:
    """The table of one store, for one process. For one thread at a time. clock: epoch seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._since: float | None = None  # the last exchange; None: there was none
        self._upkeep_at: float | None = None

    def exchange(self, told: Sequence[Told] = ()) -> list[Count]:
        """Add what this process has counted; read what was changed since the last time (the first time: everything).

        Read is what was changed by anybody, oldest change first. Raises StoreUnavailable and BadRecord; then nothing
        was told, or, if the connection was lost during COMMIT, nobody knows: telling it again may count it twice.
        """
        now = self._clock()
        if self._upkeep_at is None:
            self._upkeep_at = now  # at the start, a store that cannot be written can still be read
        elif not 0 <= now - self._upkeep_at < UPKEEP_S:
            upkeep(self._store, now)
            self._upkeep_at = now
        values = _read_between(self._since, now)
        with self._store.transaction() if told else self._store.reading() as tx:
            tx.write_each(self._store.sql.ADD_GUESSES, [_added(one, now) for one in sorted(told, key=_key)])
            rows = tx.rows(self._store.sql.GUESSES_SINCE, **values)
        self._since = now
        return [_count(row, now) for row in reversed(rows) if _is_sound(row)]


def upkeep(store: Store, now: float) -> None:
    """Delete counts that time has emptied and pairs long unused; bound the rest. Raises StoreUnavailable.

    Rows from the future (the clock has been set back) are brought to what is just past, so that they go on falling,
    and that no running process, which knows them better, takes them for news.
    """
    sql = store.sql
    with store.transaction() as tx:
        tx.write(sql.THAW_GUESSES, horizon=now + OVERLAP_S, past=now - UPKEEP_S)
        for limit in LIMITS.values():
            tx.write(sql.PRUNE_GUESSES, kind=limit.kind, refill_s=limit.refill_s, now=now)
        tx.write(sql.PRUNE_KNOWN, before=now - KNOWN_S)
        there = tx.row(sql.COUNT_GUESSES) or {}
        for which, most in MOST_ROWS.items():
            if there.get(which, 0) > most:
                tx.write(sql.BOUND_GUESSES[which], keep=most)


def _read_between(since: float | None, now: float) -> dict[str, float]:
    """Which rows to read. What is far in the future, after the clock was set back, has been read when it was new."""
    if since is None:
        return {"since": -EVER_S, "until": EVER_S, "page": sum(MOST_ROWS.values())}
    return {"since": min(since, now) - OVERLAP_S, "until": now + OVERLAP_S, "page": MOST_READ}


def _added(one: Told, now: float) -> dict[str, object]:
    limit = LIMITS.get(one.kind)
    most, refill_s = (0.0, 1.0) if limit is None else (limit.most, limit.refill_s)
    row = {"kind": one.kind, "subject": one.subject, "added": one.added, "now": now}
    return row | {"most": float(most), "refill_s": refill_s}


def _key(one: Told) -> tuple[str, str]:
    """All processes add in this order, so that no two wait for each other."""
    return one.kind, one.subject


def _is_sound(row: Row) -> bool:
    """Whether a version of ours can have written this."""
    return (row["kind"] == KNOWN or row["kind"] in LIMITS) and all(
        isinstance(row[name], float) and math.isfinite(row[name]) for name in ("spent", "at")
    )


def _count(row: Row, now: float) -> Count:
    return Count(row["kind"], row["subject"], row["spent"], max(0.0, now - row["at"]))
