"""What tests of several rooms ask for: a server of databases, and a store of each kind."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings

import postgres
from mailauth.keys import KeyRing
from mailauth.store.engine import Store, open_store
from mailauth.store.upgrade import create

# Where a result decides, one commit always gets the same examples; on a developer's machine they are new each time.
settings.register_profile("ci", derandomize=True, database=None, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    with postgres.running() as url:
        yield url


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    """A key file's keys."""
    return KeyRing.create(tmp_path_factory.mktemp("keys") / "mailauth.key")


@dataclass
class Database:
    """One database, and a way to touch it behind the store's back."""

    url: str
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = open_store(self.url)

    def run(self, statement: str) -> list[tuple]:
        """Run one statement on a connection of its own, with no rule of the schema in the way."""
        if self.url.startswith("postgresql"):
            return postgres.run(self.url, statement)
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=10)) as connection:
            return connection.execute(statement).fetchall()

    def end_connections(self) -> None:
        """As if the server were started anew; PostgreSQL only."""
        self.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    @property
    def path(self) -> Path:
        """The file; SQLite only."""
        return Path(self.url.removeprefix("sqlite:///"))


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str, ring: KeyRing) -> Iterator[str]:
    """The name of a database with a new store, to be copied: faster than running the migrations for each test."""
    with postgres.database(postgres_server) as url:
        store = open_store(url)
        create(store, ring)
        store.close()
        yield postgres.run(url, "SELECT current_database()")[0][0]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without tables; for SQLite not even the file is there."""
    if request.param == "sqlite":
        yield Database(f"sqlite:///{tmp_path / 'mailauth.db'}")
        return
    with postgres.database(request.getfixturevalue("postgres_server")) as url:
        database = Database(url)
        yield database
        database.store.close()


@pytest.fixture
def sqlite_database(tmp_path: Path, ring: KeyRing) -> Database:
    """A new, empty store in SQLite."""
    database = Database(f"sqlite:///{tmp_path / 'mailauth.db'}")
    create(database.store, ring)
    return database


@pytest.fixture
def postgres_database(postgres_server: str, postgres_template: str) -> Iterator[Database]:
    """A new, empty store in PostgreSQL."""
    with postgres.database(postgres_server, postgres_template) as url:
        database = Database(url)
        yield database
        database.store.close()


@pytest.fixture(params=["sqlite_database", "postgres_database"], ids=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """A new, empty store, of each kind in turn."""
    database: Database = request.getfixturevalue(request.param)
    return database


@pytest.fixture
def store(database: Database) -> Store:
    """The same, when nothing is done behind its back."""
    return database.store
