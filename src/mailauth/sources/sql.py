"""Web passwords in a database of the operator's: one query by login, whose answer is a hash.

Source: sqlite.org/lang_expr.html#varparam; PEP 249. Rule: what the client sent is bound, never written into the query;
the hash is verified here, in the bounded pool, so no password is sent anywhere.
"""
# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, urlsplit

from mailauth import passwdfile
from mailauth.factors import section
from mailauth.factors.section import BadSection, option
from mailauth.interfaces import BadRecord, SourceUnavailable
from mailauth.sources.parts import parts_of

PARAMETER = re.compile(r"(?<![:\w]):(login|local|domain)\b")
BUSY_S = 2.0
CONNECT_S = 5
MAX_IDLE = 16

Rows = list[tuple[Any, ...]]


class Database(Protocol):
    """What is asked."""

    async def rows(self, values: Mapping[str, str]) -> Rows:
        """The first two rows. Raises SourceUnavailable."""

    async def close(self) -> None:
        """Let go of the connections."""


def _url(value: str) -> str | None:
    if value.startswith("sqlite:///") and len(value) > len("sqlite:///"):
        return None
    if value.startswith(("mysql://", "mariadb://")):
        return "MySQL is not supported yet; a source of the kind imap or file may do"
    if not value.startswith("postgresql://"):
        return 'must be "sqlite:///PATH" or "postgresql://USER@HOST/DATABASE"'
    parts = urlsplit(value)
    has_password = parts.password or "password" in parse_qs(parts.query)
    return "holds a password; put that into a file and name it in password_file" if has_password else None


def _query(value: str) -> str | None:
    if not set(PARAMETER.findall(value)) & {"login", "local"}:
        return "must hold :login or :local"
    return None


@dataclass(slots=True)
class SqlSource:
    """The section, and the source itself."""

    url: str = option(doc="sqlite:///PATH, or postgresql://USER@HOST/DATABASE without a password", check=_url)
    query: str = option(
        doc="answers one row whose first column is the hash, for :login, :local (before the @) and :domain",
        check=_query,
    )
    password: str = option("", doc="the password of the database's user", secret=True)
    default_scheme: str = option("", doc="the scheme of passwords without a {SCHEME}; none: found out by their looks")
    hashes: Any = option(None, doc="", wired=True)
    folder: Any = option("", doc="", wired=True)
    _database: Database | None = field(default=None, init=False, repr=False)

    async def check(self, login: str, password: bytes) -> bool:
        """See interfaces.PasswordSource."""
        if self._database is None:
            raise SourceUnavailable("is closed")
        rows = await self._database.rows(parts_of(login))
        if len(rows) > 1:
            raise BadRecord("the query answers more than one row")
        if not rows or rows[0][0] is None or rows[0][0] == "":
            return False
        record = rows[0][0]
        if isinstance(record, bytes | bytearray | memoryview):
            record = bytes(record).decode("utf-8", "replace")
        if type(record) is not str:
            raise BadRecord("the query's first column is no text")
        return bool(await self.hashes.verify(passwdfile.with_scheme(record, self.default_scheme), password))

    async def close(self) -> None:
        """See interfaces.PasswordSource."""
        database, self._database = self._database, None
        if database is not None:
            await database.close()

    def open(self) -> None:
        """Choose the driver; nothing is connected to yet. Raises BadSection."""
        if self.url.startswith("sqlite:///"):
            path = Path(self.folder) / Path(self.url.removeprefix("sqlite:///")).expanduser()
            self._database = Sqlite(path, self.query)
            return
        try:
            self._database = Postgresql(self.url, self.password, self.query)
        except ImportError:
            raise BadSection("url", "needs psycopg: pip install 'mailauth[postgresql]'") from None


class Sqlite:
    """A file, opened anew for each question, and for reading only."""

    def __init__(self, path: Path, query: str) -> None:
        self._path = path
        self._query = query

    async def rows(self, values: Mapping[str, str]) -> Rows:
        """See Database."""
        connections: list[sqlite3.Connection] = []
        lock = threading.Lock()
        try:
            return await asyncio.to_thread(self._rows, values, connections, lock)
        except asyncio.CancelledError:
            with lock:
                for connection in connections:
                    connection.interrupt()  # time is up: a query without end must not keep its thread
            raise

    async def close(self) -> None:
        """See Database."""

    def _rows(self, values: Mapping[str, str], connections: list[sqlite3.Connection], lock: threading.Lock) -> Rows:
        try:
            place = f"file:{quote(str(self._path.absolute()))}?mode=ro"
            with contextlib.closing(
                sqlite3.connect(place, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            ) as connection:
                with lock:
                    connections.append(connection)
                try:
                    return connection.execute(self._query, dict(values)).fetchmany(2)
                finally:
                    with lock:
                        connections.clear()
        except (sqlite3.Error, UnicodeError) as error:
            told = getattr(error, "sqlite_errorname", type(error).__name__)
            raise SourceUnavailable(f"{self._path}: {told}") from None


class Postgresql:
    """A few connections, made when they are needed. A question is asked outside transactions, in none prepared."""

    def __init__(self, url: str, password: str, query: str) -> None:
        import psycopg  # noqa: PLC0415 - only where it is used

        self._driver = psycopg
        self._url = url
        self._password = password
        self._query = PARAMETER.sub(r"%(\1)s", query.replace("%", "%%"))
        self._idle: list[Any] = []

    async def rows(self, values: Mapping[str, str]) -> Rows:
        """See Database."""
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._asked(connection, values)
            except self._driver.OperationalError:  # it went stale while idle, which says nothing about the server
                continue
            except self._driver.Error as error:
                raise SourceUnavailable(self._told(error)) from None
        try:
            return await self._asked(await self._connected(), values)
        except self._driver.Error as error:
            raise SourceUnavailable(self._told(error)) from None

    async def close(self) -> None:
        """See Database."""
        while self._idle:
            await self._idle.pop().close()

    async def _connected(self) -> Any:
        options: dict[str, Any] = {"connect_timeout": CONNECT_S, "autocommit": True, "prepare_threshold": None}
        if self._password:
            options["password"] = self._password
        return await self._driver.AsyncConnection.connect(self._url, **options)

    async def _asked(self, connection: Any, values: Mapping[str, str]) -> Rows:
        good = False
        try:
            cursor = await connection.execute(self._query, dict(values))
            rows: Rows = await cursor.fetchmany(2)
            good = True
            return rows
        finally:
            if good and len(self._idle) < MAX_IDLE:
                self._idle.append(connection)
            else:
                connection.pgconn.finish()

    def _told(self, error: Exception) -> str:
        """Nothing of the server's text, which may quote values."""
        state = getattr(error, "sqlstate", None)
        return f"PostgreSQL: {type(error).__name__}" + (f" (SQLSTATE {state})" if state else "")


def build(options: Mapping[str, object]) -> SqlSource:
    """The plug-in's entry. Raises BadSection."""
    source: SqlSource = section.read(SqlSource, options)
    source.open()
    return source
