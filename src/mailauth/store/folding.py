"""Logins folded in memory into the few rows that are worth writing: counted audit rows, last uses, observations.

Rule: no name that is not an account's is kept. What somebody typed for a login may be a mistyped password, and made-up
names are without end: of those only the domain is kept, and only if it is ours. Everything here is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any, assert_never

from mailauth.events import LoginJudged
from mailauth.store.observations import Observations
from mailauth.verdict import Accept, Defer, Outcome, Reject

WINDOW_S = 60.0  # equal logins within this are one row; a last use is written once in it
AGAIN_S = 1.0
MAX_PENDING = 10_000  # rows of each kind that wait for the store
MAX_TEXT_CHARACTERS = 200  # of what a client says of itself
UNKNOWN = "(unknown)"  # no account's login: nothing in brackets can stand before an @

Values = dict[str, Any]  # the parameters of one statement


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be written in one transaction.

    logins: for COUNT_LOGINS, by the row they are counted in; uses: for NOTE_LAST_USE, by app password; observations:
    for observations.write.
    """

    logins: dict[str, Values] = field(default_factory=dict)
    uses: dict[int, Values] = field(default_factory=dict)
    observations: list[Values] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.logins or self.uses or self.observations)


class Folding:
    """Not safe for several threads at once: its owner has a lock. Times are epoch seconds."""

    def __init__(self, process_id: str) -> None:
        """process_id: unlike any other process's, now and later; names the rows of this one."""
        self.local_domains: frozenset[str] = frozenset()
        self._process_id = process_id
        self._row_count = 0
        self._open: dict[tuple[object, ...], Values] = {}  # by what makes logins equal; those of the last minute
        self._pending = Batch()
        self._use_written_at: dict[int, float] = {}
        self._observations = Observations()
        self._dropped = 0

    def note(self, event: LoginJudged, now: float, *again: float) -> None:
        """Take one login into account. Microseconds, and no way to fail. again: when it was told again, all of them
        within AGAIN_S; others of that time may be told later."""
        self._observations.note(event, now, 1 + len(again))
        outcome, credential_id, detail = _told(event)
        login = self._login(event)
        attempt = event.attempt
        guess = None if event.account_id is None else event.guess  # made-up names are one row, whatever comes with them
        key = (login, event.account_id, attempt.service, attempt.peer, outcome, detail, credential_id, guess)
        row = self._open.get(key)
        if row is None or not 0 <= now - row["at"] < WINDOW_S:
            row = self._new_row(now)
            if row is None:
                self._dropped += 1 + len(again)
                return
            row |= {"login": login, "account_id": event.account_id, "service": str(attempt.service)}
            row |= {"peer": plain(attempt.peer), "credential_id": credential_id, "outcome": outcome, "detail": detail}
            self._open[key] = row
        row["count"] += 1 + len(again)
        row["client"] = plain(attempt.client)
        self._pending.logins[row["fold"]] = row
        if outcome == "accept" and credential_id is not None:
            self._note_use(credential_id, row, again[-1] if again else now)

    def take(self, now: float, *, everything: bool = False) -> Batch:
        """What is to be written now. everything: also what was written not long ago; when the process ends."""
        self._tell_dropped(now)
        logins = {fold: dict(row) for fold, row in self._pending.logins.items()}
        self._pending.logins.clear()
        due = {
            credential_id: values
            for credential_id, values in self._pending.uses.items()
            if everything or not 0 <= now - self._use_written_at.get(credential_id, -math.inf) < WINDOW_S
        }
        for credential_id in due:
            del self._pending.uses[credential_id]
            self._use_written_at[credential_id] = now
        return Batch(logins, due, self._observations.take(now, everything=everything))

    def give_back(self, batch: Batch) -> None:
        """That could not be written: keep it for the next time, unless something newer has taken its place."""
        for fold, row in batch.logins.items():
            if fold in self._pending.logins or len(self._pending.logins) < MAX_PENDING:
                self._pending.logins.setdefault(fold, row)
            else:
                self._dropped += row["count"]
        for credential_id, values in batch.uses.items():
            if len(self._pending.uses) < MAX_PENDING:
                self._pending.uses.setdefault(credential_id, values)
            self._use_written_at.pop(credential_id, None)
        self._observations.give_back(batch.observations)

    def forget(self, now: float) -> None:
        """Let go of what is over; once a minute."""
        self._open = {key: row for key, row in self._open.items() if 0 <= now - row["at"] < WINDOW_S}
        self._use_written_at = {
            credential_id: at for credential_id, at in self._use_written_at.items() if 0 <= now - at < WINDOW_S
        }
        self._observations.forget(now)

    def _login(self, event: LoginJudged) -> str | None:
        return event.login if event.account_id is not None else unknown(event.login, self.local_domains)

    def _new_row(self, now: float) -> Values | None:
        if len(self._pending.logins) >= MAX_PENDING:
            return None
        if len(self._open) >= MAX_PENDING:
            self._open.clear()  # the next equal login begins a row of its own
        self._row_count += 1
        fold = f"{self._process_id}:{self._row_count}"
        return {"fold": fold, "at": now, "actor": "client", "kind": "login", "count": 0, "client": ""}

    def _note_use(self, credential_id: int, row: Values, now: float) -> None:
        pending = self._pending.uses.get(credential_id)
        if pending is None and len(self._pending.uses) >= MAX_PENDING:
            return
        if pending is not None and 0 < pending["last_used_at"] - now < AGAIN_S:
            return  # not told in the order in which they came; further back, the clock was set
        self._pending.uses[credential_id] = {
            "row_id": credential_id,
            "last_used_at": now,
            "last_used_peer": row["peer"],
            "last_used_service": row["service"],
            "last_used_client": row["client"],
        }

    def _tell_dropped(self, now: float) -> None:
        if not self._dropped or len(self._pending.logins) >= MAX_PENDING:
            return
        row = self._new_row(now)
        if row is not None:
            row |= {"login": None, "account_id": None, "service": "", "peer": "", "credential_id": None}
            row |= {"outcome": "dropped", "detail": "too many to write down", "count": self._dropped}
            self._pending.logins[row["fold"]] = row
            self._dropped = 0


def unknown(login: str | None, local_domains: Container[str]) -> str:
    """What is kept of a name that is no account's. login: folded; None: it could not be."""
    domain = "" if login is None else login.rpartition("@")[2]
    return f"{UNKNOWN}@{domain}" if domain in local_domains else UNKNOWN


def plain(text: str) -> str:
    """What a client says of itself, as a database takes it and a list can show it."""
    short = text[:MAX_TEXT_CHARACTERS]
    return short if short.isprintable() else "".join([c if c.isprintable() else "?" for c in short])


def _told(event: LoginJudged) -> tuple[str, int | None, str]:
    """The outcome, the app password concerned, and what decided."""
    outcome: Outcome = event.outcome
    match outcome:
        case Accept(principal):
            return (
                "accept",
                principal.credential_id,
                "web-password" if principal.credential_id is None else "app-password",
            )
        case Reject(reason, credential_id):
            return "reject", credential_id, str(reason)
        case Defer(cause):
            return "defer", None, f"{cause}: {plain(event.detail)}" if event.detail else str(cause)
        case _:
            assert_never(outcome)
