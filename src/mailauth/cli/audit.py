"""`mailauth audit`: who got in or did not, and who changed what."""

from __future__ import annotations

from datetime import date

import click

from mailauth.accounts import history
from mailauth.cli import options, showing
from mailauth.cli.opening import site

SHOWN_ROWS = 1000


@click.command("audit", short_help="Print or export the audit log.")
@click.argument("address", required=False)
@options.moment("--since", "Only from then on; a bare date: from its start.")
@click.option(
    "--limit", type=click.IntRange(1), help=f"So many of the latest rows; default: {SHOWN_ROWS}, or as JSON all."
)
@click.option("--activity", is_flag=True, help="Only what the account's owner is shown of it.")
@options.config
@options.as_json
@click.option("--json-lines", is_flag=True, help="Export: a JSON object for each row, on a line of its own.")
def command(
    *,
    address: str | None,
    since: date | None,
    limit: int | None,
    activity: bool,
    config_file: str | None,
    as_json: bool,
    json_lines: bool,
) -> None:
    """Print the audit log, oldest first: logins with the reason of each refusal, and every change with who made it.

    Equal logins within a minute are one row with a count; a wrong password that is tried again counts in its row,
    another one has a row of its own. Passwords are never in it. As JSON it is the whole log, unless limited.

    \b
    Examples:
      mailauth audit alice@example.com
      mailauth audit --since 2027-01-31T18:00+08:00 --json-lines > audit.jsonl
    """
    if activity and (address is None or since is not None):
        raise click.UsageError("--activity needs an ADDRESS, and goes without --since")
    limit = limit if limit or as_json or json_lines else SHOWN_ROWS
    with site(config_file) as here:
        if activity and address is not None:
            rows = history.activity(here.store, address, days=here.settings.retention.activity_days, limit=limit)
        else:
            start = None if since is None else options.begins(since, here.timezone)
            rows = history.audit(here.store, address, start, limit)
        if json_lines:
            showing.print_json_lines(rows)
        elif as_json:
            showing.print_json_array(rows)
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
