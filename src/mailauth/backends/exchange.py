"""A login at a mail server, with us as the client: bytes in, what is to be done out.

Rule: knows no protocol, and reads no more than MOST_BYTES, in lines of MOST_LINE_BYTES. What a server says is never
part of a Failed: it may say our password back.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from mailauth.dialogue import Send, StartTLS
from mailauth.ends import NOWHERE, Ends

MOST_BYTES = 64 * 1024
MOST_LINE_BYTES = 8 * 1024


class Unable(Exception):
    """The login cannot be had. The text says why, and what to do; nothing secret is in it."""


@dataclass(frozen=True, slots=True)
class Done:
    """Logged in. capabilities: see serving.backing.Opened; unread: what came behind the last answer."""

    capabilities: tuple[str, ...]
    unread: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """Not logged in. text: why, for the log."""

    text: str


@dataclass(frozen=True, slots=True)
class NextLine:
    """What a script yields when it wants a line."""


Step = Send | StartTLS | NextLine
Script = Generator[Step, bytes, tuple[str, ...]]  # gives steps, gets lines without their ends, returns capabilities
Action = Send | StartTLS | Done | Failed
LINE = NextLine()


@dataclass(frozen=True, slots=True)
class Login:
    """As whom. authzid: "" when the credential says it all; password: "" where XCLIENT stands for it.

    starttls: whether TLS is asked for first. ends: of the client's connection, NOWHERE when they are not to be told or
    not known; name: how the client calls itself. hostname: how we call ourselves.
    """

    authcid: str = ""
    password: str = field(default="", repr=False)
    authzid: str = ""
    starttls: bool = False
    ends: Ends = NOWHERE
    name: str = ""
    hostname: str = "localhost"

    @property
    def plain(self) -> bytes:
        """The one message of SASL PLAIN (RFC 4616)."""
        return b"\0".join([part.encode() for part in (self.authzid, self.authcid, self.password)])


class Exchange:
    """One login. After StartTLS, `received(b"")` says that TLS is up; after Done or Failed it is over."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._heard = bytearray()
        self._read_bytes = 0
        self._begun = self._over = self._wants_line = False

    def received(self, data: bytes) -> Sequence[Action]:
        """What is to be done now that these bytes have come; called once with none to begin."""
        actions: list[Action] = []
        if self._over:
            return actions
        self._heard += data
        try:
            self._run(actions)
        except StopIteration as end:
            self._over = True
            actions.append(Done(end.value, bytes(self._heard)))
        except Unable as unable:
            self._over = True
            actions.append(Failed(str(unable)))
        return actions

    def _run(self, actions: list[Action]) -> None:
        line = self._line() if self._wants_line else b""
        while line is not None:
            step = self._script.send(line) if self._begun else next(self._script)
            self._begun, self._wants_line = True, False
            match step:
                case NextLine():
                    self._wants_line = True
                    line = self._line()
                case Send():
                    actions.append(step)
                case StartTLS():
                    if self._heard:
                        raise Unable("says more before TLS is up; somebody may have changed what it said")
                    actions.append(step)
                    return

    def _line(self) -> bytes | None:
        """The next whole line, without its end; None: not yet. Raises Unable."""
        end = self._heard.find(b"\n", 0, MOST_LINE_BYTES)
        if end < 0:
            if len(self._heard) >= MOST_LINE_BYTES:
                raise Unable("says lines that are too long")
            return None
        self._read_bytes += end + 1
        if self._read_bytes > MOST_BYTES:
            raise Unable("says too much before the login")
        line = bytes(self._heard[:end])
        del self._heard[: end + 1]
        return line.removesuffix(b"\r")
