"""The live sessions of this process, who must end, and what was changed since a login read its account.

Model: cache invalidation by order, not by time: a login asks for the `mark`, then reads; a change moves the mark, then
ends what is live; so one of the two always sees the other. Rule: nothing here is written anywhere; a login costs a few
dictionary entries. Belongs to one event loop, but for `has_read`.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mailauth.attempt import Attempt
from mailauth.dialogue import Ending
from mailauth.interfaces import Account, Answer, BadRecord, Change, Passdb, StoreUnavailable
from mailauth.serving.census import Connection
from mailauth.serving.session import SESSIONS_ASKED, SESSIONS_CLOSED, Session, weight
from mailauth.verdict import Accept
from mailauth.verify import policy

MAX_TOUCHED = 10_000  # accounts and domains remembered as touched; with more, everything counts as touched
SWEEP_S = 0.25  # how late a session ends whose app password has expired
BREATH = 64  # accounts judged, or sessions ended, in a row before others may run
SPARE_ENDS = 100
CURRENT_S = 10.0  # how long a login waits for this process to be up to date again
GRACE_S = 2.0  # what is over soon is waited for, and costs no client its connection

log = logging.getLogger(__name__)

Credential = tuple[int, int | None]  # account, app password
Elsewhere = Callable[[Sequence[Change]], Awaitable[Mapping[int, Answer]]]


@dataclass(slots=True)
class LiveSessions:
    """interfaces.Changes for the verifier, a registry for the doors, and what the applier drives.

    orders: by kind of change, what else is to be done in this process; gets the change's `takes`, and may have an
    answer. elsewhere: who ends sessions that are not ours; asked when nobody gets in any more by what was before.
    clock: epoch seconds.
    lease_s: see has_read; None: whoever runs this applies no changes, and is always up to date.
    """

    passdb: Passdb
    lease_s: float | None = None
    orders: dict[str, Callable[[str], Answer | None]] = field(default_factory=dict)
    elsewhere: list[Elsewhere] = field(default_factory=list)
    clock: Callable[[], float] = time.time
    _sessions: dict[Connection, Session] = field(default_factory=dict)
    _of_account: dict[int, dict[Session, None]] = field(default_factory=dict)
    _mark: int = 0
    _floor: int = 0  # marks below count as touched, whoever asks
    _touched: dict[tuple[str, int], int] = field(default_factory=dict)
    _read_until: float = 0.0  # monotonic
    _let_in_until: float = 0.0  # the newest of those
    _ends: list[tuple[float, int, Session]] = field(default_factory=list)  # a heap
    _tie: itertools.count[int] = field(default_factory=itertools.count)
    _sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    # ---- for the verifier

    def mark(self) -> int:
        """See interfaces.Changes."""
        return self._mark

    def touched(self, mark: int, account_id: int, domain_id: int) -> bool:
        """See interfaces.Changes."""
        if mark == self._mark:
            return False
        newest = max(self._touched.get(("account", account_id), 0), self._touched.get(("domain", domain_id), 0))
        return mark < max(newest, self._floor)

    def is_current(self) -> bool:
        """See verify.recurring.Applied."""
        return self.lease_s is None or time.monotonic() < self._read_until

    async def current(self) -> None:
        """See interfaces.Changes."""
        if self.is_current():
            return
        give_up_at = time.monotonic() + CURRENT_S
        while time.monotonic() >= self._read_until:  # rare: no waker for it, which the thread would have to know
            if time.monotonic() >= give_up_at:
                raise StoreUnavailable("this process could not read the store's changes lately")
            await asyncio.sleep(0.02)

    # ---- for the doors

    def unavailable(self) -> bool:
        """Whether the store is known to be away: nobody gets in now, and nobody should be asked for a password.

        So it is GRACE_S after the lease has ended. It is the applier that goes on trying, and ends it; no client does.
        """
        return self.lease_s is not None and time.monotonic() > self._let_in_until + GRACE_S

    def enter(self, connection: Connection, attempt: Attempt, accept: Accept) -> bool:
        """This connection is logged in from now on; False: what the Accept stands on has changed, judge again."""
        stay, principal = accept.stay, accept.principal
        if stay is None:
            return True
        if self.touched(stay.mark, principal.account_id, stay.domain_id):
            return False
        session = Session(connection, principal, stay, attempt.service, attempt.peer, attempt.client, self.clock())
        self._sessions[connection] = session
        self._of_account.setdefault(principal.account_id, {})[session] = None
        if stay.until is not None:
            self._end_at(session, stay.until)
        return True

    def named(self, connection: Connection, client: str) -> None:
        """The client has said its name after logging in."""
        session = self._sessions.get(connection)
        if session is not None:
            session.client = client

    def leave(self, connection: Connection) -> None:
        """This one is gone; told twice, or of one that never was in, it does nothing."""
        session = self._sessions.pop(connection, None)
        if session is None:
            return
        of_account = self._of_account[session.principal.account_id]
        del of_account[session]
        if not of_account:
            del self._of_account[session.principal.account_id]

    # ---- for the portal

    def counts(self, account_id: int) -> Mapping[int | None, int]:
        """How many sessions of this account are here, by app password; None: by the web password."""
        return Counter([session.principal.credential_id for session in self._of_account.get(account_id, ())])

    # ---- for the applier

    def has_read(self, at: float) -> None:
        """All changes up to this monotonic time are applied. Called from the applier's thread."""
        self._read_until = at + (self.lease_s or 0.0)
        if self._read_until > time.monotonic():  # otherwise it is told that nobody may be let in
            self._let_in_until = self._read_until

    async def apply(self, changes: Sequence[Change]) -> Mapping[int, Answer]:
        """Act on these changes: when it returns, nobody is in any more who would not be let in again.

        Raises StoreUnavailable, before anybody was ended; then it is to be called again with the same changes.
        """
        for change in changes:
            if change.kind not in self.orders and change.kind != SESSIONS_ASKED:
                self._touch(change)
        concerned = {change.number: [] if change.kind in self.orders else self._of(change) for change in changes}
        causes: dict[Session, Change] = {}
        for change in changes:
            if change.kind not in {*self.orders, SESSIONS_CLOSED, SESSIONS_ASKED}:
                for session in concerned[change.number]:
                    before = causes.get(session)
                    if weight(change, session) > (0 if before is None else weight(before, session)):
                        causes[session] = change
        doomed = await self._doomed(causes)
        answers: dict[int, Answer] = {}
        for change in changes:
            sessions = concerned[change.number]
            if change.kind in self.orders:
                answer = self.orders[change.kind](change.takes)
                if answer is not None:
                    answers[change.number] = answer
            elif change.kind == SESSIONS_ASKED:
                answers[change.number] = Answer(0, json.dumps([session.told() for session in sessions]))
            else:
                closed = change.kind == SESSIONS_CLOSED
                ended = await self._end([s for s in sessions if closed or (s in doomed and causes[s] is change)])
                if ended:
                    answers[change.number] = Answer(ended)
        return await self._with_those_elsewhere(changes, answers) if self.elsewhere else answers

    async def _with_those_elsewhere(
        self, changes: Sequence[Change], answers: Mapping[int, Answer]
    ) -> Mapping[int, Answer]:
        """The same, when others have ended theirs."""
        together = dict(answers)
        for told in await asyncio.gather(*[end(changes) for end in self.elsewhere]):
            for number, answer in told.items():
                before = together.get(number, Answer())
                together[number] = Answer(before.ended + answer.ended, before.report + answer.report)
        return together

    def _touch(self, change: Change) -> None:
        self._mark += 1
        if len(self._touched) >= MAX_TOUCHED or (change.account_id is None and change.domain_id is None):
            self._touched.clear()
            self._floor = self._mark
        if change.account_id is not None:
            self._touched["account", change.account_id] = self._mark
        if change.domain_id is not None:
            self._touched["domain", change.domain_id] = self._mark

    def _of(self, change: Change) -> list[Session]:
        if change.account_id is not None:
            return list(self._of_account.get(change.account_id, ()))
        sessions: Iterable[Session] = self._sessions.values()
        return [s for s in sessions if change.domain_id is None or s.stay.domain_id == change.domain_id]

    async def _doomed(self, sessions: Iterable[Session]) -> set[Session]:
        """Those of them that would not be let in again now. Raises StoreUnavailable."""
        by_credential: dict[Credential, list[Session]] = {}
        for session in sessions:
            credential = session.principal.account_id, session.principal.credential_id
            by_credential.setdefault(credential, []).append(session)
        credentials, doomed = list(by_credential), set[Session]()
        for start in range(0, len(credentials), BREATH):
            some = credentials[start : start + BREATH]
            for credential, account in zip(some, await asyncio.gather(*map(self._standing, some)), strict=True):
                doomed |= {s for s in by_credential[credential] if not self._may_stay(s, account)}
            await asyncio.sleep(0)
        return doomed

    async def _standing(self, credential: Credential) -> Account | None:
        """What stands now of the account and the app password that a session was opened with."""
        try:
            return await self.passdb.session(*credential)
        except BadRecord as bad:  # nobody else's logins and sessions wait until somebody has mended it
            log.error("sessions of account %d end: %s", credential[0], bad)
            return None

    def _may_stay(self, session: Session, account: Account | None) -> bool:
        """Whether this session's login would be let in again. If so, until when is set anew."""
        principal, now = session.principal, self.clock()
        try:
            if account is None or not policy.may_stay(
                account, principal, session.stay, service=session.service, peer=session.peer, now=now
            ):
                return False
        except BadRecord as bad:
            log.error("a session of account %d ends: %s", principal.account_id, bad)
            return False
        stored = next((stored for stored in account.hits if stored.id == principal.credential_id), None)
        until = policy.stays_until(account, stored, now)
        if until != session.stay.until:
            session.stay = session.stay._replace(until=until)
            if until is not None:
                self._end_at(session, until)
        return True

    async def _end(self, sessions: Iterable[Session]) -> int:
        """End those that are still there, and say how many."""
        ended = 0
        for session in sessions:
            ended += self._is_ended(session)
            if ended % BREATH == 0:
                await asyncio.sleep(0)
        return ended

    def _is_ended(self, session: Session) -> bool:
        if self._sessions.get(session.connection) is not session:
            return False
        self.leave(session.connection)
        session.connection.end(Ending.REVOKED)
        return True

    # ---- what ends by itself

    def _end_at(self, session: Session, until: float) -> None:
        heapq.heappush(self._ends, (until, next(self._tie), session))
        if len(self._ends) > 2 * len(self._sessions) + SPARE_ENDS:  # most have left, or were given another end
            there = self._sessions.values()
            self._ends = [(s.stay.until, next(self._tie), s) for s in there if s.stay.until is not None]
            heapq.heapify(self._ends)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """By the wall clock, which dates are meant by, and which may be set meanwhile."""
        now, due = self.clock(), list[Session]()
        while self._ends and self._ends[0][0] <= now and len(due) < BREATH:
            until, _, session = heapq.heappop(self._ends)
            if session.stay.until == until:
                due.append(session)
        loop, pause_s = asyncio.get_running_loop(), 0.0 if len(due) == BREATH else SWEEP_S
        self._sweeper = loop.call_later(pause_s, self._sweep) if self._ends else None
        for session in due:
            loop.call_soon(self._is_ended, session)  # each for itself: one that fails keeps no other from its end
