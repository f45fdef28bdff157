"""`mailauth api-token`: what programs show to the JSON API."""

from __future__ import annotations

from datetime import date

import click

from mailauth.accounts import tokens as use
from mailauth.cli import options, showing
from mailauth.cli.opening import actor, site

COLUMNS = ("id", "login", "label", "scopes", "created_at", "expires_at", "last_used_at")


@click.group("api-token", short_help="Add, list or revoke tokens of the JSON API.")
def command() -> None:
    """Tokens by which programs use the JSON API. Each is shown once, and never proves that somebody is there."""


@command.command("add")
@click.argument("address", required=False)
@click.option("--label", required=True, help='What it is for, such as "Webmail".')
@click.option("--scopes", required=True, metavar="LIST", help=f"Some of {','.join(use.Scope)}.")
@options.moment("--expires", "When it ends; a bare date: at its end. Default: never.")
@options.config
@options.as_json
def add(
    *,
    address: str | None,
    label: str,
    scopes: str,
    expires: date | None,
    config_file: str | None,
    as_json: bool,
) -> None:
    """Make a token and print it: this once, alone on the last line. It acts for ADDRESS; without one it is a program's
    that serves many accounts, such as a webmail, and says in each request for whom.

    \b
    Examples:
      mailauth api-token add admin@example.com --label Reports --scopes admin:read
      mailauth api-token add --label Webmail --scopes own:read,own:revoke,own:ask
    """
    wanted = [scope.strip() for scope in scopes.split(",")]
    with site(config_file) as here:
        expires_at = None if expires is None else options.ends(expires, here.timezone)
        issued = use.add(here.store, address, label=label, scopes=wanted, expires_at=expires_at, actor=actor())
    if as_json:
        showing.print_json({"id": issued.id, "login": address, "label": label, "scopes": wanted, "token": issued.token})
        return
    click.echo(f"API token {issued.id} of {address or 'a program that serves many'}: {showing.printed(label)}")
    click.echo(issued.token)


@command.command("list")
@click.argument("address", required=False)
@options.config
@options.as_json
def list_(address: str | None, config_file: str | None, as_json: bool) -> None:
    """List the tokens of one account, or all. The tokens themselves nobody can show.

    \b
    Example:
      mailauth api-token list
    """
    with site(config_file) as here:
        found = use.listed(here.store, address)
    showing.print_views(found, COLUMNS, as_json, "there are no API tokens")


@command.command("revoke")
@click.option("--id", "token_id", type=int, required=True, metavar="N", help="Which one; `list` shows the numbers.")
@options.config
def revoke(token_id: int, config_file: str | None) -> None:
    """Revoke a token. The next request with it is refused.

    \b
    Example:
      mailauth api-token revoke --id 3
    """
    with site(config_file) as here:
        gone = use.revoke(here.store, token_id, actor=actor())
    click.echo(f"revoked API token {gone.id}: {showing.printed(gone.label)}")
