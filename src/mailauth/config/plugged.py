"""The tables of plug-ins, one for each that is switched on, such as [factors.NAME], and keys of a [[bridge]].

Rule: what a key of them may hold is the plug-in's to know, and it is asked when it is built. Here is what holds for all
of them: the name, and that secrets stand in files of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mailauth.config.values import ConfigError, Secret, secret

KINDS = ("factors", "gateways", "sources", "backends")
FILE = "_file"  # KEY_file names where KEY is kept
SECRETS = ("secret", "password", "token", "_key")  # how the names of keys end that are secrets


@dataclass(frozen=True, slots=True)
class Plugged:
    """One table. name: the plug-in's; where: the file and the section, for errors.

    options: as they stand there; secrets: by the names they have then, and read when they are needed.
    """

    name: str
    where: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)

    def values(self, unread: Collection[str] = ()) -> dict[str, object]:
        """All that stands there, with the secrets themselves, but of those `unread` only where they are.

        Raises ConfigError.
        """
        secrets = {key: kept if key in unread else kept.read() for key, kept in self.secrets.items()}
        return {**self.options, **secrets}


def tables(kind: str, raw: object, path: Path, folder: Path) -> tuple[Plugged, ...]:
    """The tables of one kind, in the order of the file. Raises ConfigError."""
    if type(raw) is not dict:
        raise ConfigError(f"{path}: [{kind}] must hold tables, each written [{kind}.NAME]")
    return tuple([_table(kind, name, table, path, folder) for name, table in raw.items()])


def _table(kind: str, name: str, table: object, path: Path, folder: Path) -> Plugged:
    if type(table) is not dict:
        raise ConfigError(f"{path}: [{kind}] {name}: must be a table, written [{kind}.{name}]")
    return one_table(name, f"{path}: [{kind}.{name}]", table, folder)


def one_table(name: str, where: str, table: Mapping[str, object], folder: Path) -> Plugged:
    """The keys of one plug-in, as they stand at `where`. Raises ConfigError."""
    options: dict[str, object] = {}
    secrets: dict[str, Secret] = {}
    for key, value in table.items():
        if key.endswith(FILE):
            secrets[key.removesuffix(FILE)] = _secret(f"{where} {key}", value, folder)
        elif key.endswith(SECRETS):
            raise ConfigError(
                f"{where} {key}: a secret does not stand in this file; write it into a file of its own and name that "
                f'in {key}{FILE}, or {key}{FILE} = "env:NAME"'
            )
        else:
            options[key] = value
    return Plugged(name, where, options, secrets)


def _secret(where: str, value: object, folder: Path) -> Secret:
    try:
        kept: Secret = secret.read(value, folder)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    return Secret(kept.source, where)
