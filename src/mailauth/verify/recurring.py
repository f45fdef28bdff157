"""Logins that come again to the letter: a mail program logs in with the same words hundreds of times a day.

Rule: what is remembered is what such words come to while nothing of the account changes, never that somebody may come
in. The account is read at every login, like ever; where each value by which it was judged is the same, comparing takes
the place of judging, and otherwise the login is judged from the beginning. Of a password nothing is kept but a
digest, and only of app passwords that opened something. Belongs to one event loop, and nothing here waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Hashable
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from secrets import token_bytes
from typing import Protocol

from mailauth import names
from mailauth.attempt import Attempt
from mailauth.events import Events, LoginJudged
from mailauth.interfaces import Account, Changes, Keys, StoredAppPassword, Throttle
from mailauth.verdict import Accept, Outcome, Stay

CAPACITY = 10_000  # some 20 MiB
WELCOME_S = 60.0  # how exactly it is known when somebody got in from somewhere last
SHOWN_MS = 0.05  # what takes less is told as nothing


class Reading(Protocol):
    """How an account was read, and what it was judged by."""

    def is_unchanged(self) -> bool:
        """Read again: whether each value that was judged is the same. False too where that cannot be said at once."""


class Readings(Protocol):
    """Where accounts are read."""

    def reading(self, account: Account) -> Reading | None:
        """How this very object was read; None: others were read since."""


class Applied(Changes, Protocol):
    """interfaces.Changes, for who does not wait."""

    def is_current(self) -> bool:
        """Whether this process is up to date with the store, see interfaces.Changes.current."""


@dataclass(slots=True)
class Known:
    """What a question came to. event: as it is told when it took no time to speak of. welcomed_at: monotonic."""

    attempt: Attempt
    accept: Accept
    stay: Stay
    event: LoginJudged
    reading: Reading
    welcomed_at: float = -WELCOME_S


@dataclass(slots=True)
class Recurring:
    """By question: all that an attempt is made of. clock: epoch seconds; monotonic: seconds. secret: what passwords are
    digested with."""

    readings: Readings
    keys: Keys
    changes: Applied
    events: Events
    throttle: Throttle | None = None
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    secret: bytes = field(default_factory=partial(token_bytes, 32), repr=False)
    _known: dict[Hashable, Known] = field(default_factory=dict)  # oldest first
    _seen: set[Hashable] = field(default_factory=set)  # once: most of what has a changing part never comes again

    @property
    def questions(self) -> Container[Hashable]:
        """Those that are known, as they come and go."""
        return self._known.keys()

    def question(self, attempt: Attempt) -> Hashable:
        """What this attempt is known by, if it ever is. A bridge may have said that already."""
        if attempt.question:
            return attempt.question
        shown = attempt.credential
        password = blake2b(shown.secret, digest_size=16, key=self.secret).digest()
        return password, shown.authcid, shown.authzid, attempt.service, attempt.peer, attempt.tls, attempt.client

    def judge(self, question: Hashable) -> Known | None:
        """The login that is let in again, and told of; None: it is to be judged from the beginning."""
        known = self._known.get(question)
        if known is None:
            return None
        began = self.monotonic()
        mark, until = self.changes.mark(), known.stay.until
        if not known.reading.is_unchanged() or (until is not None and self.clock() >= until):
            del self._known[question]
            return None
        if not self.changes.is_current():
            return None
        if known.stay.mark != mark:
            _renew(known, mark)
        if self.throttle is not None and began - known.welcomed_at >= WELCOME_S:
            known.welcomed_at = began
            self.throttle.welcome(known.attempt.peer, known.accept.principal.account_id)
        took_ms = (self.monotonic() - began) * 1000
        self.events.emit(known.event if took_ms < SHOWN_MS else known.event._replace(took_ms=took_ms))
        return known

    def remember(
        self, question: Hashable, attempt: Attempt, outcome: Outcome, account: Account, stored: StoredAppPassword
    ) -> None:
        """The question came to this by this app password. What is not as simple as most is passed over."""
        if type(outcome) is not Accept or outcome.stay is None or account.hits != (stored,):
            return
        if stored.key_id != self.keys.newest or names.fold(attempt.credential.authcid) != account.login:
            return  # it is to be moved to the newest key; an alias may become another's
        if question not in self._seen:
            if len(self._seen) >= CAPACITY:
                self._seen.clear()
            self._seen.add(question)
            return
        reading = self.readings.reading(account)
        if reading is None or not reading.is_unchanged():
            return
        if len(self._known) >= CAPACITY:
            del self._known[next(iter(self._known))]
        told = attempt.without_secret()
        event = LoginJudged(told, outcome, account.login, account.id, took_ms=0.0)
        self._known[question] = Known(told, outcome, outcome.stay, event, reading)


def _renew(known: Known, mark: int) -> None:
    """What it stands on has been read anew at this mark."""
    known.stay = known.stay._replace(mark=mark)
    known.accept = Accept(known.accept.principal, known.stay)
    known.event = known.event._replace(outcome=known.accept)
