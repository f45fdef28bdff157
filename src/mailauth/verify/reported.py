"""Logins that somebody else judges, by passwords of its own: our limits on guesses hold for them, and our record.

Rule: nobody gets in by what is said here, so a fault takes nothing away but the account's own count. What tells wrong
secrets apart is what the other one says in place of the secret: a short hash of it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from dataclasses import replace

from mailauth import names
from mailauth.attempt import Attempt, Credential
from mailauth.events import Events, LoginJudged
from mailauth.interfaces import Passdb, Throttle
from mailauth.verdict import Accept, Cause, Defer, Outcome, Principal, Reason, Reject
from mailauth.verify.faults import FAULTS

MOST_ACCOUNTS = 10_000  # whose ids are remembered
MOST_AT_ONCE = 1000  # reports that wait for the store; beyond that they are taken as of no account of ours
NOBODY = 0  # the id of no account
NOT_JUDGED = Defer(Cause.THROTTLED)


class ReportedLogins:
    """Belongs to one event loop. throttle: None when nobody is slowed down."""

    def __init__(self, passdb: Passdb, throttle: Throttle | None, events: Events) -> None:
        self._passdb = passdb
        self._throttle = throttle
        self._events = events
        self._accounts: OrderedDict[str, int] = OrderedDict()
        self._open: set[asyncio.Task[None]] = set()

    def wait_s(self, attempt: Attempt) -> float:
        """How long whoever tries this has to wait first; 0: not at all. Counts nothing."""
        login = _folded(attempt)
        return self._counted(attempt, login, self._accounts.get(login), NOT_JUDGED)[0]

    def note(self, attempt: Attempt, accepted: bool | None) -> None:
        """Take in what came of it. None: it was not judged."""
        task = asyncio.get_running_loop().create_task(self._noted(attempt, accepted))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def close(self) -> None:
        """Wait for what is still to be taken in."""
        await asyncio.gather(*self._open)

    async def _noted(self, attempt: Attempt, accepted: bool | None) -> None:
        began = time.perf_counter()
        login = _folded(attempt)
        account_id = await self._account(login)
        outcome: Outcome = NOT_JUDGED if accepted is None else Reject(Reason.WRONG_PASSWORD)
        guess: int | None = None
        if accepted:
            outcome = Accept(Principal(NOBODY if account_id is None else account_id, login, None))
            if self._throttle is not None and account_id is not None:
                self._throttle.welcome(attempt.peer, account_id)
        elif accepted is False:
            _, guess = self._counted(attempt, login, account_id, outcome)
        took_ms = (time.perf_counter() - began) * 1000
        told = attempt.without_secret(), outcome, login or None, account_id, took_ms, "not tried: slowed down"
        self._events.emit(LoginJudged(*told, guess))

    async def _account(self, login: str) -> int | None:
        """Whose login it is. None: nobody's, or it cannot be said now."""
        known = self._accounts.get(login)
        if known is not None or not login or len(self._open) > MOST_AT_ONCE:
            return known
        try:
            account = await self._passdb.lookup(login, ())
        except FAULTS:
            return None
        if account is None:
            return None
        self._accounts[login] = account.id
        if len(self._accounts) > MOST_ACCOUNTS:
            self._accounts.popitem(last=False)
        return account.id

    def _counted(
        self, attempt: Attempt, login: str, account_id: int | None, outcome: Outcome
    ) -> tuple[float, int | None]:
        """The wait, and the number of the guess; if there is none to wait for, it came to this outcome."""
        if self._throttle is None:
            return 0.0, None
        claim = self._throttle.claim(_told_apart(attempt), login, account_id, web=account_id is not None)
        if isinstance(claim, float):
            return claim, None
        claim.settle(outcome)
        return 0.0, claim.guess


def _folded(attempt: Attempt) -> str:
    """The login; "" when it is none."""
    try:
        return names.fold(attempt.credential.authcid)
    except names.NotALogin:
        return ""


def _told_apart(attempt: Attempt) -> Attempt:
    """One whose secret is not told is like no other: otherwise all of them would be one guess."""
    credential = attempt.credential
    if credential.password:
        return attempt
    return replace(attempt, credential=Credential(credential.authcid, secrets.token_hex(16)))
