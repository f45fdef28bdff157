"""A store that may only be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

NOBODY = 65534


@pytest.fixture
def read_only() -> Callable[[object], AbstractContextManager[None]]:
    """Makes a database read-only for the while of a with block."""
    return _read_only_postgresql_or_sqlite


@contextmanager
def _read_only_postgresql_or_sqlite(database) -> Iterator[None]:
    if database.url.startswith("postgresql"):
        ((name,),) = database.run("SELECT current_database()")
        database.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        database.store.close()  # a setting of a database is that of its new connections
        yield
        return
    path = database.path
    for folder in path.parents:  # pytest's are its user's alone
        if folder.owner() == path.owner() and folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o755)
    keeper = database.store.driver.open(0)  # so that -wal and -shm are there, which a reader could not make
    keeper.execute("SELECT * FROM site").fetchall()
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).chmod(0o444)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)  # file modes do not bind root
    try:
        yield
    finally:
        os.seteuid(os.getuid())
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).chmod(0o600)
        keeper.close()
