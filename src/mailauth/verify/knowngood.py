"""Known-good pairs: from which sources (or on which devices) somebody got into an account lately.

Rule: it never admits anybody; it only says whose hash goes first, and who has a reserve of guesses. Bounded for each
account too, so that nobody who gets in from everywhere pushes out what is known of others. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from mailauth.guessing import KNOWN, KNOWN_S, Told, pair

MOST_PAIRS = 100_000  # some 30 MiB when full
MOST_OF_ACCOUNT = 32
TELL_AGAIN_S = 86400.0  # a pair that stays in use is told once a day
MOST_TOLD = 500


@dataclass(slots=True)
class Seen:
    """When somebody got in last; and when the others were told of it, None: not yet."""

    at: float
    told_at: float | None = None


class KnownGood:
    """The pairs, by account and whence."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[int, OrderedDict[str, Seen]] = OrderedDict()  # longest unused first, both
        self._untold: dict[tuple[int, str], None] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, whence: str, account_id: int, now: float, *, tell: bool = True) -> None:
        """Somebody got in. tell: whether the others should know; what names a device is nobody else's."""
        seen = self._found(whence, account_id, now)
        seen.at = now
        if tell and (seen.told_at is None or now - seen.told_at >= TELL_AGAIN_S):
            self._untold[account_id, whence] = None

    def knows(self, whence: str, account_id: int, now: float) -> bool:
        """Whether somebody got in lately."""
        seen = self._seen(whence, account_id)
        return seen is not None and now - seen.at < KNOWN_S

    def to_tell(self) -> list[Told]:
        """What others should hear of. Tell `told` what they have heard."""
        keys = [key for key, _ in zip(self._untold, range(MOST_TOLD), strict=False)]
        return [Told(KNOWN, pair(whence, account_id), 0.0) for account_id, whence in keys]

    def told(self, subject: str, now: float) -> None:
        """They have heard of this pair."""
        whence, _, account = subject.rpartition("|")
        account_id = int(account)
        self._untold.pop((account_id, whence), None)
        seen = self._seen(whence, account_id)
        if seen is not None:
            seen.told_at = now

    def hear(self, subject: str, idle_s: float, now: float) -> None:
        """Another process knows this pair, since idle_s ago."""
        whence, _, account = subject.rpartition("|")
        if not account.isdecimal() or not whence or idle_s >= KNOWN_S:
            return
        told_at = now - idle_s
        seen = self._found(whence, int(account), told_at)
        seen.at = max(seen.at, told_at)
        seen.told_at = told_at if seen.told_at is None else max(seen.told_at, told_at)

    def _seen(self, whence: str, account_id: int) -> Seen | None:
        pairs = self._accounts.get(account_id)
        return None if pairs is None else pairs.get(whence)

    def _found(self, whence: str, account_id: int, at: float) -> Seen:
        pairs = self._accounts.setdefault(account_id, OrderedDict())
        self._accounts.move_to_end(account_id)
        seen = pairs.get(whence)
        if seen is not None:
            pairs.move_to_end(whence)
            return seen
        seen = pairs[whence] = Seen(at)
        self._count += 1
        if len(pairs) > MOST_OF_ACCOUNT:
            self._drop(account_id, next(iter(pairs)))
        if self._count > MOST_PAIRS:
            oldest = next(iter(self._accounts))
            self._drop(oldest, next(iter(self._accounts[oldest])))
        return seen

    def _drop(self, account_id: int, whence: str) -> None:
        pairs = self._accounts[account_id]
        del pairs[whence]
        self._untold.pop((account_id, whence), None)
        self._count -= 1
        if not pairs:
            del self._accounts[account_id]
