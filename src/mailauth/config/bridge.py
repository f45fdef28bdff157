"""The section of mailauth.toml for each bridge: where a host asks, who may ask, and for whom.

Rule: as in `settings`. What every kind has stands here; the other keys of a table are its kind's own, checked there.
"""
# ruff: noqa: RUF009  `key` makes dataclass fields

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from mailauth.attempt import Service
from mailauth.config.plugged import Plugged
from mailauth.config.values import (
    Address,
    Impossible,
    Kind,
    Secret,
    address,
    flag,
    key,
    member,
    members,
    networks,
    secret,
    text,
    texts,
    whole,
)

UNIX = "unix:"
EVERYWHERE = ["0.0.0.0/0", "::/0"]
LOOPBACK = ["127.0.0.0/8", "::1/128"]
NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class UnixPath:
    """A UNIX socket to listen on."""

    path: Path

    def __str__(self) -> str:
        return f"{UNIX}{self.path}"


def endpoint(value: object, folder: Path) -> Address | UnixPath:
    """Where to listen. Raises ValueError."""
    if type(value) is str and value.startswith(UNIX):
        name = value.removeprefix(UNIX)
        if not name or name.endswith("/") or "\0" in name:
            raise ValueError('must be "unix:PATH", with the path of a socket')
        return UnixPath(folder / Path(name).expanduser())
    try:
        tcp: Address = address.read(value, folder)
    except ValueError as error:
        raise ValueError(f'must be "unix:PATH", or: {error}') from None
    return tcp


def octal_mode(value: object, folder: Path) -> int:  # noqa: ARG001
    """The mode of a UNIX socket. Raises ValueError."""
    if type(value) is not str or not re.fullmatch(r"0[0-7]{3}", value):
        raise ValueError('must be an octal mode in quotes, such as "0660"')
    mode = int(value, 8)
    if mode & 0o007 or not mode & 0o200:
        raise ValueError('must let its owner write and say nothing about others, such as "0660" or "0600"')
    return mode


def _kind_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError("must be the name of a bridge, such as dovecot-auth")


@dataclass(frozen=True, slots=True)
class Bridge:
    """One place where a mail server asks us; as many of these tables as needed. See docs/bridges.md for each kind."""

    kind: str = key(text("a name", _kind_name), doc="what is spoken there, such as dovecot-auth or saslauthd")
    address: Address | UnixPath = key(Kind('"unix:PATH" or "HOST:PORT"', endpoint), doc="where it listens")
    allow_tcp: bool = key(flag, False, doc='must be true where the address is "HOST:PORT": it is not encrypted')
    hosts: tuple[IPv4Network | IPv6Network, ...] = key(
        networks, LOOPBACK, doc="who may connect by TCP, as CIDR networks"
    )
    socket_group: str = key(text("a group", empty=True), "", doc="the UNIX socket's group; it may connect as well")
    socket_mode: int = key(Kind("an octal mode", octal_mode), "0660", doc="the UNIX socket's mode")
    users: tuple[str, ...] = key(
        texts("a list of users"), [], doc="who may connect beside root, ourselves and these groups"
    )
    groups: tuple[str, ...] = key(texts("a list of groups"), [], doc="whose members may connect too")
    services: tuple[Service, ...] = key(
        members(Service), [*Service], doc="the services it asks for; a login for another is deferred"
    )
    other_service: Service | None = key(
        member(Service), None, doc="what a service of an unknown name counts as; without it such a login is deferred"
    )
    clients: tuple[IPv4Network | IPv6Network, ...] = key(
        networks, EVERYWHERE, doc="networks it may name a client from; any other client counts as the bridge itself"
    )
    slots: int = key(whole(4, 100_000), 100, doc="logins the host has under way; a quarter may wait for a refusal")
    token_file: Secret | None = key(secret, None, doc="for kinds that speak HTTP: the host's token, or env:NAME")
    options: Plugged = field(default_factory=lambda: Plugged(""))

    def __post_init__(self) -> None:
        if isinstance(self.address, Address) and not self.allow_tcp:
            raise Impossible("address", "is TCP, which is not encrypted; use unix:PATH, or write allow_tcp = true")
        if not self.services:
            raise Impossible("services", "is empty, so nobody could ever be judged; name one, or leave it out")
