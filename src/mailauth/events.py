"""What happened: the one thing that log, audit and metrics read.

Rule: an event never holds a secret, nor anything derived from one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from mailauth.attempt import Attempt
from mailauth.verdict import Outcome

log = logging.getLogger(__name__)


class LoginJudged(NamedTuple):
    """One attempt, told without its password, has come to an end.

    login: folded, or None if the name was none. took_ms: without the refusal's wait.
    account_id: None when there is no such account, or it could not be read. detail: for the operator, on a Defer.
    guess: which wrong secret this was, as a number that equal ones share for a while; None: not told apart.
    would_break: it got in, and would not if the policy that is only observed now were enforced.
    """

    attempt: Attempt
    outcome: Outcome
    login: str | None
    account_id: int | None
    took_ms: float
    detail: str = ""
    guess: int | None = None
    would_break: bool = False


class Events:
    """Hands each event to everyone who asked, at once and in order. A listener must not wait and must not raise."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[LoginJudged], None]] = []

    def subscribe(self, listener: Callable[[LoginJudged], None]) -> None:
        """Have every later event handed to this function."""
        self._listeners.append(listener)

    def emit(self, event: LoginJudged) -> None:
        """Hand out one event. A listener that fails all the same takes nobody along."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception as bug:  # noqa: BLE001  whatever it is, the login has been judged
                log.error("a listener of logins failed: %s", type(bug).__name__)
