"""`mailauth sessions`: who is logged in now."""

from __future__ import annotations

import click

from mailauth.cli import effects, options, showing
from mailauth.cli.opening import actor, site

COLUMNS = ("login", "service", "peer", "client", "app_password", "label", "since")


class Sessions(click.Group):
    """A group that is also a command: without a sub-command it lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Have the sub-command stand first, wherever it was: no address looks like one."""
        named = next((arg for arg in args if arg in self.commands), None)
        if named is not None:
            args.remove(named)
            args.insert(0, named)
        elif args[:1] not in (["-h"], ["--help"]):
            args.insert(0, "list")
        return super().parse_args(ctx, args)


@click.group("sessions", cls=Sessions, short_help="Show who is logged in now; close sessions.")
def command() -> None:
    """Live sessions in all running processes: `mailauth sessions [ADDRESS]` lists, `close` ends them.

    \b
    Examples:
      mailauth sessions
      mailauth sessions alice@example.com
      mailauth sessions close alice@example.com
    """


@command.command("list")
@click.argument("address", required=False)
@options.config
@options.as_json
def list_(address: str | None, config_file: str | None, as_json: bool) -> None:
    """List the live sessions of one account, or all: service, address, client name, app password, since when.

    \b
    Example:
      mailauth sessions list alice@example.com
    """
    from mailauth.accounts.sessions import live_sessions  # noqa: PLC0415

    with site(config_file) as here:
        found = live_sessions(here.store, address, actor=actor())
    showing.print_views(found.sessions, COLUMNS, as_json, "nobody is logged in")
    for process in found.silent:
        click.echo(f"note: {process} did not answer; its sessions are not shown", err=True)


@command.command("close")
@click.argument("address")
@options.config
@options.as_json
def close(address: str, config_file: str | None, as_json: bool) -> None:
    """End all live sessions of an account. It may log in again: to keep it out, revoke or disable.

    \b
    Example:
      mailauth sessions close alice@example.com
    """
    from mailauth.accounts.sessions import close_sessions  # noqa: PLC0415

    with site(config_file) as here:
        effect = close_sessions(here.store, address, actor=actor())
    if as_json:
        showing.print_json(effects.plain(effect))
        return
    click.echo(f"ended {effect.ended} {'session' if effect.ended == 1 else 'sessions'} of {address}")
    effects.warn(effect)
