"""`mailauth key`: the server keys, and what was made under each."""

from __future__ import annotations

import click

from mailauth.cli import options, showing
from mailauth.cli.opening import ring_of, site


@click.group("key", short_help="Say which server keys there are.")
def command() -> None:
    """The server keys: without them no app password can be recognised."""


@command.command("status")
@options.config
@options.as_json
def status(config_file: str | None, as_json: bool) -> None:
    """List the server keys of the key file, with the number of app passwords made under each (deleted ones counted).

    The exit code is 78 if the key file is not the one that the store's app passwords were made under.

    \b
    Example:
      mailauth key status
    """
    with site(config_file) as here:
        ring = ring_of(here)
        with here.store.reading() as tx:
            used = {row["key_id"]: row["app_passwords"] for row in tx.rows(here.store.sql.KEYS_IN_USE)}
    rows = [
        {"id": key.id, "created": key.created, "app_passwords": used.get(key.id, 0), "newest": key.id == ring.newest}
        for key in ring.keys
    ]
    if as_json:
        showing.print_json(rows)
    else:
        showing.print_table(rows, "no keys")
