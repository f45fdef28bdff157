"""Whether a secret matches a stored hash: remembers the proof, never the permission.

A proof says "these bytes match this stored record". The record is part of it, so a changed or deleted password needs
no flushing; the row is still read at every login. Proofs are keyed digests under a key of this process, in memory only.
One password shown by five connections in one second is hashed once: hash results are shared, never rows or verdicts.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import Protocol

from mailauth.interfaces import Lane

CAPACITY = 50_000  # about 10 MiB
MAX_DISPROVEN = 10_000


class Hashes(Protocol):
    """The bounded pool that computes hashes."""

    async def verify(self, record: str, secret: bytes, lane: Lane = Lane.ORDINARY) -> bool:
        """Whether the secret matches. Raises BadRecord, HashUnavailable, PoolBusy."""

    async def hash(self, secret: bytes, lane: Lane = Lane.ORDINARY) -> str:
        """A new record of the preferred kind. Raises HashUnavailable, PoolBusy."""

    def outdated(self, record: str) -> bool:
        """Whether this record is of another kind or strength than new ones."""

    def is_legacy(self, record: str) -> bool:
        """Whether this record is of an old kind, to be replaced at the next good login."""

    def saturated(self, delay_s: float) -> bool:
        """Whether a hash asked for now would be late by more than this."""


class Proofs:
    """Matches secrets against records through the pool, once each."""

    def __init__(self, hashes: Hashes, capacity: int = CAPACITY) -> None:
        self._hashes = hashes
        self._capacity = capacity
        self._key = secrets.token_bytes(32)
        self._proven: dict[bytes, None] = {}  # oldest use first
        self._disproven: dict[bytes, None] = {}  # what a program repeats that nobody mends costs one hash
        self._flights: dict[bytes, asyncio.Task[bool]] = {}

    def _digest(self, record: str, secret: bytes) -> bytes:
        stored = record.encode()
        return hashlib.blake2b(len(stored).to_bytes(4, "big") + stored + secret, digest_size=16, key=self._key).digest()

    def known(self, record: str, secret: bytes) -> bool:
        """Whether it is remembered that the secret matches the record."""
        return self._is_proven(self._digest(record, secret))

    async def match(self, record: str, secret: bytes, lane: Lane = Lane.ORDINARY) -> bool:
        """Whether the secret matches the record. Raises BadRecord, HashUnavailable, PoolBusy."""
        digest = self._digest(record, secret)
        if self._is_proven(digest):
            return True
        if digest in self._disproven:
            return False
        flight = self._flights.get(digest)
        if flight is None:
            flight = asyncio.get_running_loop().create_task(self._hashes.verify(record, secret, lane))
            self._flights[digest] = flight
            flight.add_done_callback(lambda done: self._land(digest, record, done))
        return await asyncio.shield(flight)  # whoever leaves, the others still wait for the same hash

    def _is_proven(self, digest: bytes) -> bool:
        if digest not in self._proven:
            return False
        del self._proven[digest]
        self._proven[digest] = None
        return True

    def _land(self, digest: bytes, record: str, flight: asyncio.Task[bool]) -> None:
        del self._flights[digest]
        if flight.cancelled() or flight.exception() is not None:
            return
        if not flight.result():
            self._disproven[digest] = None
            if len(self._disproven) > MAX_DISPROVEN:
                del self._disproven[next(iter(self._disproven))]
            return
        if self._hashes.is_legacy(record):
            return  # remembered once it has been replaced
        self._proven[digest] = None
        if len(self._proven) > self._capacity:
            del self._proven[next(iter(self._proven))]
