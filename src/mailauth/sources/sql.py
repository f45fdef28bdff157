"""Web passwords in a database of the operator's: one query by login, whose answer is a hash.

Rule: what the client sent is a value, and never part of the query; the hash is verified here, in the bounded pool, so
no password is sent anywhere.
"""
# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mailauth import passwdfile
from mailauth.factors import section
from mailauth.factors.section import BadSection, option
from mailauth.interfaces import BadRecord, SourceUnavailable
from mailauth.sources.parts import client_tls, parts_of
from mailauth.sources.sql_databases import PARAMETER, Database, Mysql, Postgresql, Sqlite
from mailauth.verified import LOOPBACK

MYSQL = ("mysql://", "mariadb://")


def _url(value: str) -> str | None:
    if value.startswith("sqlite:///") and len(value) > len("sqlite:///"):
        return None
    if not value.startswith(("postgresql://", *MYSQL)):
        return 'must be "sqlite:///PATH", "postgresql://USER@HOST/DATABASE" or "mysql://USER@HOST/DATABASE"'
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

    url: str = option(
        doc="sqlite:///PATH, postgresql://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE, without a password; "
        "mysql://USER@localhost/DATABASE?socket=PATH",
        check=_url,
    )
    query: str = option(
        doc="answers one row whose first column is the hash, for :login, :local (before the @) and :domain",
        check=_query,
    )
    password: str = option("", doc="the password of the database's user", secret=True)
    ca: str = option(
        "", doc="a PEM file of the authorities that another machine's certificate may be from; none: the system's"
    )
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
        if self.url.startswith(MYSQL):
            host = urlsplit(self.url).hostname or "localhost"
            tls = None if host in LOOPBACK else client_tls(self.ca, self.folder)
            try:
                self._database = Mysql(self.url, self.password, self.query, tls)
            except ImportError:
                raise BadSection("url", "needs PyMySQL: pip install 'mailauth[mysql]'") from None
            return
        if self.ca:
            client_tls(self.ca, self.folder)  # so that a file that is none is told of now
        authorities = str(Path(self.folder) / Path(self.ca).expanduser()) if self.ca else ""
        try:
            self._database = Postgresql(self.url, self.password, self.query, authorities)
        except ImportError:
            raise BadSection("url", "needs psycopg: pip install 'mailauth[postgresql]'") from None


def build(options: Mapping[str, object]) -> SqlSource:
    """The plug-in's entry. Raises BadSection."""
    source: SqlSource = section.read(SqlSource, options)
    source.open()
    return source
