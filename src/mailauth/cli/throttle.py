"""`mailauth throttle`: who is slowed down for wrong passwords, and ending it."""

from __future__ import annotations

from typing import Any

import click

from mailauth.accounts import throttled as use
from mailauth.cli import options, showing
from mailauth.cli.opening import actor, site
from mailauth.store.changes import Effect


@click.group("throttle", short_help="Show who is slowed down for wrong passwords; end it.")
def command() -> None:
    """Sources, networks and accounts that have to wait before another password of theirs is judged.

    Each wait ends by itself, and none holds up an app password.
    """


@command.command("list")
@click.argument("subject", metavar="[ADDRESS or IP]", required=False)
@options.config
@options.as_json
def list_(subject: str | None, config_file: str | None, as_json: bool) -> None:
    """List who is slowed down now, why, and until when.

    Up to a second behind the running processes. Spent: distinct wrong passwords that still count.

    \b
    Examples:
      mailauth throttle list
      mailauth throttle list alice@example.com
      mailauth throttle list 192.0.2.0/24 --json
    """
    with site(config_file) as here:
        found = use.throttled(here.store, subject)
    rows = [showing.plain(view) for view in found]
    if as_json:
        showing.print_json(rows)
    else:
        showing.print_table([_line(row) for row in rows], "nobody is slowed down")


def _line(row: dict[str, Any]) -> dict[str, object]:
    spent = f"{row['spent']:.1f} of {row['guesses']}"
    return {"kind": row["kind"], "who": row["subject"], "why": row["why"], "spent": spent, "until": row["until_at"]}


@command.command("clear")
@click.argument("subject", metavar="[ADDRESS or IP]", required=False)
@options.config
@options.as_json
def clear(subject: str | None, config_file: str | None, as_json: bool) -> None:
    """Forget the wrong passwords that were counted.

    Named is an account, an IP address or a network; with none of these, all counts are forgotten. An IP address takes
    the count of its network (IPv4 /24, IPv6 /48) along, a network those of all addresses in it.

    \b
    Examples:
      mailauth throttle clear alice@example.com
      mailauth throttle clear 192.0.2.7
      mailauth throttle clear 2001:db8::/48
      mailauth throttle clear
    """
    with site(config_file) as here:
        effect = Effect()
        done = use.clear(here.store, subject, actor=actor(), effect=effect)
    if as_json:
        told = {"scope": done.scope, "subject": done.subject or None, "counts": done.counts}
        showing.print_json({**told, "no_answer_from": effect.silent})
        return
    if subject is None:
        click.echo("note: neither an account nor an IP address was named, so all counts are forgotten", err=True)
    counts = f"{done.counts} {'count' if done.counts == 1 else 'counts'}"
    click.echo(f"forgot {counts} of {done.subject}" if done.subject else f"forgot {counts}: everything")
    for process in effect.silent:
        click.echo(f"note: {process} did not answer; it forgets once it has heard of this", err=True)
