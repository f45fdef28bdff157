"""A command put together from its lines and literals (RFC 3501 sections 2.2.1 and 4.3, RFC 7888).

Rule: bounded, whatever comes. Whether an announced literal is wanted is for the caller to say; unsaid, it is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mailauth.dialogue import Lines
from mailauth.imap import syntax

MAX_LINE_BYTES = 12_288 + 64  # a SASL response (RFC 4954 section 4.3 gives the figure) behind a tag and AUTHENTICATE
MAX_LITERAL_BYTES = 4096  # RFC 7888 section 5
MAX_COMMAND_BYTES = 16_384  # up to and with its last literal

HTTP_VERBS = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"DELETE ", b"PATCH ", b"TRACE ", b"PRI ")
SHOW_A_PASSWORD = frozenset({b"LOGIN", b"AUTHENTICATE"})
BARE = frozenset({b"CAPABILITY", b"NOOP", b"LOGOUT", b"STARTTLS"})  # those without arguments


@dataclass(frozen=True, slots=True)
class Partial:
    """A command up to a literal that is still to come. text: its lines and earlier literals, line ends included."""

    text: bytes = field(repr=False)  # may hold a password
    literal: syntax.Announced

    @property
    def is_too_big(self) -> bool:
        size_bytes = self.literal.size_bytes
        return size_bytes > MAX_LITERAL_BYTES or len(self.text) + size_bytes > MAX_COMMAND_BYTES


class Commands:
    """The bytes of a connection, cut into commands."""

    __slots__ = ("_begun", "_lines", "_missing_bytes")

    def __init__(self) -> None:
        self._lines = Lines(MAX_LINE_BYTES)
        self._begun = b""  # what there is of a command whose literal is wanted
        self._missing_bytes = 0  # of that literal

    def feed(self, data: bytes) -> None:
        """Add what came."""
        self._lines.feed(data)

    def next(self) -> bytes | Partial | None:
        """The next command with its line end; a Partial: it stops at a literal; None: it is not all there.

        A Partial is forgotten unless `want` is called with it. Raises LineTooLong.
        """
        if self._missing_bytes:
            octets = self._lines.octets(self._missing_bytes)
            if octets is None:
                return None
            self._begun += octets
            self._missing_bytes = 0
        line = self._lines.line()
        if line is None:
            return None
        text, self._begun = self._begun + line, b""
        literal = syntax.announced(line)
        return text if literal is None else Partial(text, literal)

    def want(self, partial: Partial) -> None:
        """Go on with this command: its literal comes next."""
        self._begun, self._missing_bytes = partial.text, partial.literal.size_bytes

    def response(self) -> bytes | None:
        """The next line as it is, for an exchange that awaits one; None: it is not all there. Raises LineTooLong."""
        return self._lines.line()

    def rest(self) -> bytes:
        """All that was not taken; there is nothing left afterwards."""
        return self._lines.rest()


def name_of(text: bytes) -> bytes:
    """The name of a command, in upper case, whole or not; b"": there is none."""
    words = text.split(None, 2)
    return words[1].upper() if len(words) > 1 else b""
