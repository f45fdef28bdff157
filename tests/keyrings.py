"""Key rings for tests: one more key, in use in a store or not yet; and a process that has a key file of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mailauth.keys import Key, KeyRing
from mailauth.serving.sessions import LiveSessions
from mailauth.store.applier import Applier
from mailauth.store.changes import LEASE_S
from mailauth.store.engine import Store, open_store
from mailauth.store.keycheck import require_key
from mailauth.store.livekeys import LiveKeys
from mailauth.store.passdb import StorePassdb, open_passdb

PATIENCE_S = 30.0  # only what is broken takes so long


def with_another(ring: KeyRing, filling: int | None = None) -> KeyRing:
    """These keys and the next one. filling: of its bytes; other fillings make other keys with the same id."""
    key_id = ring.keys[-1].id + 1
    return KeyRing([*ring.keys, Key(key_id, "2026-01-02", bytes([key_id if filling is None else filling]) * 32)])


def put_in_use(store: Store, ring: KeyRing) -> KeyRing:
    """As `mailauth key rotate` ends: from now on app passwords are made under the newest of these keys."""
    with store.transaction() as tx:
        site = tx.row(store.sql.SITE)
        assert site is not None
        value = ring.check_value(site["store_id"], ring.newest)
        tx.write(store.sql.ADD_SERVER_KEY, id=ring.newest, check_value=value)
    return ring


class Process:
    """What a serving process does about keys, in an event loop in a thread of its own."""

    def __init__(self, url: str, path: Path) -> None:
        self._store = open_store(url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        ring = require_key(self._store, KeyRing.load(path))
        self.passdb: StorePassdb = open_passdb(self._store, ring.ids)
        self.keys = LiveKeys(self._store, path, ring, self.passdb.use_keys)
        sessions = LiveSessions(self.passdb, LEASE_S, self.keys.orders)
        self._applier = Applier(self._store, sessions.apply, sessions.has_read, self._loop)
        self.keys.look_again()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The outcome of this in the loop of the process."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def hits(self, login: str, password: str) -> list[tuple[int, int]]:
        """The app passwords that this one may be, with their keys, as a login finds them."""
        account = self.run(self._found(login, password))
        return [(hit.id, hit.key_id) for hit in account.hits]

    async def _found(self, login: str, password: str) -> Any:
        return await self.passdb.lookup(login, self.keys.selectors(login, password))

    def end(self) -> None:
        self._applier.close()
        self.run(self.passdb.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()
        self._store.close()


@contextmanager
def process(url: str, path: Path) -> Iterator[Process]:
    """A process that serves with this key file."""
    running = Process(url, path)
    try:
        yield running
    finally:
        running.end()
