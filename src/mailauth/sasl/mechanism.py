"""What a SASL mechanism is to a server (RFC 4422 section 3), and the base64 that IMAP, POP3 and SMTP put around it.

Rule: a mechanism parses. It never checks a password and never waits.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Protocol

from mailauth.attempt import Credential


class Malformed(Exception):
    """The client's bytes are not what the mechanism or its encoding allows. The text is ours and safe to send."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the server asks next, not yet in base64."""

    data: bytes


class Mechanism(Protocol):
    """One exchange of one mechanism: made for one attempt, then thrown away."""

    def step(self, response: bytes | None) -> Challenge | Credential:
        """Take the client's next response; None: it sent no initial response (an empty one is b"").

        Raises Malformed.
        """


class Factory(Protocol):
    """A mechanism that a listener may offer. name: as registered with IANA, upper case."""

    name: str

    def start(self) -> Mechanism:
        """Begin one exchange."""


def decode(encoded: bytes) -> bytes:
    """One response out of its base64 (RFC 4648 section 4: canonical, nothing but the alphabet). Raises Malformed."""
    try:
        response = binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error:
        raise Malformed("Invalid base64") from None
    if encode(response) != encoded:  # strict mode lets too much padding through, and stray bits
        raise Malformed("Invalid base64")
    return response


def decode_initial(encoded: bytes) -> bytes:
    """An initial response out of its base64; `=` is the empty one (RFC 4954 section 4, RFC 4959 section 3)."""
    return b"" if encoded == b"=" else decode(encoded)


def encode(data: bytes) -> bytes:
    """One challenge in base64, on one line."""
    return binascii.b2a_base64(data, newline=False)


def text(raw: bytes, what: str) -> str:
    """UTF-8 without NUL. Raises Malformed; `what` names the field, the error never tells its content."""
    if b"\0" in raw:
        raise Malformed(f"NUL in the {what}")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Malformed(f"The {what} is not UTF-8") from None
