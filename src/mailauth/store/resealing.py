"""What is sealed under older server keys, moved to the newest in use: states of second factors, and claims.

Rule: a batch a transaction, and a row only if it is still what was read; so that whoever uses a factor meanwhile loses
nothing, and what was interrupted is gone on with. A process that does not know the newest key in use moves nothing.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from typing import Any

from mailauth.factors import record
from mailauth.factors.sealed import Box, resealed
from mailauth.interfaces import BadRecord
from mailauth.keys import KeyRing
from mailauth.store.engine import Row, Store, Transaction

BATCH_ROWS = 200

log = logging.getLogger(__name__)


class Resealing:
    """One pass over all that is sealed. moved: how many rows by now; stuck: those that cannot be opened."""

    def __init__(self, store: Store, ring: Callable[[], KeyRing]) -> None:
        self._store = store
        self._ring = ring
        self.moved = 0
        self.stuck = 0

    def steps(self) -> Iterator[None]:
        """Each step does at most BATCH_ROWS rows in a transaction of its own. Raises StoreUnavailable."""
        ring = self._ring()
        yield from self._pages(ring, self._factors, (0, ""))
        yield from self._pages(ring, self._claims, "")
        if self.moved or self.stuck:
            log.info("server key %d: %d sealed values moved to it", ring.newest, self.moved)
        if self.stuck:
            log.error("server keys: %d sealed values cannot be opened and stay where they are alarm", self.stuck)

    def run(self) -> None:
        """All steps. Raises StoreUnavailable."""
        for _ in self.steps():
            pass

    def _pages(
        self, ring: KeyRing, page: Callable[[Transaction, KeyRing, Any], tuple[int, Any]], after: Any
    ) -> Iterator[None]:
        count = BATCH_ROWS
        while count == BATCH_ROWS:
            with self._store.transaction() as tx:
                if not _is_newest_in_use(self._store, tx, ring):
                    return
                count, after = page(tx, ring, after)
            yield

    def _factors(self, tx: Transaction, ring: KeyRing, after: tuple[int, str]) -> tuple[int, tuple[int, str]]:
        place = {"after_id": after[0], "after_kind": after[1]}
        sql = self._store.sql
        rows = tx.rows(sql.FACTORS_TO_RESEAL, **place, current=key_ids_text((ring.newest,)), batch=BATCH_ROWS)
        for row in rows:
            after = (row["account_id"], row["kind"])
            state = self._resealed(Box(ring, str(row["account_id"])), row["state"])
            if state is not None:
                whose = {"account_id": row["account_id"], "kind": row["kind"], "old": row["state"]}
                self.moved += tx.write(sql.RESEAL_FACTOR, **whose, state=state, key_ids=key_ids_of(state))
        return len(rows), after

    def _claims(self, tx: Transaction, ring: KeyRing, after: str) -> tuple[int, str]:
        sql = self._store.sql
        rows = tx.rows(sql.CLAIMS_TO_MOVE, after=after, current=key_ids_text((ring.newest,)), batch=BATCH_ROWS)
        for row in rows:
            after = row["claim"]
            self._move_claim(tx, ring, row)
        return len(rows), after

    def _move_claim(self, tx: Transaction, ring: KeyRing, row: Row) -> None:
        """A claim under an older key gives way to the same under the newest; one under a later key has its text."""
        box = Box(ring, str(row["account_id"]))
        text = self._resealed(box, row["sealed"])
        if text is None:
            return
        sql, sealed = self._store.sql, record.raw(text)
        plain = box.open(sealed.purpose, sealed)
        prints = {claim_text(row["kind"], each): each for each in box.fingerprints(sealed.purpose, plain)}
        here = prints.get(row["claim"])
        if here is not None and here.key_id >= ring.newest:
            if text != row["sealed"]:
                key_ids = key_ids_text((here.key_id, ring.newest))
                self.moved += tx.write(sql.RESEAL_CLAIM, row_claim=row["claim"], sealed=text, key_ids=key_ids)
            return
        (claim,) = [claim for claim, each in prints.items() if each.key_id == ring.newest]
        moved = {"claim": claim, "sealed": text, "key_ids": key_ids_text((ring.newest,))}
        tx.write(sql.COPY_CLAIM, **{**row, **moved})
        self.moved += tx.write(sql.DROP_CLAIM, row_claim=row["claim"])

    def _resealed(self, box: Box, text: str) -> str | None:
        """None: it cannot be opened."""
        try:
            return record.to_json(resealed(record.raw(text), box, lambda _, count: secrets.token_bytes(count)))
        except BadRecord:
            self.stuck += 1
            return None


def claim_text(kind: str, fingerprint: Any) -> str:
    """A claim as it is stored. fingerprint: a Digest of what a factor of this kind claims."""
    return f"{kind}:{fingerprint.text()}"


def key_ids_of(text: str) -> str:
    """The column `key_ids` of a state, question or claim that is stored as this text."""
    return key_ids_text(record.key_ids(text))


def key_ids_text(key_ids: tuple[int, ...]) -> str:
    """Each between spaces; a space alone for none."""
    return "".join([f" {key_id}" for key_id in sorted(set(key_ids))]) + " "


def sealed_under_each(store: Store, tx: Transaction, table: str = "factors") -> dict[int, int]:
    """How many states, or "claims", stand under each server key."""
    under: dict[int, int] = {}
    for row in tx.rows(store.sql.SEALED_UNDER_KEYS[table]):
        for key_id in map(int, row["key_ids"].split()):
            under[key_id] = under.get(key_id, 0) + row["count"]
    return under


def _is_newest_in_use(store: Store, tx: Transaction, ring: KeyRing) -> bool:
    """Whether what is moved now goes up and not down; the keys stay in use for as long as the transaction."""
    return max([row["id"] for row in tx.rows(store.sql.KEEP_SERVER_KEYS)], default=0) == ring.newest
