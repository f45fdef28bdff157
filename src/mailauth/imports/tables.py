"""The tables of another mail system: in SQLite, in PostgreSQL, or in what mysqldump wrote.

Source: the output of mysqldump and mariadb-dump. Rule: whole rows of a few tables, every value as text; nothing is
written there, and no table is read whose name was not asked for.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from mailauth.imports.entry import CannotRead, Tables
from mailauth.verified import for_libpq

Row = dict[str, "str | None"]

UNVERIFIED = (
    "; on another machine it is asked by TLS alone, and must prove its name: ?sslrootcert=FILE has its authorities"
)
_CREATE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?`([^`]+)`")
_COLUMN = re.compile(r"\s+`([^`]+)` ")
_INSERT = re.compile(r"(?:INSERT|REPLACE)(?: IGNORE)? INTO `([^`]+)`\s*(?:\(([^)]*)\)\s*)?VALUES\s*", re.IGNORECASE)
_VALUE = re.compile(
    r"\s*(?:(?:_\w+\s*)?'((?:[^'\\]|\\.|'')*)'|(NULL)|0x([0-9A-Fa-f]*)|(-?[0-9.]+(?:[eE][-+]?\d+)?))\s*([,)])",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)|''", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "Z": "\x1a", "b": "\b"}


def opened(where: str, password: str, wanted: tuple[str, ...]) -> Tables:
    """where: sqlite:///PATH, postgresql://..., or the path of a dump. Raises CannotRead."""
    if where.startswith(("mysql://", "mariadb://")):
        raise CannotRead("MySQL is not asked directly: give the file that `mysqldump DATABASE` writes")
    if where.startswith("postgresql://"):
        return _postgresql(where, password, wanted)
    path = Path(where.removeprefix("sqlite:///")).expanduser()
    if where.startswith("sqlite:///") or _is_sqlite(path):
        return _sqlite(path, wanted)
    found = _dumped(path, wanted)
    return lambda name: iter(found.get(name, []))


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError as error:
        raise CannotRead(f"{path}: {error.strerror}") from None


def _sqlite(path: Path, wanted: tuple[str, ...]) -> Tables:
    found: dict[str, list[Row]] = {}
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table in sorted(names & set(wanted)):
                cursor = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608  of our own names
                columns = [column[0] for column in cursor.description]
                found[table] = [dict(zip(columns, map(_text, row), strict=True)) for row in cursor]
    except sqlite3.Error as error:
        raise CannotRead(f"{path}: {getattr(error, 'sqlite_errorname', type(error).__name__)}") from None
    return lambda name: iter(found.get(name, []))


def _postgresql(url: str, password: str, wanted: tuple[str, ...]) -> Tables:
    try:
        import psycopg  # noqa: PLC0415
    except ImportError:
        raise CannotRead("a postgresql URL needs psycopg: pip install 'mailauth[postgresql]'") from None
    found: dict[str, list[Row]] = {}
    tls: dict[str, str] = {}
    try:
        tls = for_libpq(url)
        extra = {"password": password, **tls} if password else tls
        with psycopg.connect(url, connect_timeout=10, **extra) as connection:  # type: ignore[arg-type]
            connection.read_only = True
            for table in wanted:
                there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f'"{table}"']).fetchone()
                if there is None or not there[0]:
                    continue
                cursor = connection.execute(f'SELECT * FROM "{table}"'.encode())  # noqa: S608  of our own names
                columns = [column.name for column in cursor.description or ()]
                found[table] = [dict(zip(columns, map(_text, row), strict=True)) for row in cursor]
    except psycopg.Error as error:
        state = f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
        hint = UNVERIFIED if tls and not state else ""
        raise CannotRead(f"PostgreSQL: {type(error).__name__}{state}{hint}") from None
    return lambda name: iter(found.get(name, []))


def _dumped(path: Path, wanted: tuple[str, ...]) -> dict[str, list[Row]]:
    """mysqldump writes no line end into a value, so its lines are read one by one."""
    found: dict[str, list[Row]] = {}
    columns: dict[str, list[str]] = {}
    creating, inserting, named = "", "", list[str]()
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if created := _CREATE.match(line):
                    creating, inserting = created[1], ""
                    columns[creating] = []
                elif creating and (column := _COLUMN.match(line)):
                    columns[creating].append(column[1])
                elif (insert := _INSERT.match(line)) or inserting:
                    if insert:
                        creating, inserting = "", insert[1]
                        named = re.findall(r"`([^`]+)`", insert[2] or "") or columns.get(inserting, [])
                    if inserting in wanted:
                        values = _tuples(line[insert.end() if insert else 0 :], f"{path}: line {number}")
                        rows = found.setdefault(inserting, [])
                        rows += [_named(row, named, f"{path}: line {number}") for row in values]
                    inserting = "" if line.rstrip().endswith(";") else inserting
    except OSError as error:
        raise CannotRead(f"{path}: {error.strerror}") from None
    if not columns and not found:
        raise CannotRead(f"{path}: is neither an SQLite database nor what mysqldump writes")
    return found


def _named(row: list[str | None], columns: list[str], where: str) -> Row:
    if len(row) != len(columns):
        raise CannotRead(f"{where}: a row of {len(row)} values for {len(columns)} columns; is the dump whole?")
    return dict(zip(columns, row, strict=True))


def _tuples(text: str, where: str) -> Iterator[list[str | None]]:
    at = 0
    while (start := text.find("(", at)) >= 0:
        row: list[str | None] = []
        at = start + 1
        while True:
            match = _VALUE.match(text, at)
            if match is None:
                raise CannotRead(f"{where}: cannot be read as values; is the dump whole?")
            row.append(_value(match))
            at = match.end()
            if match[5] == ")":
                break
        yield row


def _value(match: re.Match[str]) -> str | None:
    if match[2]:
        return None
    if match[3] is not None:
        return bytes.fromhex(match[3]).decode("utf-8", "surrogateescape")
    if match[4] is not None:
        return match[4]
    return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]) if escape[1] else "'", match[1])


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "surrogateescape")
    return str(value)
