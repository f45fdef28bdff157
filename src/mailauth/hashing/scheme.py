"""What a way of storing secrets offers, and how a stored record names it.

Source: the PHC string format; RFC 2307 section 5.3 and Dovecot's password schemes for the `{SCHEME.encoding}` prefix.
Rule: only a completed comparison is False. What cannot be read is BadRecord, what cannot be computed HashUnavailable.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from mailauth.interfaces import BadRecord

Check = Callable[[bytes], bool]  # whether this secret made the record; may raise HashUnavailable

_PREFIX = re.compile(r"\{([A-Z0-9_-]{1,32})(?:\.(B64|BASE64|HEX))?\}(?=.)", re.IGNORECASE | re.ASCII | re.DOTALL)


class HashScheme(Protocol):
    """One way to store a secret, with its parameters."""

    def verify(self, record: str, secret: bytes) -> bool:
        """Whether this secret made this record. Raises BadRecord, HashUnavailable."""

    def hash(self, secret: bytes) -> str:
        """A new record with a salt of its own. Raises HashUnavailable."""

    def needs_rehash(self, record: str) -> bool:
        """Whether a new record would be of another scheme or other parameters. Raises BadRecord."""


class Stored(NamedTuple):
    """A record taken apart. scheme: upper case, "" without a prefix; encoding: "B64", "HEX" or "" (none said)."""

    scheme: str
    encoding: str
    value: str

    def text(self) -> str:
        """The value, decoded if its encoding was said. Raises BadRecord."""
        return decoded(self.encoding, self.value).decode("utf-8", "surrogateescape") if self.encoding else self.value


def unwrap(record: str) -> Stored:
    """Take the prefix off. Raises BadRecord: nothing there, or a brace without a prefix."""
    if not record or record.startswith("{"):
        match = _PREFIX.match(record)
        if match is None:
            raise BadRecord("the stored password is empty or has a broken {SCHEME} prefix")
        encoding = (match[2] or "").upper().replace("BASE64", "B64")
        return Stored(match[1].upper(), encoding, record[match.end() :])
    return Stored("", "", record)


def decoded(encoding: str, value: str) -> bytes:
    """The bytes of a value in "HEX" or "B64". Raises BadRecord."""
    try:
        return binascii.unhexlify(value) if encoding == "HEX" else base64.b64decode(value, validate=True)
    except ValueError:
        raise BadRecord(f"the stored password is not valid {encoding}") from None


def unpadded(value: str) -> bytes:
    """The bytes of standard base64 without padding, as PHC strings have it. Raises BadRecord."""
    raw = decoded("B64", value + "=" * (-len(value) % 4))
    if base64.b64encode(raw).decode().rstrip("=") != value:
        raise BadRecord("the stored password is not valid B64")
    return raw
