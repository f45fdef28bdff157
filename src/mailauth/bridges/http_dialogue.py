"""One connection of a host that asks by HTTP: one request after the other, each answered before the next is looked at.

Source: RFC 9112 section 9.3. Rule: knows no bridge. A bridge gives the answer to a request, or a Question: the attempt
that it makes, and how the outcome is spelt. What cannot be read ends the connection.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from mailauth.attempt import Attempt
from mailauth.bridges.bridge import Terms
from mailauth.bridges.http1 import CONTINUE, END, MAX_BODY_BYTES, MAX_HEAD_BYTES, Head, Malformed, Reply, Request, spelt
from mailauth.bridges.http1 import head as read_head
from mailauth.dialogue import Action, Actions, Close, Judge, Send, Warn
from mailauth.factors.section import BadSection
from mailauth.verdict import Outcome

MAX_UNREAD_BYTES = MAX_HEAD_BYTES + MAX_BODY_BYTES
IDLE_S = (
    90.0  # Dovecot's clients let go of an idle connection after 60 s at most: whoever closes first is asked no more
)
WRONG_TOKEN = "shows another token than those of token_file; it is told: later"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Question:
    """What a request wants to know. spell: the outcome, as the answer to that request."""

    attempt: Attempt
    spell: Callable[[Outcome], Reply]


Answer = Reply | Question
Ask = Callable[[Request], Answer]  # may raise Malformed


class HttpDialogue:
    """One connection. ask: the bridge. malformed: what is said to a request that cannot be understood."""

    def __init__(self, ask: Ask, malformed: Callable[[int], Reply] = Reply) -> None:
        self._ask = ask
        self._malformed = malformed
        self._unread = bytearray()
        self._seen = 0  # so much of it holds no end of a head
        self._head: Head | None = None
        self._spell: Callable[[Outcome], Reply] | None = None  # of the request that is judged now
        self._stays = False
        self._over = False
        self._done = False  # the peer says no more
        self._tickets = itertools.count(1)
        self._out: list[Action] = []

    def opened(self) -> Actions:
        return []

    def received(self, data: bytes, now: float) -> Actions:  # noqa: ARG002
        if self._over:
            return []
        self._unread += data
        if len(self._unread) > MAX_UNREAD_BYTES and self._spell is not None:
            self._leave("sends requests without waiting for answers")
        self._go_on()
        return self._flush()

    def judged(self, ticket: int, outcome: Outcome) -> Actions:  # noqa: ARG002
        spell, self._spell = self._spell, None
        if spell is None or self._over:
            return []
        self._say(spell(outcome))
        self._go_on()
        return self._flush()

    def eof(self) -> Actions:
        self._done = True
        if self._spell is None and not self._over:
            self._leave()
        return self._flush()

    # ---- inside

    def _go_on(self) -> None:
        """Answer what is there, until something has to be judged or more has to come."""
        try:
            while not self._over and self._spell is None and (request := self._next()) is not None:
                self._stays = request.stays and not self._done
                self._answer(self._ask(request))
        except Malformed as malformed:
            self._stays = False
            warning = f"sent what is no request of this bridge ({malformed.status})"
            self._say(self._malformed(malformed.status).warned(warning))

    def _next(self) -> Request | None:
        """The next whole request; None: more is to come. Raises Malformed."""
        if self._head is None:
            end = self._unread.find(END, max(self._seen - len(END), 0))
            if max(end, len(self._unread) if end < 0 else 0) > MAX_HEAD_BYTES:
                raise Malformed(431)
            if end < 0:
                self._seen = len(self._unread)
                return None
            self._head = read_head(bytes(self._unread[:end]))
            del self._unread[: end + len(END)]
            self._seen = 0
            if self._head.expects and len(self._unread) < self._head.length:
                self._out.append(Send(CONTINUE))
        head = self._head
        if len(self._unread) < head.length:
            return None
        body = bytes(self._unread[: head.length])
        del self._unread[: head.length]
        self._head = None
        request = head.request
        return Request(request.method, request.path, request.query, request.fields, body, request.stays)

    def _answer(self, answer: Answer) -> None:
        if isinstance(answer, Question):
            self._spell = answer.spell
            self._out.append(Judge(next(self._tickets), answer.attempt))
        else:
            self._say(answer)

    def _say(self, reply: Reply) -> None:
        if reply.warning:
            self._out.append(Warn(reply.warning))
        stays = self._stays and not self._done
        self._out.append(Send(spelt(reply, stays=stays)))
        if not stays:
            self._leave()

    def _leave(self, why: str = "") -> None:
        self._over = True
        self._unread.clear()
        if why:
            self._out.append(Warn(why))
        self._out.append(Close())

    def _flush(self) -> Actions:
        out, self._out = self._out, []
        return out


def bearer(request: Request) -> bytes:
    """The token of `Authorization: Bearer` (RFC 6750 section 2.1); b"" when there is none. Raises Malformed."""
    scheme, _, shown = request.one(b"authorization").partition(b" ")
    return shown.strip() if scheme.lower() == b"bearer" else b""


def require_token(terms: Terms) -> None:
    """Raises BadSection when this bridge has no token: anybody on this machine could ask it."""
    if terms.admits is None:
        raise BadSection("token_file", "is missing: it names the file with the token that the host shows")
