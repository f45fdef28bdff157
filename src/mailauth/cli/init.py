"""`mailauth init`: a new site's files."""

from __future__ import annotations

from pathlib import Path

import click

from mailauth.founding.ports import MAX_PORT_OFFSET


@click.command("init", short_help="Write configuration, keys, certificate and empty store.")
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default=Path(), help="Folder to write into; default: this one."
)
@click.option("--port-offset", type=click.IntRange(0, MAX_PORT_OFFSET), default=0, help="Added to every port.")
def command(folder: Path, port_offset: int) -> None:
    """Write everything that a new site needs, and overwrite nothing that is there.

    \b
    mailauth.toml      the configuration, each key with its comment
    mailauth.keys      the server key: back it up, apart from the store
    mailauth.db        an empty store (SQLite)
    ca.pem             the authority that mail programs are told to trust
    server.pem, .key   the certificate for localhost; put your own in its place

    Nothing listens yet, and there is no account. IMAP gets ports 1143 (STARTTLS) and 1993 (TLS), POP3 1110 and 1995,
    submission 1587 and 1465, on this machine's loopback alone; edit mailauth.toml to change that.

    \b
    Example:
      mailauth init --dir /etc/mailauth
      mailauth account add alice@example.com --config /etc/mailauth/mailauth.toml
      mailauth serve --config /etc/mailauth/mailauth.toml
    """
    from mailauth.founding.site import found  # noqa: PLC0415  the overview need not load cryptography

    layout = found(folder, port_offset)
    for path in layout.all:
        click.echo(f"wrote {path}")
    click.echo(f"Next: mailauth account add YOU@YOUR.DOMAIN --config {layout.config}", err=True)
