"""`mailauth checkpassword`: the program that qmail, Dovecot 2.3 and others start for each login.

Source: D. J. Bernstein, "The checkpassword interface"; Dovecot 2.3, db-checkpassword.c. Rule: exit 1 is said of what
was judged and refused, and of nothing else; the password is neither in arguments nor in the environment of what is
started.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import NoReturn

import click

from mailauth.cli import asking
from mailauth.cli.asking import MAX_SHOWN_BYTES, NotJudged

REFUSED, MISUSED, LATER = 1, 2, 111
DESCRIPTOR = 3
NOT_FOR_THE_PROGRAM = ("AUTHORIZED", "HOME")


@click.command(
    "checkpassword",
    short_help="Say whether a password is right, as qmail and Dovecot 2.3 ask.",
    context_settings={"allow_interspersed_args": False},
)
@click.option("--socket", "path", metavar="PATH", help="Of a dovecot-auth bridge; else that of the configuration.")
@click.option(
    "--config", "config_file", metavar="FILE", help="Configuration that names the socket; --socket starts quicker."
)
@click.option("--service", metavar="NAME", help="As which service, such as pop3; else $SERVICE.")
@click.option("--home", metavar="DIR", help="HOME of the program, which begins there; with {login}, {local}, {domain}.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    *, path: str | None, config_file: str | None, service: str | None, home: str | None, program: tuple[str, ...]
) -> NoReturn:
    """Read login, password and timestamp from descriptor 3, have the running server judge them, and become PROGRAM.

    PROGRAM gets the account's login as USER, and HOME with --home. The client's address is that of TCPREMOTEIP. Exits
    with 1 when the password was refused, 2 when it is not asked as it should be, 111 when nobody can say now.

    \b
    Example (tcpserver, qmail):
      qmail-popup mail.example.com mailauth checkpassword --socket /run/mailauth/auth \\
        --service pop3 --home /srv/mail/{domain}/{local} qmail-pop3d Maildir
    """
    try:
        login, password = _shown()
    except ValueError as misused:
        _exit(MISUSED, misused)
    try:
        if "AUTHORIZED" in os.environ:
            raise NotJudged("this is no user database; in Dovecot, take another userdb, such as static")
        account = asking.ask(path or asking.socket_of(config_file), asking.told(os.environ, service, login, password))
        if account is None:
            raise click.exceptions.Exit(REFUSED)
        _become(program, account, home)
    except NotJudged as why:
        _exit(LATER, why)


def _shown() -> tuple[bytes, bytes]:
    """Login and password. Raises ValueError."""
    said = b""
    try:
        while len(said) <= MAX_SHOWN_BYTES and (part := os.read(DESCRIPTOR, MAX_SHOWN_BYTES)):
            said += part
        os.close(DESCRIPTOR)
    except OSError:
        raise ValueError("descriptor 3 cannot be read: this is started by a mail server") from None
    login, password, *rest = [*said.split(b"\0"), b"", b""]
    if said.count(b"\0") < 2 or len(said) > MAX_SHOWN_BYTES or any(rest[1:]):
        raise ValueError("on descriptor 3 is not login NUL password NUL timestamp NUL")
    return login, password


def _become(program: tuple[str, ...], account: bytes, home: str | None) -> NoReturn:
    """Raises NotJudged when it cannot be started: then nobody is let in."""
    for name in NOT_FOR_THE_PROGRAM:
        os.environ.pop(name, None)
    os.environb[b"USER"] = account
    try:
        if home is not None:
            os.environb[b"HOME"] = place = _place(os.fsencode(home), account)
            os.chdir(place)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and what it becomes would as well
            signal.signal(number, signal.SIG_DFL)
        os.execvp(program[0], program)  # noqa: S606
    except OSError as fault:
        raise NotJudged(f"{program[0]} cannot be started for this account: {fault.strerror}") from None


def _place(home: bytes, account: bytes) -> bytes:
    local, _, domain = account.partition(b"@")
    values = {b"{login}": account, b"{local}": local, b"{domain}": domain}
    for word, value in values.items():
        if word in home and (b"/" in value or value.startswith(b".") or not value):
            raise NotJudged("this account's name cannot be the name of a folder")
        home = home.replace(word, value)
    return home


def _exit(code: int, why: Exception) -> NoReturn:
    with suppress(OSError):  # whoever started us may have closed it
        click.echo(f"mailauth checkpassword: {why}", err=True)
    raise click.exceptions.Exit(code)
