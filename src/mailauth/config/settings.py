"""Every section and key of mailauth.toml: what it means, what it may hold, and what it is when it is not written.

Rule: this, with `bounds`, `bridge`, `keeper` and `portal`, is the one list. `reading` checks files against it,
`writing` makes the file that `init` writes and the table in docs/configuration.md from it. What one section alone
cannot say is checked in its `__post_init__`.
"""
# ruff: noqa: RUF009  `key` makes dataclass fields

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from mailauth import apppassword
from mailauth.attempt import Service
from mailauth.config.bounds import Hashing, Limits, Replies, Retention, Throttle
from mailauth.config.bridge import Bridge, UnixPath
from mailauth.config.keeper import Keeper
from mailauth.config.plugged import Plugged
from mailauth.config.portal import Portal
from mailauth.config.values import (
    Address,
    Impossible,
    Kind,
    Secret,
    address,
    check_host,
    check_timezone,
    flag,
    key,
    member,
    networks,
    one_of,
    path,
    seconds,
    secret,
    text,
    whole,
)
from mailauth.interfaces import PolicyLevel

MEBIBYTE = 1024 * 1024
Security = Literal["implicit", "starttls", "off"]
MESSAGE_BYTES = whole(64 * 1024, 1024 * MEBIBYTE)  # RFC 5321 section 4.5.3.1.7: at least 64K


def _url(value: object, folder: Path) -> str:
    if type(value) is str and value.startswith("sqlite:///") and len(value) > len("sqlite:///"):
        return f"sqlite:///{folder / Path(value.removeprefix('sqlite:///')).expanduser()}"
    if type(value) is not str or not value.startswith("postgresql://"):
        raise ValueError('must be "sqlite:///PATH" or "postgresql://USER@HOST/DATABASE"')
    parts = urlsplit(value)
    if parts.password or "password" in parse_qs(parts.query):
        raise ValueError("holds a password; put that into a file and name it in password_file")
    return value


@dataclass(frozen=True, slots=True)
class Store:
    """Where domains, accounts and app passwords are kept."""

    url: str = key(Kind("a URL", _url), doc="sqlite:///PATH, or postgresql://USER@HOST/DATABASE without a password")
    password_file: Secret | None = key(secret, None, doc="the PostgreSQL password: a file that holds it, or env:NAME")
    timeout_s: float = key(seconds(0.1, 60), 20.0, doc="wait this long for the store; then a login is deferred")
    connections: int = key(whole(1, 100), 4, doc="connections of one serve process to PostgreSQL")


@dataclass(frozen=True, slots=True)
class Key:
    """The server key: without it no app password can be recognised. Back it up, apart from the store."""

    file: Path = key(path, doc="the key file, mode 0600")


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificate of all listeners. `kill -HUP` has both files read again."""

    certificate: Path = key(path, doc="PEM file: the certificate, then the intermediate ones")
    key: Path = key(path, doc="PEM file: its private key, without a passphrase")


@dataclass(frozen=True, slots=True)
class Listen:
    """One address that mail clients connect to; as many of these tables as needed."""

    service: Service = key(member(Service), doc="imap, pop3 or smtp (submission)")
    address: Address = key(address, doc='"HOST:PORT"; "0.0.0.0:993" is every IPv4 address, "[::]:993" every IPv6 one')
    tls: Security = key(
        one_of("implicit", "starttls", "off"),
        doc="implicit: from the first byte; starttls: the client asks for it; off: passwords go in clear",
    )
    proxy_from: tuple[IPv4Network | IPv6Network, ...] = key(
        networks, [], doc="proxies whose connections begin with a PROXY header (v1 or v2), as CIDR networks"
    )
    reuse_port: bool = key(flag, False, doc="several serve processes listen here together")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """What a client reads after login."""

    kind: str = key(
        one_of("maildir", "backend"),
        "maildir",
        doc="maildir: one Maildir for each account; backend: the mail servers of [backends.NAME]",
    )
    path: Path = key(path, "mail", doc="the folder that holds the Maildirs")
    max_message_bytes: int = key(MESSAGE_BYTES, 35 * MEBIBYTE, doc="the longest message that IMAP APPEND takes")


@dataclass(frozen=True, slots=True)
class Submission:
    """What a client sends after login."""

    hostname: str = key(
        text("a host name", check_host, empty=True), "", doc="the name in the greeting; empty: this machine's own"
    )
    require_own_sender: bool = key(flag, True, doc="the sender must be the account's own address or one of its aliases")
    max_message_bytes: int = key(MESSAGE_BYTES, 35 * MEBIBYTE, doc="the longest message taken")

    @property
    def greeting_name(self) -> str:
        """The name that the greeting says."""
        return self.hostname or os.uname().nodename or "localhost"


@dataclass(frozen=True, slots=True)
class Relay:
    """Where mail for other domains goes. Without this section it is refused."""

    host: str = key(text("a host", check_host), doc="name or IP address of the mail server that takes it")
    port: int = key(whole(1, 65535), 587, doc="its port")
    tls: Security = key(one_of("starttls", "implicit", "off"), "starttls", doc="how the connection to it is secured")
    username: str = key(text("text", empty=True), "", doc="log in there with this name; empty: without a login")
    password_file: Secret | None = key(secret, None, doc="the password there: a file that holds it, or env:NAME")

    def __post_init__(self) -> None:
        if bool(self.username) != (self.password_file is not None):
            raise Impossible("password_file", "username and password_file need each other; write both or neither")
        if self.username and self.tls == "off":
            raise Impossible("tls", 'is "off", so the password would go in clear; use "starttls" or "implicit"')


@dataclass(frozen=True, slots=True)
class Policy:
    """The first three are what `mailauth init` writes into the store; later `mailauth site set` changes them there."""

    policy: PolicyLevel = key(
        member(PolicyLevel),
        "optional",
        doc="optional; observe: use of web passwords is recorded; enforced: mail clients "
        "get in with app passwords only",
    )
    two_factor: str = key(one_of("optional", "required"), "optional", doc="whether the site demands a second factor")
    max_app_passwords: int = key(whole(1, 100), 10, doc="live app passwords of one account, at most")
    two_factor_sets_mode: bool = key(
        flag, True, doc="confirming a second factor switches the account to app passwords only"
    )
    timezone: str = key(
        text("a time zone", check_timezone), "UTC", doc="in which a date without a time begins and ends"
    )
    aliases_log_in: bool = key(flag, False, doc="an alias may be typed as the login too")
    app_password_alphabet: str = key(
        text("text", apppassword.check_alphabet), apppassword.ALPHABET, doc="what new app passwords are made of"
    )


@dataclass(frozen=True, slots=True)
class Log:
    """The log of `mailauth serve`; it never holds a password."""

    level: str = key(one_of("debug", "info", "warning", "error"), "info", doc="the least that is written")
    file: Path | None = key(path, None, doc="a file that lines are added to; without it: standard error")


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file. source: where it was read; listen, bridge: in the order of the file."""

    source: Path
    store: Store
    key: Key
    tls: Tls | None = None
    listen: tuple[Listen, ...] = ()
    bridge: tuple[Bridge, ...] = ()
    mailbox: Mailbox = Mailbox()
    keeper: Keeper = Keeper()
    submission: Submission = Submission()
    relay: Relay | None = None
    portal: Portal | None = None
    policy: Policy = Policy()
    hashing: Hashing = Hashing()
    throttle: Throttle = Throttle()
    replies: Replies = Replies()
    limits: Limits = Limits()
    retention: Retention = Retention()
    log: Log = Log()
    factors: tuple[Plugged, ...] = ()
    gateways: tuple[Plugged, ...] = ()
    sources: tuple[Plugged, ...] = ()
    backends: tuple[Plugged, ...] = ()

    def __post_init__(self) -> None:
        for number, listener in enumerate(self.listen, start=1):
            if listener.tls != "off" and self.tls is None:
                raise Impossible(f"[listen] #{number} tls", f'is "{listener.tls}", which needs a section [tls]')
            for other, earlier in enumerate(self.listen[: number - 1], start=1):
                if _overlap(listener.address, earlier.address):
                    raise Impossible(
                        f"[listen] #{number} address", f"{listener.address} is taken by [listen] #{other} already"
                    )
        self._check_bridges()
        if self.portal is not None:
            self._check_portal(self.portal)

    def _check_bridges(self) -> None:
        taken: list[tuple[str, Address | UnixPath]]
        taken = [(f"[listen] #{number}", listener.address) for number, listener in enumerate(self.listen, start=1)]
        for number, bridge in enumerate(self.bridge, start=1):
            for name, other in taken:
                if _collide(bridge.address, other):
                    raise Impossible(f"[bridge] #{number} address", f"{other} is taken by {name} already")
            taken.append((f"[bridge] #{number}", bridge.address))

    def _check_portal(self, portal: Portal) -> None:
        if portal.own_tls and self.tls is None:
            raise Impossible("[portal] public_url", "is https://, which needs a section [tls], or trusted_proxies")
        taken: list[tuple[str, Address | UnixPath]]
        taken = [(f"[listen] #{number}", listener.address) for number, listener in enumerate(self.listen, start=1)]
        taken += [(f"[bridge] #{number}", bridge.address) for number, bridge in enumerate(self.bridge, start=1)]
        for name, other in taken:
            if _collide(portal.address, other):
                raise Impossible("[portal] address", f"{portal.address} is taken by {name} already")


def _collide(one: Address | UnixPath, other: Address | UnixPath) -> bool:
    if isinstance(one, Address) and isinstance(other, Address):
        return _overlap(one, other)
    return one == other


def _overlap(one: Address, other: Address) -> bool:
    """Whether both cannot be bound together: the same port on the same address, or on all addresses of its family."""
    if one.port != other.port or one.port == 0:
        return False
    return one.host == other.host or (
        (":" in one.host) == (":" in other.host) and (_is_every(one.host) or _is_every(other.host))
    )


def _is_every(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


SECTIONS: dict[str, type] = {
    "store": Store,
    "key": Key,
    "tls": Tls,
    "listen": Listen,
    "bridge": Bridge,
    "mailbox": Mailbox,
    "keeper": Keeper,
    "submission": Submission,
    "relay": Relay,
    "portal": Portal,
    "policy": Policy,
    "hashing": Hashing,
    "throttle": Throttle,
    "replies": Replies,
    "limits": Limits,
    "retention": Retention,
    "log": Log,
}
REQUIRED = ("store", "key")
ABSENT = (
    "tls",
    "bridge",
    "relay",
    "portal",
)  # sections that may be missing altogether; of the others, missing means all defaults
REPEATED = ("listen", "bridge")
