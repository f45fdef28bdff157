"""`mailauth factor`: the second factors of the web portal."""

from __future__ import annotations

import click

from mailauth.accounts import factorcare as use
from mailauth.accounts.views import moment
from mailauth.cli import effects, options, showing
from mailauth.cli.opening import actor, site
from mailauth.store.changes import Effect

COLUMNS = ("kind", "name", "detail", "created_at", "last_used_at")


@click.group("factor", short_help="Show the second factors of an account; reset lost ones.")
def command() -> None:
    """What people show at the web portal besides their web password. Nobody can show the secrets themselves."""


@command.command("list")
@click.argument("address")
@options.config
@options.as_json
def list_(address: str, config_file: str | None, as_json: bool) -> None:
    """List the second factors of an account.

    \b
    Example:
      mailauth factor list alice@example.com
    """
    with site(config_file) as here:
        found = use.listed(here.store, address)
    showing.print_views(found, COLUMNS, as_json, f"{address} has no second factor")


@command.command("reset")
@click.argument("address")
@options.config
@options.as_json
def reset(address: str, config_file: str | None, as_json: bool) -> None:
    """Forget all second factors of an account: for whoever has lost them. It is signed out of the portal, its owner is
    told, and its mode stays. `factor enrolment-code` lets the owner enrol another one.

    \b
    Example:
      mailauth factor reset alice@example.com
    """
    with site(config_file) as here:
        effect = Effect()
        kinds = use.reset_factors(here.store, address, actor=actor(), effect=effect)
    if as_json:
        showing.print_json({"reset": kinds, **effects.plain(effect)})
        return
    click.echo(f"forgot {', '.join(kinds)}" if kinds else "there was none to reset")
    effects.say(effect)


@command.command("enrolment-code")
@click.argument("address")
@options.config
@options.as_json
def enrolment_code(address: str, config_file: str | None, as_json: bool) -> None:
    """Make a code by which an account's owner may enrol a second factor once, where the web password alone is not
    enough any more. It is shown this once, and kills one that was made before.

    \b
    Example:
      mailauth factor enrolment-code alice@example.com
    """
    with site(config_file) as here:
        made = use.enrolment_code(here.store, address, actor=actor())
    if as_json:
        told = {"login": made.login, "expires_at": moment(made.expires_at)}
        showing.print_json({**told, "enrolment_code": made.code})
        return
    click.echo(f"enrolment code of {made.login}, good once, until {moment(made.expires_at)}:")
    click.echo(made.code)
