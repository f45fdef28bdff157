"""Plays a Dialogue in memory as `serving.lines` plays it on a socket, and holds it to its promises all the while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mailauth.attempt import Attempt
from mailauth.dialogue import Actions, Close, Dialogue, Ending, Enter, Judge, Send, StartTLS
from mailauth.verdict import Accept, Outcome, Principal, Reason, Reject

PRINCIPAL = Principal(1, "alice@example.test", 7)
REFUSED = Reject(Reason.WRONG_PASSWORD)


def alice_only(attempt: Attempt) -> Outcome:
    """Judges as the doubles' Doorman does."""
    shown = (attempt.credential.authcid, attempt.credential.password)
    return Accept(PRINCIPAL) if shown == ("alice@example.test", "secret") else REFUSED


def whole(data: bytes) -> Iterable[bytes]:
    return (data,) if data else ()


def bytewise(data: bytes) -> Iterable[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


class Stage:
    """One connection. judge: answers every Judge at once; None: `answer` does, when the test says so. behind: what the
    back end offers that stands behind it; None: there is none.

    TLS is started as soon as it is asked for, and what the client said behind that is lost.
    """

    def __init__(
        self,
        dialogue: Dialogue,
        judge: Callable[[Attempt], Outcome] | None = alice_only,
        *,
        tls: bool = True,
        peer: str = "192.0.2.7",
        refuse: Ending | None = None,
        behind: Sequence[str] | None = None,
    ) -> None:
        self.dialogue = dialogue
        self._judge = judge
        self._behind = behind
        self.heard = b""  # all that the server has said
        self.attempts: list[Attempt] = []
        self.entered: Enter | None = None  # what the mailbox got, and gets
        self.is_closed = False
        self.handshakes = 0
        self._pending: Judge | None = None
        self._held = b""  # said while an attempt is judged
        self._looked_at = 0
        self._do(dialogue.opened(peer, tls, refuse))

    def say(self, data: bytes, cut: Callable[[bytes], Iterable[bytes]] = whole) -> bytes:
        """Say this, cut so; what was said back."""
        handshakes = self.handshakes
        for part in cut(data):
            self._take(part)
            if self.handshakes != handshakes:
                break
        return self.news()

    def news(self) -> bytes:
        """What was said back since the last look."""
        looked_at, self._looked_at = self._looked_at, len(self.heard)
        return self.heard[looked_at:]

    def answer(self, outcome: Outcome) -> bytes:
        """Bring the verdict on what is pending; what was said back."""
        self._bring(outcome)
        return self.news()

    def end(self, cause: Ending) -> bytes:
        self._do(self.dialogue.ending(cause))
        return self.news()

    def eof(self) -> bytes:
        self._do(self.dialogue.eof())
        return self.news()

    def _take(self, part: bytes) -> None:
        if self.entered is not None:
            self.entered = Enter(self.entered.principal, self.entered.leftover + part)
        elif self._pending is not None:
            self._held += part
        elif not self.is_closed:
            self._do(self.dialogue.received(part))

    def _bring(self, outcome: Outcome) -> None:
        judge, self._pending = self._pending, None
        assert judge is not None, "nothing was to be judged"
        self._do(self.dialogue.judged(judge.ticket, outcome, self._behind))
        held, self._held = self._held, b""
        self._take(held)

    def _do(self, actions: Actions) -> None:
        tls_wanted = False
        for action in actions:
            assert not self.is_closed, f"{action} after Close"
            assert self.entered is None, f"{action} after Enter"
            assert not tls_wanted, f"{action} after StartTLS"
            assert self._pending is None or isinstance(action, Send | Close), f"{action} while judging"
            match action:
                case Send(data):
                    self._hear(data)
                case Judge():
                    self.attempts.append(action.attempt)
                    self._pending = action
                case StartTLS():
                    tls_wanted = True
                case Enter():
                    self.entered = action
                case Close():
                    self.is_closed = True
        if tls_wanted:
            self.handshakes += 1
            self._do(self.dialogue.tls_started())
        elif self._pending is not None and self._judge is not None and not self.is_closed:
            self._bring(self._judge(self._pending.attempt))

    def _hear(self, data: bytes) -> None:
        assert data.endswith(b"\r\n"), data
        for line in data[:-2].split(b"\r\n"):
            assert not set(line) & set(b"\r\n\0"), data
        self.heard += data
