"""The audit log: what was changed, by whom, and which logins there were.

Rule: rows outlive what they tell of, and hold no secret. Each change writes its own (unit.record), with the change.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mailauth.accounts.finding import account_row, folded
from mailauth.accounts.unit import looking
from mailauth.store.engine import Store
from mailauth.store.folding import unknown
from mailauth.store.upkeep import DAY_S

PAGE_ROWS = 1000
FIRST_ID = 0  # before every row's


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row. at: epoch seconds. kind `login`: `count` equal ones within a minute, the first of them at `at`.

    actor: `client`, `cli:` and an administrator's name, or `process`. login: an account's; `(unknown)@domain` for any
    other name in a domain of ours, `(unknown)` for the rest; None: it is about no account. peer: the address, or what
    is left of an old one, in CIDR notation. label: the app password's, as it was then. outcome: accept, reject or defer
    of a login, `done` of a change. detail: the rule that decided on a login, or what was changed.
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


def audit(
    store: Store, login: str | None = None, since: float | None = None, limit: int | None = None
) -> Iterator[AuditRow]:
    """The log, oldest row first, read page by page. login: only this account's; it need not exist any more.

    since: epoch seconds. limit: of the rows that match, so many of the latest; None: all. Raises Refused,
    StoreUnavailable. A row that is written while this goes on may be missed, if it tells of a moment gone by.
    """
    if login is None:
        return _pages(store, "everybody", {}, since or 0.0, limit)
    return _pages(store, "login", {"login": folded(login)}, since or 0.0, limit)


def activity(
    store: Store, login: str, *, days: float, limit: int | None = None, now: float | None = None
) -> Iterator[AuditRow]:
    """What an account's owner is shown of it: the last so many days, of this account and of none before it.

    Oldest row first; limit as in `audit`. Raises NoSuch, Refused, StoreUnavailable.
    """
    with looking(store, now) as unit:
        account = account_row(unit, folded(login))
    whose = {"login": account["login"], "account_id": account["id"]}
    return _pages(store, "account", whose, unit.now - days * DAY_S, limit)


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
    """Write down something that changed nothing, such as `mailauth verify`; see AuditRow. Raises StoreUnavailable.

    login: folded; if it comes without an account_id, it is nobody's, and only its domain is kept.
    """
    with store.transaction() as tx:
        if login is not None and account_id is None:
            domain = login.rpartition("@")[2]
            login = unknown(login, [domain] if tx.row(store.sql.LOCAL_DOMAIN, name=domain) else [])
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


def _pages(store: Store, of: str, whose: dict[str, Any], since: float, limit: int | None) -> Iterator[AuditRow]:
    """of: a key of statements.AUDIT; whose: its parameters. No transaction is open between two pages."""
    at, row_id = since, FIRST_ID
    if limit is not None:
        with store.reading() as tx:
            start = tx.row(store.sql.AUDIT_START[of], since=since, skip=limit - 1, **whose)
        if start is not None:
            at, row_id = start["at"], start["id"] - 1
    while True:
        with store.reading() as tx:
            rows = tx.rows(store.sql.AUDIT[of], at=at, row_id=row_id, page=PAGE_ROWS, **whose)
        for row in rows:
            yield AuditRow(**row)
        if len(rows) < PAGE_ROWS:
            return
        at, row_id = rows[-1]["at"], rows[-1]["id"]
