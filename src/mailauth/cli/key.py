"""`mailauth key`: the server keys, what was made under each; adding one, removing one, and going on without any."""

from __future__ import annotations

import click

from mailauth.accounts import keys as use
from mailauth.cli import exits, options, showing
from mailauth.cli.opening import actor, ring_of, site

COLUMNS = ("id", "created", "in_use", "newest", "live", "deleted", "factors")


@click.group("key", short_help="Show the server keys, add a new one, remove an old one.")
def command() -> None:
    """The server keys: without them no app password can be recognised. docs/keys.md says more."""


@command.command("status")
@options.config
@options.as_json
def status(config_file: str | None, as_json: bool) -> None:
    """List the server keys of the key file, with what stands under each: live app passwords, deleted ones, and second
    factors.

    The exit code is 78 if the key file is not the one that the store's app passwords were made under.

    \b
    Example:
      mailauth key status
    """
    with site(config_file) as here:
        found = use.listed(here.store, ring_of(here))
    showing.print_views(found, COLUMNS, as_json, "no keys")


@command.command("rotate")
@options.config
@options.as_json
def rotate(config_file: str | None, as_json: bool) -> None:
    """Add a key to the key file, and make new things under it once every running process has read it.

    Nobody is logged out: the old keys stay. Second factors move to the new key at once; app passwords made under the
    old ones stay good and move as they are used. If a process could not read the new key (another host has a key file
    of its own), nothing is made under it yet and the exit code is 75: copy the key file there, and run this again.

    \b
    Example:
      mailauth key rotate
    """
    with site(config_file) as here:
        path = here.settings.key.file
        done = use.rotate(here.store, path, actor=actor())
    if as_json:
        showing.print_json(showing.plain(done))
    elif done.in_use:
        click.echo(f"key {done.key_id} is in {path}, and makes new app passwords from now on")
        click.echo(
            "back up the key file now, apart from the store; `mailauth key status` counts what moves to the new key"
        )
        if done.stuck:
            click.echo(f"note: {done.stuck} second factors cannot be opened, and stay under their old key", err=True)
        elif not done.moved_all:
            click.echo("note: the store was lost meanwhile; a running process moves what is left", err=True)
    else:
        click.echo(
            f"key {done.key_id} is in {path}, and not in use yet: everything goes on under the old one", err=True
        )
    for process in done.silent:
        click.echo(f"note: {process} did not answer: see that it reaches the store, or is stopped", err=True)
    for lack in done.unable:
        click.echo(f"note: {lack}; copy {path} there, mode 0600", err=True)
    if not done.in_use:
        click.echo("then run `mailauth key rotate` again", err=True)
        raise click.exceptions.Exit(exits.DEFERRED)


@command.command("remove")
@click.argument("key_id", metavar="ID", type=click.IntRange(min=1))
@options.config
def remove(key_id: int, config_file: str | None) -> None:
    """Take an old key out of the key file, once no app password, live or deleted, and no second factor needs it.

    A backup of the store that was made before needs the key file of that time: keep it as long as the backup.

    \b
    Example:
      mailauth key remove 1
    """
    with site(config_file) as here:
        path = here.settings.key.file
        use.remove(here.store, path, key_id, actor=actor())
    click.echo(f"removed key {key_id} from {path}; backups of the store made until now need the key file of their time")


@command.command("replace")
@options.config
def replace(config_file: str | None) -> None:
    """Write a new key file where it is lost for good, and delete what nobody can recognise or open any more: all app
    passwords, and all second factors but security keys.

    It is refused while there is a file. Accounts, web passwords and settings stay; each owner has to make new app
    passwords, and to set up two-step verification again. The new file belongs to whoever runs this: the server's user
    must own it.

    \b
    Example:
      mailauth key replace
    """
    with site(config_file) as here:
        path = here.settings.key.file
        done = use.replace_lost(here.store, path, actor=actor())
    gone = f"{done.app_passwords} app passwords and {done.factors} second factors"
    click.echo(f"wrote {path} with key {done.key_id}; deleted {gone}, which needed the lost one")
