"""Web passwords that an LDAP directory judges: the entry is searched for, then we bind as it with the password.

Source: RFC 4511, RFC 4513 (sections 3.1 StartTLS, 5.1 simple bind, 6.3.1 its traps),
Active Directory's sub-codes of invalidCredentials.
Rule: TLS is up and verified before anything else is said. Only invalidCredentials at the user's own bind is a no; no
bind is ever sent without a name or a password, since such a one succeeds. Message ids begin at random after TLS, so
that what was slipped in before TLS answers nothing.
"""
# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mailauth.factors import section
from mailauth.factors.section import BadSection, option
from mailauth.interfaces import SourceUnavailable
from mailauth.sources import ldap_names, ldap_wire
from mailauth.sources.ldap_wire import Malformed, Result
from mailauth.sources.parts import client_tls, names_user
from mailauth.verified import LOOPBACK

PORTS = {"ldap": 389, "ldaps": 636}
SEARCH_S = 10
MAX_ANSWERS = 200  # to one request: entries and references
LOCKED = re.compile(r"\bdata 775\b")  # Active Directory: locked, so the password was not looked at


def _url(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        is_url = parts.scheme in PORTS and parts.hostname and parts.path in {"", "/"} and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or "@" in value or "?" in value:
        return "must be ldap://HOST or ldaps://HOST, with :PORT if need be"
    return None


def _filter(value: str) -> str | None:
    try:
        ldap_names.encoded(value, "somebody@example.org")
    except ldap_names.BadFilter as bad:
        return str(bad)
    return names_user(value)


@dataclass(slots=True)
class LdapSource:
    """The section, and the source itself."""

    url: str = option(doc="ldap://HOST (StartTLS comes first) or ldaps://HOST, with :PORT if need be", check=_url)
    starttls: bool = option(True, doc="with ldap://; false only for this machine itself")
    ca: str = option(
        "", doc="a PEM file of the authorities that the server's certificate may be from; none: the system's"
    )
    base: str = option("", doc="where people are searched for; either this or dn")
    filter: str = option("(mail={login})", doc="which entry it is, of {login}, {local} and {domain}", check=_filter)
    scope: str = option("subtree", doc="subtree or one (level)", check=section.one_of("subtree", "one"))
    bind_dn: str = option("", doc="who searches; none: anybody may")
    bind_password: str = option("", doc="the password of bind_dn", secret=True)
    dn: str = option("", doc="instead of a search: the name, such as uid={local},ou=people,dc=example,dc=org")
    folder: Any = option("", doc="", wired=True)
    _context: ssl.SSLContext | None = field(default=None, init=False, repr=False)

    async def check(self, login: str, password: bytes) -> bool:
        """See interfaces.PasswordSource."""
        host = urlsplit(self.url).hostname or ""
        try:
            connection = await self._connected(host)
            try:
                dn = ldap_names.dn(self.dn, login) if self.dn else await self._searched(connection, login)
                return dn is not None and _judged(await connection.bind(dn, password), searched=not self.dn)
            finally:
                connection.leave()
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or "TLS failed"
            raise SourceUnavailable(f"{host}: TLS: {reason}") from None
        except OSError as error:
            raise SourceUnavailable(f"{host}: {error.strerror or type(error).__name__}") from None
        except (EOFError, Malformed) as error:
            raise SourceUnavailable(f"{host}: hung up, or does not speak LDAP ({type(error).__name__})") from None

    async def close(self) -> None:
        """See interfaces.PasswordSource."""

    def open(self) -> None:
        """See that the keys fit together, and load the authorities. Raises BadSection."""
        if bool(self.dn) == bool(self.base):
            raise BadSection("base", "is needed, or dn: one of the two")
        if self.dn and (problem := names_user(self.dn)):
            raise BadSection("dn", problem)
        if bool(self.bind_dn) != bool(self.bind_password):
            raise BadSection("bind_dn", "needs bind_password_file, and the other way round")
        parts = urlsplit(self.url)
        if parts.scheme == "ldap" and not self.starttls:
            if parts.hostname not in LOOPBACK:
                raise BadSection("starttls", "is false, so passwords would go in clear to another machine")
            return
        self._context = client_tls(self.ca, self.folder)

    async def _connected(self, host: str) -> _Connection:
        parts = urlsplit(self.url)
        tls = {"ssl": self._context, "server_hostname": host} if parts.scheme == "ldaps" else {}
        reader, writer = await asyncio.open_connection(host, parts.port or PORTS[parts.scheme], **tls)  # type: ignore[arg-type]
        connection = _Connection(reader, writer)
        try:
            if parts.scheme == "ldap" and self._context is not None:
                await connection.start_tls(self._context, host)
        except BaseException:
            writer.transport.abort()
            raise
        return connection

    async def _searched(self, connection: _Connection, login: str) -> str | None:
        """The name of the one entry; None: there is none. Raises SourceUnavailable."""
        if self.bind_dn:
            _require(await connection.bind(self.bind_dn, self.bind_password.encode()), "the bind of bind_dn")
        found = await connection.search(self.base, self.scope, ldap_names.encoded(self.filter, login))
        if len(found) > 1:
            raise SourceUnavailable("the filter finds more than one entry")
        if found and not found[0]:
            raise SourceUnavailable("the filter finds the entry without a name")
        return found[0] if found else None


class _Connection:
    """One connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._number = _first_number()

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """RFC 4511 section 4.14."""
        number = self._send(ldap_wire.start_tls())
        tag, content = await self._answer(number)
        _require(_result(tag, content, ldap_wire.EXTENDED_RESPONSE), "StartTLS")
        await self._writer.start_tls(context, server_hostname=host)
        self._number = _first_number()

    async def bind(self, dn: str, password: bytes) -> Result:
        """A simple bind, and what came of it."""
        number = self._send(ldap_wire.bind(dn, password))
        tag, content = await self._answer(number)
        return _result(tag, content, ldap_wire.BIND_RESPONSE)

    async def search(self, base: str, scope: str, encoded_filter: bytes) -> list[str]:
        """The names of the entries found. Raises SourceUnavailable."""
        number = self._send(ldap_wire.search(base, scope, encoded_filter, SEARCH_S))
        found: list[str] = []
        for _ in range(MAX_ANSWERS):
            tag, content = await self._answer(number)
            if tag == ldap_wire.SEARCH_ENTRY:
                found.append(ldap_wire.entry_name(content))
            elif tag != ldap_wire.SEARCH_REFERENCE:  # to other servers, which nobody asks
                _require(_result(tag, content, ldap_wire.SEARCH_DONE), "the search")
                return found
        raise SourceUnavailable("the search does not come to an end")

    def leave(self) -> None:
        """Say goodbye; there is no answer to it."""
        with contextlib.suppress(OSError, RuntimeError):
            self._send(ldap_wire.unbind())
        self._writer.transport.abort()

    def _send(self, operation: bytes) -> int:
        self._number += 1
        self._writer.write(ldap_wire.message(self._number, operation))
        return self._number

    async def _answer(self, number: int) -> tuple[int, bytes]:
        """The operation's tag and content. Raises Malformed, EOFError, SourceUnavailable."""
        raw = await self._reader.readexactly(2)
        while (length := ldap_wire.expected_length(raw)) is None:
            raw += await self._reader.readexactly(1)
        raw += await self._reader.readexactly(length - len(raw))
        answered, tag, content = ldap_wire.opened(raw)
        if answered == ldap_wire.NOTICE:  # the server is going away, RFC 4511 section 4.4.1
            raise SourceUnavailable("the server ends the connection")
        if answered != number:
            raise Malformed("an answer to something that was not asked")
        return tag, content


def _judged(result: Result, *, searched: bool) -> bool:
    """Whether the user's own bind got in. Raises SourceUnavailable when that says nothing about the password."""
    if result.number == ldap_wire.SUCCESS:
        return True
    if result.number == ldap_wire.INVALID_CREDENTIALS and not LOCKED.search(result.told):
        return False
    if result.number == ldap_wire.NO_SUCH_OBJECT and not searched:
        return False
    raise SourceUnavailable(f"the bind of the user ended with result code {result.number}")


def _require(result: Result, what: str) -> None:
    if result.number != ldap_wire.SUCCESS:
        raise SourceUnavailable(f"{what} ended with result code {result.number}")


def _result(tag: int, content: bytes, wanted: int) -> Result:
    if tag != wanted:
        raise Malformed("an answer of another kind")
    return ldap_wire.result(content)


def _first_number() -> int:
    return 1 + secrets.randbelow(2**30)


def build(options: Mapping[str, object]) -> LdapSource:
    """The plug-in's entry. Raises BadSection."""
    source: LdapSource = section.read(LdapSource, options)
    source.open()
    return source
