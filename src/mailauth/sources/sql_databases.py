"""The databases that a query can be asked of: SQLite, PostgreSQL, MySQL and MariaDB.

Source: PEP 249; dev.mysql.com, "Hexadecimal Literals". Rule: for reading only, two rows at most; what the client sent
is a value and never part of a query; nothing of what a server says is told, for it may quote values.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, unquote, urlsplit

from mailauth.interfaces import SourceUnavailable
from mailauth.verified import for_libpq

PARAMETER = re.compile(r"(?<![:\w]):(login|local|domain)\b")
BUSY_S = 2.0
STEPS = 10_000  # of SQLite's machine, less than a millisecond: so often it looks whether anybody still waits
CONNECT_S = 5
ANSWER_S = 10
MAX_IDLE = 16

Rows = list[tuple[Any, ...]]


class Database(Protocol):
    """What is asked."""

    async def rows(self, values: Mapping[str, str]) -> Rows:
        """The first two rows. Raises SourceUnavailable."""

    async def close(self) -> None:
        """Let go of the connections."""


class Sqlite:
    """A file, opened anew for each question, and for reading only."""

    def __init__(self, path: Path, query: str) -> None:
        self._path = path
        self._query = query

    async def rows(self, values: Mapping[str, str]) -> Rows:
        """See Database."""
        given_up = threading.Event()
        try:
            return await asyncio.to_thread(self._rows, values, given_up)
        finally:
            given_up.set()  # time may be up: a query without end must not keep its thread

    async def close(self) -> None:
        """See Database."""

    def _rows(self, values: Mapping[str, str], given_up: threading.Event) -> Rows:
        try:
            place = f"file:{quote(str(self._path.absolute()))}?mode=ro"
            with contextlib.closing(
                sqlite3.connect(place, uri=True, timeout=BUSY_S, isolation_level=None)
            ) as connection:
                connection.set_progress_handler(given_up.is_set, STEPS)
                return connection.execute(self._query, dict(values)).fetchmany(2)
        except (sqlite3.Error, UnicodeError) as error:
            told = getattr(error, "sqlite_errorname", type(error).__name__)
            raise SourceUnavailable(f"{self._path}: {told}") from None


class Postgresql:
    """A few connections, made when they are needed. A question is asked outside transactions, in none prepared.

    authorities: a PEM file of those that another machine's certificate may be from; "": the system's.
    """

    def __init__(self, url: str, password: str, query: str, authorities: str) -> None:
        import psycopg  # noqa: PLC0415 - only where it is used

        self._driver = psycopg
        self._url = url
        self._password = password
        self._authorities = authorities
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
        options.update(for_libpq(self._url, self._authorities))
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


class Mysql:
    """A few connections, each asked in a thread of its own: a server that hangs must hold up nothing else that waits in
    threads. tls: None for this machine itself."""

    def __init__(self, url: str, password: str, query: str, tls: ssl.SSLContext | None) -> None:
        import pymysql  # noqa: PLC0415 - only where it is used

        self._driver = pymysql
        parts = urlsplit(url)
        self._options: dict[str, Any] = {
            "user": unquote(parts.username or ""),
            "password": password,
            "host": parts.hostname or "localhost",
            "port": parts.port or 3306,
            "database": unquote(parts.path.removeprefix("/")),
            "unix_socket": parse_qs(parts.query).get("socket", [None])[0],
            "ssl": tls,
        }
        self._query = query
        self._idle: list[Any] = []
        self._threads = ThreadPoolExecutor(MAX_IDLE, "mysql")

    async def rows(self, values: Mapping[str, str]) -> Rows:
        """See Database."""
        # The driver would write values into the text: in hexadecimal there is nothing to escape, in whatever SQL mode.
        query = PARAMETER.sub(lambda match: f"_utf8mb4 X'{values[match[1]].encode().hex()}'", self._query)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._asked, query)
        except (self._driver.Error, OSError, UnicodeError) as error:
            raise SourceUnavailable(self._told(error)) from None

    async def close(self) -> None:
        """See Database."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        while self._idle:
            self._idle.pop().close()

    def _asked(self, query: str) -> Rows:
        """In a thread, which `read_timeout` ends."""
        give_up_at = time.monotonic() + ANSWER_S
        while True:
            try:
                connection = self._idle.pop()
                is_new = False
            except IndexError:
                connection, is_new = self._connected(), True
            try:
                with connection.cursor() as cursor:
                    cursor.execute(query)
                    rows: Rows = list(cursor.fetchmany(2))
            except BaseException as error:
                connection._force_close()  # `close` would talk to the server first
                is_over = is_new or time.monotonic() >= give_up_at
                if is_over or not isinstance(error, self._driver.OperationalError):
                    raise
                continue  # it went stale while idle, which says nothing about the server
            self._keep(connection)
            return rows

    def _connected(self) -> Any:
        options = {"connect_timeout": CONNECT_S, "read_timeout": ANSWER_S, "write_timeout": ANSWER_S}
        return self._driver.connect(**self._options, **options, charset="utf8mb4", autocommit=True)

    def _keep(self, connection: Any) -> None:
        if len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def _told(self, error: Exception) -> str:
        number = error.args[0] if error.args and type(error.args[0]) is int else None
        return f"MySQL: {type(error).__name__}" + (f" ({number})" if number else "")
