"""Plays the dialogue of a bridge in memory as `serving.bridging` plays it, and holds it to its promises meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import Any, cast

from mailauth import plugins
from mailauth.attempt import Attempt, Credential
from mailauth.bridges.bridge import Bridge, Terms
from mailauth.dialogue import Actions, Again, BridgeDialogue, Close, Judge, Recheck, Recurs, Reset, Send, Warn
from mailauth.factors.section import Section
from mailauth.verdict import Accept, Outcome
from stage import alice_only, whole

EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def built(kind: str, terms: dict[str, Any] | None = None, **options: object) -> Bridge:
    """A bridge as the configuration makes it. terms: that are not at their defaults."""
    told = Terms(**{"name": kind, "clients": EVERYWHERE, **(terms or {})})
    bridge: Bridge = plugins.load("bridges", kind, Section(options, {"terms": told}))
    return bridge


class BridgeStage:
    """One connection. judge: answers every Judge at once; None: `answer` does, when the test says so."""

    def __init__(self, dialogue: BridgeDialogue, judge: Callable[[Attempt], Outcome] | None = alice_only) -> None:
        self.dialogue = dialogue
        self._judge = judge
        self.heard = b""
        self.attempts: list[Attempt] = []
        self.sessions: list[str] = []  # of each of them, as the host names it
        self.rechecks: list[Recheck] = []  # also among the attempts, without a password
        self.pending: dict[int, Attempt] = {}  # by ticket
        self.again: list[bytes] = []  # questions of logins that came again
        self.lets_in: Accept | None = None  # all of them; None: they are to be judged from the beginning
        self.warnings: list[str] = []
        self.is_closed = False
        self.is_reset = False
        self.now = 1000.0
        self._tickets: set[int] = set()
        self._looked_at = 0
        self._do(dialogue.opened())

    def say(self, data: bytes, cut: Callable[[bytes], Iterable[bytes]] = whole) -> bytes:
        """Say this, cut so; what was said back."""
        for part in cut(data):
            if self.is_closed:
                break
            self._do(self.dialogue.received(part, self.now))
        return self.news()

    def news(self) -> bytes:
        """What was said back since the last look."""
        looked_at, self._looked_at = self._looked_at, len(self.heard)
        return self.heard[looked_at:]

    def answer(self, outcome: Outcome, ticket: int | None = None) -> bytes:
        """Bring a verdict, on what has waited longest unless another is named; what was said back."""
        ticket = next(iter(self.pending)) if ticket is None else ticket
        del self.pending[ticket]
        self._do(self.dialogue.judged(ticket, outcome))
        return self.news()

    def eof(self) -> bytes:
        """The peer says no more."""
        if not self.is_closed:
            self._do(self.dialogue.eof())
        return self.news()

    def _do(self, actions: Actions) -> None:
        for action in actions:
            assert not self.is_closed, f"{action} after the end"
            match action:
                case Send(data):
                    assert data
                    self.heard += data
                case Judge():
                    assert action.ticket not in self._tickets, "a ticket was used twice"
                    self._tickets.add(action.ticket)
                    self.attempts.append(action.attempt)
                    self.sessions.append(action.session)
                    self.pending[action.ticket] = action.attempt
                case Recheck(ticket, login, service, peer):
                    assert ticket not in self._tickets, "a ticket was used twice"
                    self._tickets.add(ticket)
                    self.rechecks.append(action)
                    asked = Attempt(Credential(login), service, peer, tls=False)
                    self.attempts.append(asked)
                    self.pending[ticket] = asked
                case Again(ticket, question, session):
                    assert ticket not in self._tickets, "a ticket was used twice"
                    self._tickets.add(ticket)
                    self.sessions.append(session)
                    self.again.append(question)
                    dialogue = cast("Recurs", self.dialogue)
                    if self.lets_in is None:
                        self._do(dialogue.anew(action))
                    else:
                        self.heard += dialogue.let_in(action, self.lets_in)
                case Warn(text):
                    self.warnings.append(text)
                case Close():
                    self.is_closed = True
                case Reset():
                    self.is_closed = self.is_reset = True
                case _:
                    raise AssertionError(f"{action} is none of a bridge's")
        if self._judge is not None:
            for ticket, attempt in list(self.pending.items()):
                if ticket in self.pending and not self.is_closed:
                    self.answer_silently(ticket, self._judge(attempt))

    def answer_silently(self, ticket: int, outcome: Outcome) -> None:
        """As `answer`, without looking at what is said."""
        del self.pending[ticket]
        self._do(self.dialogue.judged(ticket, outcome))
