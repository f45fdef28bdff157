"""Accounts in a file: Dovecot's passwd-file (and htpasswd), and CSV.

Source: Dovecot's passwd-file; RFC 4180. Rule: a bad line is named by its number, and the others are read.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from mailauth import passwdfile
from mailauth.attempt import Service
from mailauth.imports.entry import CannotRead, Entry, Items, Unread, is_on
from mailauth.passwdfile import BadLine, Line

COLUMNS = ("login", "password", "enabled", "client_logon", "services", "aliases")
MAX_BYTES = 1024 * 1024 * 1024


def contents(path: Path) -> bytes:
    """Raises CannotRead."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CannotRead(f"{path}: is larger than {MAX_BYTES} bytes; split it")
        return path.read_bytes()
    except OSError as error:
        raise CannotRead(f"{path}: {error.strerror}") from None


def passwd_file(path: Path, domain: str) -> Items:
    """domain: of users that are written without one. Raises CannotRead."""
    for number, line in passwdfile.lines(contents(path)):
        place = f"line {number}"
        if isinstance(line, BadLine):
            yield Unread(place, str(line))
        elif "@" not in line.user and not domain:
            yield Unread(place, "names a user without a domain; --domain says which is meant")
        else:
            login = line.user if "@" in line.user else f"{line.user}@{domain}"
            yield Entry(place, login, line.password, client_logon="nologin" not in line.extra, left_out=_left_out(line))


def _left_out(line: Line) -> tuple[str, ...]:
    told = {
        "allow_nets": "allow_nets: a web password here is good from everywhere",
        "nopassword": "nopassword: nobody gets in here without one",
        "proxy": "proxy: where its mail is kept is not looked at",
        "user": "user: another name of the same account, which `mailauth account alias-add` can add",
    }
    return tuple([what for key, what in told.items() if key in line.extra])


def csv_file(path: Path, domain: str) -> Items:
    """The first line names the columns. Raises CannotRead."""
    try:
        text = contents(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CannotRead(f"{path}: is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    names = _names(next(rows, []), path)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Unread(f"line {rows.line_num}", f"is no CSV ({error}); what stands behind it is not read")
            return
        if row is None:
            return
        if any(row):
            yield _entry(f"line {rows.line_num}", names, row, domain)


def _names(head: list[str], path: Path) -> list[str]:
    names = [name.strip().lower() for name in head]
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or "login" not in names or len(set(names)) != len(names):
        raise CannotRead(
            f"{path}: its first line must name the columns: login, and as many as there are of "
            f"{', '.join(COLUMNS[1:])}" + (f" (it says {unknown[0]!r})" if unknown else "")
        )
    return names


def _entry(place: str, names: list[str], row: list[str], domain: str) -> Entry | Unread:
    if len(row) != len(names):
        return Unread(place, f"has {len(row)} columns, and the first line {len(names)}")
    values = dict(zip(names, [cell.strip() for cell in row], strict=True))
    login = values["login"]
    if "@" not in login and domain:
        login = f"{login}@{domain}"
    words = values.get("services", "").replace(",", " ").lower().split()
    if wrong := [word for word in words if word not in set(Service)]:
        return Unread(place, f"names a service that there is not: {wrong[0][:20]!r}")
    return Entry(
        place,
        login,
        values.get("password", ""),
        enabled=is_on(values.get("enabled")),
        client_logon=is_on(values.get("client_logon")),
        services=frozenset(map(Service, words)) or None,
        aliases=tuple(values.get("aliases", "").replace(",", " ").split()),
    )
