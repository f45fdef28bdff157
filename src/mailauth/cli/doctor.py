"""`mailauth doctor`: looks at everything as it stands and runs, and says how to mend what is wrong."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from mailauth import config
from mailauth.cli import exits, options, showing
from mailauth.cli.opening import actor, store_of

if TYPE_CHECKING:
    from mailauth.doctor.case import Case
    from mailauth.doctor.examination import Told
    from mailauth.doctor.hosts.host import Door

HOSTS = ("postfix", "dovecot", "exim", "nginx", "cyrus")
SCHEMES = {  # service, TLS from the first byte, port
    "imap": ("imap", False, 143),
    "imaps": ("imap", True, 993),
    "pop3": ("pop3", False, 110),
    "pop3s": ("pop3", True, 995),
    "smtp": ("smtp", False, 587),
    "smtps": ("smtp", True, 465),
}
CLEAR = "\r\x1b[K"  # ECMA-48: to the line's start, and erase it


def _door(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[Door, ...]:  # noqa: ARG001
    return tuple(map(_one_door, values))


def _one_door(url: str) -> Door:
    from mailauth.attempt import Service  # noqa: PLC0415
    from mailauth.doctor.hosts.host import Door  # noqa: PLC0415

    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in SCHEMES or not host or parts.path not in {"", "/"} or parts.username is not None:
        raise click.BadParameter(f"{url!r} is no door; write imap://HOST:PORT, or {', '.join(SCHEMES)}")
    service, implicit, usual = SCHEMES[parts.scheme]
    return Door("--host", Service(service), host, port or usual, implicit=implicit, named=True)


def _places(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Mapping[str, str]:  # noqa: ARG001
    places = {}
    for value in values:
        name, _, place = value.partition("=")
        if name not in HOSTS:
            raise click.BadParameter(f"{value!r} names no mail server; write {', '.join(HOSTS)}, perhaps with =PATH")
        places[name] = place
    return places


def _only(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001
    if values:
        from mailauth.doctor.examination import every_check  # noqa: PLC0415

        names = [name for name, _ in every_check()]
        for value in values:
            if value not in names:
                raise click.BadParameter(f"{value!r} is none of {', '.join(names)}")
    return values


def _url(ctx: click.Context, param: click.Parameter, value: str) -> str:  # noqa: ARG001
    if value and (urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).netloc):
        raise click.BadParameter(f"{value!r} is no URL; write https://HOST")
    return value


@click.command("doctor", short_help="Look at everything as it runs, and say how to mend what is wrong.")
@click.option("--account", default="", metavar="ADDRESS", help="Try a login of this account by every door.")
@click.option(
    "--host", "named", multiple=True, callback=_door, metavar="URL", help="A door to try, such as imap://HOST."
)
@click.option(
    "--server",
    "places",
    multiple=True,
    callback=_places,
    metavar="NAME[=PATH]",
    help="Read this mail server's configuration, and no other's; may be repeated.",
)
@click.option(
    "--clock-from", default="", callback=_url, metavar="URL", help="Compare the clock with this web server's."
)
@click.option("--only", multiple=True, callback=_only, metavar="CHECK", help="Only this check; may be repeated.")
@options.config
@options.as_json
def command(
    *,
    account: str,
    named: tuple[Door, ...],
    places: Mapping[str, str],
    clock_from: str,
    only: tuple[str, ...],
    config_file: str | None,
    as_json: bool,
) -> None:
    """Look at the site as it stands and runs: files, store, clock, certificates, sockets, doors, and the mail servers
    that ask it. Run it as root: it then tries sockets as the mail servers' users.

    With --account it mints an app password named "mailauth doctor", logs in by every door with it and with a wrong one,
    looks whether the right address arrives, revokes it, and sees that it is refused everywhere from then on. Nothing of
    it stays but the audit log and the notices to the account's owner. No other host is asked anything, but those named.

    Mail servers' configurations are read where they usually are; --server names which, and where: postfix=FOLDER,
    dovecot=FILE, exim=FILE, nginx=FILE, cyrus=FILE. The exit code is 0 if nothing is a problem, else 78.

    \b
    Examples:
      mailauth doctor
      mailauth doctor --account alice@example.com --host smtp://mail.example.com:587
    """
    from mailauth.doctor.case import Case  # noqa: PLC0415  the overview need not load all of it

    settings = config.load(config.find(config_file))
    store = store_of(settings)
    tell = _progress if sys.stderr.isatty() else _silent
    try:
        told = _examined(Case(settings, store, actor(), account, places, named, clock_from, tell), only, as_json)
    finally:
        store.close()
        tell("")
    _close(told, as_json)


def _examined(case: Case, only: tuple[str, ...], as_json: bool) -> list[Told]:
    from mailauth.doctor.examination import examine  # noqa: PLC0415

    told = []
    for one in examine(case, only):
        told.append(one)
        if not as_json:
            _tell(one)
    return told


def _close(told: list[Told], as_json: bool) -> None:
    counts = Counter([str(one.finding.level) for one in told])
    problems = counts["problem"]
    if as_json:
        showing.print_json({"right": not problems, "findings": [_plain(one) for one in told]})
    else:
        click.echo(", ".join([f"{level}: {counts[level]}" for level in ("ok", "warning", "problem", "not checked")]))
    if problems:
        click.echo(f"mailauth: {problems} {'problem' if problems == 1 else 'problems'} to mend", err=True)
        raise click.exceptions.Exit(exits.CONFIGURATION)


def _silent(title: str) -> None:
    """Not on a terminal: nothing is in the way of what is read."""


def _progress(title: str) -> None:
    """On a terminal: one line that is written over."""
    click.echo(CLEAR + (f"looking at {title} ..." if title else ""), nl=False, err=True)


def _tell(one: Told) -> None:
    finding = one.finding
    if sys.stderr.isatty():
        click.echo(CLEAR, nl=False, err=True)
    level = str(finding.level)
    shown = level.upper() if level == "problem" else level
    click.echo(f"{shown:<11}  {showing.printed(finding.subject)}: {showing.printed(finding.found)}")
    if finding.mend:
        click.echo(f"{'':<11}  -> {showing.printed(finding.mend)}")


def _plain(one: Told) -> dict[str, Any]:
    finding = one.finding
    told = {"check": one.check, "level": str(finding.level), "subject": finding.subject, "found": finding.found}
    return {**told, "mend": finding.mend or None}
