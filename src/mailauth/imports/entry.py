"""What is read of another mail system: accounts to be made, and what of it cannot be had here.

Rule: nothing is passed over. What cannot be read is Unread, with its place; what has no like here is LeftOut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mailauth.attempt import Service


class CannotRead(Exception):
    """It cannot be read at all. The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One account. place: where it stands, for people. login, aliases: as they stand there.

    record: the web password's hash, "" for none, with its {SCHEME} if it has one. services: None for all.
    left_out: what it has there and cannot have here.
    """

    place: str
    login: str
    record: str = field(default="", repr=False)
    enabled: bool = True
    client_logon: bool = True
    services: frozenset[Service] | None = None
    aliases: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alias:
    """Another address of an account that may come before or after it."""

    place: str
    address: str
    login: str


@dataclass(frozen=True, slots=True)
class Unread:
    """What stands at this place cannot be read."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that is no account, and has no like here."""

    place: str
    what: str


Item = Entry | Alias | Unread | LeftOut
Items = Iterator[Item]
Tables = Callable[[str], "Iterator[dict[str, str | None]]"]  # the rows of a table; none if there is no such table


def services(*, imap: bool, pop3: bool, smtp: bool) -> frozenset[Service] | None:
    """Those that are on; None: all."""
    on = frozenset([one for one, is_on in ((Service.IMAP, imap), (Service.POP3, pop3), (Service.SMTP, smtp)) if is_on])
    return None if len(on) == len(Service) else on


def is_on(value: str | None, *, default: bool = True) -> bool:
    """A flag as databases write it."""
    if value is None or value == "":
        return default
    return value.lower() not in {"0", "f", "false", "n", "no", "off"}
