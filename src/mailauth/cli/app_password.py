"""`mailauth app-password`: the passwords that mail programs get in with."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date
from typing import Any

import click

from mailauth.accounts import apppasswords as use
from mailauth.accounts.mailboxes import show_account
from mailauth.accounts.views import moment
from mailauth.apppassword import grouped
from mailauth.attempt import Service
from mailauth.cli import effects, options, showing
from mailauth.cli.opening import actor, hasher, ring_of, site
from mailauth.store.changes import Effect

COLUMNS = ("id", "label", "services", "networks", "created_at", "expires_at", "suspended", "last_used_at")
LAST_USE = ("last_used_peer", "last_used_service", "last_used_client")


@click.group("app-password", short_help="Add, list, revoke, confirm or rename app passwords.")
def command() -> None:
    """App passwords: made here, shown once, one for each device, revocable alone. They never open the web portal."""


@command.command("add")
@click.argument("address")
@click.option("--label", required=True, help='What it is for, such as "Phone".')
@click.option(
    "--services", callback=options.services, metavar="LIST", help="For these only, such as imap,smtp; default: all."
)
@options.moment("--expires", "When it ends; a bare date: at its end. Default: never.")
@click.option("--from", "networks", multiple=True, metavar="CIDR", help="Only from this network; may be repeated.")
@options.config
@options.as_json
def add(
    *,
    address: str,
    label: str,
    services: frozenset[Service] | None,
    expires: date | None,
    networks: tuple[str, ...],
    config_file: str | None,
    as_json: bool,
) -> None:
    """Make an app password and print it: this once. It stands alone on the last line, without spaces.

    \b
    Examples:
      mailauth app-password add alice@example.com --label Phone
      mailauth app-password add alice@example.com --label Scanner --services smtp --from 192.0.2.0/24
    """
    with site(config_file) as here:
        expires_at = None if expires is None else options.ends(expires, here.timezone)
        minted = use.mint(
            here.store,
            ring_of(here),
            hasher(here.settings),
            address,
            label=label,
            services=services or tuple(Service),
            networks=networks,
            expires_at=expires_at,
            alphabet=here.settings.policy.app_password_alphabet,
            actor=actor(),
        )
        try:
            _print(minted, services or frozenset(Service), networks, expires_at, as_json)
            sys.stdout.flush()
        except OSError as error:  # nobody has seen it: it must not stay
            use.revoke(here.store, minted.login, ids=[minted.id], actor=actor())
            raise showing.Unprintable(f"app password {minted.id} was revoked again: {error.strerror}") from None
        if show_account(here.store, minted.login).effective_mode == "off":
            advice = f"`mailauth account set {minted.login} --mode on` ends that"
            click.echo(f"note: mail programs get in with the web password too; {advice}", err=True)


def _print(
    minted: use.Minted, services: frozenset[Service], networks: Sequence[str], expires_at: float | None, as_json: bool
) -> None:
    """Nothing is read again for this: the password must not be lost with a connection."""
    names = [str(service) for service in Service if service in services]
    until = None if expires_at is None else moment(expires_at)
    if as_json:
        told = {"login": minted.login, "id": minted.id, "label": minted.label, "services": names}
        showing.print_json({**told, "networks": networks, "expires_at": until, "password": minted.password})
        return
    click.echo(f"app password {minted.id} of {minted.login}: {showing.printed(minted.label)}")
    end = "without an end" if until is None else f"until {until}"
    click.echo(f"for {', '.join(names)}; from {', '.join(networks) or 'anywhere'}; {end}")
    click.echo(f"It is shown this once. With or without spaces: {grouped(minted.password)}")
    click.echo(minted.password)


@command.command("list")
@click.argument("address")
@options.config
@options.as_json
def list_(address: str, config_file: str | None, as_json: bool) -> None:
    """List the app passwords of an account, with the last use of each. The passwords themselves nobody can show.

    \b
    Example:
      mailauth app-password list alice@example.com
    """
    with site(config_file) as here:
        found = use.listed(here.store, address)
    showing.print_views(found, COLUMNS + LAST_USE, as_json, f"{address} has no app passwords")


@command.command("revoke")
@click.argument("address")
@click.option("--id", "ids", type=int, multiple=True, metavar="N", help="This one; may be repeated.")
@click.option("--label", help="Every one with exactly this label.")
@click.option("--all", "every", is_flag=True, help="Every one there is.")
@options.config
@options.as_json
def revoke(
    *, address: str, ids: tuple[int, ...], label: str | None, every: bool, config_file: str | None, as_json: bool
) -> None:
    """Revoke app passwords. Once this returns, no new login with one of them succeeds, in any process, and the
    sessions that were opened with one of them have ended; other sessions of the account stay.

    \b
    Examples:
      mailauth app-password revoke alice@example.com --label Phone
      mailauth app-password revoke alice@example.com --id 3 --id 4
    """
    if bool(ids) + (label is not None) + every != 1:
        raise click.UsageError("say which: --id, --label or --all, one of the three")
    with effects.all_or_nothing("nothing was revoked"), site(config_file) as here:
        effect = Effect()
        chosen: dict[str, Any] = {"ids": ids or None, "label": label, "every": every}
        revoked = use.revoke(here.store, address, **chosen, actor=actor(), effect=effect)
    if as_json:
        told = [{"id": one.id, "label": one.label} for one in revoked]
        showing.print_json({"revoked": told, **effects.plain(effect)})
        return
    for one in revoked:
        click.echo(f"revoked app password {one.id}: {showing.printed(one.label)}")
    if not revoked:
        click.echo("there was none to revoke")
    elif not (effect.ended or effect.without_answer):
        click.echo("no session was open with it")
    effects.say(effect)


@command.command("confirm", short_help="Let suspended app passwords work again.")
@click.argument("address")
@click.option("--id", "ids", type=int, multiple=True, metavar="N", help="This one; may be repeated.")
@click.option("--all", "every", is_flag=True, help="Every one that is suspended.")
@options.config
@options.as_json
def confirm(*, address: str, ids: tuple[int, ...], every: bool, config_file: str | None, as_json: bool) -> None:
    """Let app passwords work again that were suspended when a backup of the store was restored: those that their owner
    still wants. Revoke the others.

    \b
    Examples:
      mailauth app-password confirm alice@example.com --id 3
      mailauth app-password confirm alice@example.com --all
    """
    if bool(ids) == every:
        raise click.UsageError("say which: --id or --all, one of the two")
    with site(config_file) as here:
        confirmed = use.confirm(here.store, address, ids=ids or None, every=every, actor=actor())
    if as_json:
        showing.print_json({"confirmed": [{"id": one.id, "label": one.label} for one in confirmed]})
        return
    for one in confirmed:
        click.echo(f"confirmed app password {one.id}: {showing.printed(one.label)}")
    if not confirmed:
        click.echo("there was none to confirm")


@command.command("rename")
@click.argument("address")
@click.option("--id", "row_id", type=int, required=True, metavar="N", help="Which one; `list` shows the numbers.")
@click.option("--label", required=True, help="What it is to be called.")
@options.config
def rename(address: str, row_id: int, label: str, config_file: str | None) -> None:
    """Give an app password another label. Nothing else of it can be changed.

    \b
    Example:
      mailauth app-password rename alice@example.com --id 3 --label "Old phone"
    """
    with site(config_file) as here:
        view = use.rename(here.store, address, row_id, label, actor=actor())
    click.echo(f"app password {view.id} is called {showing.printed(view.label)} now")
