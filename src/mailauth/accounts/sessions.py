"""Live sessions: who is logged in now, asked of every process, and closing them.

Rule: sessions are in the memory of the processes that hold them. What is asked goes to them as a numbered change, and
their answers come back through the store.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass

from mailauth.accounts.finding import account_row, folded, locked_account_row
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.accounts.views import moment
from mailauth.interfaces import StoreUnavailable
from mailauth.store.changes import Effect, drop_answers
from mailauth.store.engine import Row, Store

ASKED, CLOSED = "sessions-asked", "sessions-closed"  # as serving.session knows them


@dataclass(frozen=True, slots=True)
class SessionView:
    """One connection that somebody is logged in on.

    app_password: its id, None: the web password; label: its label, None when it is gone. since: ISO 8601, UTC.
    """

    login: str
    service: str
    peer: str
    client: str
    app_password: int | None
    label: str | None
    since: str


@dataclass(frozen=True, slots=True)
class Sessions:
    """All that answered, and the processes that did not."""

    sessions: tuple[SessionView, ...]
    silent: tuple[str, ...]


def live_sessions(store: Store, login: str | None = None, *, actor: str, now: float | None = None) -> Sessions:
    """The live sessions of an account, or all, oldest first. Raises NoSuch, Refused, StoreUnavailable."""
    effect = Effect()
    with changing(store, actor, now, effect) as unit:
        account = None if login is None else account_row(unit, folded(login))
        unit.touch(ASKED, account=account)
    told = [row for answer in effect.answers.values() if answer.report for row in json.loads(answer.report)]
    with suppress(StoreUnavailable):  # it may be long, and goes by itself after a day
        drop_answers(store, effect.number or 0)
    labels = _labels(store, {row["credential_id"] for row in told} - {None})
    sessions = [
        SessionView(
            *(row["login"], row["service"], row["peer"], row["client"], row["credential_id"]),
            *(labels.get(row["credential_id"]), moment(row["since"])),
        )
        for row in sorted(told, key=lambda row: row["since"])
    ]
    return Sessions(tuple(sessions), tuple(effect.without_answer))


def close_sessions(store: Store, login: str, *, actor: str, now: float | None = None) -> Effect:
    """End all live sessions of an account; it may log in again. Raises NoSuch, Refused, StoreUnavailable."""
    effect = Effect()
    with changing(store, actor, now, effect) as unit:
        closed_sessions(unit, locked_account_row(unit, folded(login)))
    return effect


def closed_sessions(unit: Unit, account: Row) -> None:
    """The same within a larger change. account: with id and login."""
    unit.record("sessions-closed", account)
    unit.touch(CLOSED, account=account)


def _labels(store: Store, ids: set[int]) -> dict[int, str]:
    with looking(store) as unit:
        rows = [unit.tx.row(unit.sql.LABEL, row_id=row_id) for row_id in ids]
    return {row["id"]: row["label"] for row in rows if row is not None}
