"""One unit of work: what one person asks for, done and written down in one transaction, or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from mailauth.store.engine import Row, Store, Transaction


@dataclass(frozen=True, slots=True)
class Unit:
    """A transaction, with who asks ("" when nothing is changed) and when, in epoch seconds."""

    store: Store
    tx: Transaction
    actor: str
    now: float

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
    ) -> None:
        """Write down what is changed. kind: such as `account-changed`; account: whose it is; detail: for people."""
        self.tx.write(
            self.sql.ADD_AUDIT,
            at=self.now,
            actor=self.actor,
            kind=kind,
            login=account["login"] if account else None,
            account_id=account["id"] if account else None,
            service="",
            peer="",
            credential_id=credential_id,
            label=label,
            outcome="done",
            detail=detail,
            count=1,
            client="",
        )


@contextmanager
def changing(store: Store, actor: str, now: float | None) -> Iterator[Unit]:
    """A unit that changes something. now: None asks the clock. Raises StoreUnavailable, CommitUnknown, Clash."""
    with store.transaction() as tx:
        yield Unit(store, tx, actor, time.time() if now is None else now)


@contextmanager
def looking(store: Store, now: float | None = None) -> Iterator[Unit]:
    """A unit that sees one state of the store and changes nothing. Raises StoreUnavailable."""
    with store.reading() as tx:
        yield Unit(store, tx, "", time.time() if now is None else now)
