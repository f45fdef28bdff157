"""States and pendings as text: JSON objects (RFC 8259), by the types that their dataclasses say.

Rule: what was written by one version is read by the same types or not at all. A field that is missing and has no
default, a field that is unknown, or a value of another type is BadRecord: a fault, never "not enrolled".
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from typing import Any

from mailauth.factors.sealed import Digest, Sealed
from mailauth.interfaces import BadRecord

_TEXTS = (Sealed, Digest)


def to_json(value: Any) -> str:
    """One frozen dataclass as text; equal values give equal texts."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)


def from_json(kind: type, text: str) -> Any:
    """The value that was written, as a `kind`. Raises BadRecord."""
    try:
        return _read(kind, json.loads(text))
    except (ValueError, TypeError, LookupError, RecursionError):
        raise BadRecord(f"a stored {kind.__module__} {kind.__qualname__} cannot be read") from None


def _plain(value: Any) -> Any:
    if isinstance(value, _TEXTS):
        return value.text()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if value is None or type(value) in {str, int, float, bool}:
        return value
    raise TypeError(f"{type(value).__name__} has no form in a record")


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
    if kind in _TEXTS:
        return kind.parse(value) if type(value) is str else _refuse()
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


def _refuse() -> Any:
    raise ValueError
