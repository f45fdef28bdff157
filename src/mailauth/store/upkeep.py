"""What the store needs done now and then: start dates that have come, and what has been kept long enough.

Rule: what may be much is done in batches, a transaction each, so that nobody waits long for the right to write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailauth.store import changes
from mailauth.store.engine import Store
from mailauth.store.networks import coarse

DAY_S = 86400.0
TOMBSTONE_S = 90 * DAY_S
BATCH_ROWS = 2000
DEVICE_S = 180 * DAY_S
VOUCHER_S = 7 * DAY_S  # after their end, so that who comes late is told that he does
COARSENED = {
    "audit": ("EXACT_PEERS", "SET_PEER"),
    "app_passwords": ("EXACT_LAST_PEERS", "SET_LAST_PEER"),
    "notices": ("EXACT_NOTICE_PEERS", "SET_NOTICE_PEER"),
    "factors": ("EXACT_FACTOR_PEERS", "SET_FACTOR_PEER"),
    "api_tokens": ("EXACT_TOKEN_PEERS", "SET_TOKEN_PEER"),
}


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days things are kept: rows of the audit log, whole addresses, observations that are not repeated."""

    audit_days: int = 180
    address_days: int = 30
    observation_days: int = 90


def mark_reached(store: Store, now: float) -> None:
    """Write down that start dates have come, so that a clock set back does not undo them. Raises StoreUnavailable."""
    with store.transaction() as tx:
        for name, statement in store.sql.REACHED.items():
            count = tx.write(statement, now=now)
            if count:
                level, _, what = name.partition("_")
                detail = f"{what.replace('_', ' ')}: reached its start date in {count} rows of {level}"
                tx.write(store.sql.ADD_AUDIT, **_BY_NOBODY, at=now, kind="start-reached", detail=detail)


class Pruning:
    """Deletes what is older than it is kept, and makes old addresses coarse."""

    def __init__(self, store: Store, retention: Retention) -> None:
        self._store = store
        self._retention = retention
        self._coarse_before = dict.fromkeys(COARSENED, 0.0)  # no whole address is left of before then

    def steps(self, now: float) -> Iterator[None]:
        """Each step does at most BATCH_ROWS rows in a transaction of its own. Raises StoreUnavailable."""
        sql, retention = self._store.sql, self._retention
        for statement, kept_s in (
            (sql.PRUNE_AUDIT, retention.audit_days * DAY_S),
            (sql.PRUNE_TOMBSTONES, TOMBSTONE_S),
            (sql.PRUNE_OBSERVATIONS, retention.observation_days * DAY_S),
            (sql.PRUNE_NOTICES, retention.audit_days * DAY_S),
            (sql.PRUNE_PORTAL_SESSIONS, 0.0),
            (sql.PRUNE_QUESTIONS, 0.0),
            (sql.PRUNE_ACTIONS, DAY_S),  # what was not done in time can be begun once more
            (sql.PRUNE_TALLIES, 0.0),
            (sql.PRUNE_DEVICES, DEVICE_S),
            (sql.PRUNE_VOUCHERS, VOUCHER_S),
        ):
            yield from self._deleted(statement, now - kept_s)
        changes.prune(self._store, now)
        yield
        before = now - retention.address_days * DAY_S
        for table, (select, update) in COARSENED.items():
            yield from self._made_coarse(table, getattr(sql, select), getattr(sql, update), before)

    def _deleted(self, statement: str, before: float) -> Iterator[None]:
        count = BATCH_ROWS
        while count == BATCH_ROWS:
            with self._store.transaction() as tx:
                count = tx.write(statement, before=before, batch=BATCH_ROWS)
            yield

    def _made_coarse(self, table: str, select: str, update: str, before: float) -> Iterator[None]:
        start = self._coarse_before[table]
        start = start if start <= before else 0.0  # else the clock has been set back
        count = BATCH_ROWS
        while count == BATCH_ROWS:
            with self._store.reading() as tx:
                rows = tx.rows(select, start=start, before=before, batch=BATCH_ROWS)
            if rows:
                start = rows[-1]["at"]  # and not behind it: others may be of the same moment
                networks = [
                    {"row_id": row["row_id"], "peer": row["peer"], "network": coarse(row["peer"])} for row in rows
                ]
                with self._store.transaction() as tx:
                    tx.write_each(update, networks)
            count = len(rows)
            yield
        self._coarse_before[table] = before


def local_domains(store: Store) -> frozenset[str]:
    """The names of all domains. Raises StoreUnavailable."""
    with store.reading() as tx:
        return frozenset([row["name"] for row in tx.rows(store.sql.DOMAIN_NAMES)])


_BY_NOBODY = {
    "actor": "process",
    "login": None,
    "account_id": None,
    "service": "",
    "peer": "",
    "credential_id": None,
    "label": None,
    "outcome": "done",
    "count": 1,
    "client": "",
}
