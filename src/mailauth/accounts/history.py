"""The audit log: what was changed, by whom, and which logins there were.

Rule: rows outlive what they tell of, and hold no secret. Each change writes its own (unit.record), with the change.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from mailauth.accounts.finding import folded
from mailauth.store.engine import Store


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row. at: epoch seconds. kind `login`: `count` equal ones within a minute, the first of them at `at`.

    login: None for a name that is no account's nor in a domain of ours; `@domain` for an unknown one in ours.
    outcome: accept, reject or defer of a login, `done` of a change. label: the app password's, as it was then.
    detail: what was changed, or the reason of a refusal, or the rule that decided.
    """

    id: int
    at: float
    actor: str
    kind: str
    login: str | None
    account_id: int | None
    service: str
    peer: str
    credential_id: int | None
    label: str | None
    outcome: str
    detail: str
    count: int
    client: str


def audit(store: Store, login: str | None = None, since: float | None = None, limit: int = 1000) -> Iterator[AuditRow]:
    """The latest rows, oldest first. login: only this account's; it need not exist any more.

    since: epoch seconds. limit: of the rows that match, so many of the latest. Raises Refused, StoreUnavailable.
    """
    values = {"since": since or 0.0, "page": limit}
    address = None if login is None else folded(login)
    with store.reading() as tx:
        if address is None:
            rows = tx.rows(store.sql.AUDIT, **values)
        else:
            rows = tx.rows(store.sql.AUDIT_OF_LOGIN, login=address, **values)
    return iter([AuditRow(**row) for row in reversed(rows)])


def note(
    store: Store,
    kind: str,
    *,
    actor: str,
    login: str | None = None,
    account_id: int | None = None,
    service: str = "",
    peer: str = "",
    credential_id: int | None = None,
    label: str | None = None,
    outcome: str = "done",
    detail: str = "",
    client: str = "",
    now: float | None = None,
) -> None:
    """Write down something that changed nothing, such as `mailauth verify`; see AuditRow. Raises StoreUnavailable."""
    with store.transaction() as tx:
        tx.write(
            store.sql.ADD_AUDIT,
            at=time.time() if now is None else now,
            actor=actor,
            kind=kind,
            login=login,
            account_id=account_id,
            service=service,
            peer=peer,
            credential_id=credential_id,
            label=label,
            outcome=outcome,
            detail=detail,
            count=1,
            client=client,
        )
