"""Web passwords in a file: Dovecot's passwd-file or Apache's htpasswd, read anew when it changes.

Source: Dovecot's passwd-file; Apache's htpasswd.
Rule: a file that is not there, is empty or is not understood where it names the user says nothing about a password.
"""
# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailauth import names, passwdfile
from mailauth.factors import section
from mailauth.factors.section import option
from mailauth.interfaces import BadRecord, SourceUnavailable
from mailauth.passwdfile import BadLine, Line

MAX_BYTES = 256 * 1024 * 1024
SETTLED_NS = 2_000_000_000  # a file changed less long ago may change again and bear the same time

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Users:
    """What one reading came to. version: of the file; by_login: BadLine for a user of whom nothing can be said."""

    version: tuple[int, ...]
    by_login: Mapping[str, Line | BadLine]


@dataclass(slots=True)
class FileSource:
    """The section, and the source itself."""

    path: str = option(doc="the file; a relative one is relative to the configuration's folder", check=section.filled)
    default_domain: str = option("", doc="the domain of users that are written without one; none: they are left out")
    default_scheme: str = option("", doc="the scheme of passwords without a {SCHEME}; none: found out by their looks")
    hashes: Any = option(None, doc="", wired=True)
    folder: Any = option("", doc="", wired=True)
    _users: Users | None = field(default=None, init=False, repr=False)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)

    async def check(self, login: str, password: bytes) -> bool:
        """See interfaces.PasswordSource."""
        users = await self._current()
        if login not in users.by_login:
            return False
        line = users.by_login[login]
        if isinstance(line, BadLine):
            raise BadRecord(f"the user's line {line}")
        if "allow_nets" in line.extra:
            raise BadRecord("the user's line has allow_nets, which nobody here looks at")
        if not line.password or "nologin" in line.extra:
            return False
        return bool(await self.hashes.verify(passwdfile.with_scheme(line.password, self.default_scheme), password))

    async def close(self) -> None:
        """See interfaces.PasswordSource."""

    async def _current(self) -> Users:
        async with self._reading:
            try:
                if self._users is None or _version(self._place()) != self._users.version:
                    self._users = await asyncio.to_thread(self._read)
            except OSError as error:
                raise SourceUnavailable(f"{self._place()}: {error.strerror}") from None
            return self._users

    def _place(self) -> Path:
        return Path(self.folder) / Path(self.path).expanduser()

    def _read(self) -> Users:
        place = self._place()
        version = _version(place)
        if version[2] > MAX_BYTES:
            raise SourceUnavailable(f"{place}: larger than {MAX_BYTES} bytes")
        raw = place.read_bytes()
        if not raw.strip() or _version(place) != version:
            raise SourceUnavailable(f"{place}: empty, or being written at this moment")
        by_login: dict[str, Line | BadLine] = {}
        for number, line in passwdfile.lines(raw):
            if isinstance(line, BadLine):
                log.warning("%s: line %d is left out: it %s", place, number, line)
            if (login := self._login(line.user)) is not None:
                by_login[login] = BadLine("is not the only one that names this user") if login in by_login else line
        settled = time.time_ns() - max(version[3:]) > SETTLED_NS
        return Users(version if settled else (), by_login)

    def _login(self, user: str) -> str | None:
        if "@" not in user:
            user = f"{user}@{self.default_domain}" if self.default_domain else user
        try:
            return names.fold(user)
        except names.NotALogin:
            return None


def _version(place: Path) -> tuple[int, ...]:
    found = place.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def build(options: Mapping[str, object]) -> FileSource:
    """The plug-in's entry. Raises BadSection."""
    source: FileSource = section.read(FileSource, options)
    return source
