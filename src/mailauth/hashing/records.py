"""Any stored record: which scheme made it, whether a secret made it, whether it should be made anew.

Rule: `{ARGON2...}` and `$argon2...` go to argon2id, everything else to legacy; a record is never guessed at twice.
"""

from __future__ import annotations

from mailauth.hashing import argon2id, legacy
from mailauth.hashing.scheme import Check, HashScheme, Stored, unwrap
from mailauth.interfaces import BadRecord, HashUnavailable

MAX_RECORD_CHARACTERS = 1024  # four times the longest hash of any scheme


def verify(record: str, secret: bytes) -> bool:
    """Whether this secret made this record. Raises BadRecord, HashUnavailable."""
    try:
        return _read(record)(secret)
    except (MemoryError, ImportError) as fault:
        raise HashUnavailable(f"a password could not be verified: {type(fault).__name__}") from None


def check(record: str) -> None:
    """Raise BadRecord, with the reason, unless `verify` could judge by this record. Computes nothing."""
    _read(record)


def needs_rehash(record: str, preferred: HashScheme) -> bool:
    """Whether a new record by the preferred scheme should take this one's place. Raises BadRecord, for argon2 only."""
    stored = _unwrap(record)
    return preferred.needs_rehash(stored.text()) if _is_argon2(stored) else True


def is_legacy(record: str) -> bool:
    """Whether the record is of another kind than Argon2, however strong. Raises BadRecord."""
    return not _is_argon2(_unwrap(record))


def _read(record: str) -> Check:
    stored = _unwrap(record)
    return argon2id.read(stored.text()) if _is_argon2(stored) else legacy.read(stored)


def _unwrap(record: str) -> Stored:
    if len(record) > MAX_RECORD_CHARACTERS:
        raise BadRecord(f"the stored password has more than {MAX_RECORD_CHARACTERS} characters")
    return unwrap(record)


def _is_argon2(stored: Stored) -> bool:
    return stored.scheme in {"ARGON2", "ARGON2ID", "ARGON2I", "ARGON2D"} or (
        stored.scheme in {"", "CRYPT"} and stored.value.startswith("$argon2")
    )
