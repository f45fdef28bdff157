from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import pytest
from factor_house import NEW_KEY, OLD_KEY, RING

from mailauth.factors import record
from mailauth.factors.sealed import Box, Sealed, resealed
from mailauth.interfaces import BadRecord
from mailauth.keys import KeyRing


@dataclass(frozen=True, slots=True)
class Small:
    text: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Large:
    small: Small
    sealed: Sealed
    at: float
    flag: bool
    maybe: Sealed | None
    many: tuple[Small, ...]
    numbers: tuple[int, ...] = ()
    later: float | None = None


BOX = Box(RING, "17")
LARGE = Large(
    Small('验证码 \u2028"', -5),
    BOX.seal("number", b"x", b"r" * 12),
    1.5,
    True,
    None,
    (Small("a"), Small("b", 2)),
    (1, 2),
)


def test_a_value_comes_back_as_it_was() -> None:
    text = record.to_json(LARGE)
    assert record.from_json(Large, text) == LARGE
    assert record.to_json(record.from_json(Large, text)) == text
    assert "验证码" in text


def test_a_field_with_a_default_may_be_missing_and_no_other() -> None:
    fields = json.loads(record.to_json(LARGE))
    del fields["numbers"]
    assert record.from_json(Large, json.dumps(fields)).numbers == ()
    for name in ("small", "sealed", "at", "flag", "maybe"):
        fewer = {key: value for key, value in fields.items() if key != name}
        with pytest.raises(BadRecord):
            record.from_json(Large, json.dumps(fewer))


def test_a_whole_number_is_a_number() -> None:
    fields = json.loads(record.to_json(LARGE)) | {"at": 2, "later": 3}
    value = record.from_json(Large, json.dumps(fields))
    assert (value.at, type(value.at), type(value.later)) == (2.0, float, float)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("small", None),
        ("small", []),
        ("small", {"text": 5}),
        ("small", {"text": "a", "number": 1.5}),
        ("small", {"text": "a", "number": True}),
        ("small", {"text": "a", "other": 1}),
        ("sealed", "x"),
        ("sealed", None),
        ("sealed", {"$sealed": "x"}),
        ("sealed", {"$sealed": 5}),
        ("sealed", {"$sealed": "number:1:AAAA", "more": 1}),
        ("sealed", "number:1:AAAA"),
        ("at", "1.5"),
        ("at", None),
        ("flag", 1),
        ("maybe", 5),
        ("many", {}),
        ("many", "ab"),
        ("many", [None]),
        ("numbers", ["1"]),
    ],
)
def test_another_type_is_a_bad_record(name: str, value: object) -> None:
    fields = json.loads(record.to_json(LARGE)) | {name: value}
    with pytest.raises(BadRecord) as fault:
        record.from_json(Large, json.dumps(fields))
    assert "Large" in str(fault.value)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "5", "\0", "[" * 100_000])
def test_what_is_no_object_is_a_bad_record(text: str) -> None:
    with pytest.raises(BadRecord):
        record.from_json(Large, text)


@pytest.mark.parametrize("value", [b"bytes", {"a": 1}, object(), {1}])
def test_what_has_no_form_is_refused_when_it_is_written(value: object) -> None:
    with pytest.raises(TypeError):
        record.to_json(Small(value))  # type: ignore[arg-type]


def test_what_is_no_number_is_not_written() -> None:
    with pytest.raises(ValueError):
        record.to_json(Small("a", float("nan")))  # type: ignore[arg-type]


def test_what_is_sealed_is_found_without_knowing_the_factor() -> None:
    both = Box(KeyRing([OLD_KEY, NEW_KEY]), "17")
    mixed = dataclasses.replace(LARGE, maybe=both.seal("number", b"y", b"r" * 12))
    text = record.to_json(mixed)
    assert record.key_ids(text) == (1, 2)
    assert record.key_ids(record.to_json(Small("number:1:AAAA"))) == ()  # a name is never taken for it
    moved = record.to_json(resealed(record.raw(text), both, lambda _, count: b"s" * count))
    assert record.key_ids(moved) == (2,)
    read = record.from_json(Large, moved)
    assert [both.open("number", each) for each in (read.sealed, read.maybe)] == [b"x", b"y"]
    assert dataclasses.replace(read, sealed=LARGE.sealed, maybe=None) == LARGE
    assert record.same(text, moved, both)
    assert record.same(None, None, both)
    assert not record.same(text, None, both)
    assert not record.same(text, record.to_json(dataclasses.replace(mixed, at=2.0)), both)
    assert not record.same(text, record.to_json(LARGE), both)


@pytest.mark.parametrize("text", ["", "{", '{"$sealed":"x"}', '{"a":{"$sealed":5}}', "[" * 100_000])
def test_what_cannot_be_read_so_either_is_a_bad_record(text: str) -> None:
    with pytest.raises(BadRecord):
        record.raw(text)
