"""One login, top to bottom: read `_judge`.

Rule: in this path an exception means a fault, faults are caught in `authenticate` alone, and its handlers can only
build a Defer. Nobody is refused because something broke.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mailauth import apppassword, names
from mailauth.attempt import Attempt
from mailauth.events import Events, LoginJudged
from mailauth.interfaces import Account, Changes, Keys, Passdb, StoredAppPassword, StoreUnavailable, Throttle
from mailauth.logs import whereabouts
from mailauth.verdict import Accept, Cause, Defer, Outcome, Principal, Reason, Reject, Stay
from mailauth.verify import policy
from mailauth.verify.faults import FAULTS, cause_of
from mailauth.verify.finding import Finding
from mailauth.verify.matching import Matching, Trace
from mailauth.verify.outside import Outside
from mailauth.verify.proofs import Hashes
from mailauth.verify.recognising import Recognising
from mailauth.verify.recurring import Recurring
from mailauth.verify.reselecting import Reselecting

MAX_SECRET_BYTES = 1024  # nobody's password is longer; refused before anything is computed from it
MAX_READS = 4  # of an account that is changed while it is judged; from the second on, its hash is known


class Verifier:
    """Judges attempts. The only Authenticator that does; doors and bridges ask it.

    changes: what others changed meanwhile; None: nobody lets anybody in by what is judged here (`mailauth verify`).
    recognising: None unless owners are to hear whose web password a refused program sends. outside: closed with it.
    recurring: judges what comes again; None: that is judged from the beginning, too.
    refusal_delay_s: how long a refusal may take; when hashes wait longer, nothing but an Accept is judged.
    clock: epoch seconds. aliases_log_in: whether an alias may be typed in place of the login.
    """

    def __init__(
        self,
        passdb: Passdb,
        keys: Keys,
        hashes: Hashes,
        events: Events,
        throttle: Throttle | None = None,
        *,
        changes: Changes | None = None,
        recognising: Recognising | None = None,
        outside: Outside | None = None,
        recurring: Recurring | None = None,
        refusal_delay_s: float = 2.0,
        aliases_log_in: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._finding = Finding(passdb, keys, aliases_log_in=aliases_log_in)
        self._hashes = hashes
        reselecting = None if changes is None else Reselecting(keys, passdb)
        self.matching = Matching(hashes, passdb, throttle, reselecting, outside)
        self._events = events
        self._throttle = throttle
        self._changes = changes
        self._recognising = recognising
        self._recurring = recurring
        self._refusal_delay_s = refusal_delay_s
        self._clock = clock

    async def authenticate(self, attempt: Attempt) -> Outcome:
        """Judge one attempt. A fault of whatever kind is a Defer; only CancelledError passes."""
        began = time.perf_counter()
        trace = Trace(attempt, self._clock())
        saturated = False
        outcome: Outcome
        try:
            if self._recurring is not None:
                trace.question = self._recurring.question(attempt)
                if (known := self._recurring.judge(trace.question)) is not None:
                    return known.accept
            saturated = self._hashes.saturated(self._refusal_delay_s)  # asked first: it must not tell what was found
            outcome = await self._judge_as_it_stands(trace)
            if trace.opened_by is not None and self._recurring is not None:
                self._recurring.remember(trace.question, attempt, outcome, *trace.opened_by)
        except FAULTS as fault:
            outcome = Defer(cause_of(fault))
            trace.detail = str(fault)
        except Exception as bug:  # noqa: BLE001  whatever it is, it says nothing about the password
            outcome = Defer(Cause.BUG)
            trace.detail = whereabouts(bug)
        if type(outcome) is Accept and self._throttle is not None:
            self._throttle.welcome(attempt.peer, outcome.principal.account_id)
        if trace.claim is not None:
            trace.claim.settle(outcome)  # as it was judged: a full queue makes no guess free
        if saturated and type(outcome) is Reject:
            outcome = Defer(Cause.BUSY)
        took_ms = (time.perf_counter() - began) * 1000
        told = (attempt.without_secret(), outcome, trace.login, trace.account_id, took_ms, trace.detail)
        guess = None if trace.claim is None else trace.claim.guess
        self._events.emit(LoginJudged(*told, guess, trace.would_break))
        return outcome

    async def close(self) -> None:
        """Wait for what was begun after the replies."""
        await self.matching.close()
        if self._recognising is not None:
            await self._recognising.close()

    async def _judge_as_it_stands(self, trace: Trace) -> Outcome:
        """Judge, and again if the account was changed meanwhile: nobody gets in by what is not true any more."""
        changes = self._changes
        if changes is None:
            return await self._judge(trace)
        for _ in range(MAX_READS):
            trace.mark = changes.mark()
            outcome = await self._judge(trace)
            if type(outcome) is Defer:
                return outcome
            await changes.current()  # a refusal too: the store that was read may not be ours any more
            if type(outcome) is not Accept or outcome.stay is None:
                return outcome
            if not changes.touched(trace.mark, outcome.principal.account_id, outcome.stay.domain_id):
                return outcome
        raise StoreUnavailable("the account was changed again and again while it was judged")

    async def _judge(self, trace: Trace) -> Outcome:
        attempt, credential = trace.attempt, trace.attempt.credential
        try:
            login = trace.login = names.fold(credential.authcid)
        except names.NotALogin:
            return self._unread(Reason.UNKNOWN_LOGIN, trace)
        secret = credential.secret
        if not policy.acts_for_itself(credential, login):
            return self._unread(Reason.AUTHZID, trace)
        if not secret or len(secret) > MAX_SECRET_BYTES:
            return self._unread(Reason.WRONG_PASSWORD, trace)
        cleaned = apppassword.clean(secret)
        account = await self._found(login, cleaned, trace)
        if (account is None or not account.hits) and (wait_s := self.matching.claim(trace, account)) is not None:
            return Defer(Cause.THROTTLED, wait_s)
        if account is None:
            return Reject(Reason.UNKNOWN_LOGIN)
        if (closed := policy.standing(account, attempt.service)) is not None:
            return Reject(closed)
        stored, by_app_password = await self._app_password(account, cleaned, trace)
        if stored is not None:
            return self._accept(account, stored, trace)
        if by_app_password is not None and by_app_password.reason is Reason.REVOKED:
            return by_app_password
        if by_app_password is None and (wait_s := self.matching.claim(trace, account)) is not None:
            return Defer(Cause.THROTTLED, wait_s)  # its selector was hit by chance: a guess like any other
        if policy.app_passwords_only(account, trace.now):
            return self._mode_is_on(account, trace) if by_app_password is None else by_app_password
        if await self.matching.web_password(account, secret, trace):
            return await self._by_web_password(account, trace)
        return Reject(Reason.WRONG_PASSWORD) if by_app_password is None else by_app_password

    async def _found(self, login: str, cleaned: str | None, trace: Trace) -> Account | None:
        account = await self._finding.account(login, cleaned)
        if account is None:  # the store has said so: it may be one that is to be made
            return await self.matching.prospect(login, trace.attempt.credential.secret)
        trace.account_id, trace.login = account.id, account.login
        return account

    async def _by_web_password(self, account: Account, trace: Trace) -> Outcome:
        if account.id < 0:
            return await self._judge(trace)  # it was made a moment ago: judged as what it is now
        trace.would_break = policy.would_break(account, trace.now)
        return self._accept(account, None, trace)

    def _unread(self, reason: Reason, trace: Trace) -> Outcome:
        """Refused by what was shown alone. It counts as a guess all the same, by its source."""
        wait_s = self.matching.claim(trace, None)
        return Reject(reason) if wait_s is None else Defer(Cause.THROTTLED, wait_s)

    def _mode_is_on(self, account: Account, trace: Trace) -> Reject:
        if self._recognising is not None and trace.claim is not None:
            self._recognising.refused(trace.attempt, account, trace.claim.guess)
        return Reject(Reason.CLIENT_PASSWORDS_ONLY)

    async def _app_password(
        self, account: Account, cleaned: str | None, trace: Trace
    ) -> tuple[StoredAppPassword | None, Reject | None]:
        """The app password that opens this; or why the one that was recognised does not, tombstones too; or neither."""
        refused: Reject | None = None
        for stored in account.hits if cleaned is not None else ():
            if await self.matching.app_password(account, stored, cleaned or "", trace):
                closed = policy.scope(stored, trace.attempt.service, trace.attempt.peer, trace.now)
                if closed is None:
                    return stored, None
                refused = Reject(closed, stored.id)
        return None, refused

    def _accept(self, account: Account, stored: StoredAppPassword | None, trace: Trace) -> Accept:
        trace.opened_by = None if stored is None else (account, stored)
        until = policy.stays_until(account, stored, trace.now)
        principal = Principal(account.id, account.login, None if stored is None else stored.id)
        return Accept(principal, Stay(trace.mark, account.domain_id, account.web_changed_at, until))
