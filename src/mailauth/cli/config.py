"""`mailauth config check`: whether the configuration, and the files that it names, are right."""

from __future__ import annotations

from collections.abc import Callable

import click

from mailauth import config
from mailauth.cli import exits, options, showing
from mailauth.cli.opening import check_log, check_mailbox
from mailauth.config import ConfigError, Settings


@click.group("config", short_help="Check the configuration.")
def command() -> None:
    """Check the configuration."""


@command.command("check")
@options.config
@options.as_json
def check(config_file: str | None, as_json: bool) -> None:
    """Check mailauth.toml and the files that it names: server key, certificate, secrets, log, mailbox.

    Nothing is started, and neither the store nor a source of web passwords is asked (see `mailauth db current` and
    `mailauth key status`). Everything found wrong is one line on standard error, and the exit code is then 78.

    \b
    Example:
      mailauth config check --config /etc/mailauth/mailauth.toml
    """
    settings = config.load(config.find(config_file))
    tests = (_secrets, _key_file, _certificate, check_log, check_mailbox, _factors, _bridges, _sources, _backends)
    problems = [problem for test in tests for problem in _problems(test, settings)]
    if as_json:
        showing.print_json({"file": str(settings.source), "right": not problems, "problems": problems})
    elif not problems:
        click.echo(f"{settings.source} is right")
    for problem in problems:
        click.echo(f"mailauth: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(exits.CONFIGURATION)


def _problems(test: Callable[[Settings], None], settings: Settings) -> list[str]:
    from mailauth.keys import KeyFileError  # noqa: PLC0415
    from mailauth.serving.tls import BadCertificate  # noqa: PLC0415

    try:
        test(settings)
    except (ConfigError, KeyFileError, BadCertificate) as error:
        return [str(error)]
    return []


def _secrets(settings: Settings) -> None:
    for secret in (settings.store.password_file, settings.relay and settings.relay.password_file):
        if secret:
            secret.read()


def _key_file(settings: Settings) -> None:
    from mailauth.keys import KeyRing  # noqa: PLC0415

    KeyRing.load(settings.key.file)


def _factors(settings: Settings) -> None:
    from mailauth.webportal import factors_of  # noqa: PLC0415

    factors_of(settings)


def _bridges(settings: Settings) -> None:
    from mailauth.bridgeheads import bridges_of  # noqa: PLC0415

    bridges_of(settings)


def _sources(settings: Settings) -> None:
    from mailauth.websources import check_sources  # noqa: PLC0415

    check_sources(settings)


def _backends(settings: Settings) -> None:
    from mailauth.keeper.configured import check_behind  # noqa: PLC0415

    check_behind(settings)


def _certificate(settings: Settings) -> None:
    from mailauth.serving.tls import server_context  # noqa: PLC0415

    if settings.tls is not None:
        server_context(settings.tls.certificate, settings.tls.key)
