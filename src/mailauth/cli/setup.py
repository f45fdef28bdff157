"""`mailauth setup`: what a mail server needs to ask mailauth, printed or put in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailauth.cli import options

if TYPE_CHECKING:
    from mailauth.setup.installing import Written
    from mailauth.setup.plan import Asked, File, Plan

F = TypeVar("F", bound=Callable[..., Any])


@click.group("setup", short_help="Have Postfix, Dovecot, Exim, nginx, Cyrus or systemd use mailauth.")
def command() -> None:
    """Have a mail server ask mailauth: the exact configuration for the version that is installed.

    Without --write everything is printed and nothing is touched. With --write it is put in place, each file with a copy
    of what was there beside it (NAME.before-mailauth), and the server's own program checks it: what it does not take
    is put back. Nothing is restarted; --reload has the server read its configuration anew. A second run changes
    nothing, and says so.

    \b
    Example:
      mailauth setup postfix
      mailauth setup postfix --write
      mailauth setup systemd --write
    """


def _host(function: F) -> F:
    """The options of every host."""
    for option in (
        options.config,
        click.option("--reload", is_flag=True, help="Have it read its configuration anew; with --write."),
        click.option("--write", is_flag=True, help="Put it in place, and keep a copy of what was there."),
        click.option("--config-dir", type=click.Path(path_type=Path), help="Folder of its configuration."),
        click.option("--version", default="", help="Its version, where it runs on another machine: then only print."),
    ):
        function = option(function)
    return function


_address = click.option("--address", default="", metavar="ADDRESS", help="Of the [[bridge]]: unix:PATH or HOST:PORT.")


@command.command("postfix", short_help="Postfix: submission asks by Dovecot's auth protocol.")
@_host
@_address
@click.option("--submission", multiple=True, metavar="SERVICE", help="A submission service, as in master.cf; repeat.")
def postfix(submission: tuple[str, ...], **asked: Any) -> None:
    """Postfix: main.cf, and the submission services of master.cf. AUTH is never switched on at port 25.

    Without --submission they are submission, submissions, smtps, 587 and 465, as far as they are there.

    \b
    Example:
      mailauth setup postfix --write --reload
    """
    from mailauth.setup import postfix as host  # noqa: PLC0415  one command pays for one host

    _carry_out(asked, lambda told: host.plan(told, submission))


@command.command("dovecot", short_help="Dovecot 2.3 and 2.4: a Lua script, or the password grant.")
@_host
@_address
@options.choice("--kind", "dovecot-lua", "dovecot-grant", meaning="Of the [[bridge]]; else Lua where it is installed.")
@click.option("--doveadm", default="127.0.0.1:8414", show_default=True, help="Where doveadm is to listen.")
def dovecot(kind: str | None, doveadm: str, **asked: Any) -> None:
    """Dovecot: conf.d/auth-mailauth.conf.ext in place of the other passdbs; userdbs and master users stay.

    \b
    Example:
      mailauth setup dovecot --write
      mailauth setup dovecot --version 2.4.1 --kind dovecot-lua
    """
    from mailauth.setup import dovecot as host  # noqa: PLC0415

    _carry_out(asked, lambda told: host.plan(told, kind or "", doveadm))


@command.command("exim", short_help="Exim: authenticators by Dovecot's auth protocol.")
@_host
@_address
@click.option("--group", default="Debian-exim", show_default=True, help="The group of Exim's processes.")
def exim(group: str, **asked: Any) -> None:
    """Exim: two authenticators in front of all others; on Debian in conf.d or in the template, as it is configured.

    \b
    Example:
      mailauth setup exim --write
    """
    from mailauth.setup import exim as host  # noqa: PLC0415

    _carry_out(asked, lambda told: host.plan(told, group))


@command.command("nginx", short_help="nginx: a mail proxy that asks by auth_http.")
@_host
@_address
@click.option("--backend", multiple=True, metavar="ENTRY", help="Where a service's mailboxes are; repeat.")
@click.option("--certificate", default="", metavar="FILE", help="Certificate that nginx shows; else that of [tls].")
@click.option("--key", default="", metavar="FILE", help="Its key.")
@click.option("--name", default="", metavar="HOST", help="The name that nginx greets with.")
def nginx(backend: tuple[str, ...], certificate: str, key: str, name: str, **asked: Any) -> None:
    """nginx: a mail { } with TLS from the first byte, on 993, 995 and 465.

    \b
    Example:
      mailauth setup nginx --backend "imap 192.0.2.10:143" --backend "smtp 192.0.2.10:587" --write
    """
    from mailauth.setup import nginx as host  # noqa: PLC0415

    _carry_out(asked, lambda told: host.plan(told, host.Proxy(backend, certificate, key, name)))


@command.command("cyrus", short_help="Cyrus IMAP, and whatever else asks saslauthd.")
@_host
@_address
@options.choice(
    "--application", "imapd", "smtpd", "slapd", meaning="Cyrus IMAP (else), Postfix with Cyrus SASL, OpenLDAP."
)
def cyrus(application: str | None, **asked: Any) -> None:
    """What asks saslauthd: its options say where mailauth's socket is.

    \b
    Example:
      mailauth setup cyrus --write
      mailauth setup cyrus --application smtpd
    """
    from mailauth.setup import cyrus as host  # noqa: PLC0415

    _carry_out(asked, lambda told: host.plan(told, application or "imapd"))


@command.command("systemd", short_help="systemd: the sockets, always there, and the service.")
@_host
@click.option("--user", default="mailauth", show_default=True, help="The user that mailauth runs as.")
def systemd(user: str, **asked: Any) -> None:
    """systemd: a unit for the service, in a sandbox, and units for the sockets that mailauth.toml names.

    systemd opens the sockets before any mail server starts, and keeps them while mailauth starts anew.

    \b
    Example:
      mailauth setup systemd --write
    """
    from mailauth.setup import systemd as host  # noqa: PLC0415

    _carry_out({**asked, "address": ""}, lambda told: host.plan(told, user))


def _carry_out(asked: dict[str, Any], planned: Callable[[Asked], Plan]) -> None:
    from mailauth import config  # noqa: PLC0415
    from mailauth.setup.plan import Asked  # noqa: PLC0415

    if asked["reload"] and (not asked["write"] or asked["version"]):
        raise click.UsageError("--reload goes with --write, for a host on this machine")
    settings = config.load(config.find(asked["config_file"]))
    folder = asked["config_dir"]
    told = Asked(settings, asked["version"], None if folder is None else folder.absolute(), asked["address"])
    plan = planned(told)
    click.echo(f"{plan.host}\n")
    if asked["write"]:
        _write(plan, settings)
    else:
        _print(plan, settings)
    _say_what_else(plan)
    if asked["reload"]:
        _reload(plan)


def _write(plan: Plan, settings: Any) -> None:
    from mailauth import config  # noqa: PLC0415
    from mailauth.bridgeheads import bridges_of  # noqa: PLC0415
    from mailauth.setup.installing import install  # noqa: PLC0415
    from mailauth.setup.programs import said  # noqa: PLC0415

    def check() -> None:
        bridges_of(config.load(settings.source))
        if plan.check:
            said(plan.check)
        if plan.require is not None:
            plan.require()

    files = [*plan.ours] if plan.is_elsewhere else [*plan.ours, *plan.files]
    shown = _changes(files)
    _say_written(install(files, check), shown)
    if plan.is_elsewhere:
        _print_host(plan)


def _say_written(written: list[Written], shown: str) -> None:
    if not written:
        click.echo("Nothing was changed: everything is there already.\n")
        return
    click.echo(shown)
    for one in written:
        kept = "" if one.copy is None else f" (what was there: {one.copy})"
        click.echo(f"wrote {one.path}{kept}")
    click.echo()


def _print(plan: Plan, settings: Any) -> None:
    table = plan.table
    if table is not None:
        is_there = all(file.is_there for file in plan.ours if file.path == settings.source)
        click.echo(
            f"{settings.source}: the [[bridge]] is there already.\n" if is_there else f"For {settings.source}:\n"
        )
        if not is_there:
            click.echo("\n".join([one.text for one in (table, *plan.beside)]))
    others = [file for file in plan.ours if file.path != settings.source and not file.is_there]
    for file in others:
        click.echo(f"{file.path} is to hold a secret, mode 0600; --write makes it (or: openssl rand -hex 32).\n")
    _print_host(plan)


def _print_host(plan: Plan) -> None:
    if plan.commands:
        click.echo("\n".join(plan.commands) + "\n")
    shown = _changes(plan.files)
    if shown:
        click.echo(shown)
    elif not plan.commands:
        click.echo("Its own files: everything is there already.\n")
    if any(file.secret and not file.is_there for file in plan.files):
        click.echo("Where TOKEN stands, a secret does: the one in mailauth's own file.\n")


def _changes(files: Iterable[File]) -> str:
    return "\n".join([file.shown() for file in files if not file.is_there])


def _say_what_else(plan: Plan) -> None:
    click.echo("What else is to be done:")
    steps = [
        *plan.to_do,
        "Start mailauth anew, so that the [[bridge]] is there: systemctl restart mailauth" if plan.table else "",
        f"When all is there: {' '.join(plan.reload)}" if plan.reload and not plan.is_elsewhere else "",
        *plan.afterwards,
        "Then: mailauth doctor",
    ]
    for number, step in enumerate(filter(None, steps), start=1):
        click.echo(f" {number}. {step}")


def _reload(plan: Plan) -> None:
    from mailauth.setup.programs import said  # noqa: PLC0415

    said(plan.reload)
    click.echo(f"\ndone: {' '.join(plan.reload)}")
