"""Where logins and submission read accounts: `interfaces.Passdb` and `interfaces.Directory` over the store.

Rule: one round trip a question, on the primary. None is a row truly absent; all that is not understood is an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from mailauth import names
from mailauth.attempt import Service
from mailauth.interfaces import Account, BadRecord, Selectors, StoreUnavailable, UnknownKey
from mailauth.store.engine import AtOnce, Reader, Store
from mailauth.store.faults import Clash
from mailauth.store.patience import PatientReader
from mailauth.store.rows import account_from, again, prospect_from, removed_digest

DEADLINE_S = 20.0  # mail programs wait for half a minute and longer
CONNECTIONS = 4  # PostgreSQL: one answers some ten thousand lookups a second
SLACK_S = 3600.0  # clocks of two machines differ
NO_SELECTOR = NO_ID = -1  # in no row


class _Asking(NamedTuple):
    """How lookups are put: their statement, its values when nothing is hit, and which of them are a key's selector."""

    statement: str
    no_hit: dict[str, int]
    place: dict[int, str]


_Latest = tuple[Account, _Asking, dict[str, Any], list[tuple[Any, ...]]]
_Question = tuple[str, Sequence[int]]


class StoreReading:
    """How an account was read, to be read again: verify.recurring.Reading."""

    __slots__ = ("_asking", "_at_once", "_judged", "_passdb", "_statement", "_values")

    def __init__(self, passdb: StorePassdb, at_once: AtOnce, question: _Question, judged: tuple[Any, ...]) -> None:
        self._passdb = passdb
        self._asking = passdb.asking
        self._at_once = at_once
        self._statement, self._values = question
        self._judged = [judged]

    def is_unchanged(self) -> bool:
        """See verify.recurring.Reading. With other server keys it would be read otherwise."""
        try:
            return self._passdb.asking is self._asking and self._at_once(self._statement, self._values) == self._judged
        except (StoreUnavailable, BadRecord):
            return False


class StorePassdb:
    """Accounts as logins need them. Belongs to one event loop."""

    asking: _Asking

    def __init__(self, store: Store, reader: Reader, key_ids: Sequence[int]) -> None:
        self._store = store
        self._reader = reader
        self._latest: _Latest | None = None  # the account that was read last
        self.use_keys(key_ids)

    def use_keys(self, key_ids: Sequence[int]) -> None:
        """From the next lookup on, whose selectors are those of these keys. Raises ValueError for too many, or none."""
        keys = sorted(key_ids)
        sizes = [size for size in self._store.sql.LOOKUPS if size >= len(keys)]
        if not keys or not sizes:
            raise ValueError(f"a key file with {len(keys)} keys: 1 to {max(self._store.sql.LOOKUPS)} can be used")
        padded = keys + [keys[-1]] * (min(sizes) - len(keys))
        no_hit = {f"key{n}": key_id for n, key_id in enumerate(padded)}
        no_hit |= {f"selector{n}": NO_SELECTOR for n in range(len(padded))}
        place = {key_id: f"selector{n}" for n, key_id in enumerate(keys)}
        self.asking = _Asking(self._store.sql.LOOKUPS[min(sizes)], no_hit, place)

    async def lookup(self, login: str, selectors: Selectors) -> Account | None:
        """See interfaces.Passdb. Raises UnknownKey too if the account has any app password under a key not in the file.

        selectors: empty when the secret cannot be an app password.
        """
        asking = self.asking
        values: dict[str, Any] = {**asking.no_hit, "login": login}
        for key_id, selector in selectors:
            values[asking.place[key_id]] = selector
        rows = await self._reader.rows(asking.statement, values)
        try:
            account = account_from(rows) if rows else None
        except UnknownKey:
            known = {key_id for key_id, _ in selectors}
            if asking is self.asking or (selectors and not known.issuperset(self.asking.place)):
                raise  # a key came meanwhile whose selector was not handed in: it cannot be said what there is
        else:
            self._latest = None if account is None else (account, asking, values, rows)
            return account
        # Keys were taken away while the store was slow to answer.
        return await self.lookup(login, [pair for pair in selectors if pair[0] in self.asking.place])

    def reading(self, account: Account) -> StoreReading | None:
        """See verify.recurring.Readings."""
        latest, at_once = self._latest, self._reader.at_once
        if latest is None or at_once is None:
            return None
        known, asking, values, rows = latest
        if known is not account or asking is not self.asking or len(account.hits) != 1:
            return None
        [hit] = account.hits
        found = {"account_id": account.id, "credential_id": hit.id, "selector": values[asking.place[hit.key_id]]}
        statement, places = self._store.sql.AGAIN
        return StoreReading(self, at_once, (statement, [found[name] for name in places]), again(rows[0]))

    @property
    def reads_at_once(self) -> bool:
        """Whether accounts can be read without waiting."""
        return self._reader.at_once is not None

    async def prospect(self, login: str) -> Account | None:
        """See verify.outside.Newcomers."""
        values = {"login": login, "domain": login.rpartition("@")[2], "digest": removed_digest(login)}
        rows = await self._reader.rows(self._store.sql.PROSPECT, values)
        return prospect_from(login, *rows[0]) if rows else None

    async def session(self, account_id: int, credential_id: int | None) -> Account | None:
        """See interfaces.Passdb."""
        values = {"account_id": account_id, "credential_id": credential_id or NO_ID}
        rows = await self._reader.rows(self._store.sql.SESSION, values)
        return account_from(rows) if rows else None

    async def let_in(
        self, account: Account, service: Service, peer: str, since: float
    ) -> tuple[float, int | None] | None:
        """See interfaces.Passdb."""
        values = {"login": account.login, "account_id": account.id, "service": service, "peer": peer, "since": since}
        rows = await self._reader.rows(self._store.sql.LET_IN, values)
        return (rows[0][0], rows[0][1]) if rows else None

    async def let_in_from(self, login: str, credential_id: int, most: int) -> frozenset[str] | None:
        """See serving.whence.OnRecord."""
        values = {"login": login, "credential_id": credential_id, "most": most, "slack_s": SLACK_S}
        rows = await self._reader.rows(self._store.sql.LET_IN_FROM, values)
        return frozenset([peer for (peer,) in rows if peer is not None]) if rows else None

    async def canonical(self, alias: str) -> str | None:
        """See interfaces.Passdb."""
        rows = await self._reader.rows(self._store.sql.CANONICAL, {"address": alias})
        return rows[0][0] if rows else None

    async def replace_web_record(self, account_id: int, old: str, new: str) -> None:
        """See interfaces.Passdb. Raises StoreUnavailable."""
        await asyncio.to_thread(self._replace_web_record, account_id, old, new)

    async def reselect(self, credential_id: int, old_key: int, new_key: int, selector: int) -> None:
        """See interfaces.Passdb. A key that is in use no more is not moved to."""
        await asyncio.to_thread(self._reselect, credential_id, old_key, new_key, selector)

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

    def together(self) -> None:
        """See engine.Reader."""
        self._reader.together()

    def apart(self) -> None:
        """See engine.Reader."""
        self._reader.apart()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._reader.close()

    def _replace_web_record(self, account_id: int, old: str, new: str) -> None:
        with self._store.transaction() as tx:
            tx.write(self._store.sql.REPLACE_WEB_RECORD, row_id=account_id, old=old, new=new)

    def _reselect(self, credential_id: int, old_key: int, new_key: int, selector: int) -> None:
        sql = self._store.sql
        with suppress(Clash), self._store.transaction() as tx:
            if tx.row(sql.KEEP_SERVER_KEY, row_id=new_key) is not None:
                place = {"old_key": old_key, "new_key": new_key, "selector": selector}
                tx.write(sql.RESELECT_APP_PASSWORD, row_id=credential_id, **place)


def open_passdb(
    store: Store, key_ids: Sequence[int], *, deadline_s: float = DEADLINE_S, connections: int = CONNECTIONS
) -> StorePassdb:
    """The passdb and directory of this store, not yet connected to; used and closed in one event loop.

    key_ids: all ids of the key file. deadline_s: so long a question waits for a locked, slow or lost database.
    connections: PostgreSQL only. Raises ValueError for more keys than a lookup takes.
    """
    return StorePassdb(store, PatientReader(store.driver.reader(deadline_s, connections), deadline_s), key_ids)


def _folded(address: str) -> str | None:
    try:
        return names.fold(address)
    except names.NotALogin:
        return None
