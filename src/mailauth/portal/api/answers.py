"""What the API answers, from the values that use cases give: as JSON, and described by their types.

Source: JSON Schema 2020-12, RFC 3339. Rule: one dataclass says both; times, which are epoch seconds in fields named so,
are moments in UTC.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any

from mailauth.accounts.views import moment
from mailauth.portal.api.shapes import Schema

TIMES = ("at", "since")
TIME_ENDS = ("_at", "_from")
COMPONENT = "#/components/schemas/"
WORDS: Mapping[type, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    types.NoneType: {"type": "null"},
}


def plain(value: Any) -> Any:
    """A view, or several, as JSON holds it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _told(field.name, getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.repr
        }
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, frozenset):
        return sorted(plain(each) for each in value)
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def encoded(value: Any) -> bytes:
    """The same as JSON text."""
    return json.dumps(plain(value), ensure_ascii=False).encode()


def _told(name: str, value: Any) -> Any:
    return moment(value) if isinstance(value, float) and is_time(name) else plain(value)


def is_time(name: str) -> bool:
    """Whether a field of this name holds epoch seconds, if it holds a number."""
    return name in TIMES or name.endswith(TIME_ENDS)


def described(kinds: Iterable[Any]) -> dict[str, Schema]:
    """The schemas of these dataclasses and of all that they hold, by name. Raises ValueError: two have one name."""
    found: dict[str, type] = {}
    left = [kind for kind in kinds if dataclasses.is_dataclass(kind) and isinstance(kind, type)]
    while left:
        kind = left.pop()
        if found.setdefault(kind.__name__, kind) is not kind:
            raise ValueError(f"two kinds of answers are called {kind.__name__}")
        left += [held for hint in hints(kind).values() for held in _held(hint) if held not in found.values()]
    return {name: _object(kind) for name, kind in sorted(found.items())}


def schema_of(hint: Any, name: str = "") -> Schema:
    """The schema of what a field with this type holds. name: of the field."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [schema_of(arg, name) for arg in args]}
    if origin in (tuple, list, frozenset):
        return {"type": "array", "items": schema_of(args[0])}
    if origin is dict or origin is Mapping:
        return {"type": "object"}
    if dataclasses.is_dataclass(hint):
        return {"$ref": f"{COMPONENT}{hint.__name__}"}  # type: ignore[union-attr]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"type": "string", "enum": [str(word) for word in hint]}
    if hint is float and is_time(name):
        return {"type": "string", "format": "date-time"}
    return dict(WORDS[hint])


@cache
def hints(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields that are shown, by name."""
    shown = {field.name for field in dataclasses.fields(kind) if field.repr}
    return {name: hint for name, hint in typing.get_type_hints(kind).items() if name in shown}


def _object(kind: type) -> Schema:
    properties = {name: schema_of(hint, name) for name, hint in hints(kind).items()}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _held(hint: Any) -> list[type]:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return [hint]
    return [held for arg in typing.get_args(hint) for held in _held(arg)]
