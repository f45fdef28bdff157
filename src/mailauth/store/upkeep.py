"""What the store needs done now and then: start dates that have come, and rows that have been kept long enough."""

from __future__ import annotations

from mailauth.store.engine import Store

DAY_S = 86400.0
TOMBSTONE_S = 90 * DAY_S


def mark_reached(store: Store, now: float) -> None:
    """Write down that start dates have come, so that a clock set back does not undo them. Raises StoreUnavailable."""
    with store.transaction() as tx:
        for statement in store.sql.REACHED.values():
            tx.write(statement, now=now)


def prune(store: Store, now: float, audit_days: int) -> None:
    """Delete what is older than it is kept. Raises StoreUnavailable."""
    with store.transaction() as tx:
        tx.write(store.sql.PRUNE_AUDIT, before=now - audit_days * DAY_S)
        tx.write(store.sql.PRUNE_TOMBSTONES, before=now - TOMBSTONE_S)


def local_domains(store: Store) -> frozenset[str]:
    """The names of all domains. Raises StoreUnavailable."""
    with store.reading() as tx:
        return frozenset([row["name"] for row in tx.rows(store.sql.DOMAIN_NAMES)])
