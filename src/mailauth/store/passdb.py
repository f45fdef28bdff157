"""Where logins and submission read accounts: `interfaces.Passdb` and `interfaces.Directory` over the store.

Rule: one round trip a question, on the primary. None is a row truly absent; all that is not understood is an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from mailauth import names
from mailauth.interfaces import Account, Selectors
from mailauth.store.engine import Reader, Store
from mailauth.store.rows import account_from

DEADLINE_S = 5.0
CONNECTIONS = 4  # PostgreSQL: one answers some ten thousand lookups a second
NO_SELECTOR = -1  # in no row


class StorePassdb:
    """Accounts as logins need them. Belongs to one event loop."""

    def __init__(self, store: Store, reader: Reader, key_ids: Sequence[int]) -> None:
        self._store = store
        self._reader = reader
        self._keys = sorted(key_ids)
        sizes = [size for size in store.sql.LOOKUPS if size >= len(self._keys)]
        if not self._keys or not sizes:
            raise ValueError(f"a key file with {len(self._keys)} keys: 1 to {max(store.sql.LOOKUPS)} can be used")
        self._lookup: str = store.sql.LOOKUPS[min(sizes)]
        padded = self._keys + [self._keys[-1]] * (min(sizes) - len(self._keys))
        self._no_hit = {f"key{n}": key_id for n, key_id in enumerate(padded)}
        self._no_hit |= {f"selector{n}": NO_SELECTOR for n in range(len(padded))}
        self._place = {key_id: f"selector{n}" for n, key_id in enumerate(self._keys)}

    async def lookup(self, login: str, selectors: Selectors) -> Account | None:
        """See interfaces.Passdb. Raises UnknownKey too if the account has any app password under a key not in the file.

        selectors: empty when the secret cannot be an app password.
        """
        values: dict[str, Any] = {**self._no_hit, "login": login}
        for key_id, selector in selectors:
            values[self._place[key_id]] = selector
        rows = await self._reader.rows(self._lookup, values)
        return account_from(login, rows) if rows else None

    async def canonical(self, alias: str) -> str | None:
        """See interfaces.Passdb."""
        rows = await self._reader.rows(self._store.sql.CANONICAL, {"address": alias})
        return rows[0][0] if rows else None

    async def replace_web_record(self, account_id: int, old: str, new: str) -> None:
        """See interfaces.Passdb. Raises StoreUnavailable."""
        await asyncio.to_thread(self._replace_web_record, account_id, old, new)

    async def recipient(self, address: str) -> str | None:
        """See interfaces.Directory. address: as the client wrote it."""
        folded = _folded(address)
        rows = await self._reader.rows(self._store.sql.RECIPIENT, {"address": folded}) if folded else []
        return rows[0][0] if rows else None

    async def may_send_as(self, account_id: int, address: str) -> bool:
        """See interfaces.Directory. address: as the client wrote it."""
        values = {"account_id": account_id, "address": _folded(address)}
        return bool(values["address"] and await self._reader.rows(self._store.sql.MAY_SEND_AS, values))

    async def is_local_domain(self, domain: str) -> bool:
        """See interfaces.Directory. domain: as the client wrote it."""
        try:
            name = names.fold_domain(domain)
        except names.NotALogin:
            return False
        return bool(await self._reader.rows(self._store.sql.LOCAL_DOMAIN, {"name": name}))

    async def close(self) -> None:
        """Let go of the connections."""
        await self._reader.close()

    def _replace_web_record(self, account_id: int, old: str, new: str) -> None:
        with self._store.transaction() as tx:
            tx.write(self._store.sql.REPLACE_WEB_RECORD, row_id=account_id, old=old, new=new)


def open_passdb(
    store: Store, key_ids: Sequence[int], *, deadline_s: float = DEADLINE_S, connections: int = CONNECTIONS
) -> StorePassdb:
    """The passdb and directory of this store, not yet connected to; used and closed in one event loop.

    key_ids: all ids of the key file. deadline_s: what a locked, slow or lost database may cost one login.
    connections: PostgreSQL only. Raises ValueError for more keys than a lookup takes.
    """
    return StorePassdb(store, store.driver.reader(deadline_s, connections), key_ids)


def _folded(address: str) -> str | None:
    try:
        return names.fold(address)
    except names.NotALogin:
        return None
