"""Web passwords that are judged elsewhere: which sources are asked, about what, and what is remembered of it.

Asked is only about an account that has, and had, no web password of its own, and never with what may be an app
password: a directory would count it as a guess and lock its account. A source's yes is remembered for PROVEN_S.
Rule: no answer is not a no. Of several sources the first yes counts; where nobody said yes and one could not say, it
cannot be said. Which accounts get in is `policy`'s to say, and has been said before anything here is called.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailauth import apppassword
from mailauth.interfaces import Account, PasswordSource, SourceUnavailable
from mailauth.verify.faults import FAULTS

PROVEN_S = 60.0
MAX_PROVEN = 50_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """One source. domains: of which logins it is asked, none: of all. creates: whether its yes makes an account.

    timeout_s: for one answer, with the wait for a turn; at_once: so many questions at the same time.
    """

    name: str
    source: PasswordSource
    turns: asyncio.Semaphore
    timeout_s: float
    domains: frozenset[str] = frozenset()
    creates: bool = False

    def answers_for(self, login: str, *, creating: bool) -> bool:
        """Whether it is asked about this login."""
        return (self.creates or not creating) and (not self.domains or login.rpartition("@")[2] in self.domains)


class Newcomers(Protocol):
    """Accounts that are made at their first good login by the password of a source."""

    async def prospect(self, login: str) -> Account | None:
        """The account as it would be, with an id below zero; None: none would be made. Raises StoreUnavailable."""

    async def make(self, login: str, source: str) -> None:
        """Make it, by what this source says, unless that has become wrong meanwhile. Raises StoreUnavailable."""


class Outside:
    """The sources, in the order in which they are asked. Belongs to one event loop.

    newcomers: None makes no accounts. alphabet: of app passwords. refusal_delay_s: what a no should not take longer
    than. clock: monotonic seconds.
    """

    def __init__(
        self,
        sources: Sequence[Asked],
        newcomers: Newcomers | None = None,
        *,
        alphabet: str = apppassword.ALPHABET,
        refusal_delay_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = sources
        self._newcomers = newcomers
        self._alphabet = frozenset(alphabet + apppassword.ALPHABET)
        self._refusal_delay_s = refusal_delay_s
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._proven: dict[bytes, tuple[float, str]] = {}  # until when, and who said so; oldest first
        self._flights: dict[tuple[bytes, bool], asyncio.Task[str | None]] = {}
        self._slow: set[str] = set()

    def known(self, account: Account, secret: bytes) -> bool:
        """Whether it is remembered that this is its web password."""
        return self._judges(account, secret) and self._remembered(account, secret) is not None

    async def prospect(self, login: str, secret: bytes) -> Account | None:
        """The account that a yes to this secret would make; None: none would be. Raises StoreUnavailable, BadRecord."""
        if self._newcomers is None or not self._may_be_sent(secret):
            return None
        if not any(asked.answers_for(login, creating=True) for asked in self._sources):
            return None
        return await self._newcomers.prospect(login)

    async def match(self, account: Account, secret: bytes) -> bool:
        """Whether this is the web password of an account that policy lets in by it. A prospect has been made then.

        Raises FAULTS.
        """
        if not self._judges(account, secret):
            return False
        name = self._remembered(account, secret)
        if name is None:
            place = (self._digest(account, secret), account.id < 0)
            flight = self._flights.get(place)
            if flight is None:
                flight = asyncio.get_running_loop().create_task(self._ask_all(account, secret))
                self._flights[place] = flight
                flight.add_done_callback(lambda done: self._land(place, done))
            name = await asyncio.shield(flight)  # whoever leaves, the others still wait for the same answer
        if name is not None and account.id < 0 and self._newcomers is not None:
            await self._newcomers.make(account.login, name)
        return name is not None

    async def close(self) -> None:
        """Give up what was asked, and let go of the sources."""
        for flight in self._flights.values():
            flight.cancel()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)
        for asked in self._sources:
            await asked.source.close()

    def _judges(self, account: Account, secret: bytes) -> bool:
        """Whether any source is asked. An account that has a web password of its own, or had, is judged by that."""
        if account.web_record is not None or account.web_changed_at is not None or not self._may_be_sent(secret):
            return False
        return any(asked.answers_for(account.login, creating=account.id < 0) for asked in self._sources)

    def _may_be_sent(self, secret: bytes) -> bool:
        """Never an app password; nothing empty, nor with a NUL, where some would stop reading: an LDAP server lets
        anybody in without a password (RFC 4513 section 5.1.2)."""
        if not secret or b"\0" in secret:
            return False
        cleaned = apppassword.clean(secret)
        return cleaned is None or not self._alphabet.issuperset(cleaned)

    async def _ask_all(self, account: Account, secret: bytes) -> str | None:
        """The name of the first source that says yes; None: all say no. Raises FAULTS."""
        fault: Exception | None = None
        for asked in self._sources:
            if not asked.answers_for(account.login, creating=account.id < 0):
                continue
            try:
                if await self._ask(asked, account.login, secret):
                    return asked.name
            except FAULTS as failed:
                log.warning("source %s: %s", asked.name, failed)
                fault = fault or failed
        if fault is not None:
            raise fault
        return None

    async def _ask(self, asked: Asked, login: str, secret: bytes) -> bool:
        began = self._clock()
        try:
            async with asyncio.timeout(asked.timeout_s), asked.turns:
                said = await asked.source.check(login, secret)
        except TimeoutError:
            raise SourceUnavailable(f"no answer within {asked.timeout_s:g} s") from None
        took_s = self._clock() - began
        if not said and took_s > self._refusal_delay_s > 0 and asked.name not in self._slow:
            self._slow.add(asked.name)
            log.warning(
                "source %s took %.1f s to say no, and refusals leave after %.1f s: a late one is told as `try later`; "
                "raise [replies] refusal_delay_s above what it takes",
                *(asked.name, took_s, self._refusal_delay_s),
            )
        return said

    def _land(self, place: tuple[bytes, bool], flight: asyncio.Task[str | None]) -> None:
        del self._flights[place]
        if flight.cancelled() or flight.exception() is not None:
            return
        name = flight.result()
        if name is not None:
            self._proven.pop(place[0], None)
            self._proven[place[0]] = (self._clock() + PROVEN_S, name)
            if len(self._proven) > MAX_PROVEN:
                del self._proven[next(iter(self._proven))]

    def _remembered(self, account: Account, secret: bytes) -> str | None:
        """Which source that is asked about this account said yes lately."""
        until, name = self._proven.get(self._digest(account, secret), (0.0, ""))
        if self._clock() >= until:
            return None
        asked = next(asked for asked in self._sources if asked.name == name)
        return name if asked.answers_for(account.login, creating=account.id < 0) else None

    def _digest(self, account: Account, secret: bytes) -> bytes:
        login = account.login.encode()
        shown = len(login).to_bytes(4, "big") + login + secret
        return hashlib.blake2b(shown, digest_size=16, key=self._key).digest()
