"""The threads that compute hashes, and who may wait for one.

Rule: a slot is freed by the thread's ending its work, not by the waiter's leaving; so at most `threads` hashes take
memory at once, and what is counted is what the processor still has to do. Nobody waits past the deadline.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from mailauth.hashing import records
from mailauth.hashing.argon2id import Argon2id
from mailauth.hashing.scheme import HashScheme
from mailauth.interfaces import HashUnavailable, PoolBusy

T = TypeVar("T")

RECENT = 8  # the moving average follows about so many pieces of work


def usable_cores() -> int:
    """The processors this process may run on; more threads than these only wait for each other."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class HashPool:
    """Bounded threads behind a bounded queue.

    threads: None means one per usable core. queue_deadline_s: the longest that work may wait before it begins.
    queue_limit: how many may wait. scheme: makes new records. clock: monotonic seconds.
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
        self._threads = usable_cores() if threads is None else threads
        self._queue_deadline_s = queue_deadline_s
        self._queue_limit = queue_limit
        self._scheme = Argon2id() if scheme is None else scheme
        self._clock = clock
        self._executor = ThreadPoolExecutor(self._threads, "hash")
        self._lock = threading.Lock()
        self._unfinished_count = 0  # waiting or begun
        self._begun_at: dict[int, float] = {}  # by thread
        self._average_s = 0.0
        self._closed = False

    async def verify(self, record: str, secret: bytes) -> bool:
        """Whether this secret made this record. Raises BadRecord, HashUnavailable, PoolBusy."""
        return await self.run(records.verify, record, secret)

    async def hash(self, secret: bytes) -> str:
        """A new record. Raises HashUnavailable, PoolBusy."""
        return await self.run(self._scheme.hash, secret)

    def outdated(self, record: str) -> bool:
        """Whether a new record should take this one's place. Raises BadRecord. Computes no hash."""
        return records.needs_rehash(record, self._scheme)

    def is_legacy(self, record: str) -> bool:
        """Whether this record is of another kind than Argon2. Raises BadRecord."""
        return records.is_legacy(record)

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """The result of `work(*args)` in a thread, or its exception.

        Raises PoolBusy when the work was not begun, and never will be: too many wait, or it waited too long.
        """
        future = self._submit(work, *args)
        waiter = asyncio.wrap_future(future)
        try:
            await asyncio.wait((waiter,), timeout=self._queue_deadline_s)
            if waiter.cancelled() or (not waiter.done() and future.cancel()):
                raise PoolBusy("waited too long for a hash")
            return await waiter
        finally:
            waiter.cancel()
            future.cancel()

    def predicted_wait_s(self) -> float:
        """How long work that came now would wait before it begins."""
        with self._lock:
            return self._predicted_wait_s()

    def saturated(self, delay_s: float) -> bool:
        """Whether work that came now would begin later than this, or not at all."""
        with self._lock:
            full = self._unfinished_count >= self._threads + self._queue_limit
            return full or self._predicted_wait_s() > delay_s

    def close(self) -> None:
        """Refuse what waits, let what was begun end, and end the threads. Blocks until then."""
        with self._lock:
            self._closed = True
        self._executor.shutdown(cancel_futures=True)

    def _submit(self, work: Callable[..., T], *args: Any) -> Future[T]:
        with self._lock:
            if self._closed:
                raise PoolBusy("the hash pool is closed")
            if self._unfinished_count >= self._threads + self._queue_limit:
                raise PoolBusy("the hash queue is full")
            if (wait_s := self._predicted_wait_s()) > self._queue_deadline_s:
                raise PoolBusy(f"a hash would have to wait {wait_s:.1f} s")
            self._unfinished_count += 1
        try:
            future = self._executor.submit(self._carry_out, self._clock() + self._queue_deadline_s, work, args)
        except RuntimeError as fault:  # the system gives no thread, or `close` came between
            self._forget()
            raise HashUnavailable(f"no thread for a hash: {fault}") from None
        future.add_done_callback(self._forget)
        return future

    def _carry_out(self, deadline: float, work: Callable[..., T], args: tuple[Any, ...]) -> T:
        """In the thread."""
        began = self._clock()
        if began > deadline:  # the loop was too busy to say so earlier
            raise PoolBusy("waited too long for a hash")
        thread = threading.get_ident()
        with self._lock:
            self._begun_at[thread] = began
        try:
            return work(*args)
        finally:
            with self._lock:
                del self._begun_at[thread]
                self._note(self._clock() - began)

    def _note(self, took_s: float) -> None:
        self._average_s += (took_s - self._average_s) / (RECENT if self._average_s else 1)

    def _forget(self, _: Future[Any] | None = None) -> None:
        with self._lock:
            self._unfinished_count -= 1

    def _predicted_wait_s(self) -> float:
        ahead = self._unfinished_count - self._threads + 1  # pieces of work that must end first
        if ahead <= 0:
            return 0.0
        now = self._clock()
        youngest_s = now - max(self._begun_at.values(), default=now)  # above the average only if all threads are slow
        return ahead * max(self._average_s, youngest_s) / self._threads
