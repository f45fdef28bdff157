"""Who may guess now: bounds on distinct wrong secrets, by source, and on wrong web passwords, by account.

A guess is paid for when it is admitted, from a bucket that fills up again by time alone, and paid back unless it was
judged and refused as no app password of the account; so guessing in parallel gains nothing, and what was not judged is
not counted. The same wrong secret for the same login is paid for once: a stale device repeats itself, a guesser does
not. A secret that hits a selector never comes here: nobody's guesses hold up a device with a minted password.

Rule: memory only, bounded; sameness is a keyed digest under a key of this process. No clock but the one handed in.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Generic, TypeVar

from mailauth.attempt import Attempt
from mailauth.verdict import Outcome, Reject

SOURCE_GUESSES = 36.0  # distinct wrong secrets before a source has to wait: an office may mistype, a guesser may not
SOURCE_REFILL_S = 30.0  # seconds until it may guess once more
ACCOUNT_GUESSES = 100.0  # wrong web passwords in a row (NIST SP 800-63B-4, section 3.2.2)
ACCOUNT_REFILL_S = 36.0
IPV6_SOURCE_BITS = 64  # one customer's network (RFC 6177)
MAX_BUCKETS = 100_000  # about 40 MiB when full of sources that each guessed a little
MAX_TAGS = 40  # wrong secrets remembered for a source: more than it can pay for within the time they matter

Key = TypeVar("Key", str, int)


@dataclass(slots=True)
class Bucket:
    """What somebody may still spend. tags: secrets paid for already, oldest first."""

    left: float
    filled_at: float
    tags: dict[bytes, None] = field(default_factory=dict)


class Buckets(Generic[Key]):
    """Buckets by key; those that are full again need not be kept, and the longest unused go first."""

    def __init__(self, size: float, refill_s: float) -> None:
        self._size = size
        self._refill_s = refill_s
        self._buckets: dict[Key, Bucket] = {}

    def at(self, key: Key, now: float) -> Bucket:
        """This key's bucket as it stands now."""
        bucket = self._buckets.pop(key, None) or Bucket(self._size, now)
        bucket.left = min(self._size, bucket.left + max(0.0, now - bucket.filled_at) / self._refill_s)
        bucket.filled_at = now
        self._buckets[key] = bucket
        if len(self._buckets) > MAX_BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        return bucket

    def wait_s(self, bucket: Bucket) -> float:
        """How long until one guess can be paid for; 0: now."""
        return max(0.0, (1.0 - bucket.left) * self._refill_s)


@dataclass(frozen=True, slots=True)
class Claim:
    """An admitted guess. paid: the buckets that it was taken from; tag: what it was, for the first of them."""

    paid: Sequence[Bucket]
    tag: bytes

    def settle(self, outcome: Outcome) -> None:
        """Keep the price of a wrong guess, and give that of anything else back."""
        if type(outcome) is Reject and outcome.credential_id is None and self._is_new():
            return
        for bucket in self.paid:
            bucket.left += 1.0

    def _is_new(self) -> bool:
        """Remember the wrong secret; False: another connection has paid for it meanwhile."""
        tags = self.paid[0].tags if self.paid else {}
        if self.tag in tags:
            return False
        tags[self.tag] = None
        if len(tags) > MAX_TAGS:
            del tags[next(iter(tags))]
        return True


class GuessThrottle:
    """Admits guesses. trusted: networks (webmail) whose sources are not counted. clock: monotonic seconds."""

    def __init__(
        self,
        trusted: Sequence[IPv4Network | IPv6Network] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trusted = trusted
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._sources: Buckets[str] = Buckets(SOURCE_GUESSES, SOURCE_REFILL_S)
        self._accounts: Buckets[int] = Buckets(ACCOUNT_GUESSES, ACCOUNT_REFILL_S)

    def claim(self, attempt: Attempt, login: str, account_id: int | None) -> Claim | float:
        """Admit one guess, or say after how many seconds to come back.

        account_id: the account whose web password is going to be judged; None: none is.
        """
        now = self._clock()
        tag = self._tag(login, attempt.credential.secret)
        buckets: list[Bucket] = []
        wait_s = 0.0
        if (source := self._source(attempt.peer)) is not None:
            bucket = self._sources.at(source, now)
            if tag in bucket.tags:
                return Claim((), tag)
            buckets.append(bucket)
            wait_s = self._sources.wait_s(bucket)
        if account_id is not None:
            bucket = self._accounts.at(account_id, now)
            buckets.append(bucket)
            wait_s = max(wait_s, self._accounts.wait_s(bucket))
        if wait_s > 0:
            return wait_s
        for bucket in buckets:
            bucket.left -= 1.0
        return Claim(buckets, tag)

    def _tag(self, login: str, secret: bytes) -> bytes:
        name = login.encode()
        return hashlib.blake2b(len(name).to_bytes(4, "big") + name + secret, digest_size=8, key=self._key).digest()

    def _source(self, peer: str) -> str | None:
        """What counts as one source; None: not counted."""
        try:
            address = ip_address(peer)
        except ValueError:  # no address: a UNIX socket
            return None
        if any(address in network for network in self._trusted):
            return None
        return peer if address.version == 4 else str(ip_network((address, IPV6_SOURCE_BITS), strict=False))
