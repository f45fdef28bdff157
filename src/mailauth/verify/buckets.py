"""The counts of wrong guesses in this process's memory, told to other processes and heard from them.

A count is what was judged (`spent`, falling by time) and what is being judged (`held`, which does not fall): a guess is
held when it is admitted and spent when it turns out wrong, so that guessing in parallel gains nothing, and in any time
no more wrong guesses are judged than the bucket's size and what falls off meanwhile.
Rule: bounded; the longest untouched go first. Times are monotonic seconds. Belongs to one event loop.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from mailauth.guessing import LIMITS, NEAR_NOTHING, Count, Limit, Told

MOST_BUCKETS = 50_000  # of each kind; some 20 MiB when full
MOST_TOLD = 500  # counts told at a time: what more there is waits for the next time

Key = tuple[str, str]  # kind, subject


@dataclass(slots=True, eq=False)
class Bucket:
    """One subject's count, as it was at `at`. wrong_at: when it last grew; untold: what nobody else has heard of."""

    limit: Limit
    key: Key
    at: float
    wrong_at: float = -math.inf
    spent: float = 0.0
    held: int = 0
    untold: float = 0.0

    def fall(self, now: float) -> None:
        """Bring it up to now."""
        self.spent = self.limit.after(self.spent, now - self.at)
        self.untold = min(self.untold, self.spent)
        self.wrong_at = min(self.wrong_at, now)
        self.at = now

    def wait_s(self) -> float:
        """How long until one more is admitted; 0: now."""
        return self.limit.wait_s(self.spent, self.held, self.at - self.wrong_at)

    def lends(self) -> bool:
        """Whether it admits one more if a reserve pays too."""
        return self.limit.lends(self.spent, self.held)


class Buckets:
    """All counts, by kind and subject."""

    def __init__(self) -> None:
        self._tables: dict[str, OrderedDict[str, Bucket]] = {kind: OrderedDict() for kind in LIMITS}
        self._untold: OrderedDict[Key, None] = OrderedDict()  # worth telling, longest waiting first

    def __len__(self) -> int:
        return sum(len(table) for table in self._tables.values())

    def at(self, limit: Limit, subject: str, now: float) -> Bucket:
        """This subject's count as it stands now. An empty one is kept only once something is held in it."""
        table = self._tables[limit.kind]
        bucket = table.get(subject)
        if bucket is None:
            return Bucket(limit, (limit.kind, subject), now)
        table.move_to_end(subject)
        bucket.fall(now)
        return bucket

    def hold(self, bucket: Bucket) -> None:
        """A guess is admitted. bucket: as `at` has just given it."""
        bucket.held += 1
        self._keep(bucket)

    def release(self, bucket: Bucket, now: float, *, wrong: bool) -> None:
        """What was held is judged."""
        bucket.fall(now)
        bucket.held -= 1
        if not wrong:
            return
        bucket.spent += 1.0
        bucket.untold += 1.0
        bucket.wrong_at = now
        if bucket.spent >= bucket.limit.worth:
            self._untold[bucket.key] = None

    def to_tell(self, now: float) -> list[Told]:
        """What others should hear of, some of it if it is much. Tell `told` what they have heard."""
        found = []
        for kind, subject in list(islice(self._untold, MOST_TOLD)):
            bucket = self._tables[kind].get(subject)
            if bucket is not None:
                bucket.fall(now)
            if bucket is None or bucket.untold <= NEAR_NOTHING:
                del self._untold[kind, subject]
            else:
                found.append(Told(kind, subject, bucket.untold))
        return found

    def told(self, heard: Iterable[Told]) -> None:
        """They have heard this, which is what `to_tell` gave."""
        for one in heard:
            bucket = self._tables[one.kind].get(one.subject)
            if bucket is None:
                continue
            bucket.untold = max(0.0, bucket.untold - one.added)
            if bucket.untold <= NEAR_NOTHING:
                self._untold.pop(bucket.key, None)
            elif bucket.key in self._untold:
                self._untold.move_to_end(bucket.key)  # others have waited for longer

    def hear(self, count: Count, now: float) -> None:
        """Raise a count to what all processes together have told, and this one has not told yet. Never lowers it."""
        limit = LIMITS[count.kind]
        spent = limit.after(min(count.spent, limit.most), count.idle_s)
        if spent <= 0.0:
            return
        bucket = self.at(limit, count.subject, now)
        if spent + bucket.untold <= bucket.spent:
            return
        bucket.spent = spent + bucket.untold
        bucket.wrong_at = max(bucket.wrong_at, now - count.idle_s)
        self._keep(bucket)

    def clear(self, cleared: Mapping[str, Callable[[str], bool]]) -> None:
        """Forget these subjects, by kind. What is held of them is not counted when it turns out wrong."""
        for kind, is_cleared in cleared.items():
            table = self._tables[kind]
            for subject in [subject for subject in table if is_cleared(subject)]:
                del table[subject]
                self._untold.pop((kind, subject), None)

    def _keep(self, bucket: Bucket) -> None:
        kind, subject = bucket.key
        table = self._tables[kind]
        table[subject] = bucket
        if len(table) > MOST_BUCKETS:
            gone, _ = table.popitem(last=False)
            self._untold.pop((kind, gone), None)
