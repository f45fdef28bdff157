"""PostgreSQL behind the store: the cold path's connections, and the few that logins read.

Source: psycopg.org/psycopg3/docs, postgresql.org/docs/current/libpq-connect.html.
Rule: logins read the primary, not a standby that may not have heard of a revocation yet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import psycopg
from psycopg import conninfo, waiting
from psycopg.rows import dict_row
from psycopg.types.numeric import Int8BinaryDumper

from mailauth.begun import in_a_task
from mailauth.interfaces import StoreUnavailable
from mailauth.store import postgresql_words as words
from mailauth.store import sql_postgresql
from mailauth.store.engine import Transaction, Watch
from mailauth.store.faults import Clash, CommitUnknown

STATEMENT_TIMEOUT_S = 30.0  # for the cold path; a login has its own deadline
DEFAULTS = {
    "application_name": "mailauth",
    "client_encoding": "utf8",
    "connect_timeout": "5",
    "target_session_attrs": "primary",
    "tcp_user_timeout": "10000",  # ms; a server that vanished is noticed
}
CHECK_INTERVAL_S = 1.0  # how often psycopg looks whether a silent socket has been closed under it
CONNECT_AGAIN_S = 0.2
CHANNEL = "mailauth_changes"
UPGRADE_LOCK = 0x6D61696C61757468  # "mailauth": one upgrade at a time
UNIQUE_VIOLATION, FOREIGN_KEY_VIOLATION = "23505", "23503"


class PostgresqlDriver:
    """One database on a server."""

    dialect = "postgresql+psycopg"
    sql: ModuleType = sql_postgresql
    error: tuple[type[Exception], ...] = (psycopg.Error, UnicodeError, OverflowError)
    keeps_connections = True
    stale: tuple[type[Exception], ...] = (psycopg.Error,)
    list_tables = "SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema()"
    begin_upgrade = f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})"
    clock = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS double precision) AS now"
    given_ids = (
        "SELECT tablename AS name, last_value AS id FROM pg_tables, pg_sequences "
        "WHERE pg_tables.schemaname = current_schema() AND pg_sequences.schemaname = current_schema() "
        "AND sequencename = tablename || '_id_seq' AND last_value IS NOT NULL"
    )
    raise_ids: tuple[str, ...] = ("SELECT setval(pg_get_serial_sequence(%(name)s, 'id'), %(id)s)",)

    def __init__(self, url: str, password: str | None = None) -> None:
        try:
            given = conninfo.conninfo_to_dict(url, **({} if password is None else {"password": password}))
        except psycopg.Error:
            raise ValueError("this is no PostgreSQL URL: postgresql://user@host:port/database") from None
        self.parameters: dict[str, Any] = DEFAULTS | {key: value for key, value in given.items() if value is not None}
        host = self.parameters.get("host") or self.parameters.get("hostaddr") or "local"
        self.name = f"PostgreSQL {self.parameters.get('dbname') or 'default'} at {host}"

    def create(self) -> None:
        """See engine.Driver. Making the database is the server administrator's."""

    def prepare(self) -> None:
        """See engine.Driver."""

    def keeping(self) -> PostgresqlDriver:
        """See engine.Driver."""
        return self

    def connect_for_upgrade(self) -> psycopg.Connection[Any]:
        """See engine.Driver. A statement may take its time."""
        try:
            return psycopg.connect(**self.limited(0))
        except psycopg.Error as error:
            raise self.no_connection(error) from None

    def reader(self, deadline_s: float, connections: int) -> PostgresqlReader:
        """See engine.Driver."""
        return PostgresqlReader(self, deadline_s, connections)

    def connect(self) -> psycopg.Connection[dict[str, Any]]:
        """See engine.Driver."""
        try:
            return psycopg.connect(
                **self.limited(STATEMENT_TIMEOUT_S), autocommit=True, prepare_threshold=None, row_factory=dict_row
            )
        except psycopg.Error as error:
            raise self.no_connection(error) from None

    def limited(self, statement_timeout_s: float) -> dict[str, Any]:
        """The parameters of a connection on which no statement takes longer than this; 0: however long."""
        options = f"{self.parameters.get('options', '')} -c statement_timeout={round(statement_timeout_s * 1000)}"
        return self.parameters | {"options": options}

    def begin(self, connection: psycopg.Connection[Any], *, writing: bool) -> None:
        """See engine.Driver. READ COMMITTED for writing: rows are locked where two writers could meet."""
        connection.execute("BEGIN" if writing else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def announce(self, tx: Transaction) -> None:
        """See engine.Driver."""
        tx.write(f"NOTIFY {CHANNEL}")

    def watch(self) -> Watch:
        """See engine.Driver."""
        from mailauth.store.watch_postgresql import PostgresqlWatch  # noqa: PLC0415 - only a server waits

        return PostgresqlWatch(self)

    def fault(self, error: Exception, *, committing: bool = False) -> Exception:
        """See engine.Driver. Only texts that quote no data are passed on."""
        state = getattr(error, "sqlstate", None) or ""
        if state == UNIQUE_VIOLATION:
            return Clash(f"{self.name}: there is a row like this already")
        if state == FOREIGN_KEY_VIOLATION:
            return Clash(f"{self.name}: a row that this one needs is gone")
        text = f"{self.name}: {words.said(error)}"
        if committing and (not state or state.startswith(("08", "57P"))):  # the connection or the server went away
            return CommitUnknown(f"{text}; not known whether the change was made")
        return StoreUnavailable(text)

    def no_connection(self, error: psycopg.Error) -> StoreUnavailable:
        """What to raise when there is no connection to be had."""
        return StoreUnavailable(f"{self.name}: {words.no_connection(error)}")


_Cursor = psycopg.AsyncCursor[tuple[Any, ...]]


class _Connection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """Given up at once when the login that waits for it is; psycopg would first ask the server to cancel."""

    async def wait(self, gen: Any, *_: Any, **__: Any) -> Any:
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=CHECK_INTERVAL_S)
        except asyncio.CancelledError:
            self.pgconn.finish()
            raise


class PostgresqlReader:
    """A few connections, each with one cursor and its statements prepared: made when first needed, and when broken.

    A server that takes none is left alone for CONNECT_AGAIN_S, however many logins wait: until then all of them hear
    what the last try came to.
    """

    at_once = None  # its server is always waited for

    def __init__(self, driver: PostgresqlDriver, deadline_s: float, connections: int) -> None:
        self._driver = driver
        self._deadline_s = deadline_s
        self._idle: asyncio.LifoQueue[_Cursor | None] = asyncio.LifoQueue()
        for _ in range(connections):
            self._idle.put_nowait(None)
        self._no_connection = ""  # why not
        self._connect_again_at = 0.0  # monotonic

    async def rows(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """See engine.Reader. One try."""
        await in_a_task()
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._rows(statement, values)
        except TimeoutError:
            raise StoreUnavailable(f"{self._driver.name}: no answer within {self._deadline_s} s") from None
        except self._driver.error as error:
            raise self._driver.fault(error) from None

    def together(self) -> None:
        """See engine.Reader. Every read here waits, and so stands alone."""

    def apart(self) -> None:
        """See engine.Reader."""

    async def close(self) -> None:
        """Close the connections that are idle; one in use goes with its login."""
        while not self._idle.empty():
            cursor = self._idle.get_nowait()
            if cursor is not None:
                cursor.connection.pgconn.finish()

    async def _rows(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        cursor = await self._idle.get()
        good: _Cursor | None = None
        try:
            rows = None if cursor is None else await _kept_rows(cursor, statement, values)
            if cursor is None or rows is None:
                cursor = await self._connect()
                rows = await _rows(cursor, statement, values)
            good = cursor
            return rows
        finally:
            if good is None and cursor is not None:
                cursor.connection.pgconn.finish()  # after any error: a prepared statement may be what is wrong
            self._idle.put_nowait(good)

    async def _connect(self) -> _Cursor:
        if time.monotonic() < self._connect_again_at:
            raise StoreUnavailable(self._no_connection)
        try:
            connection = await _Connection.connect(**self._driver.limited(self._deadline_s), autocommit=True)
        except psycopg.Error as error:
            fault = self._driver.no_connection(error)
            self._no_connection, self._connect_again_at = str(fault), time.monotonic() + CONNECT_AGAIN_S
            raise fault from None
        connection.adapters.register_dumper(int, Int8BinaryDumper)  # one type, so one prepared statement
        return connection.cursor()


async def _kept_rows(cursor: _Cursor, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]] | None:
    """None: the connection went stale while idle, which says nothing about the server."""
    try:
        return await _rows(cursor, statement, values)
    except psycopg.Error:
        if cursor.connection.broken:
            return None
        raise


async def _rows(cursor: _Cursor, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    await cursor.execute(statement, values, prepare=True)
    return await cursor.fetchall()
