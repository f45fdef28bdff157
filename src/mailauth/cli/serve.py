"""`mailauth serve`: the listeners and bridges of the configuration, in the foreground."""

from __future__ import annotations

import click

from mailauth.cli import options


@click.command("serve", short_help="Serve mail clients, in the foreground, until SIGTERM.")
@options.config
def command(config_file: str | None) -> None:
    """Serve mail clients on every [[listen]] address of the configuration, and mail servers on every [[bridge]], in the
    foreground.

    Once all of them accept connections there is a line for each on standard error, such as "listening imap
    127.0.0.1:1993 tls=implicit". SIGTERM and Ctrl-C say goodbye to the clients and end it with exit code 0; SIGHUP
    reads the certificate again and leaves live connections alone. Sockets that systemd has opened are taken over by
    their addresses, and it is told when all is ready (see `mailauth setup systemd`).

    \b
    Example:
      mailauth serve --config /etc/mailauth/mailauth.toml
    """
    from mailauth import config  # noqa: PLC0415  the overview need not load the servers
    from mailauth.cli.running import run  # noqa: PLC0415
    from mailauth.serving import readiness  # noqa: PLC0415

    settings = config.load(config.find(config_file))
    if not settings.listen and not settings.bridge and settings.portal is None:
        raise config.ConfigError(
            f"{settings.source}: nothing is to be served: there is no [[listen]], no [[bridge]], no [portal]; add one"
        )

    def ready(lines: list[str]) -> None:
        click.echo("\n".join(lines), err=True)
        readiness.tell(readiness.READY)

    run(settings, ready)
