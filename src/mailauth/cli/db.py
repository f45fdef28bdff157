"""`mailauth db`: the tables of the store, and whether they are those that this version needs."""

from __future__ import annotations

from typing import Any

import click

from mailauth import config
from mailauth.accounts.restored import Restored, take_away_again
from mailauth.cli import effects, options, showing
from mailauth.cli.opening import actor, ring_of, site, store_of
from mailauth.store import upgrade as tables
from mailauth.store.changes import Effect
from mailauth.store.engine import Store
from mailauth.store.highwater import HighWater


@click.group("db", short_help="Upgrade the store's tables, or go on with a restored backup.")
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


@command.command("restored")
@click.option("--keep", is_flag=True, help="Suspend none, if it is known of each whether it was revoked.")
@options.config
@options.as_json
def restored(*, keep: bool, config_file: str | None, as_json: bool) -> None:
    """Go on with a backup of the store that was restored: what was revoked, disabled or forbidden after it was made is
    so again, as far as the high-water file beside the key file tells.

    Every app password is suspended then, until its owner (or you, by `mailauth app-password confirm`) says that it is
    still wanted. Stop `mailauth serve` before you restore, and start it after this.

    \b
    Example:
      mailauth db restored
    """
    with site(config_file) as here:
        ring_of(here)
        effect, highwater = Effect(), HighWater(here.settings.key.file)
        done = take_away_again(here.store, highwater, keep=keep, actor=actor(), effect=effect)
    if as_json:
        showing.print_json({"restored": done is not None, **_plain(done), **effects.plain(effect)})
    elif done is None:
        click.echo(f"nothing to do: the store is not behind what {highwater.path} knows")
    else:
        _say(done, keep)
        effects.say(effect)


def _plain(done: Restored | None) -> dict[str, Any]:
    if done is None:
        return {}
    told = [{"kind": one.kind, "about": one.about, "detail": one.detail} for one in done.redone]
    numbers = {"backup_at_change": done.number, "known_to_change": done.known, "all_known": done.is_complete}
    return {**numbers, "done_again": told, "suspended": done.suspended}


def _say(done: Restored, keep: bool) -> None:
    click.echo(f"the backup is at change {done.number}; changes up to {done.known} had been made")
    for one in done.redone:
        click.echo(f"{one.kind.replace('-', ' ')}: {one.about}: {showing.printed(one.detail)}")
    if not done.is_complete:
        click.echo("note: not everything that was revoked after the backup is known here any more", err=True)
    if done.suspended:
        despite = ", --keep or not" if keep else ""
        click.echo(f"app passwords suspended until their owners confirm them{despite}: {done.suspended}")
        click.echo("`mailauth app-password confirm ADDRESS --all`, or --id N, does that; revoke what is not wanted")


def _create(settings: config.Settings, store: Store) -> None:
    from mailauth.founding.stores import create_store  # noqa: PLC0415
    from mailauth.keys import KeyRing  # noqa: PLC0415

    create_store(store, KeyRing.load(settings.key.file), settings.policy)
