"""Web passwords that an IMAP server judges: we log in there, once for each question, and out again.

Source: RFC 9051 sections 6.2 and 7.1, RFC 5530 (response codes), RFC 4616 (PLAIN).
Rule: only AUTHENTICATIONFAILED, or a NO without any code, is a no; whatever else comes back says nothing about the
password. Tags are random and made after TLS is up, so that what was slipped in before TLS answers nothing.
"""
# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mailauth.factors import section
from mailauth.factors.section import BadSection, option
from mailauth.interfaces import SourceUnavailable
from mailauth.sources.parts import client_tls, filled, names_user
from mailauth.verified import LOOPBACK

MAX_LINES = 100  # of what is untagged before an answer
LIMIT_BYTES = 64 * 1024

_TAGGED = re.compile(rb"(OK|NO|BAD)\b ?(?:\[([A-Za-z0-9-]+)[^\]]*\])?", re.IGNORECASE)
_CAPABILITIES = re.compile(rb"\* CAPABILITY (.*)", re.IGNORECASE)


@dataclass(slots=True)
class ImapSource:
    """The section, and the source itself."""

    host: str = option(doc="name or IP address of the IMAP server", check=section.filled)
    port: int = option(0, doc="its port; 0: 993 for implicit TLS, else 143", check=section.between(0, 65535))
    tls: str = option(
        "implicit",
        doc="implicit, starttls, or off (for this machine itself)",
        check=section.one_of("implicit", "starttls", "off"),
    )
    ca: str = option(
        "", doc="a PEM file of the authorities that the server's certificate may be from; none: the system's"
    )
    user: str = option("{login}", doc="the user name there, of {login}, {local} and {domain}", check=names_user)
    folder: Any = option("", doc="", wired=True)
    _context: ssl.SSLContext | None = field(default=None, init=False, repr=False)

    async def check(self, login: str, password: bytes) -> bool:
        """See interfaces.PasswordSource."""
        try:
            connection = await self._connected()
            try:
                return await connection.logs_in(filled(self.user, login).encode(), password)
            finally:
                connection.leave()
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or "TLS failed"
            raise SourceUnavailable(f"{self.host}: TLS: {reason}") from None
        except OSError as error:
            raise SourceUnavailable(f"{self.host}: {error.strerror or type(error).__name__}") from None
        except (EOFError, asyncio.LimitOverrunError, ValueError) as error:
            raise SourceUnavailable(f"{self.host}: hung up, or does not speak IMAP ({type(error).__name__})") from None

    async def close(self) -> None:
        """See interfaces.PasswordSource."""

    def open(self) -> None:
        """Load the authorities. Raises BadSection."""
        if self.tls == "off" and self.host not in LOOPBACK:
            raise BadSection("tls", "is off, so passwords would go in clear to another machine")
        if self.tls != "off":
            self._context = client_tls(self.ca, self.folder)

    async def _connected(self) -> _Connection:
        implicit = self._context if self.tls == "implicit" else None
        port = self.port or (993 if implicit else 143)
        reader, writer = await asyncio.open_connection(
            self.host, port, ssl=implicit, server_hostname=self.host if implicit else None, limit=LIMIT_BYTES
        )
        connection = _Connection(self.host, reader, writer)
        try:
            await connection.greeted()
            if self.tls == "starttls":
                await connection.ask(b"STARTTLS")
                await writer.start_tls(self._context, server_hostname=self.host)  # type: ignore[arg-type]
        except BaseException:
            writer.transport.abort()
            raise
        return connection


class _Connection:
    """One connection, up to the end of its one login."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = host
        self._reader = reader
        self._writer = writer

    async def greeted(self) -> None:
        """Raises SourceUnavailable unless the server is ready for a login."""
        line = await self._line()
        if not line.upper().startswith(b"* OK"):  # BYE; and after PREAUTH no login means anything
            raise SourceUnavailable(f"{self._host}: does not greet with OK")

    async def ask(self, command: bytes) -> list[bytes]:
        """One command that must succeed; what was said before its end. Raises SourceUnavailable."""
        tag = _tag()
        self._writer.write(tag + b" " + command + b"\r\n")
        lines, (status, word) = await self._answered(tag)
        if status != b"OK":
            raise SourceUnavailable(f"{self._host}: {command.decode()} is refused{_shown(word)}")
        return lines

    async def logs_in(self, user: bytes, password: bytes) -> bool:
        """Whether the server lets this user in. Raises SourceUnavailable."""
        said = b" ".join(_words for line in await self.ask(b"CAPABILITY") for _words in _CAPABILITIES.findall(line))
        capabilities = said.upper().split()
        tag = _tag()
        if b"AUTH=PLAIN" in capabilities:
            initial = base64.b64encode(b"\0" + user + b"\0" + password)
            parts = [tag + b" AUTHENTICATE PLAIN", initial]
        elif b"LOGINDISABLED" not in capabilities:
            parts = [tag + b" LOGIN {%d}" % len(user), user + b" {%d}" % len(password), password]
        else:
            raise SourceUnavailable(f"{self._host}: offers neither AUTH=PLAIN nor LOGIN")
        for part in parts[:-1]:
            self._writer.write(part + b"\r\n")
            await self._continued(tag)
        self._writer.write(parts[-1] + b"\r\n")
        _, answer = await self._answered(tag)
        return self._judged(*answer)

    def leave(self) -> None:
        """Say goodbye, and do not wait for an answer."""
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.write(_tag() + b" LOGOUT\r\n")
        self._writer.transport.abort()

    def _judged(self, status: bytes, word: bytes) -> bool:
        """RFC 5530 section 3; any other code (UNAVAILABLE, LIMIT, EXPIRED ...) is about something else."""
        if status == b"OK":
            return True
        if status == b"NO" and word in {b"", b"AUTHENTICATIONFAILED"}:
            return False
        raise SourceUnavailable(f"{self._host}: says {status.decode()}{_shown(word)}, which is not about the password")

    async def _continued(self, tag: bytes) -> None:
        """Come back when the server wants more. An end before it has the password is not about the password."""
        for _ in range(MAX_LINES):
            line = await self._line()
            if line.startswith(b"+"):
                return
            if line.startswith(tag + b" "):
                status, word = _status(line[len(tag) + 1 :])
                raise SourceUnavailable(
                    f"{self._host}: says {status.decode()}{_shown(word)} before it has the password"
                )
            self._refuse_goodbye(line)
        raise SourceUnavailable(f"{self._host}: does not come to an end")

    async def _answered(self, tag: bytes) -> tuple[list[bytes], tuple[bytes, bytes]]:
        lines: list[bytes] = []
        while len(lines) < MAX_LINES:
            line = await self._line()
            if line.startswith(tag):
                return lines, _status(line[len(tag) + 1 :])
            self._refuse_goodbye(line)
            lines.append(line)
        raise SourceUnavailable(f"{self._host}: does not come to an end")

    def _refuse_goodbye(self, line: bytes) -> None:
        if line.upper().startswith(b"* BYE"):
            raise SourceUnavailable(f"{self._host}: says goodbye")

    async def _line(self) -> bytes:
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line.rstrip(b"\r\n")


def _tag() -> bytes:
    return b"a" + secrets.token_hex(8).encode()


def _status(rest: bytes) -> tuple[bytes, bytes]:
    """The status and the response code, "" for none. Raises ValueError."""
    match = _TAGGED.match(rest)
    if match is None:
        raise ValueError("no status")
    return match[1].upper(), (match[2] or b"").upper()


def _shown(word: bytes) -> str:
    return f" [{word.decode()}]" if word else ""


def build(options: Mapping[str, object]) -> ImapSource:
    """The plug-in's entry. Raises BadSection."""
    source: ImapSource = section.read(ImapSource, options)
    source.open()
    return source
