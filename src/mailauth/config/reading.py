"""mailauth.toml read whole into Settings, or refused with one line that names file, key and reason.

Source: TOML 1.0. Rule: what is not understood is an error; a typing mistake must not leave a default in force.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mailauth.config.bridge import Bridge
from mailauth.config.plugged import KINDS, one_table, tables
from mailauth.config.settings import ABSENT, REPEATED, REQUIRED, SECTIONS, Settings
from mailauth.config.values import ConfigError, Impossible, Secret

VARIABLE = "MAILAUTH_CONFIG"
PLACES = (Path("mailauth.toml"), Path("/etc/mailauth/mailauth.toml"))


def find(option: str | None) -> Path:
    """The file to read: the one asked for, else $MAILAUTH_CONFIG, ./mailauth.toml, /etc/mailauth/mailauth.toml.

    One that is asked for is taken even if it is not there. Raises ConfigError when there is none.
    """
    asked = option or os.environ.get(VARIABLE)
    if asked:
        return Path(asked)
    for place in PLACES:
        if place.is_file():
            return place
    raise ConfigError(
        f"no configuration: neither {' nor '.join(map(str, PLACES))} is there; "
        f"run `mailauth init`, or name a file with --config or ${VARIABLE}"
    )


def load(path: Path) -> Settings:
    """Read one file. Raises ConfigError."""
    document = _parse(path)
    file = path.absolute()
    _refuse_unknown(document, [*SECTIONS, *KINDS], str(path), "section [{}]")
    for name in REQUIRED:
        if name not in document:
            raise ConfigError(f"{path}: section [{name}] is missing; `mailauth init` writes a whole file")
    sections: dict[str, Any] = {
        name: _repeated(name, document.get(name, []), path, file.parent)
        if name in REPEATED
        else _section(name, document.get(name, {}), f"{path}: [{name}]", file.parent)
        for name in SECTIONS
        if name in document or name not in ABSENT
    }
    sections |= {kind: tables(kind, document.get(kind, {}), path, file.parent) for kind in KINDS}
    try:
        return Settings(source=file, **sections)
    except Impossible as fault:
        raise ConfigError(f"{path}: {fault.key}: {fault}") from None


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; run `mailauth init`, or name another file"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None


def _repeated(name: str, tables: object, path: Path, folder: Path) -> tuple[Any, ...]:
    if type(tables) is not list:
        raise ConfigError(f"{path}: [{name}] must be written [[{name}]], once for each address")
    return tuple([_section(name, table, f"{path}: [{name}] #{n}", folder) for n, table in enumerate(tables, start=1)])


def _section(name: str, table: object, where: str, folder: Path) -> Any:
    """One table as the dataclass of its section. where: the file and the section, for errors."""
    if type(table) is not dict:
        raise ConfigError(f"{where} must be a table, written [{name}] once")
    fields = {field.name: field for field in dataclasses.fields(SECTIONS[name]) if field.metadata}
    if name == "bridge":
        return _bridge(table, fields, where, folder)
    if "password" in table and "password" not in fields:
        raise ConfigError(
            f"{where} password: a password does not stand in this file; write it into a file of its own and name that "
            'in password_file, or password_file = "env:NAME"'
        )
    _refuse_unknown(table, fields, where, "{}")
    values = {key: _value(field, table, where, folder) for key, field in fields.items()}
    try:
        return SECTIONS[name](**values)
    except Impossible as fault:
        raise ConfigError(f"{where} {fault.key}: {fault}") from None


def _bridge(table: dict[str, object], fields: dict[str, Any], where: str, folder: Path) -> Bridge:
    """A bridge; keys that not every kind has go to its plug-in."""
    values = {key: _value(field, table, where, folder) for key, field in fields.items()}
    own = {key: value for key, value in table.items() if key not in fields}
    try:
        return Bridge(**values, options=one_table(values["kind"], where, own, folder))
    except Impossible as fault:
        raise ConfigError(f"{where} {fault.key}: {fault}") from None


def _value(field: dataclasses.Field[Any], table: dict[str, object], where: str, folder: Path) -> Any:
    raw = table.get(field.name, field.metadata["default"])
    if raw is dataclasses.MISSING:
        raise ConfigError(f"{where} {field.name}: is missing; it says: {field.metadata['doc']}")
    if raw is None:
        return None
    try:
        value = field.metadata["kind"].read(raw, folder)
    except ValueError as error:
        raise ConfigError(f"{where} {field.name}: {error}") from None
    return dataclasses.replace(value, key=f"{where} {field.name}") if type(value) is Secret else value


def _refuse_unknown(table: dict[str, object], known: Iterable[str], where: str, shown: str) -> None:
    names = list(known)
    for name in table:
        if name in names:
            continue
        from difflib import get_close_matches  # noqa: PLC0415  hardly a start needs it

        near = get_close_matches(name, names, n=1)
        advice = f"did you mean {shown.format(near[0])}?" if near else f"there are: {', '.join(names)}"
        colon = ": " if shown.startswith("section") else " "
        raise ConfigError(f"{where}{colon}{shown.format(name)}: is unknown to this version; {advice}")
