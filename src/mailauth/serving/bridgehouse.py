"""What all connections of one bridge share.

Rule: it holds, and says; what is done with it is `bridging`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mailauth.attempt import Attempt
from mailauth.dialogue import BridgeDialogue
from mailauth.interfaces import Authenticator
from mailauth.serving.admitted import Admitted
from mailauth.serving.census import Census
from mailauth.serving.clock import FewHeld
from mailauth.serving.sessions import LiveSessions
from mailauth.serving.whence import Whence
from mailauth.verdict import Accept

WARN_S = 60.0  # between two lines that say the same
MOST_WARNINGS = 64  # that are remembered

log = logging.getLogger(__name__)


class Reads(Protocol):
    """Reads of one stretch without waiting, made at once."""

    def together(self) -> None:
        """The reads from now on see one state of the store, that of the first of them. Whoever says so says `apart`
        before the event loop runs anything else."""

    def apart(self) -> None:
        """Each read sees the newest state again."""


class Recurred(Protocol):
    """Who is let in again. attempt: without its password."""

    @property
    def attempt(self) -> Attempt: ...
    @property
    def accept(self) -> Accept: ...


class Recurring(Protocol):
    """What judges logins that come again, see verify.recurring."""

    def judge(self, question: bytes) -> Recurred | None:
        """None: it is to be judged from the beginning."""


@dataclass(slots=True)
class BridgeHouse:
    """What all connections of one bridge share. held: the refusals that we keep back; None: the host does.

    silence_s: see bridges.bridge.Bridge. admitted, whence: where who is let in, and from where, is remembered; None:
    nobody asks for it. reads: of the accounts that are judged. recurring: logins that come again; None: all of them are
    judged from the beginning. judging: what has to wait.
    """

    name: str
    dialogue: Callable[[], BridgeDialogue]
    authenticator: Authenticator
    census: Census
    held: FewHeld | None
    silence_s: float | None = None
    sessions: LiveSessions | None = None
    admitted: Admitted | None = None
    whence: Whence | None = None
    reads: Reads | None = None
    recurring: Recurring | None = None
    judging: set[asyncio.Task[None]] = field(default_factory=set)
    _warned: dict[str, float] = field(default_factory=dict)

    def warn(self, text: str) -> None:
        """Tell the operator, once a minute."""
        now = asyncio.get_running_loop().time()
        if now - self._warned.get(text, -WARN_S) < WARN_S:
            return
        if len(self._warned) >= MOST_WARNINGS:
            self._warned.clear()
        self._warned[text] = now
        log.warning("bridge %s: a peer %s", self.name, text)

    def note(self, attempt: Attempt, accept: Accept, session: str) -> None:
        """The host is told that this one may come in."""
        if self.admitted is not None:
            self.admitted.note(attempt, accept, session)
        if self.whence is not None:
            self.whence.note(attempt, accept)

    async def close(self) -> None:
        """Nobody waits any more for what is still judged."""
        for task in self.judging:
            task.cancel()
        await asyncio.gather(*self.judging, return_exceptions=True)
