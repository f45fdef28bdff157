"""One text message (SMS), and what a gateway is that takes it.

Rule: a gateway is pure: it makes the request and reads the answer. Who may be sent how much is decided before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from mailauth.factors.fetch import Answer, Request


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be sent. to: E.164, with +. text: whole; code: the part that a template takes. id: once, for ever."""

    to: str = field(repr=False)
    text: str = field(repr=False)
    code: str = field(repr=False)
    language: str
    id: str


@dataclass(frozen=True, slots=True)
class Sent:
    """The gateway has taken it. reference: the gateway's own, for the log."""

    reference: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing can be sent to this number. detail: the gateway's code, for the log."""

    detail: str


@dataclass(frozen=True, slots=True)
class Busy:
    """Not sent, or not known whether it was. detail: the gateway's code, for the log."""

    detail: str
    retry_after_s: float


Outcome = Sent | Refused | Busy


class Gateway(Protocol):
    """One way to send text messages."""

    def request(self, message: Message, now: float) -> Request:
        """The request that sends it. now: epoch seconds."""

    def read(self, answer: Answer | None) -> Outcome:
        """What came of it; None: no answer came."""
