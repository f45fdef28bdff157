"""Whether what was shown matches what is stored, and whether it may be tried at all: at most one hash, in its lane.

Rule: who may come in is not decided here, but in `policy`, as `verifier` asks it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from mailauth.attempt import Attempt
from mailauth.interfaces import Account, Claim, Lane, StoredAppPassword, Throttle
from mailauth.verify import policy
from mailauth.verify.outside import Outside
from mailauth.verify.proofs import Hashes, Proofs
from mailauth.verify.rehashing import Records, Rehashing
from mailauth.verify.reselecting import Reselecting


@dataclass(slots=True)
class Trace:
    """What became known on the way of one attempt, at `now`. mark: see interfaces.Changes.

    recognised: the secret is an app password of the account, whatever it opens. opened_by: the app password that let it
    in. question: see recurring.
    """

    attempt: Attempt
    now: float
    mark: int = 0
    login: str | None = None
    account_id: int | None = None
    detail: str = ""
    claim: Claim | None = None
    would_break: bool = False
    portal: bool = False
    device: str = ""
    recognised: bool = False
    question: Hashable = None
    opened_by: tuple[Account, StoredAppPassword] | None = None


class Matching:
    """Shown secrets against stored records, or what others store of them.

    throttle: None admits every guess. reselecting: None moves nothing. outside: None asks nobody else.
    """

    def __init__(
        self,
        hashes: Hashes,
        records: Records,
        throttle: Throttle | None,
        reselecting: Reselecting | None = None,
        outside: Outside | None = None,
    ) -> None:
        self._proofs = Proofs(hashes)
        self._rehashing = Rehashing(hashes, records)
        self._reselecting = reselecting
        self._throttle = throttle
        self._outside = outside

    def claim(self, trace: Trace, account: Account | None) -> float | None:
        """Have a guess admitted, once an attempt; otherwise the seconds to wait. What is proven already is no guess."""
        if self._throttle is None or trace.claim is not None:
            return None
        web = account is not None and (trace.portal or not policy.app_passwords_only(account, trace.now))
        if account is not None and web and self._knows(account, trace.attempt.credential.secret):
            return None
        account_id = None if account is None else account.id
        claim = self._throttle.claim(trace.attempt, trace.login or "", account_id, web=web, device=trace.device)
        if isinstance(claim, float):
            return claim
        trace.claim = claim
        return None

    async def app_password(self, account: Account, stored: StoredAppPassword, cleaned: str, trace: Trace) -> bool:
        """Whether this is that app password. Raises BadRecord, HashUnavailable, PoolBusy."""
        record, secret = stored.record, cleaned.encode()
        if not (self._proofs.known(record, secret) or await self._hashed(record, secret, account, trace)):
            return False
        trace.recognised = True
        if self._reselecting is not None:
            self._reselecting.begin_if_outdated(account.login, stored, cleaned)
        return True

    async def prospect(self, login: str, secret: bytes) -> Account | None:
        """The account that does not exist, and would be made if a source took this for its web password; or None.

        login: folded. Raises StoreUnavailable, BadRecord.
        """
        return None if self._outside is None else await self._outside.prospect(login, secret)

    async def web_password(self, account: Account, secret: bytes, trace: Trace) -> bool:
        """Whether this is the account's web password. Raises FAULTS.

        Of an account with an id below zero: there is an account now, which is to be judged.
        """
        record = account.web_record
        if record is None:
            return self._outside is not None and not trace.recognised and await self._outside.match(account, secret)
        if not (self._proofs.known(record, secret) or await self._hashed(record, secret, account, trace)):
            return False
        self._rehashing.begin_if_outdated(account.id, record, secret)
        return True

    async def close(self) -> None:
        """Wait for what was begun after the replies."""
        await self._rehashing.close()
        if self._reselecting is not None:
            await self._reselecting.close()
        if self._outside is not None:
            await self._outside.close()

    async def _hashed(self, record: str, secret: bytes, account: Account, trace: Trace) -> bool:
        return await self._proofs.match(record, secret, self._lane(account, trace.attempt))

    def _knows(self, account: Account, secret: bytes) -> bool:
        if account.web_record is not None:
            return self._proofs.known(account.web_record, secret)
        return self._outside is not None and self._outside.known(account, secret)

    def _lane(self, account: Account, attempt: Attempt) -> Lane:
        known = self._throttle is not None and self._throttle.knows(attempt.peer, account.id)
        return Lane.FIRST if known else Lane.ORDINARY
