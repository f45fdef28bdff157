"""The section of mailauth.toml for the keeper, where it runs as a service of its own.

Rule: as in `settings`.
"""
# ruff: noqa: RUF009  `key` makes dataclass fields

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mailauth.config.bridge import UnixPath, endpoint, octal_mode
from mailauth.config.values import Kind, key, text, texts


def _unix(value: object, folder: Path) -> UnixPath:
    place = endpoint(value, folder)
    if not isinstance(place, UnixPath):
        raise ValueError('must be "unix:PATH": an open connection is handed over this machine alone')
    return place


@dataclass(frozen=True, slots=True)
class Keeper:
    """The process that alone reads back ends' passwords and doveadm's keys. Without address, serve starts its own."""

    address: UnixPath | None = key(
        Kind('"unix:PATH"', _unix), None, doc="where `mailauth keeper` listens, best as another user"
    )
    socket_group: str = key(text("a group", empty=True), "", doc="the UNIX socket's group; it may connect as well")
    socket_mode: int = key(Kind("an octal mode", octal_mode), "0660", doc="the UNIX socket's mode")
    users: tuple[str, ...] = key(
        texts("a list of users"), [], doc="who may connect beside root, the keeper's own user and these groups"
    )
    groups: tuple[str, ...] = key(texts("a list of groups"), [], doc="whose members may connect too")
