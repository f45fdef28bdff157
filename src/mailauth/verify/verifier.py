"""One login, top to bottom: read `_judge`.

Rule: in this path an exception means a fault, faults are caught in `authenticate` alone, and its handlers can only
build a Defer. Nobody is refused because something broke.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from mailauth import apppassword, names
from mailauth.attempt import Attempt
from mailauth.events import Events, LoginJudged
from mailauth.interfaces import (
    Account,
    BadRecord,
    Claim,
    HashUnavailable,
    Keys,
    Passdb,
    PoolBusy,
    StoreUnavailable,
    Throttle,
    UnknownKey,
)
from mailauth.logs import whereabouts
from mailauth.verdict import Accept, Cause, Defer, Outcome, Principal, Reason, Reject
from mailauth.verify import policy
from mailauth.verify.proofs import Hashes, Proofs

log = logging.getLogger(__name__)

MAX_SECRET_BYTES = 1024  # nobody's password is longer; refused before anything is computed from it

CAUSES: dict[type[Exception], Cause] = {
    StoreUnavailable: Cause.STORE,
    UnknownKey: Cause.KEY,
    BadRecord: Cause.RECORD,
    HashUnavailable: Cause.HASH,
    PoolBusy: Cause.BUSY,
}


@dataclass(slots=True)
class Trace:
    """What became known on the way, for the event. Never a secret."""

    login: str | None = None
    account_id: int | None = None
    detail: str = ""
    claim: Claim | None = None


class Verifier:
    """Judges attempts. The only Authenticator that does; doors and bridges ask it.

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
        refusal_delay_s: float = 2.0,
        aliases_log_in: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._passdb = passdb
        self._keys = keys
        self._hashes = hashes
        self._proofs = Proofs(hashes)
        self._events = events
        self._throttle = throttle
        self._refusal_delay_s = refusal_delay_s
        self._aliases_log_in = aliases_log_in
        self._clock = clock
        self._rehashing: dict[int, asyncio.Task[None]] = {}

    async def authenticate(self, attempt: Attempt) -> Outcome:
        """Judge one attempt. A fault of whatever kind is a Defer; only CancelledError passes."""
        began = time.perf_counter()
        trace = Trace()
        saturated = False
        outcome: Outcome
        try:
            saturated = self._hashes.saturated(self._refusal_delay_s)  # asked first: it must not tell what was found
            outcome = await self._judge(attempt, trace)
        except tuple(CAUSES) as fault:
            outcome = Defer(next(cause for kind, cause in CAUSES.items() if isinstance(fault, kind)))
            trace.detail = str(fault)
        except Exception as bug:  # noqa: BLE001  whatever it is, it says nothing about the password
            outcome = Defer(Cause.BUG)
            trace.detail = whereabouts(bug)
        if trace.claim is not None:
            trace.claim.settle(outcome)  # as it was judged: a full queue makes no guess free
        if saturated and type(outcome) is Reject:
            outcome = Defer(Cause.BUSY)
        took_ms = (time.perf_counter() - began) * 1000
        event = LoginJudged(attempt.without_secret(), outcome, trace.login, trace.account_id, took_ms, trace.detail)
        self._events.emit(event)
        return outcome

    async def close(self) -> None:
        """Wait for what was begun after the replies."""
        await asyncio.gather(*self._rehashing.values(), return_exceptions=True)

    async def _judge(self, attempt: Attempt, trace: Trace) -> Outcome:
        credential = attempt.credential
        try:
            login = trace.login = names.fold(credential.authcid)
        except names.NotALogin:
            return Reject(Reason.UNKNOWN_LOGIN)
        secret = credential.secret
        if not policy.acts_for_itself(credential, login):
            return Reject(Reason.AUTHZID)
        if not secret or len(secret) > MAX_SECRET_BYTES:
            return Reject(Reason.WRONG_PASSWORD)
        cleaned = apppassword.clean(secret)
        account = await self._lookup(login, cleaned, trace)
        if account is None or not account.hits:
            wait_s = self._claim(attempt, login, account, trace)
            if wait_s is not None:
                return Defer(Cause.THROTTLED, wait_s)
        if account is None:
            return Reject(Reason.UNKNOWN_LOGIN)
        if (closed := policy.standing(account, attempt.service)) is not None:
            return Reject(closed)
        by_app_password = await self._app_password(account, cleaned, attempt)
        if type(by_app_password) is Accept:
            return by_app_password
        if type(by_app_password) is Reject and by_app_password.reason is Reason.REVOKED:
            return by_app_password
        if policy.app_passwords_only(account, self._clock()):
            return Reject(Reason.CLIENT_PASSWORDS_ONLY) if by_app_password is None else by_app_password
        if await self._is_web_password(account, secret):
            return Accept(Principal(account.id, account.login, None))
        return Reject(Reason.WRONG_PASSWORD) if by_app_password is None else by_app_password

    def _claim(self, attempt: Attempt, login: str, account: Account | None, trace: Trace) -> float | None:
        """Have a guess admitted; otherwise the seconds to wait. What is proven already is no guess."""
        if self._throttle is None:
            return None
        judged_by_web = None
        if account is not None and not policy.app_passwords_only(account, self._clock()):
            if account.web_record is not None and self._proofs.known(account.web_record, attempt.credential.secret):
                return None
            judged_by_web = account.id
        claim = self._throttle.claim(attempt, login, judged_by_web)
        trace.claim = None if isinstance(claim, float) else claim
        return claim if isinstance(claim, float) else None

    async def _lookup(self, login: str, cleaned: str | None, trace: Trace) -> Account | None:
        account = await self._read(login, cleaned)
        if account is None and self._aliases_log_in and (owner := await self._passdb.canonical(login)) is not None:
            account = await self._read(owner, cleaned)
        if account is not None:
            trace.account_id, trace.login = account.id, account.login
        return account

    async def _read(self, login: str, cleaned: str | None) -> Account | None:
        return await self._passdb.lookup(login, () if cleaned is None else self._keys.selectors(login, cleaned))

    async def _app_password(self, account: Account, cleaned: str | None, attempt: Attempt) -> Accept | Reject | None:
        """Accept; Reject, if one was recognised that opens nothing here; None, if none was. Tombstones count too."""
        recognised: Reject | None = None
        for stored in account.hits if cleaned is not None else ():
            if not await self._proofs.match(stored.record, (cleaned or "").encode()):
                continue
            closed = policy.scope(stored, attempt, self._clock())
            if closed is None:
                return Accept(Principal(account.id, account.login, stored.id))
            recognised = Reject(closed, stored.id)
        return recognised

    async def _is_web_password(self, account: Account, secret: bytes) -> bool:
        record = account.web_record
        if record is None or not await self._proofs.match(record, secret):
            return False
        if self._hashes.outdated(record) and account.id not in self._rehashing:
            task = asyncio.get_running_loop().create_task(self._rehash(account.id, record, secret))
            self._rehashing[account.id] = task
            task.add_done_callback(lambda _: self._rehashing.pop(account.id, None))
        return True

    async def _rehash(self, account_id: int, old: str, secret: bytes) -> None:
        """After a good login: store the same web password under today's hash. Its failure costs nothing."""
        try:
            await self._passdb.replace_web_record(account_id, old, await self._hashes.hash(secret))
        except tuple(CAUSES) as fault:
            log.warning("web password of account %d not rehashed, will be at its next login: %s", account_id, fault)
