"""SQLite behind the store: the cold path's connections, and the one connection that logins read.

Source: sqlite.org/wal.html, sqlite.org/lang_transaction.html.
Rule: whatever may write begins with BEGIN IMMEDIATE, since a transaction that reads first and then writes fails with
"database is locked" however long it would have waited. A store that is not there is never made by opening it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mailauth.interfaces import BadRecord, StoreUnavailable
from mailauth.store import sql_sqlite
from mailauth.store.engine import Transaction, Watch
from mailauth.store.faults import Clash, CommitUnknown

BUSY_TIMEOUT_S = 10.0  # for the cold path: how long to wait for another writer
CLASHES = {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_FOREIGNKEY"}
NO_TEXT = ("Could not decode to UTF-8", "JSON cannot hold BLOB")  # of sqlite3 and of SQLite, for a value of no use
ADVICE = {
    "SQLITE_NOTADB": "; [store] url must name a store that `mailauth init` made",
    "SQLITE_CANTOPEN": "; this user must be allowed to read and write the file, and to write in its folder",
    "SQLITE_READONLY": "; this user must be allowed to write the file, and in its folder",
    "SQLITE_FULL": "; make room, nothing was changed",
}


class Replaced(sqlite3.OperationalError):
    """The file that is open is not the one of that name any more."""


class Opened(sqlite3.Connection):
    """A connection, and the file that it is open to: an open file outlives its name. file: device and inode."""

    file: tuple[int, int]


class SqliteDriver:
    """One database file."""

    dialect = "sqlite"
    sql: ModuleType = sql_sqlite
    error: tuple[type[Exception], ...] = (sqlite3.Error, UnicodeError, OverflowError)
    keeps_connections = False  # opening costs 0.2 ms, and always meets the file and its rights as they are now
    stale: tuple[type[Exception], ...] = (Replaced,)
    list_tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    begin_upgrade = "BEGIN IMMEDIATE"
    clock = ""
    given_ids = "SELECT name, seq AS id FROM sqlite_sequence"
    raise_ids: tuple[str, ...] = (
        "DELETE FROM sqlite_sequence WHERE name = :name",
        "INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :id)",
    )

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.name = str(self.path)

    def create(self) -> None:
        """See engine.Driver. Its owner's alone; -wal and -shm get the mode of the file."""
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            raise StoreUnavailable(f"{self.name}: {error.strerror}") from None

    def prepare(self) -> None:
        """See engine.Driver. Write-ahead log: who writes does not lock out who reads."""
        connection = self.connect()
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.Error as error:
            raise self.fault(error) from None
        finally:
            connection.close()

    def keeping(self) -> SqliteDriver:
        """See engine.Driver."""
        driver = SqliteDriver(self.path)
        driver.keeps_connections = True
        return driver

    def connect_for_upgrade(self) -> sqlite3.Connection:
        """See engine.Driver. Foreign keys stay off: a table that is made anew must not take others' rows with it."""
        return self.open(BUSY_TIMEOUT_S)

    def reader(self, deadline_s: float, connections: int) -> SqliteReader:  # noqa: ARG002 - no try waits; one is enough
        """See engine.Driver."""
        return SqliteReader(self)

    def connect(self) -> Opened:
        """See engine.Driver. Any one thread at a time may use it."""
        file = _file_at(self.name)
        connection = self.open(BUSY_TIMEOUT_S)
        connection.file = file
        connection.row_factory = _as_dict
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            connection.close()
            raise self.fault(error) from None
        return connection

    def open(self, busy_timeout_s: float) -> Opened:
        """A bare connection in autocommit to the file, which must be there. Raises StoreUnavailable."""
        try:
            if not self.path.exists():
                raise StoreUnavailable(
                    f"{self.name}: there is no store; put it back, or make a new site with `mailauth init`"
                )
        except OSError as error:  # a lost network file system, a folder that may not be entered
            raise StoreUnavailable(f"{self.name}: {error.strerror}") from None
        try:
            return sqlite3.connect(
                f"{self.path.as_uri()}?mode=rw",
                uri=True,
                factory=Opened,
                timeout=busy_timeout_s,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise self.fault(error) from None

    def begin(self, connection: Opened, *, writing: bool) -> None:
        """See engine.Driver."""
        if _file_at(self.name) != connection.file:
            raise Replaced("the file was moved away or replaced")
        connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")

    def announce(self, tx: Transaction) -> None:
        """See engine.Driver. Those who wait look for themselves."""

    def watch(self) -> Watch:
        """See engine.Driver."""
        from mailauth.store.watch_sqlite import SqliteWatch  # noqa: PLC0415 - only a server waits

        return SqliteWatch(self)

    def fault(self, error: Exception, *, committing: bool = False) -> Exception:
        """See engine.Driver. SQLite's texts name tables and columns, never values."""
        kind = getattr(error, "sqlite_errorname", "")
        if kind in CLASHES:
            return Clash(f"{self.name}: {error}")
        if kind.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StoreUnavailable(f"{self.name}: locked by another process")
        if not isinstance(error, sqlite3.Error):
            return StoreUnavailable(f"{self.name}: a value that no database takes")
        if str(error).startswith(NO_TEXT):
            return BadRecord(f"{self.name}: a value in the store is not the text it should be")
        if committing and not kind.startswith("SQLITE_FULL"):  # without room the last page of a change was not written
            return CommitUnknown(f"{self.name}: {error}; not known whether the change was made")
        advice = next((text for prefix, text in ADVICE.items() if kind.startswith(prefix)), "")
        return StoreUnavailable(f"{self.name}: {error}{advice}")


class SqliteReader:
    """The connection that logins read: used in the event loop's thread, since a read takes microseconds.

    No login waits for a lock in that thread: a locked read (rare: in WAL mode writers do not lock readers out) is a
    fault like any other, for `patience` to try again. An open file outlives its name: so that a store moved away, or
    put in the place of another, is not read on as if nothing had happened, the name is looked at each time.
    Reads that are made together are one transaction, so that locks and name are asked for once: calls of the system
    cost more than the read.
    """

    def __init__(self, driver: SqliteDriver) -> None:
        self._driver = driver
        self._cursor: sqlite3.Cursor | None = None
        self._path = str(driver.path)
        self._file = (0, 0)  # device and inode of what is open
        self._is_together = self._has_begun = False

    async def rows(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """See engine.Reader. One try, which does not wait."""
        return self.at_once(statement, values)

    def at_once(self, statement: str, values: Mapping[str, Any] | Sequence[Any]) -> list[tuple[Any, ...]]:
        """See engine.Reader."""
        try:
            cursor = self._cursor
            if cursor is None or not self._has_begun:
                if cursor is None or _file_at(self._path) != self._file:
                    cursor = self._connected()
                if self._is_together:
                    cursor.execute("BEGIN")
                    self._has_begun = True
            return cursor.execute(statement, values).fetchall()
        except self._driver.error as error:
            self.apart()
            if not _locked(error):  # the next read opens the file that is there then
                self._give_up()
            raise self._driver.fault(error) from None

    def together(self) -> None:
        """See engine.Reader."""
        self._is_together = True

    def apart(self) -> None:
        """See engine.Reader."""
        self._is_together = False
        if self._has_begun and self._cursor is not None:
            self._has_begun = False
            try:
                self._cursor.execute("ROLLBACK")  # nothing was written
            except self._driver.error:
                self._give_up()

    async def close(self) -> None:
        """Close the connection; a later read opens it anew."""
        self._give_up()

    def _connected(self) -> sqlite3.Cursor:
        self._give_up()
        self._file = _file_at(self._path)
        self._cursor = self._driver.open(busy_timeout_s=0).cursor()
        return self._cursor

    def _give_up(self) -> None:
        if self._cursor is not None:
            self._cursor.connection.close()
            self._cursor = None
            self._has_begun = False


def _file_at(path: str) -> tuple[int, int]:
    """Device and inode of the file of this name; of none, what no file has."""
    try:
        found = os.stat(path)  # noqa: PTH116  at each login: a Path takes longer than the call
    except OSError:
        return -1, -1
    return found.st_dev, found.st_ino


def _locked(error: Exception) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip([column[0] for column in cursor.description], row, strict=True))
