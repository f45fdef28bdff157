"""The threads that compute hashes, and who may wait for one.

Each lane of `interfaces.Lane` has a queue and as much room as any other, so a storm in one leaves the others theirs.
FIRST goes before ORDINARY, but leaves it every fourth turn: a known device that floods us, or a guesser on one, slows
the logins of new devices down to a quarter and does not end them. LAST has no claim to anything: it is taken only while
nobody waits, begun only while nobody waits, and one at a time: it costs others one thread for one hash at most.

Rule: a slot is freed by the thread's ending its work, not by the waiter's leaving; so at most `threads` hashes take
memory at once, and what is counted is what the processor still has to do. Nobody waits past the deadline.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mailauth.hashing import records
from mailauth.hashing.argon2id import Argon2id
from mailauth.hashing.scheme import HashScheme
from mailauth.interfaces import HashUnavailable, Lane, PoolBusy

T = TypeVar("T")

RECENT = 8  # the moving average follows about so many pieces of work
FIRST_IN_A_ROW = 3  # pieces of FIRST begun while ORDINARY waits, until it is its turn
LAST_LIMIT = 16  # pieces of LAST that may wait: more would not get their turn before the deadline anyway


def usable_cores() -> int:
    """The processors this process may run on; more threads than these only wait for each other."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(slots=True, eq=False)
class Piece:
    """One piece of work. deadline: when it must have begun, on the pool's clock."""

    work: Callable[..., Any]
    args: tuple[Any, ...] = field(repr=False)  # a secret, mostly
    lane: Lane
    deadline: float
    future: Future[Any] = field(default_factory=Future)


Queue = OrderedDict[Piece, None]  # a deque would keep, with their secrets, those whose waiters have left


class HashPool:
    """Bounded threads behind bounded queues.

    threads: None means one per usable core. queue_deadline_s: the longest that work may wait before it begins.
    queue_limit: how many may wait in a lane. scheme: makes new records. clock: monotonic seconds.
    """

    def __init__(
        self,
        threads: int | None = None,
        *,
        queue_deadline_s: float,
        queue_limit: int,
        scheme: HashScheme | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = usable_cores() if threads is None else threads
        self._queue_deadline_s = queue_deadline_s
        self._queue_limit = queue_limit
        self._scheme = Argon2id() if scheme is None else scheme
        self._clock = clock
        self._threads: list[threading.Thread] = []
        self._idle_count = 0
        self._lock = threading.Lock()  # for all of the following
        self._changed = threading.Condition(self._lock)
        self._queues: tuple[Queue, ...] = tuple(OrderedDict() for _ in Lane)
        self._first_in_a_row = 0
        self._begun: dict[Piece, float] = {}  # when
        self._average_s = 0.0
        self._closed = False

    async def verify(self, record: str, secret: bytes, lane: Lane = Lane.ORDINARY) -> bool:
        """Whether this secret made this record. Raises BadRecord, HashUnavailable, PoolBusy."""
        return await self.run(records.verify, record, secret, lane=lane)

    async def hash(self, secret: bytes, lane: Lane = Lane.ORDINARY) -> str:
        """A new record. Raises HashUnavailable, PoolBusy."""
        return await self.run(self._scheme.hash, secret, lane=lane)

    def outdated(self, record: str) -> bool:
        """Whether a new record should take this one's place. Raises BadRecord. Computes no hash."""
        return records.needs_rehash(record, self._scheme)

    def is_legacy(self, record: str) -> bool:
        """Whether this record is of another kind than Argon2. Raises BadRecord."""
        return records.is_legacy(record)

    async def run(self, work: Callable[..., T], *args: Any, lane: Lane = Lane.ORDINARY) -> T:
        """The result of `work(*args)` in a thread, or its exception.

        Raises PoolBusy when the work was not begun, and never will be: too many wait, or it waited too long.
        """
        piece = self._submit(lane, work, *args)
        waiter: asyncio.Future[T] = asyncio.wrap_future(piece.future)
        try:
            await asyncio.wait((waiter,), timeout=self._queue_deadline_s)
            if waiter.cancelled() or (not waiter.done() and piece.future.cancel()):
                raise PoolBusy("waited too long for a hash")
            return await waiter
        finally:
            waiter.cancel()
            if piece.future.cancel():
                self._forget(piece)
            del piece, waiter  # an exception holds this frame, and they hold the exception

    def predicted_wait_s(self, lane: Lane = Lane.ORDINARY) -> float:
        """How long work that came now would wait before it begins."""
        with self._lock:
            return self._predicted_wait_s(lane)

    def saturated(self, delay_s: float) -> bool:
        """Whether ordinary work that came now would begin later than this, or not at all."""
        if len(self._begun) < self._limit and not any(self._queues):
            return False  # as nearly always, and asked at every login: not worth the lock
        with self._lock:
            return self._is_full(Lane.ORDINARY) or self._predicted_wait_s(Lane.ORDINARY) > delay_s

    def close(self) -> None:
        """Refuse what waits, let what was begun end, and end the threads. Blocks until then."""
        with self._lock:
            self._closed = True
            waiting = [piece for queue in self._queues for piece in queue]
            self._changed.notify_all()
        for piece in waiting:
            piece.future.cancel()
        for thread in self._threads:
            thread.join()

    # ---- coming in

    def _submit(self, lane: Lane, work: Callable[..., Any], *args: Any) -> Piece:
        piece = Piece(work, args, lane, self._clock() + self._queue_deadline_s)
        with self._lock:
            self._admit(lane)
            self._queues[lane][piece] = None
            self._wake(piece)
        return piece

    def _admit(self, lane: Lane) -> None:
        if self._closed:
            raise PoolBusy("the hash pool is closed")
        if self._is_full(lane):
            raise PoolBusy("the hash queue is full")
        if (wait_s := self._predicted_wait_s(lane)) > self._queue_deadline_s:
            raise PoolBusy(f"a hash would have to wait {wait_s:.1f} s")

    def _is_full(self, lane: Lane) -> bool:
        free = self._limit - len(self._begun)  # threads, running or yet to be started: who goes there does not wait
        waiting = len(self._queues[lane])
        if lane is Lane.LAST:
            others = len(self._queues[Lane.FIRST]) + len(self._queues[Lane.ORDINARY])
            return others > free or waiting >= LAST_LIMIT
        return waiting >= self._queue_limit + free

    def _wake(self, piece: Piece) -> None:
        """See that a thread looks for work."""
        waiting = sum(map(len, self._queues))
        if waiting > self._idle_count and len(self._threads) < self._limit:
            thread = threading.Thread(target=self._serve, name=f"hash-{len(self._threads)}", daemon=True)
            try:
                thread.start()
            except RuntimeError as fault:
                if not self._threads:
                    del self._queues[piece.lane][piece]
                    raise HashUnavailable(f"no thread for a hash: {fault}") from None
            else:
                self._threads.append(thread)
        self._changed.notify()

    def _forget(self, piece: Piece) -> None:
        with self._lock:
            self._queues[piece.lane].pop(piece, None)

    # ---- in the threads

    def _serve(self) -> None:
        while (piece := self._take()) is not None:
            self._carry_out(piece)
            del piece  # the next may be long in coming

    def _take(self) -> Piece | None:
        """Wait for a piece of work; None: there will be none."""
        with self._lock:
            while (piece := self._next()) is None:
                if self._closed:
                    return None
                self._idle_count += 1
                self._changed.wait()
                self._idle_count -= 1
            self._begun[piece] = self._clock()
            return piece

    def _carry_out(self, piece: Piece) -> None:
        error: BaseException | None = None
        result = None
        is_late = self._begun[piece] > piece.deadline  # the loop was too busy to say so itself
        try:
            if is_late:
                raise PoolBusy("waited too long for a hash")
            result = piece.work(*piece.args)
        except BaseException as fault:  # noqa: BLE001  the waiter's, whatever it is
            error = fault
        with self._lock:  # at first: who hears of the result finds the slot free
            began = self._begun.pop(piece)
            if not is_late:
                self._note(self._clock() - began)
        if error is None:
            piece.future.set_result(result)
        else:
            piece.future.set_exception(error)
        del error, piece  # its traceback holds this frame, and the piece the secret

    def _next(self) -> Piece | None:
        """The piece whose turn it is, out of its queue; None: there is nothing to do now."""
        while (lane := self._turn()) is not None:
            piece, _ = self._queues[lane].popitem(last=False)
            if not piece.future.set_running_or_notify_cancel():
                continue  # its waiter left this moment
            passed_by = lane is Lane.FIRST and bool(self._queues[Lane.ORDINARY])
            self._first_in_a_row = self._first_in_a_row + 1 if passed_by else 0
            return piece
        return None

    def _turn(self) -> Lane | None:
        first, ordinary, last = self._queues
        if ordinary and (not first or self._first_in_a_row >= FIRST_IN_A_ROW):
            return Lane.ORDINARY
        if first:
            return Lane.FIRST
        if last and not any(piece.lane is Lane.LAST for piece in self._begun):
            return Lane.LAST
        return None

    # ---- foreseeing

    def _note(self, took_s: float) -> None:
        self._average_s += (took_s - self._average_s) / (RECENT if self._average_s else 1)

    def _predicted_wait_s(self, lane: Lane) -> float:
        must_end = len(self._begun) + self._ahead(lane) - self._limit + 1
        if must_end <= 0:
            return 0.0
        now = self._clock()
        youngest_s = now - max(self._begun.values(), default=now)  # above the average only if all threads are slow
        return must_end * max(self._average_s, youngest_s) / self._limit

    def _ahead(self, lane: Lane) -> int:
        """How many of those that wait now have their turn before one that came now."""
        first, ordinary, last = map(len, self._queues)
        if lane is Lane.FIRST:
            return first + min(ordinary, (self._first_in_a_row + first) // FIRST_IN_A_ROW)
        if lane is Lane.ORDINARY:
            return ordinary + min(first, FIRST_IN_A_ROW * (ordinary + 1) - self._first_in_a_row)
        return first + ordinary + last
