"""The section of mailauth.toml for the web portal.

Rule: as in `settings`. Over plain HTTP it is served to this machine alone; to others by TLS, its own or a proxy's.
"""
# ruff: noqa: RUF009  `key` makes dataclass fields

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from mailauth.attempt import Service
from mailauth.config.values import (
    Address,
    Impossible,
    Kind,
    address,
    check_host,
    flag,
    key,
    networks,
    one_of,
    seconds,
    text,
    whole,
)
from mailauth.names import fold

MAX_NAME_CHARACTERS = 60
USUAL_PORTS = {"http": 80, "https": 443}
SERVER = address
STARTTLS_PORTS = {110, 143, 587}  # what their users know them by; any other port is taken for one of implicit TLS


def _public_url(value: object, folder: Path) -> str:  # noqa: ARG001
    """As browsers write an origin (RFC 6454 section 6.1), so that it can be compared with what they say."""
    parts = urlsplit(value if type(value) is str else "")
    try:
        host, port = parts.hostname or "", parts.port
        check_host(host)
    except ValueError:
        host, port = "", None
    if parts.scheme not in USUAL_PORTS or not host or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("must be a URL without a path, such as https://mail.example.com or http://localhost:8080")
    if parts.username is not None:
        raise ValueError("holds a user name; write it without")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in {None, USUAL_PORTS[parts.scheme]} else f":{port}")


def _name(name: str) -> None:
    if not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        raise ValueError(f"must be one line of at most {MAX_NAME_CHARACTERS} characters")


def _mail_from(written: str) -> None:
    if written.isascii():
        fold(written)  # raises NotALogin, which is a ValueError
        return
    raise ValueError("must be of ASCII letters; write the domain as xn--...")


@dataclass(frozen=True, slots=True)
class Portal:
    """The web pages where people make and delete their client passwords. Without this section there are none."""

    address: Address = key(SERVER, "127.0.0.1:8080", doc='"HOST:PORT" that it listens on')
    public_url: str = key(
        Kind("a URL without a path", _public_url),
        "http://localhost:8080",
        doc="where browsers find it; http:// only for this machine itself, and for passkeys a name, not an address",
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = key(
        networks,
        [],
        doc="proxies that end TLS before it, as CIDR networks; only their X-Forwarded-For and -Proto are believed",
    )
    reuse_port: bool = key(flag, False, doc="several serve processes listen here together")
    site_name: str = key(text("a line", _name), "mailauth", doc="the name of your mail service at the top of each page")
    session_idle_s: float = key(seconds(60, 86_400), 1800.0, doc="who does nothing for so long has to sign in again")
    session_s: float = key(seconds(300, 604_800), 43_200.0, doc="who signed in so long ago has to sign in again")
    enrolment_days: int = key(
        whole(0, 3650),
        14,
        doc="for so long after a second factor was demanded, the web password alone is enough to set up the first",
    )
    language: str = key(
        one_of("en", "zh"), "en", doc="of mail to those who have chosen none: en, or zh (simplified Chinese)"
    )
    mail_from: str = key(
        text("an address", _mail_from, empty=True),
        "",
        doc="who tells owners of changes by mail; empty: postmaster at the account's own domain",
    )
    imap_server: Address | None = key(
        SERVER, None, doc='"HOST:PORT" that users are told for IMAP; without it, that of [[listen]] at public_url'
    )
    pop3_server: Address | None = key(SERVER, None, doc="the same for POP3")
    smtp_server: Address | None = key(SERVER, None, doc="the same for sending (SMTP)")

    def __post_init__(self) -> None:
        if self.public_url.startswith("https://"):
            return
        if not (is_loopback(self.address.host) and is_loopback(self.host)):
            raise Impossible("public_url", "must begin with https://; plain http is for this machine alone")
        if self.trusted_proxies:
            raise Impossible("public_url", "must begin with https://, since a proxy stands before the portal")

    @property
    def host(self) -> str:
        """The host of public_url."""
        return urlsplit(self.public_url).hostname or ""

    @property
    def own_tls(self) -> bool:
        """Whether TLS is ended here."""
        return self.public_url.startswith("https://") and not self.trusted_proxies

    def told(self, service: Service, listening: Iterable[Listening]) -> Told | None:
        """The server that users are told for this service; None: there is none for them.

        listening: what there is to listen on. TLS from the first byte goes before STARTTLS (RFC 8314 section 3).
        """
        named = {Service.IMAP: self.imap_server, Service.POP3: self.pop3_server, Service.SMTP: self.smtp_server}
        said = named[service]
        if said is not None:
            return Told(said.host, said.port, said.port not in STARTTLS_PORTS)
        ports = {listen.tls: listen.address.port for listen in reversed([*listening]) if listen.service is service}
        for tls, port in sorted(ports.items()):  # implicit, off, starttls
            if tls != "off":
                return Told(self.host, port, tls == "implicit")
        return None


class Listening(Protocol):
    """What is needed of a [[listen]] here."""

    @property
    def service(self) -> Service: ...
    @property
    def address(self) -> Address: ...
    @property
    def tls(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Told:
    """A mail server as users are told of it. implicit: TLS from the first byte, else STARTTLS."""

    host: str
    port: int
    implicit: bool


def is_loopback(host: str) -> bool:
    """Whether this is a name or address of this machine that no other machine can reach."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761 section 6.3
