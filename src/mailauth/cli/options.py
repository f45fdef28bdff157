"""The options that many commands take, and how their values are read.

Source: contract 4. Times: ISO 8601; UTC unless they carry an offset; a bare date begins and ends in [policy] timezone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, TypeVar

import click

from mailauth.attempt import Service
from mailauth.interfaces import PolicyLevel

F = TypeVar("F", bound=Callable[..., Any])
Option = Callable[[F], F]

config: Option[Any] = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    help="Configuration to use; else $MAILAUTH_CONFIG, ./mailauth.toml, /etc/mailauth/mailauth.toml.",
)
as_json: Option[Any] = click.option("--json", "as_json", is_flag=True, help="Print data as JSON.")
password_stdin: Option[Any] = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)


def switch(name: str, meaning: str) -> Option[Any]:
    """An option that is on, off, or not given (None)."""

    def is_on(ctx: click.Context, param: click.Parameter, value: str | None) -> bool | None:  # noqa: ARG001
        return None if value is None else value == "on"

    return click.option(name, type=click.Choice(("on", "off")), callback=is_on, help=meaning)


def choice(name: str, *words: str, meaning: str, required: bool = False) -> Option[Any]:
    """An option that is one of these words."""
    return click.option(name, type=click.Choice([str(word) for word in words]), required=required, help=meaning)


def moment(name: str, meaning: str) -> Option[Any]:
    """An option that is a datetime with an offset, or a date; `begins` and `ends` make instants of either."""
    return click.option(name, metavar="TIME", callback=_moment, help=meaning)


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> date | None:  # noqa: ARG001
    if value is None:
        return None
    for kind in (date, datetime):
        try:
            read = kind.fromisoformat(value)
        except ValueError:
            continue
        return read.replace(tzinfo=read.tzinfo or UTC) if isinstance(read, datetime) else read
    raise click.BadParameter(f"{value!r} is no ISO 8601 date or time, such as 2027-01-31 or 2027-01-31T18:00Z")


def begins(moment: date, timezone: str) -> float:
    """The instant, as epoch seconds, at which a date begins; of a time, the time itself."""
    if isinstance(moment, datetime):
        return moment.timestamp()
    return datetime.combine(moment, time(), _zone(timezone)).timestamp()


def ends(moment: date, timezone: str) -> float:
    """The instant, as epoch seconds, at which a date is over; of a time, the time itself."""
    if isinstance(moment, datetime):
        return moment.timestamp()
    return begins(moment + timedelta(days=1), timezone)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415  a small system may have no time zone database

    return ZoneInfo(name)


def services(ctx: click.Context, param: click.Parameter, value: str | None) -> frozenset[Service] | None:  # noqa: ARG001
    """`imap,smtp` as a set of services: a callback. Raises click.BadParameter."""
    if value is None:
        return None
    words = [word.strip().lower() for word in value.split(",")]
    for word in words:
        if word not in set(Service):
            raise click.BadParameter(f"{word!r} is no service; write one or more of {','.join(Service)}")
    return frozenset(map(Service, words))


def policy(command: F) -> F:
    """--policy, --enforce-from, --two-factor, --max-app-passwords: what each level of administration decides."""
    for option in (
        click.option("--max-app-passwords", type=int, metavar="N", help="Live app passwords of one account, at most."),
        choice("--two-factor", "optional", "required", meaning="Whether a second factor is demanded."),
        moment("--enforce-from", "When what is demanded begins; a bare date: at its start. Else at once."),
        choice(
            "--policy",
            *PolicyLevel,
            meaning="optional: users have the switch. observe: and use of web passwords is recorded. "
            "enforced: mail programs get in with app passwords only.",
        ),
    ):
        command = option(command)
    return command


def service_switches(command: F) -> F:
    """--enabled, --imap, --pop3, --smtp."""
    for service in reversed(Service):
        command = switch(f"--{service}", f"Whether {service.upper()} may be used.")(command)
    enabled: Option[F] = switch("--enabled", "Whether anything may be used at all.")
    return enabled(command)


def changes(timezone: str, **written: Any) -> dict[str, Any]:
    """The options of `policy` and `service_switches` as `accounts.changes` takes them.

    Raises click.UsageError if nothing was written: a change that changes nothing is a slip.
    """
    if all(value is None for value in written.values()):
        raise click.UsageError("say what to change")
    if written["policy"] is not None:
        written["policy"] = PolicyLevel(written["policy"])
    if written["two_factor"] is not None:
        written["two_factor"] = written["two_factor"] == "required"
    if written["enforce_from"] is not None:
        written["enforce_from"] = begins(written["enforce_from"], timezone)
    return written
