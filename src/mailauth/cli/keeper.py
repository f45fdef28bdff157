"""`mailauth keeper`: what keeps the passwords of back ends and doveadm's keys, as a service of its own."""

from __future__ import annotations

import click

from mailauth.cli import options


@click.command("keeper", short_help="Keep back ends' passwords for serve, as a user of its own.")
@options.config
def command(config_file: str | None) -> None:
    """Answer `mailauth serve` at the socket of [keeper] address, in the foreground: log accounts in at the back ends of
    the configuration and hand the open connections over, and have Dovecot end sessions.

    It alone reads the password_file of each [backends.NAME] and each doveadm_key_file, so they need to be readable by
    its own user only. Without [keeper] address, `mailauth serve` starts a keeper by itself, as its own user.

    \b
    Example:
      mailauth keeper --config /etc/mailauth/mailauth.toml
    """
    from mailauth import config  # noqa: PLC0415  the overview need not load the servers
    from mailauth.keeper.process import run  # noqa: PLC0415
    from mailauth.keeper.service import serve_all  # noqa: PLC0415

    settings = config.load(config.find(config_file))
    run(serve_all(settings, lambda line: click.echo(line, err=True)))
