"""Programs that do not log in as they should, folded in memory into a few rows an account, for its owner.

Rule: a row holds a network and not an address, and nothing of a secret. It is written at once, and then hourly; and
however many networks and names are made up, only so many new rows of an account are taken up in an hour.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from mailauth.attempt import Service
from mailauth.events import LoginJudged
from mailauth.store.engine import Store, Transaction
from mailauth.store.networks import coarse
from mailauth.verdict import Accept, Reason, Reject

INTERVAL_S = 3600.0
MAX_ROWS = 20  # of one account and kind; in the store the latest stay
MAX_KNOWN = 20_000  # in memory, of all accounts; some 10 MiB
MAX_CLIENT_CHARACTERS = 80

Key = tuple[int, str, str, str, str, int]
KEY = ("account_id", "kind", "network", "service", "client", "credential_id")
Values = dict[str, Any]  # the parameters of NOTE_OBSERVATION


class Kind(StrEnum):
    """What was observed; the values are stored."""

    WEB_PASSWORD_REFUSED = "web-password-refused"  # noqa: S105  no app password, where nothing else opens
    DELETED_APP_PASSWORD = "deleted-app-password"  # noqa: S105
    WOULD_BREAK = "would-break"  # it gets in, and would not if what is only observed now were enforced


class Observations:
    """Not safe for several threads at once: its owner has a lock. Times are epoch seconds."""

    def __init__(self) -> None:
        self._pending: dict[Key, Values] = {}
        self._written_at: dict[Key, float] = {}
        self._known: Counter[tuple[int, str]] = Counter()  # rows here of an account and kind

    def note(self, event: LoginJudged, now: float, times: int = 1) -> None:
        """Take so many equal logins into account. Microseconds, and no way to fail."""
        kind, credential_id = _told(event)
        if kind is None or event.account_id is None:
            return
        attempt = event.attempt
        network, client = coarse(attempt.peer), named(attempt.client)
        key = (event.account_id, str(kind), network, str(attempt.service), client, credential_id)
        row = self._pending.get(key) or self._new_row(key, now)
        if row is not None:
            row["count"] += times
            row["last_at"] = now

    def take(self, now: float, *, everything: bool = False) -> list[Values]:
        """What is to be written now, in the order in which every process writes. everything: when the process ends."""
        due = sorted(
            key
            for key in self._pending
            if everything or not 0 <= now - self._written_at.get(key, -math.inf) < INTERVAL_S
        )
        self._written_at.update(dict.fromkeys(due, now))
        return [self._pending.pop(key) for key in due]

    def give_back(self, rows: Iterable[Values]) -> None:
        """Those could not be written: keep them for the next time."""
        for row in rows:
            key: Key = tuple([row[name] for name in KEY])
            newer = self._pending.get(key)
            if newer is not None:
                row = row | {"last_at": newer["last_at"], "count": row["count"] + newer["count"]}  # noqa: PLW2901
            self._pending[key] = row
            self._written_at.pop(key, None)

    def forget(self, now: float) -> None:
        """Let go of what was written an hour ago; once a minute."""
        self._written_at = {key: at for key, at in self._written_at.items() if 0 <= now - at < INTERVAL_S}
        self._known = Counter([key[:2] for key in self._pending.keys() | self._written_at.keys()])

    def _new_row(self, key: Key, now: float) -> Values | None:
        """None: too many are known already."""
        if key not in self._written_at:
            if self._known[key[:2]] >= MAX_ROWS or len(self._pending) + len(self._written_at) >= MAX_KNOWN:
                return None
            self._known[key[:2]] += 1
        row = self._pending[key] = {**dict(zip(KEY, key, strict=True)), "first_at": now, "last_at": now, "count": 0}
        return row


def named(client: str) -> str:
    """What a client calls itself, cut, and made plain."""
    short = client[:MAX_CLIENT_CHARACTERS].strip()
    return "".join([c if c.isprintable() else "?" for c in short])


def write(store: Store, tx: Transaction, rows: list[Values]) -> None:
    """Add what `take` gave to the rows there are; accounts that are gone meanwhile are passed over."""
    tx.write_each(store.sql.NOTE_OBSERVATION, rows)
    touched = {(row["account_id"], row["kind"]) for row in rows}
    tx.write_each(
        store.sql.TRIM_OBSERVATIONS,
        [{"account_id": account_id, "kind": kind, "keep": MAX_ROWS} for account_id, kind in sorted(touched)],
    )


def note_web_password(
    store: Store, account_id: int, network: str, service: Service, client: str, *, is_web: bool
) -> None:
    """Write down whether what this refused program sends is the account's web password.

    network: the address or its network; client: as in the attempt. Without such a row nothing happens.
    Raises StoreUnavailable.
    """
    with store.transaction() as tx:
        tx.write(
            store.sql.NOTE_WEB_PASSWORD,
            account_id=account_id,
            kind=str(Kind.WEB_PASSWORD_REFUSED),
            network=coarse(network),
            service=str(service),
            client=named(client),
            is_web_password=int(is_web),
        )


def _told(event: LoginJudged) -> tuple[Kind | None, int]:
    """What there is to observe, if anything, and the deleted app password concerned, or 0."""
    match event.outcome:
        case Reject(Reason.CLIENT_PASSWORDS_ONLY):
            return Kind.WEB_PASSWORD_REFUSED, 0
        case Reject(Reason.REVOKED, int(credential_id)):
            return Kind.DELETED_APP_PASSWORD, credential_id
        case Accept() if event.would_break:
            return Kind.WOULD_BREAK, 0
        case _:
            return None, 0
