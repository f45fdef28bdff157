"""Making a store, bringing its tables up to date, and refusing to run on any others.

Source: alembic.sqlalchemy.org. Rule: one upgrade is one transaction, so an interrupted one has changed nothing.
Alembic and SQLAlchemy are imported where they are used: each start asks `require_current`, which needs neither.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

from mailauth.interfaces import StoreUnavailable
from mailauth.keys import KeyRing
from mailauth.store.engine import Store

HEAD = "0005"  # revisions are numbered, four digits: text order is their order
VERSION_TABLE = "mailauth_version"  # Alembic's table under a name of our own: other programs use Alembic too


class SchemaMismatch(Exception):
    """The tables are not those this program knows. The text says what to do."""


class StoreExists(Exception):
    """There is a store already, and nothing was changed."""


def current(store: Store) -> str | None:
    """The revision of the tables; None: an empty database.

    Raises SchemaMismatch for somebody else's database, StoreUnavailable.
    """
    with store.reading() as tx:
        tables = {row["name"] for row in tx.rows(store.driver.list_tables)}
        if not tables:
            return None
        row = tx.row(store.sql.VERSION) if VERSION_TABLE in tables else None
    if row is None:
        raise SchemaMismatch(
            f"{store.driver.name} holds tables that are not mailauth's, and is left as it is: "
            "give mailauth a database of its own"
        )
    return str(row["version_num"])


def require_current(store: Store) -> None:
    """Raise SchemaMismatch unless this program and the store's tables belong together; StoreUnavailable."""
    found = current(store)
    if found is None:
        raise SchemaMismatch(f"{store.driver.name} is an empty database: `mailauth db upgrade` makes the tables")
    _refuse_newer(store, found)
    if found < HEAD:
        raise SchemaMismatch(
            f"{store.driver.name} has the tables of an older mailauth ({found}; this one needs {HEAD}): "
            "make a backup, then run `mailauth db upgrade`"
        )


def upgrade(store: Store) -> tuple[str | None, str]:
    """Bring the tables up to date, and say from which revision (None: an empty database) to which.

    Raises SchemaMismatch, StoreUnavailable. May be run again after any interruption.
    """
    found = current(store)
    if found is not None:
        _refuse_newer(store, found)
    store.driver.prepare()
    if found != HEAD:
        _run_migrations(store)
    return found, HEAD


def create(store: Store, ring: KeyRing, *, now: float | None = None) -> None:
    """Make a new, empty store that belongs to this key file.

    SQLite: the file gets mode 0600; its folder must be there. PostgreSQL: the database must be there, and empty.
    Raises StoreExists, SchemaMismatch, StoreUnavailable. What an interrupted run left is gone on with.
    """
    store.driver.create()
    upgrade(store)
    store_id = secrets.token_hex(16)
    with store.transaction() as tx:
        if tx.row(store.sql.SITE) is not None:
            raise StoreExists(f"{store.driver.name} is a mailauth store already")
        tx.write(store.sql.ADD_SITE, id=1, store_id=store_id, created_at=now or time.time(), **NO_POLICY)
        for key_id in ring.ids:
            tx.write(store.sql.ADD_SERVER_KEY, id=key_id, check_value=ring.check_value(store_id, key_id))


NO_POLICY: dict[str, Any] = {
    "policy": "optional",
    "enforce_from": None,
    "policy_reached": 0,
    "two_factor": 0,
    "two_factor_from": None,
    "two_factor_reached": 0,
    "max_app_passwords": None,
}


def _refuse_newer(store: Store, found: str) -> None:
    if found > HEAD:
        raise SchemaMismatch(
            f"{store.driver.name} has the tables of a newer mailauth ({found}; this one knows {HEAD}): "
            "install that mailauth, or restore a backup made before its upgrade"
        )


def _run_migrations(store: Store) -> None:
    from alembic import command  # noqa: PLC0415 - see the rule above
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415
    from sqlalchemy import create_engine, event, exc, pool  # noqa: PLC0415

    engine = create_engine(
        f"{store.driver.dialect}://", creator=store.driver.connect_for_upgrade, poolclass=pool.NullPool
    )
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(store.driver.begin_upgrade))
    config = Config()
    config.set_main_option("script_location", "mailauth.store:migrations")
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)
        return
    except CommandError:
        raise SchemaMismatch(
            f"{store.driver.name} says that it has tables which no mailauth has made: restore a backup of it"
        ) from None
    except exc.DBAPIError as error:
        fault = store.driver.fault(error.orig) if isinstance(error.orig, Exception) else None
    raise fault or StoreUnavailable(f"{store.driver.name}: the upgrade did not succeed; nothing was changed")
