"""Postfix's policy delegation, as its server: before a message is taken, whether its sender's login still holds.

Source: Postfix, SMTPD_POLICY_README and access(5); smtpd.c and smtpd_check.c for what `instance` and 421 mean there.
Rule: 421, at which Postfix says goodbye and closes, is for logins that would not be let in again; when that cannot be
said, the message has to come later and the session goes on. Mail without a login is none of our business.
"""

# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, assert_never

from mailauth.bridges.bridge import NOT_SERVED, Terms
from mailauth.dialogue import Action, Actions, Close, Recheck, Send, Warn
from mailauth.factors.section import option, read
from mailauth.verdict import Accept, Defer, Outcome, Reject

MAX_REQUEST_BYTES = 65_536
END = b"\n\n"
REQUEST = "smtpd_access_policy"
GO_ON = b"action=DUNNO\n\n"
ENDED = b"action=421 4.7.0 This session was ended: its password or its access was withdrawn.\n\n"
LATER = b"action=DEFER_IF_PERMIT 4.3.0 Try again later.\n\n"
INSTANCE = re.compile(r"([0-9a-f]{1,8})\.")  # of Postfix: the smtpd process, when MAIL came, and a number
MALFORMED = "sent what is no policy request"


@dataclass(frozen=True, slots=True)
class PostfixPolicy:
    """The bridge; it has no keys of its own."""

    terms: Terms = option(doc="", wired=True)
    host_waits: ClassVar[bool] = True  # nobody is refused a password here
    asks_again: ClassVar[bool] = True
    silence_s: ClassVar[float | None] = None  # Postfix ends idle connections by itself

    def dialogue(self) -> PostfixPolicyDialogue:
        return PostfixPolicyDialogue(self.terms)


class PostfixPolicyDialogue:
    """One connection: one request after the other, each answered before the next is looked at."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._unread = b""
        self._asking = False
        self._over = False
        self._done = False  # the peer says no more
        self._tickets = itertools.count(1)

    def opened(self) -> Actions:
        return []

    def received(self, data: bytes, now: float) -> Actions:  # noqa: ARG002
        if self._over:
            return []
        self._unread += data
        return self._go_on()

    def judged(self, ticket: int, outcome: Outcome) -> Actions:  # noqa: ARG002
        self._asking = False
        return [] if self._over else [Send(spelt(outcome)), *self._go_on()]

    def eof(self) -> Actions:
        self._done = True
        return [] if self._asking or self._over else self._leave()

    def _go_on(self) -> Actions:
        """Answer what is there, until something has to be found out or more has to come."""
        said: list[Action] = []
        while not self._asking and not self._over and END in self._unread:
            request, _, self._unread = self._unread.partition(END)
            said += self._answer(attributes(request))
        if not self._over and len(self._unread) > MAX_REQUEST_BYTES:
            return [*said, *self._leave("sent a request longer than any of Postfix is")]
        return [*said, *self._leave()] if self._done and not self._asking and not self._over else said

    def _answer(self, said: Mapping[str, str] | None) -> Actions:
        if said is None or said.get("request") != REQUEST:
            return self._leave(MALFORMED)
        login = said.get("sasl_username", "")
        if not login:
            return [Send(GO_ON)]
        service = self._terms.service("smtp")
        if service is None:
            return [Warn(NOT_SERVED), Send(LATER)]
        self._asking = True
        peer = self._terms.peer(said.get("client_address", ""))
        return [Recheck(next(self._tickets), login, service, peer, session(said.get("instance", "")))]

    def _leave(self, why: str = "") -> Actions:
        self._over = True
        self._unread = b""
        return [Warn(why), Close()] if why else [Close()]


def spelt(outcome: Outcome) -> bytes:
    """The answer to one request."""
    match outcome:
        case Accept():
            return GO_ON
        case Reject():
            return ENDED
        case Defer():
            return LATER
        case _:
            assert_never(outcome)


def attributes(request: bytes) -> Mapping[str, str] | None:
    """What a request says, by name; None: it is none, since a name comes twice or a line is no attribute."""
    lines = [line.partition("=") for line in request.decode("utf-8", "surrogateescape").split("\n")]
    said = {name: value for name, _, value in lines}
    return said if len(said) == len(lines) and all(sign for _, sign, _ in lines) else None


def session(instance: str) -> str:
    """The number of the smtpd process, as it says it to dovecot-auth; "" when this cannot be read from it."""
    found = INSTANCE.match(instance)
    return "" if found is None else str(int(found[1], 16))


def build(section: Mapping[str, object]) -> PostfixPolicy:
    """The plug-in's entry. Raises BadSection."""
    bridge: PostfixPolicy = read(PostfixPolicy, section)
    return bridge
