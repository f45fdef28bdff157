"""One unit of work: what one person asks for, done and written down in one transaction, or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from mailauth.accounts.telling import TOLD
from mailauth.interfaces import StoreUnavailable
from mailauth.store.changes import Effect, Touch, committed, new_token, number_changes, wait_until_applied
from mailauth.store.engine import Row, Store, Transaction
from mailauth.store.faults import CommitUnknown

FIND_OUT_S = 10.0  # so long after a connection was lost during COMMIT it is tried to find out what became of it
PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Unit:
    """A transaction, with who asks ("" when nothing is changed), when, in epoch seconds, and from where.

    peer: an address; agent: what the browser calls itself; "" for none.
    """

    store: Store
    tx: Transaction
    actor: str
    now: float
    touches: list[Touch] = field(default_factory=list)
    peer: str = ""
    agent: str = ""

    @property
    def sql(self) -> ModuleType:
        """The statements."""
        return self.store.sql

    def record(
        self,
        kind: str,
        account: Row | None = None,
        *,
        credential_id: int | None = None,
        label: str | None = None,
        detail: str = "",
        outcome: str = "done",
        service: str = "",
        client: str = "",
        mail_to: str | None = None,
    ) -> None:
        """Write down what is changed, and tell the owner if that is one of the things he is told.

        kind: such as `account-changed`; account: whose it is; detail: for people. mail_to: where he is told of it,
        addresses with spaces between, if not at the account's own.
        """
        self.tx.write(
            self.sql.ADD_AUDIT,
            at=self.now,
            actor=self.actor,
            kind=kind,
            login=account["login"] if account else None,
            account_id=account["id"] if account else None,
            service=service,
            peer=self.peer,
            credential_id=credential_id,
            label=label,
            outcome=outcome,
            detail=detail,
            count=1,
            client=client,
        )
        if account is not None and kind in TOLD:
            told = {"account_id": account["id"], "at": self.now, "kind": kind, "actor": self.actor, "peer": self.peer}
            told |= {"agent": self.agent, "label": label, "detail": detail}
            self.tx.write(self.sql.ADD_NOTICE, **told, mail_to=mail_to, mail_after=self.now)

    def touch(self, kind: str, *, account: Row | None = None, domain_id: int | None = None, **takes: Any) -> None:
        """Have every process that lets clients in apply what is changed: to this account, this domain, or all.

        takes: what is needed to do it again in a restored backup; see `store.highwater`.
        """
        if account is not None:
            takes = {"login": account["login"], **takes}
        self.touches.append(Touch(kind, None if account is None else account["id"], domain_id, takes))


@contextmanager
def changing(
    store: Store, actor: str, now: float | None, effect: Effect | None = None, *, peer: str = "", agent: str = ""
) -> Iterator[Unit]:
    """A unit that changes something. now: None asks the clock. peer, agent: of who asks, see Unit.

    effect: filled in once no process lets anybody in any more who stands on what was there before; None: that is not
    waited for. Raises StoreUnavailable (nothing was changed), CommitUnknown (nobody can say), Clash, StoreBehind.
    """
    with changing_any(store, actor, now, effect, peer=peer, agent=agent) as unit:
        if store.highwater is not None:
            store.highwater.require(store, unit.tx)
        yield unit


@contextmanager
def changing_any(
    store: Store, actor: str, now: float | None, effect: Effect | None = None, *, peer: str = "", agent: str = ""
) -> Iterator[Unit]:
    """The same, also in a store that is older than what is known of it."""
    token, touches, number = new_token(), list[Touch](), 0
    try:
        with store.transaction() as tx:
            unit = Unit(store, tx, actor, time.time() if now is None else now, touches, peer, agent)
            yield unit
            number = number_changes(store, tx, touches, token, unit.now) if touches else 0
    except CommitUnknown as unknown:
        if not number or not _found(store, token, unknown):
            raise
    if store.highwater is not None:
        store.highwater.rise(store)
    if effect is not None and number:
        effect.number, effect.count = number, len(touches)
        wait_until_applied(store, effect)


def _found(store: Store, token: str, unknown: CommitUnknown) -> bool:
    """Whether the change was made after all. Raises StoreUnavailable if it was not; False: nobody can say."""
    give_up_at = time.monotonic() + FIND_OUT_S
    while True:
        try:
            if committed(store, token):
                return True
            break
        except StoreUnavailable:  # it may be about to come back
            if time.monotonic() >= give_up_at:
                return False
        time.sleep(PAUSE_S)
    raise StoreUnavailable(f"{unknown}; it has been looked up meanwhile: nothing was changed") from None


@contextmanager
def looking(store: Store, now: float | None = None) -> Iterator[Unit]:
    """A unit that sees one state of the store and changes nothing. Raises StoreUnavailable."""
    with store.reading() as tx:
        yield Unit(store, tx, "", time.time() if now is None else now)
