"""States and pendings as text: JSON objects (RFC 8259), by the types that their dataclasses say.

Rule: what was written by one version is read by the same types or not at all. A field that is missing and has no
default, a field that is unknown, or a value of another type is BadRecord: a fault, never "not enrolled". What is sealed
is marked, so that it can be sealed anew by whoever knows nothing of the factor.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from typing import Any

from mailauth.factors.sealed import Box, Sealed, replaced
from mailauth.interfaces import BadRecord

MARK = "$sealed"  # no field has such a name


def to_json(value: Any) -> str:
    """One frozen dataclass as text; equal values give equal texts."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)


def from_json(kind: type, text: str) -> Any:
    """The value that was written, as a `kind`. Raises BadRecord."""
    try:
        return _read(kind, json.loads(text))
    except (ValueError, TypeError, LookupError, RecursionError):
        raise BadRecord(f"a stored {kind.__module__} {kind.__qualname__} cannot be read") from None


def raw(text: str) -> Any:
    """What was written, of whatever kind: read-only mappings, tuples, Sealed and plain values. Raises BadRecord."""
    try:
        return _marked(json.loads(text))
    except (ValueError, RecursionError):
        raise BadRecord("a stored state or question of a factor cannot be read") from None


def key_ids(text: str) -> tuple[int, ...]:
    """The server keys that something in this text is sealed under, ascending. Raises BadRecord."""
    found: set[int] = set()

    def note(sealed: Sealed) -> Sealed:
        found.add(sealed.key_id)
        return sealed

    replaced(raw(text), note)
    return tuple(sorted(found))


def same(one: str | None, other: str | None, box: Box) -> bool:
    """Whether two texts say the same, be it under different server keys. Raises UnknownKey, BadRecord."""
    return one == other or (one is not None and other is not None and _opened(one, box) == _opened(other, box))


def _opened(text: str, box: Box) -> Any:
    return replaced(raw(text), lambda sealed: box.open(sealed.purpose, sealed))


def _plain(value: Any) -> Any:
    if isinstance(value, Sealed):
        return {MARK: value.text()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, types.MappingProxyType):  # of `raw`
        return {name: _plain(item) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if value is None or type(value) in {str, int, float, bool}:
        return value
    raise TypeError(f"{type(value).__name__} has no form in a record")


def _marked(value: Any) -> Any:
    if isinstance(value, list):
        return tuple([_marked(item) for item in value])
    if not isinstance(value, dict):
        return value
    if MARK in value:
        return _sealed(value)
    return types.MappingProxyType({name: _marked(item) for name, item in value.items()})


def _sealed(value: Any) -> Sealed:
    is_one = type(value) is dict and value.keys() == {MARK} and type(value[MARK]) is str
    return Sealed.parse(value[MARK]) if is_one else _refuse()


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(kind: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # T | None
        wanted = [argument for argument in arguments if argument is not types.NoneType]
        return None if value is None else _read(wanted[0], value)
    if origin is tuple:
        if type(value) is not list:
            raise ValueError
        return tuple([_read(arguments[0], item) for item in value])
    if kind is Sealed:
        return _sealed(value)
    if dataclasses.is_dataclass(kind):
        return _fields(typing.cast(type, kind), value)
    if kind is float and type(value) is int:
        return float(value)
    return value if type(value) is kind else _refuse()


def _fields(kind: type, value: Any) -> Any:
    names = {field.name for field in dataclasses.fields(kind)}
    if type(value) is not dict or not value.keys() <= names:
        raise ValueError
    return kind(**{name: _read(_hints(kind)[name], item) for name, item in value.items()})


def _refuse() -> typing.NoReturn:
    raise ValueError
