"""`mailauth audit`: who got in or did not, and who changed what."""

from __future__ import annotations

from datetime import date

import click

from mailauth.accounts import history
from mailauth.cli import options, showing
from mailauth.cli.opening import site


@click.command("audit", short_help="Print the audit log.")
@click.argument("address", required=False)
@options.moment("--since", "Only from then on; a bare date: from its start.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="So many of the latest rows.")
@options.config
@options.as_json
def command(address: str | None, since: date | None, limit: int, config_file: str | None, as_json: bool) -> None:
    """Print the audit log, oldest first: logins with the reason of each refusal, and every change with who made it.

    Equal logins within a minute are one row with a count. Passwords are never in it.

    \b
    Examples:
      mailauth audit alice@example.com
      mailauth audit --since 2027-01-31T18:00+08:00 --json
    """
    with site(config_file) as here:
        start = None if since is None else options.begins(since, here.timezone)
        rows = list(history.audit(here.store, address, start, limit))
    if as_json:
        showing.print_json([showing.plain(row) for row in rows])
    else:
        showing.print_table([_line(row) for row in rows], "the audit log has nothing of that")


def _line(row: history.AuditRow) -> dict[str, object]:
    credential = None if row.credential_id is None else f"{row.credential_id} {row.label or ''}".strip()
    return {
        "at": showing.plain(row)["at"],
        "what": row.kind if row.count == 1 else f"{row.kind} x{row.count}",
        "outcome": row.outcome,
        "account": row.login,
        "service": row.service,
        "from": row.peer,
        "app_password": credential,
        "detail": row.detail,
        "by": row.actor,
        "client": row.client,
    }
