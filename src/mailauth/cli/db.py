"""`mailauth db`: the tables of the store, and whether they are those that this version needs."""

from __future__ import annotations

import click

from mailauth import config
from mailauth.cli import options, showing
from mailauth.cli.opening import store_of
from mailauth.store import upgrade as tables
from mailauth.store.engine import Store


@click.group("db", short_help="Upgrade the store's tables, or say which there are.")
def command() -> None:
    """The tables of the store. Each version of mailauth runs on its own tables only and says so at its start."""


@command.command("upgrade")
@options.config
def upgrade(config_file: str | None) -> None:
    """Bring the tables up to date. Make a backup first; an interrupted upgrade has changed nothing.

    In an empty PostgreSQL database it makes a new store, which belongs to the key file of the configuration.

    \b
    Example:
      mailauth db upgrade
    """
    settings = config.load(config.find(config_file))
    store = store_of(settings)
    try:
        if tables.current(store) is None:
            _create(settings, store)
            click.echo(f"made a new store in {store.driver.name}, tables {tables.HEAD}")
            return
        before, after = tables.upgrade(store)
    finally:
        store.close()
    click.echo(f"nothing to do: tables {after}" if before == after else f"upgraded from tables {before} to {after}")


@command.command("current")
@options.config
@options.as_json
def current(config_file: str | None, as_json: bool) -> None:
    """Print the revision of the tables, and the one that this version needs.

    \b
    Example:
      mailauth db current --json
    """
    store = store_of(config.load(config.find(config_file)))
    try:
        found = tables.current(store)
    finally:
        store.close()
    fields = {"store": store.driver.name, "tables": found, "needed": tables.HEAD, "current": found == tables.HEAD}
    if as_json:
        showing.print_json(fields)
    else:
        showing.print_fields(fields)


def _create(settings: config.Settings, store: Store) -> None:
    from mailauth.founding.stores import create_store  # noqa: PLC0415
    from mailauth.keys import KeyRing  # noqa: PLC0415

    create_store(store, KeyRing.load(settings.key.file), settings.policy)
