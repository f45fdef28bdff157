"""Argon2id, RFC 9106, in PHC strings: the one scheme in which new secrets are stored.

libsodium derives where it can, in half the time of argon2-cffi's wheel. Its own verification is not used: it says
"wrong password" when memory runs out and for garbage. So we read the PHC string, derive the tag, and compare.
Rule: a derivation that fails is HashUnavailable, never False.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
from dataclasses import dataclass

from nacl.bindings import (
    crypto_pwhash_alg,
    crypto_pwhash_ALG_ARGON2ID13,
    crypto_pwhash_BYTES_MIN,
    crypto_pwhash_SALTBYTES,
)
from nacl.exceptions import CryptoError

from mailauth.hashing.scheme import Check, unpadded
from mailauth.interfaces import BadRecord, HashUnavailable

SALT_BYTES = 16  # RFC 9106 section 4, and the only length that libsodium takes
TAG_BYTES = 32
MAX_MEMORY_KIB = 4 * 1024 * 1024  # twice the most that RFC 9106 section 4 recommends
MAX_WORK_KIB = 16 * 1024 * 1024  # memory times passes: about five seconds
MAX_LANES = 64
LATEST = 19  # version 1.3

_PHC = re.compile(
    r"\$argon2(?P<variant>id|i|d)(?:\$v=(?P<version>16|19))?"
    r"\$m=(?P<memory>[1-9]\d{0,9}),t=(?P<time>[1-9]\d{0,9}),p=(?P<lanes>[1-9]\d{0,9})"
    r"\$(?P<salt>[A-Za-z0-9+/]{11,86})\$(?P<tag>[A-Za-z0-9+/]{16,171})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Phc:
    """What a PHC string of the argon2 family says. memory_kib: in all lanes together."""

    variant: str
    version: int
    memory_kib: int
    time_cost: int
    parallelism: int
    salt: bytes
    tag: bytes

    def matches(self, secret: bytes) -> bool:
        """Whether this secret gives this tag. Raises HashUnavailable."""
        return hmac.compare_digest(self.derive(secret), self.tag)

    def derive(self, secret: bytes) -> bytes:
        """The tag that this secret gives, as long as ours. Raises HashUnavailable."""
        ours = self.variant == "id" and self.version == LATEST and self.parallelism == 1
        if not ours or len(self.salt) != crypto_pwhash_SALTBYTES or len(self.tag) < crypto_pwhash_BYTES_MIN:
            return self._derive_by_argon2_cffi(secret)
        try:
            return crypto_pwhash_alg(
                len(self.tag),
                secret,
                self.salt,
                self.time_cost,
                self.memory_kib * 1024,
                crypto_pwhash_ALG_ARGON2ID13,
            )
        except (CryptoError, MemoryError) as fault:
            raise HashUnavailable(f"argon2id with {self.memory_kib} KiB failed: {type(fault).__name__}") from None

    def _derive_by_argon2_cffi(self, secret: bytes) -> bytes:
        try:
            from argon2.exceptions import HashingError  # noqa: PLC0415 - only records made elsewhere need it
            from argon2.low_level import Type, hash_secret_raw  # noqa: PLC0415
        except (ImportError, MemoryError) as fault:
            raise HashUnavailable(f"argon2-cffi cannot be loaded: {type(fault).__name__}") from None
        try:
            return hash_secret_raw(
                secret,
                self.salt,
                self.time_cost,
                self.memory_kib,
                self.parallelism,
                len(self.tag),
                {"id": Type.ID, "i": Type.I, "d": Type.D}[self.variant],
                self.version,
            )
        except (HashingError, MemoryError) as fault:
            raise HashUnavailable(f"argon2 with {self.memory_kib} KiB failed: {type(fault).__name__}") from None


@dataclass(frozen=True, slots=True)
class Argon2id:
    """New records: PHC strings with a 16-byte salt and a 32-byte tag. Default cost: OWASP's second choice, 9 ms.

    memory_kib: of one hash; so many are taken at once as the pool has threads. Raises ValueError for a cost that
    records may not have.
    """

    time_cost: int = 2
    memory_kib: int = 19456
    parallelism: int = 1

    def __post_init__(self) -> None:
        if (problem := _absurd(self.memory_kib, self.time_cost, self.parallelism)) is not None:
            raise ValueError(f"argon2id: {problem}")

    def verify(self, record: str, secret: bytes) -> bool:
        """As HashScheme; of the whole argon2 family, whatever the parameters."""
        return parse(record).matches(secret)

    def hash(self, secret: bytes) -> str:
        """As HashScheme."""
        salt = os.urandom(SALT_BYTES)
        cost = (self.memory_kib, self.time_cost, self.parallelism)
        tag = Phc("id", LATEST, *cost, salt, bytes(TAG_BYTES)).derive(secret)
        return "$argon2id$v={}$m={},t={},p={}${}${}".format(LATEST, *cost, _text(salt), _text(tag))

    def needs_rehash(self, record: str) -> bool:
        """As HashScheme; any difference counts, a stronger record too: what is stored is what is configured."""
        old = parse(record)
        wanted = ("id", LATEST, self.memory_kib, self.time_cost, self.parallelism, SALT_BYTES, TAG_BYTES)
        cost = (old.memory_kib, old.time_cost, old.parallelism)
        return (old.variant, old.version, *cost, len(old.salt), len(old.tag)) != wanted


def parse(record: str) -> Phc:
    """Read a PHC string of argon2id, argon2i or argon2d. Raises BadRecord: unreadable, or of an absurd cost."""
    match = _PHC.fullmatch(record)
    if match is None:
        raise BadRecord("the stored argon2 hash is not a PHC string")
    memory_kib, time_cost, lanes = int(match["memory"]), int(match["time"]), int(match["lanes"])
    if (problem := _absurd(memory_kib, time_cost, lanes)) is not None:
        raise BadRecord(f"the stored argon2 hash is out of bounds: {problem}")
    version = int(match["version"] or 16)  # strings without a version are of 1.0
    return Phc(match["variant"], version, memory_kib, time_cost, lanes, unpadded(match["salt"]), unpadded(match["tag"]))


def read(record: str) -> Check:
    """As `parse`, for `records`."""
    return parse(record).matches


def _absurd(memory_kib: int, time_cost: int, lanes: int) -> str | None:
    """What is wrong with this cost, if anything; RFC 9106 section 3.1 sets the lower bounds."""
    if not 1 <= lanes <= MAX_LANES:
        return f"parallelism must be 1 to {MAX_LANES}"
    if not 8 * lanes <= memory_kib <= MAX_MEMORY_KIB:
        return f"memory must be {8 * lanes} to {MAX_MEMORY_KIB} KiB"
    if time_cost < 1 or time_cost * memory_kib > MAX_WORK_KIB:
        return f"passes must be 1 or more, and passes times memory at most {MAX_WORK_KIB} KiB"
    return None


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")
