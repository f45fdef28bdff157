"""The server's half of one connection, without the connection.

Model: sans-io (sans-io.readthedocs.io). Bytes and events go in, actions come out, and `serving.lines` carries them
out. Rule: a Dialogue never waits, never reads a clock, and never judges: it yields a Judge and is told the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from mailauth.attempt import Attempt, Service
from mailauth.verdict import Accept, Outcome, Principal


class Ending(StrEnum):
    """Why the server ends a connection before the client does."""

    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"
    REVOKED = "revoked"
    CROWDED = "crowded"  # no room for another connection
    UNAVAILABLE = "unavailable"  # nobody can be judged now, and no password is asked for


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes now."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Judge:
    """Have this attempt judged and answer with `judged(ticket, outcome)`; no input is given to the Dialogue meanwhile
    but `ending` and `eof`. session: what a host calls the one that it is for, so that it can ask again; "" for none."""

    ticket: int
    attempt: Attempt
    session: str = ""


class Again(NamedTuple):
    """Judge what was let in before (see verify.recurring), which takes no waiting. Answered before any other input, by
    `let_in`, or, if it is to be judged from the beginning, by `anew`. question: as in Attempt; session: as in Judge;
    number, words: the request, as the dialogue has it."""

    ticket: int
    question: bytes
    session: str
    number: bytes
    words: bytes

    def __repr__(self) -> str:
        """Without the words, in which the password is."""
        return f"Again(ticket={self.ticket}, session={self.session!r})"


@dataclass(frozen=True, slots=True)
class Recheck:
    """Find out whether who logged in so, some time ago, would be let in again; answered by `judged`, as a Judge is.

    login: as the host has it. peer: as in Attempt. session: as in Judge.
    """

    ticket: int
    login: str
    service: Service
    peer: str
    session: str


@dataclass(frozen=True, slots=True)
class StartTLS:
    """Send everything before this, then start TLS and call `tls_started`. Unread plaintext is gone for ever."""


@dataclass(frozen=True, slots=True)
class Enter:
    """The client is in: hand the connection to the mailbox, or the back end. leftover: bytes that came after, not yet
    acted on."""

    principal: Principal
    leftover: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Close:
    """Send everything before this, then close."""


@dataclass(frozen=True, slots=True)
class Named:
    """The client, which is in, has said what it calls itself; see Attempt.client."""

    client: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Close at once and lose what was not sent yet, so that the peer hears of it before it writes again (TCP's RST)."""


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the operator, once in a while. text: ours, and never what a client sent."""

    text: str


Action = Send | Judge | Again | Recheck | StartTLS | Enter | Named | Close | Reset | Warn
Actions = list[Action]


class Dialogue(Protocol):
    """One connection's server half. Each input returns what to do, in order; after Close or Enter, nothing."""

    def opened(self, peer: str, tls: bool, refuse: Ending | None) -> Actions:
        """The connection is there. peer: as in Attempt. refuse: say so in the greeting and close."""

    def received(self, data: bytes) -> Actions:
        """These bytes came, cut anywhere."""

    def tls_started(self) -> Actions:
        """TLS is up: everything said before is forgotten (RFC 3207 section 4.2)."""

    def judged(self, ticket: int, outcome: Outcome, behind: Sequence[str] | None = None) -> Actions:
        """The answer to a Judge. Bytes that had come behind it are acted on now.

        behind: what the back end offers that whoever was accepted is handed to at once, with all that is unread; None:
        there is none.
        """

    def ending(self, cause: Ending) -> Actions:
        """Say goodbye, if the protocol has a word for it."""

    def eof(self) -> Actions:
        """The client has closed its sending half."""


class BridgeDialogue(Protocol):
    """Our half of a connection of a mail server that asks for its clients.

    Several Judges and Rechecks may be open at once, and input goes on meanwhile; each is answered once, in any order,
    also after `eof`. Its actions are Send, Judge, Recheck, Close, Reset and Warn; and Again, if it is one that Recurs.
    """

    def opened(self) -> Actions:
        """The connection is there, from somebody who may ask."""

    def received(self, data: bytes, now: float) -> Actions:
        """These bytes came, cut anywhere. now: monotonic seconds."""

    def judged(self, ticket: int, outcome: Outcome) -> Actions:
        """The answer to a Judge or a Recheck."""

    def eof(self) -> Actions:
        """The peer has closed its sending half."""


class Recurs(BridgeDialogue, Protocol):
    """One that knows a login that comes again by its bytes."""

    def let_in(self, again: Again, accept: Accept) -> bytes:
        """What to write then; nothing if nobody waits for it any more."""

    def anew(self, again: Again) -> Actions:
        """What it takes to judge it from the beginning."""


class LineTooLong(Exception):
    """No line end within the limit: the stream cannot be followed any further."""


class Lines:
    """The bytes of a connection, cut into lines. Nothing is copied twice and nothing grows without bound."""

    __slots__ = ("_buffer", "_limit_bytes", "_seen")

    def __init__(self, limit_bytes: int) -> None:
        self._buffer = bytearray()
        self._limit_bytes = limit_bytes
        self._seen = 0  # so much of the buffer holds no line end: not searched again

    def feed(self, data: bytes) -> None:
        """Add what came."""
        self._buffer += data

    def line(self) -> bytes | None:
        """The next line with its end (LF, usually CRLF), or None if there is none yet. Raises LineTooLong."""
        end = self._buffer.find(b"\n", self._seen)
        if end < 0:
            self._seen = len(self._buffer)
            if self._seen > self._limit_bytes:
                raise LineTooLong
            return None
        if end >= self._limit_bytes:
            raise LineTooLong
        self._seen = 0
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    def octets(self, count: int) -> bytes | None:
        """Exactly so many octets, or None if they are not all there."""
        if len(self._buffer) < count:
            return None
        self._seen = 0
        octets = bytes(self._buffer[:count])
        del self._buffer[:count]
        return octets

    def rest(self) -> bytes:
        """All that was not taken; the buffer is empty afterwards."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._seen = 0
        return rest
