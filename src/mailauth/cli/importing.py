"""`mailauth import`: takes over the accounts of another mail system."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailauth.accounts.refusals import Refused
from mailauth.cli import options, showing
from mailauth.cli.opening import Site, actor, hasher, site
from mailauth.config.values import Secret

if TYPE_CHECKING:
    from mailauth.accounts.importing import Finding, Report
    from mailauth.imports.entry import Items

FILES = ("passwd-file", "csv")
SYSTEMS = ("postfixadmin", "mailcow", "mailu")
SHOWN = 50  # of what is told to people; --json has all
STEP = 1000


@click.command("import", short_help="Take over the accounts of another mail system.")
@click.argument("kind", type=click.Choice((*FILES, *SYSTEMS)))
@click.argument("source", metavar="FROM")
@click.option("--dry-run", is_flag=True, help="Say what would come of it, and change nothing.")
@click.option("--domain", default="", metavar="NAME", help="The domain of users that are written without one.")
@click.option(
    "--default-scheme", default="", metavar="SCHEME", help="The scheme of hashes without a {SCHEME}, such as CRYPT."
)
@click.option(
    "--without-password", is_flag=True, help="Add an account whose hash cannot be used without a web password."
)
@click.option("--secret-file", metavar="FILE", help="Holds the password of a postgresql:// URL; env:NAME too.")
@options.config
@options.as_json
def command(
    *,
    kind: str,
    source: str,
    dry_run: bool,
    domain: str,
    default_scheme: str,
    without_password: bool,
    secret_file: str | None,
    config_file: str | None,
    as_json: bool,
) -> None:
    """Add the accounts of another mail system, with their aliases and the hashes of their web passwords.

    FROM is a file for passwd-file (Dovecot, htpasswd) and csv; for postfixadmin, mailcow and mailu an SQLite file, a
    postgresql:// URL, or what `mysqldump DATABASE` wrote. A hash stays as it is until its owner logs in, and is then
    replaced by a strong one. App passwords are never taken over: new ones have to be made.

    An account that is there already is left as it is: what was interrupted, or had bad lines that were mended, is run
    again. The exit code is 65 if anything could not be read.

    \b
    Examples:
      mailauth import passwd-file /etc/dovecot/users --domain example.com --dry-run
      mailauth import mailcow mailcow.sql
      mailauth import postfixadmin postgresql://postfix@db/postfix --secret-file db-password
    """
    terms = {"default_scheme": default_scheme.strip("{}").upper(), "without_password": without_password}
    with site(config_file) as here:
        password = Secret(secret_file, "--secret-file").read() if secret_file else ""
        report = _taken_over(here, lambda: _items(kind, source, domain, password), dry_run=dry_run, **terms)
    if as_json:
        showing.print_json(_plain(report))
    else:
        _tell(report)
    if report.bad:
        raise Refused(f"{len(report.bad)} could not be taken over: mend them, and run this again")


def _taken_over(here: Site, items: Callable[[], Items], **terms: Any) -> Report:
    from mailauth.accounts.importing import Import  # noqa: PLC0415  other commands need not wait for it
    from mailauth.imports.entry import CannotRead  # noqa: PLC0415

    try:
        return Import(here.store, hasher(here.settings).hash, actor(), progress=_progress, **terms).run(items())
    except CannotRead as reason:
        raise Refused(str(reason)) from None


def _items(kind: str, source: str, domain: str, password: str) -> Items:
    from mailauth.imports import files, systems, tables  # noqa: PLC0415

    readers: dict[str, Any] = {
        "passwd-file": partial(files.passwd_file, Path(source), domain),
        "csv": partial(files.csv_file, Path(source), domain),
        "postfixadmin": lambda: systems.postfixadmin(tables.opened(source, password, systems.POSTFIXADMIN)),
        "mailcow": lambda: systems.mailcow(tables.opened(source, password, systems.MAILCOW)),
        "mailu": lambda: systems.mailu(tables.opened(source, password, systems.MAILU)),
    }
    items: Items = readers[kind]()
    return items


def _progress(count: int) -> None:
    if count % STEP == 0:
        click.echo(f"{count} accounts so far", err=True)


def _plain(report: Report) -> dict[str, Any]:
    return {
        "dry_run": report.dry_run,
        "added": report.added,
        "already_there": report.there,
        "aliases_added": report.aliases,
        "hashes": dict(report.schemes),
        "weak_hashes": report.weak,
        "bad": [_finding(one) for one in report.bad],
        "left_out": [_finding(one) for one in report.left_out],
    }


def _finding(one: Finding) -> dict[str, str]:
    return {"place": one.place, "login": one.login, "what": one.what}


def _tell(report: Report) -> None:
    would = "would be " if report.dry_run else ""
    click.echo(f"accounts {would}added: {report.added}; there already, left as they are: {report.there}")
    click.echo(f"aliases {would}added: {report.aliases}")
    if report.schemes:
        told = ", ".join(f"{showing.printed(scheme)} {count}" for scheme, count in sorted(report.schemes.items()))
        click.echo(f"web passwords: {told}")
    if report.weak:
        told = ", ".join(f"{count} of {scheme}" for scheme, count in sorted(report.weak.items()))
        click.echo(f"weak until their owners log in: {told}")
    _list("not taken over:", report.left_out)
    _list("could not be taken over:", report.bad)


def _list(head: str, findings: list[Finding]) -> None:
    if not findings:
        return
    click.echo(head)
    for one in findings[:SHOWN]:
        whose = f"{one.login}: " if one.login and one.login not in one.place else ""
        click.echo(f"  {showing.printed(one.place)}: {showing.printed(whose + one.what)}")
    if len(findings) > SHOWN:
        click.echo(f"  and {len(findings) - SHOWN} more, which --json shows")
