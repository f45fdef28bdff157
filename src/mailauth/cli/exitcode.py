"""`mailauth helper`: login and password on standard input, the verdict as exit code, as maddy and scripts ask.

Source: maddy, auth.external. Rule: exit 1 is said of what was judged and refused, and of nothing else. maddy leaves its
end open until we have ended: what is read is two lines, not everything.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import NoReturn

import click

from mailauth.cli import asking
from mailauth.cli.asking import MAX_SHOWN_BYTES, NotJudged

ACCEPTED, REFUSED, ERROR = 0, 1, 2
INPUT = 0


@click.command("helper", short_help="Say whether a password is right by exit code, as maddy and scripts ask.")
@click.option("--socket", "path", metavar="PATH", help="Of a dovecot-auth bridge; else that of the configuration.")
@click.option(
    "--config", "config_file", metavar="FILE", help="Configuration that names the socket; --socket starts quicker."
)
@click.option("--service", metavar="NAME", help="As which service, such as imap; else $SERVICE.")
def command(*, path: str | None, config_file: str | None, service: str | None) -> NoReturn:
    """Read login and password, a line each, from standard input, and have the running server judge them.

    The client's address is that of TCPREMOTEIP, if that is set. Exits with 0 when it was accepted, 1 when it was
    refused and 2 when nobody can say.

    \b
    Example:
      printf '%s\\n%s\\n' "$LOGIN" "$PASSWORD" | mailauth helper --socket /run/mailauth/auth --service smtp
    """
    try:
        account = asking.ask(path or asking.socket_of(config_file), asking.told(os.environ, service, *_shown()))
        if account is not None and _is_more():
            raise NotJudged("there is more on standard input than two lines")
    except NotJudged as why:
        with suppress(OSError):
            click.echo(f"mailauth helper: {why}", err=True)
        raise click.exceptions.Exit(ERROR) from None
    raise click.exceptions.Exit(REFUSED if account is None else ACCEPTED)


def _shown() -> tuple[bytes, bytes]:
    """Login and password. The last line end may be missing when nothing more comes. Raises NotJudged."""
    said = b""
    try:
        while said.count(b"\n") < 2 and len(said) <= MAX_SHOWN_BYTES and (part := os.read(INPUT, MAX_SHOWN_BYTES)):
            said += part
    except OSError:
        raise NotJudged("standard input cannot be read") from None
    login, _, rest = said.partition(b"\n")
    password, ended, more = rest.partition(b"\n")
    if len(said) > MAX_SHOWN_BYTES or more or not (password or ended):
        raise NotJudged("on standard input are not a login and a password, a line each")
    return login, password


def _is_more() -> bool:
    """Whether a name with a line end in it has made us take a part of it for the password."""
    ready, _, _ = select.select([INPUT], [], [], 0)
    return bool(ready) and bool(os.read(INPUT, 1))
