"""Whom hosts were told to let in, and whether they would be let in again: Postfix asks before it takes a message.

Rule: nothing here decides but `policy.may_stay`, on the account as the store has it now. What was let in is remembered
in this process, within bounds; what another process let in, or this one before it was started anew, is looked up in
the audit log. Of whom nobody knows how they came in, the account alone is judged.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from mailauth import names
from mailauth.attempt import BRIDGE, Attempt, Service
from mailauth.dialogue import Recheck
from mailauth.interfaces import Account, Passdb
from mailauth.verdict import Accept, Defer, Outcome, Principal, Reason, Reject, Stay
from mailauth.verify import policy
from mailauth.verify.faults import FAULTS, cause_of

MOST_KEPT = 20_000  # of both kinds of keys together; the one that was not renewed for longest goes first
ON_RECORD_S = 86_400.0  # no session lasts longer
MASKED = re.compile(rb"[^ -~]")


@dataclass(frozen=True, slots=True)
class Login:
    """One that was let in, as far as it matters whether it would be again. peer: as it was judged."""

    principal: Principal
    stay: Stay
    peer: str


Key = tuple[str, str, str]  # session, or "" for whichever was the last; login; peer


@dataclass(slots=True)
class Admitted:
    """For all bridges of this process; belongs to its event loop. clock: epoch seconds."""

    passdb: Passdb
    clock: Callable[[], float] = time.time
    _kept: OrderedDict[Key, Login] = field(default_factory=OrderedDict)

    def note(self, attempt: Attempt, accept: Accept, session: str) -> None:
        """A host is told that this one may come in. Of services other than SMTP nobody asks again."""
        if accept.stay is None or attempt.service is not Service.SMTP:
            return
        login, peer = accept.principal.login, attempt.peer
        keys = {_key("", login, peer), _key(session, login, peer)}
        if session:
            keys.add(_key(session, _masked(login), peer))
        for key in keys:
            self._kept[key] = Login(accept.principal, accept.stay, peer)
            self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    async def judge(self, asked: Recheck) -> Outcome:
        """Whether it may go on. A fault is a Defer."""
        try:
            return await self._judged(asked)
        except FAULTS as fault:
            return Defer(cause_of(fault))

    async def _judged(self, asked: Recheck) -> Outcome:
        login = self._login(asked, asked.login)
        if login is not None:
            return await self._outcome(login, asked.service)
        account = await self._account(asked.login)
        if account is None:
            return Reject(Reason.UNKNOWN_LOGIN)
        closed = policy.standing(account, asked.service)
        if closed is not None:
            return Reject(closed)
        login = self._login(asked, account.login) or await self._on_record(account, asked)
        if login is None:
            return Accept(Principal(account.id, account.login, None))
        return await self._outcome(login, asked.service)

    def _login(self, asked: Recheck, name: str) -> Login | None:
        """By its session; else the last one from there; else the last of a host that does not say where clients are."""
        keys = (_key(asked.session, name, asked.peer), _key("", name, asked.peer), _key("", name, ""))
        return next((self._kept[key] for key in keys if key in self._kept), None)

    async def _on_record(self, account: Account, asked: Recheck) -> Login | None:
        """The last one from there that any process has let in."""
        found = await self.passdb.let_in(account, asked.service, asked.peer, self.clock() - ON_RECORD_S)
        if found is None:
            return None
        at, credential_id = found
        changed_at = account.web_changed_at  # by another password than now, if that was set later
        opened_with = changed_at if changed_at is None or changed_at <= at else at
        principal = Principal(account.id, account.login, credential_id)
        return Login(principal, Stay(0, account.domain_id, opened_with, None), asked.peer)

    async def _account(self, login: str) -> Account | None:
        folded = _folded(login)
        if folded is None:
            return None
        account = await self.passdb.lookup(folded, ())
        if account is None and (owner := await self.passdb.canonical(folded)) is not None:
            return await self.passdb.lookup(owner, ())
        return account

    async def _outcome(self, login: Login, service: Service) -> Outcome:
        principal, now = login.principal, self.clock()
        account = await self.passdb.session(principal.account_id, principal.credential_id)
        if policy.may_stay(account, principal, login.stay, service=service, peer=login.peer, now=now):
            return Accept(principal)
        closed = None if account is None else policy.standing(account, service)
        return Reject(Reason.REVOKED if closed is None else closed, principal.credential_id)


def _key(session: str, login: str, peer: str) -> Key:
    return session, _folded(login) or login, "" if peer.startswith(BRIDGE) else peer


def _folded(login: str) -> str | None:
    try:
        return names.fold(login)
    except names.NotALogin:
        return None


def _masked(login: str) -> str:
    """As Postfix shows it where SMTPUTF8 is off: with a question mark for each octet that is not ASCII."""
    return MASKED.sub(b"?", login.encode()).decode("ascii")
