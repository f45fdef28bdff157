"""The web password at the web portal: the first half of signing in there.

Rule: it opens no mail service, and no app password opens the portal. The limits are those of the mail services, and one
wrong password counts once over all of them; who hangs up while it is judged has guessed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import assert_never

from mailauth import names
from mailauth.attempt import Attempt, Credential, Service
from mailauth.interfaces import Account, Changes, Passdb, StoreUnavailable, Throttle, WebMatch
from mailauth.verdict import Accept, Cause, Defer, Outcome, Principal, Reason, Reject, Stay
from mailauth.verify.matching import Matching, Trace

MAX_SECRET_BYTES = 1024
MAX_READS = 4


class WebSignIn:
    """interfaces.WebPasswords. changes: see interfaces.Changes. delay_s: a refusal takes so long, whatever was done."""

    def __init__(
        self,
        passdb: Passdb,
        matching: Matching,
        throttle: Throttle | None,
        changes: Changes,
        *,
        delay_s: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._passdb = passdb
        self._matching = matching
        self._throttle = throttle
        self._changes = changes
        self._delay_s = delay_s
        self._clock = clock

    async def check(self, login: str, password: str, peer: str, device: str = "") -> WebMatch | float | None:
        """See interfaces.WebPasswords."""
        began = time.monotonic()
        attempt = Attempt(Credential(login, password), Service.IMAP, peer, True)  # its service is asked by nobody here
        trace = Trace(attempt, self._clock(), portal=True, device=device)
        outcome: Outcome = Defer(Cause.BUG)
        try:
            outcome = await self._judge_as_it_stands(trace)
        except asyncio.CancelledError:
            trace.claim = None  # left unsettled: whoever does not wait for the answer has guessed all the same
            raise
        finally:
            if trace.claim is not None:
                trace.claim.settle(outcome)
        match outcome:
            case Accept(principal, stay):
                if self._throttle is not None:
                    self._throttle.welcome(attempt.peer, principal.account_id, device)
                return WebMatch(principal.account_id, principal.login, None if stay is None else stay.web_changed_at)
            case Defer(_, wait_s):
                return wait_s or self._delay_s
            case Reject():
                await asyncio.sleep(max(0.0, began + self._delay_s - time.monotonic()))
                return None
            case _:
                assert_never(outcome)

    async def _judge_as_it_stands(self, trace: Trace) -> Outcome:
        """As verifier.Verifier does: nobody gets in by what is not true any more."""
        for _ in range(MAX_READS):
            trace.mark = self._changes.mark()
            outcome = await self._judge(trace)
            if type(outcome) is Defer:
                return outcome
            await self._changes.current()
            if type(outcome) is not Accept or outcome.stay is None:
                return outcome
            if not self._changes.touched(trace.mark, outcome.principal.account_id, outcome.stay.domain_id):
                return outcome
        raise StoreUnavailable("the account was changed again and again while it was judged")

    async def _judge(self, trace: Trace) -> Outcome:
        account = await self._account(trace)
        if (wait_s := self._matching.claim(trace, account)) is not None:
            return Defer(Cause.THROTTLED, wait_s)
        secret = trace.attempt.credential.secret
        if account is None or not 0 < len(secret) <= MAX_SECRET_BYTES:
            return Reject(Reason.UNKNOWN_LOGIN)
        if not account.enabled or not account.domain_enabled:
            return Reject(Reason.DISABLED)
        if not await self._matching.web_password(account, secret, trace):
            return Reject(Reason.WRONG_PASSWORD)
        if account.id < 0:
            return await self._judge(trace)  # it was made a moment ago
        stay = Stay(trace.mark, account.domain_id, account.web_changed_at, None)
        return Accept(Principal(account.id, account.login, None), stay)

    async def _account(self, trace: Trace) -> Account | None:
        try:
            trace.login = names.fold(trace.attempt.credential.authcid)
        except names.NotALogin:
            return None
        account = await self._passdb.lookup(trace.login, ())
        return account or await self._matching.prospect(trace.login, trace.attempt.credential.secret)
