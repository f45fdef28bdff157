"""A plug-in's own section of the configuration, read into its own dataclass, and the table of its keys for the docs.

Rule: no value is bent into shape, and a key that nobody knows is an error. A secret does not stand in the file: a key
`KEY_file` names where it is kept, and what reaches the plug-in is `KEY` with the secret itself.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_TOLD = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple[str, ...]: "a list of texts",
}


class BadSection(ValueError):
    """A section cannot be used. key: which; the text says what is wrong, and shows no value that may be secret."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


class Section(dict[str, object]):
    """What stands in the file, and beside it what the program puts in. wired: by key; each takes what it knows."""

    def __init__(self, values: Mapping[str, object], wired: Mapping[str, object]) -> None:
        super().__init__(values)
        self.wired = wired


def option(
    default: Any = dataclasses.MISSING,
    *,
    doc: str,
    check: Callable[[Any], str | None] = lambda _: None,
    secret: bool = False,
    wired: bool = False,
) -> Any:
    """One key. check: what is wrong with a value, or None. secret: never shown. wired: put in by the program itself."""
    metadata = {"doc": doc, "check": check, "secret": secret, "wired": wired}
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


def read(kind: type, section: Mapping[str, object]) -> Any:
    """The section as a `kind`. Raises BadSection."""
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    is_written = isinstance(section, Section)
    for key in section:
        if key not in fields or (is_written and fields[key].metadata["wired"]):
            raise BadSection(key, f"is unknown here; there are: {', '.join(_written(fields.values()))}")
    wired = section.wired if isinstance(section, Section) else {}
    section = {**section, **{key: value for key, value in wired.items() if key in fields}}
    hints = typing.get_type_hints(kind)
    values = {}
    for key, field in fields.items():
        if key in section:
            values[key] = _value(key, hints[key], section[key], field.metadata["check"])
        elif field.default is dataclasses.MISSING:
            written = key + "_file" if field.metadata["secret"] else key
            raise BadSection(written, f"is missing; it says: {field.metadata['doc']}")
    return kind(**values)


def _written(fields: Iterable[dataclasses.Field[Any]]) -> list[str]:
    """The keys, as they are written in the file."""
    keys = [(field.name, field.metadata) for field in fields]
    return [name + "_file" if metadata["secret"] else name for name, metadata in keys if not metadata["wired"]]


def _value(key: str, hint: Any, value: object, check: Callable[[Any], str | None]) -> object:
    if hint == tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(type(item) is str for item in value):
            raise BadSection(key, "must be a list of texts")
        value = tuple(value)
    elif hint is float and type(value) is int:
        value = float(value)
    elif hint in _TOLD and type(value) is not hint:
        raise BadSection(key, f"must be {_TOLD[hint]}")
    problem = check(value)
    if problem is not None:
        raise BadSection(key, problem)
    return value


def table(kind: type) -> str:
    """The keys of a section, as a table in Markdown."""
    hints = typing.get_type_hints(kind)
    lines = ["| Key | Holds | Default | Meaning |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(kind):
        metadata = field.metadata
        if not metadata or metadata["wired"]:
            continue
        key, holds = (
            (field.name + "_file", "a path, or env:NAME")
            if metadata["secret"]
            else (field.name, _TOLD[hints[field.name]])
        )
        default = "required" if field.default is dataclasses.MISSING else f"`{_shown(field.default)}`"
        lines.append(f"| `{key}` | {holds} | {default} | {_cell(metadata['doc'])} |")
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    return _cell(json.dumps(value, ensure_ascii=False))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def filled(value: str) -> str | None:
    """A check: not empty, one printable line."""
    return None if value and value.isprintable() else "must be one line of text, and not empty"


def word(value: str) -> str | None:
    """A check: letters, digits, hyphens and underscores, so that it can stand in a path or a header field."""
    plain = value.replace("-", "").replace("_", "")
    return None if plain.isascii() and plain.isalnum() else "must be letters, digits, hyphens and underscores"


def long(value: str) -> str | None:
    """A check: a secret that nobody guesses."""
    return None if len(value) >= 16 else "must have 16 characters or more"


def between(least: float, most: float) -> Callable[[float], str | None]:
    """A check: within bounds."""
    return lambda value: None if least <= value <= most else f"must be {least:g} to {most:g}"


def one_of(*choices: str) -> Callable[[str], str | None]:
    """A check: one of these words."""
    return lambda value: None if value in choices else "must be one of: " + ", ".join(choices)


def base_url(value: str) -> str | None:
    """A check: where another service is. TLS, but for this machine itself; no query, no credentials."""
    try:
        parts = urlsplit(value)
        host = parts.netloc.removesuffix(f":{parts.port}")
    except ValueError:
        return "is no URL"
    if parts.scheme not in {"https", "http"} or not host or "@" in host or parts.query or parts.fragment:
        return "must be a URL such as https://api.example.org, without query, user or password"
    if parts.scheme == "http" and host not in LOOPBACK:
        return "must begin with https://; plain http is for this machine only"
    return "must not end with a slash" if value.endswith("/") else None
