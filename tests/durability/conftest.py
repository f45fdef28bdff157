"""Backups of a store, of each kind, and a store that keeps a high-water file."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from backups import Restore, sqlite_backup

import postgres
from mailauth.keys import KeyRing
from mailauth.store.engine import Store
from mailauth.store.highwater import HighWater


@pytest.fixture
def key_file(ring: KeyRing, tmp_path: Path) -> Path:
    """The key file that belongs to the stores, in a folder of its own."""
    path = tmp_path / "keys" / "mailauth.keys"
    path.parent.mkdir()
    path.touch(0o600)
    path.write_text("".join([f"{key.id} {key.created} {b64encode(key.secret).decode()}\n" for key in ring.keys]))
    return path


@pytest.fixture
def highwater(store: Store, key_file: Path) -> HighWater:
    """What the store's changes are noted in."""
    store.highwater = HighWater(key_file)
    return store.highwater


@pytest.fixture
def backup(database, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Restore]:
    """Makes a backup of the database, and gives what puts it in the database's place."""
    if database.url.startswith("sqlite"):
        return lambda: sqlite_backup(database.path, tmp_path / f"backup-{secrets.token_hex(4)}.db")
    server = request.getfixturevalue("postgres_server")
    name = psycopg.conninfo.conninfo_to_dict(database.url)["dbname"]
    return lambda: _postgresql_backup(database, server, str(name), request)


def _postgresql_backup(database, server: str, name: str, request: pytest.FixtureRequest) -> Restore:
    copy = f"mailauth_backup_{secrets.token_hex(8)}"
    database.store.close()
    postgres.run(server, f"CREATE DATABASE {copy} TEMPLATE {name}")
    request.addfinalizer(lambda: postgres.run(server, f"DROP DATABASE {copy}"))

    def restore() -> None:
        postgres.run(server, f"DROP DATABASE {name} WITH (FORCE)")
        postgres.run(server, f"CREATE DATABASE {name} TEMPLATE {copy}")

    return restore
