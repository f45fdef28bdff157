"""What a configuration key may hold: each Kind reads one TOML value, or says in one line why it cannot.

Rule: no value is bent into shape. A bool is no number, a number is no text, and an empty text is not "default".
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

MAX_HELP_LINE_BYTES = 200  # it must fit into one reply line, beside the text of the refusal


class ConfigError(Exception):
    """The configuration cannot be used. The text is one line: the file, the key, what is wrong, what to do."""


class Impossible(ValueError):
    """Values that are right one by one but cannot be together. key: the one to change."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


@dataclass(frozen=True, slots=True)
class Kind:
    """What one key may hold. told: for people; read: TOML value and the file's folder -> our value, or ValueError."""

    told: str
    read: Callable[[object, Path], Any]


def key(kind: Kind, default: object = dataclasses.MISSING, *, doc: str) -> Any:
    """A field of a section. default: as it would stand in the file; None: may be left out, and is None then."""
    metadata = {"kind": kind, "default": default, "doc": doc}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=None if default is None else kind.read(default, Path()), metadata=metadata)


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address to listen on. host: an IP address or a name; port: 0 means any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is kept; it is read when it is needed, and never kept here.

    source: an absolute path, or env:NAME. key: where the configuration names it, for errors.
    """

    source: str
    key: str = "secret"

    def read(self) -> str:
        """The secret: the first line of the file, or the variable. Raises ConfigError."""
        if self.source.startswith("env:"):
            text = os.environ.get(self.source[4:], "")
        else:
            text = _first_line(Path(self.source), self.key)
        if not text:
            raise ConfigError(f"{self.key}: {self.source} is empty or not there; put the secret into it")
        return text


def _first_line(path: Path, key: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {path}: {error.strerror}; it must hold the secret in one line") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {path} is not UTF-8 text; it must hold the secret in one line") from None


def text(told: str = "text", check: Callable[[str], object] = lambda _: None, *, empty: bool = False) -> Kind:
    """A text that passes `check`, which raises ValueError otherwise."""

    def read(value: object, folder: Path) -> str:  # noqa: ARG001
        text = _text(value)
        if not text and not empty:
            raise ValueError("must not be empty")
        if text:
            check(text)
        return text

    return Kind(told, read)


def one_of(*choices: str) -> Kind:
    """One of these words."""
    quoted = [f'"{choice}"' for choice in choices]
    told = " or ".join([", ".join(quoted[:-1]), quoted[-1]]) if quoted[1:] else quoted[0]

    def read(value: object, folder: Path) -> str:  # noqa: ARG001
        if value not in choices:
            raise ValueError(f"must be {told}")
        return str(value)

    return Kind(told, read)


def member(enum: type[StrEnum]) -> Kind:
    """One value of an enumeration."""
    words = one_of(*enum)
    return Kind(words.told, lambda value, folder: enum(words.read(value, folder)))


def members(enum: type[StrEnum]) -> Kind:
    """Some values of an enumeration, each once."""
    one = member(enum)

    def read(value: object, folder: Path) -> tuple[StrEnum, ...]:
        if type(value) is not list:
            raise ValueError(f"must be a list of {one.told}")
        return tuple(dict.fromkeys([one.read(item, folder) for item in value]))

    return Kind(f"a list of {one.told}", read)


def texts(told: str) -> Kind:
    """Some texts, none of them empty."""

    def read(value: object, folder: Path) -> tuple[str, ...]:  # noqa: ARG001
        if type(value) is not list or not all(_text(item) for item in value):
            raise ValueError("must be a list of texts, none of them empty")
        return tuple(value)

    return Kind(told, read)


def whole(least: int, most: int) -> Kind:
    """A whole number within bounds."""
    told = f"{least} to {most}"

    def read(value: object, folder: Path) -> int:  # noqa: ARG001
        if type(value) is not int:
            raise ValueError(f"must be a whole number, {told}")
        if not least <= value <= most:
            raise ValueError(f"must be {told} (is {value})")
        return value

    return Kind(told, read)


def seconds(least: float, most: float) -> Kind:
    """A span of time."""
    told = f"{least:g} to {most:g} seconds"

    def read(value: object, folder: Path) -> float:  # noqa: ARG001
        if type(value) not in {int, float}:
            raise ValueError(f"must be a number, {told}")
        if not least <= value <= most:  # type: ignore[operator]  # not a number is in no span
            raise ValueError(f"must be {told} (is {value})")
        return float(value)  # type: ignore[arg-type]

    return Kind(told, read)


def _flag(value: object, folder: Path) -> bool:  # noqa: ARG001
    if type(value) is not bool:
        raise ValueError("must be true or false")
    return value


def _path(value: object, folder: Path) -> Path:
    text = _text(value)
    if not text:
        raise ValueError("must be a path")
    return folder / Path(text).expanduser()


def _secret(value: object, folder: Path) -> Secret:
    text = _text(value)
    if text.startswith("env:"):
        if not text[4:].isidentifier():
            raise ValueError("env: must be followed by the name of a variable")
        return Secret(text)
    return Secret(str(_path(text, folder)))


def _address(value: object, folder: Path) -> Address:  # noqa: ARG001
    host, colon, port = _text(value).rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not host or bracketed != (":" in host) or not _is_host(host):
        raise ValueError('must be "HOST:PORT", such as "127.0.0.1:1993", "0.0.0.0:993" or "[::]:993"')
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError("has no port from 0 to 65535 behind its last colon")
    return Address(host, int(port))


def _is_host(host: str) -> bool:
    try:
        return bool(ip_address(host))
    except ValueError:
        labels = host.split(".")
        return not labels[-1].isdigit() and all(label.replace("-", "a").isalnum() for label in labels)


def _networks(value: object, folder: Path) -> tuple[IPv4Network | IPv6Network, ...]:  # noqa: ARG001
    if type(value) is not list:
        raise ValueError('must be a list of networks, such as ["10.0.0.0/8"]')
    return tuple([_network(_text(item)) for item in value])


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        wider = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f'"{text}" is no network in CIDR notation, such as "10.0.0.0/8" or "2001:db8::/32"') from None
    raise ValueError(f'"{text}" is an address within a network; write "{wider}"')


def check_help_line(line: str) -> None:
    """One printable line that fits into a reply. Raises ValueError."""
    if not line.isprintable():
        raise ValueError("must be one line without control characters")
    if len(line.encode()) > MAX_HELP_LINE_BYTES:
        raise ValueError(f"must be at most {MAX_HELP_LINE_BYTES} bytes of UTF-8")


def check_host(host: str) -> None:
    """The name or IP address of a host. Raises ValueError."""
    if not _is_host(host):
        raise ValueError("must be the name or the IP address of a host")


def check_timezone(name: str) -> None:
    """A name of the IANA time zone database. Raises ValueError."""
    if name == "UTC":  # needs no database, which small systems go without
        return
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError('must be a time zone this system knows, such as "UTC" or "Asia/Shanghai"') from None


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("must be text in quotes")
    return value


flag = Kind("true or false", _flag)
path = Kind("a path", _path)
secret = Kind("a path, or env:NAME", _secret)
address = Kind('"HOST:PORT"', _address)
networks = Kind("a list of networks (CIDR)", _networks)
