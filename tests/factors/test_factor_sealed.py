from __future__ import annotations

import dataclasses
import os

import pytest
from factor_house import NEW_KEY, OLD_KEY, RING, occasion
from hypothesis import given
from hypothesis import strategies as st

from mailauth.factors.sealed import Box, Sealed, resealed
from mailauth.interfaces import BadRecord, UnknownKey
from mailauth.keys import KeyRing

BOTH = KeyRing([OLD_KEY, NEW_KEY])


@given(plain=st.binary(max_size=300), random=st.binary(min_size=12, max_size=40))
def test_what_is_sealed_is_opened_again(plain: bytes, random: bytes) -> None:
    box = Box(RING, "17")
    sealed = box.seal("number", plain, random)
    assert box.open("number", sealed) == plain
    assert box.open("number", Sealed.parse(sealed.text())) == plain
    assert len(sealed.value) == 12 + len(plain) + 16


def test_it_opens_for_its_account_and_purpose_only() -> None:
    sealed = Box(RING, "17").seal("number", b"+8613800138000", os.urandom(12))
    with pytest.raises(BadRecord):
        Box(RING, "18").open("number", sealed)
    with pytest.raises(BadRecord):
        Box(RING, "17").open("totp-secret", sealed)
    with pytest.raises(BadRecord):  # not even when the row says that it is of another purpose
        Box(RING, "17").open("totp-secret", dataclasses.replace(sealed, purpose="totp-secret"))
    with pytest.raises(BadRecord):
        Box(KeyRing([dataclasses.replace(OLD_KEY, secret=b"x" * 32)]), "17").open("number", sealed)


@given(place=st.integers(0, 41), bit=st.integers(0, 7))
def test_a_changed_bit_is_noticed(place: int, bit: int) -> None:
    sealed = Box(RING, "17").seal("number", b"+8613800138000", b"r" * 12)
    value = bytearray(sealed.value)
    value[place % len(value)] ^= 1 << bit
    with pytest.raises(BadRecord):
        Box(RING, "17").open("number", dataclasses.replace(sealed, value=bytes(value)))


@pytest.mark.parametrize("length_bytes", range(28))
def test_a_short_value_is_noticed(length_bytes: int) -> None:
    with pytest.raises(BadRecord):
        Box(RING, "17").open("number", Sealed("number", 1, bytes(length_bytes)))


def test_the_same_randomness_twice_gives_no_nonce_twice() -> None:
    box = Box(RING, "17")
    one, two = box.seal("number", b"one", b"r" * 12), box.seal("number", b"two", b"r" * 12)
    assert one.value[:12] != two.value[:12]
    assert box.seal("number", b"one", b"s" * 12).value != one.value


def test_a_key_that_is_gone_is_said_to_be() -> None:
    sealed = Box(RING, "17").seal("number", b"x", b"r" * 12)
    with pytest.raises(UnknownKey):
        Box(KeyRing([NEW_KEY]), "17").open("number", sealed)


def test_new_things_are_made_under_the_newest_key_and_old_ones_still_open() -> None:
    old, box = Box(RING, "17").seal("number", b"x", b"r" * 12), Box(BOTH, "17")
    assert (old.key_id, box.is_newest(old)) == (1, False)
    assert box.open("number", old) == b"x"
    assert box.seal("number", b"x", b"r" * 12).key_id == 2


def test_fingerprints_are_the_same_for_every_account_under_each_key() -> None:
    prints = Box(BOTH, "17").fingerprints("id", b"somebody")
    assert prints == Box(BOTH, "18").fingerprints("id", b"somebody")
    assert [each.key_id for each in prints] == [2, 1]
    assert prints[1:] == Box(RING, "17").fingerprints("id", b"somebody")
    assert not set(prints) & set(Box(BOTH, "17").fingerprints("id", b"somebody else"))
    assert not set(prints) & set(Box(BOTH, "17").fingerprints("another", b"somebody"))


@dataclasses.dataclass(frozen=True, slots=True)
class Inner:
    number: Sealed | None
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Outer:
    name: str
    inner: Inner
    several: tuple[Sealed, ...] = ()


def test_a_state_is_sealed_anew_wherever_it_is_sealed_and_only_if_it_must_be() -> None:
    old, new, at = Box(RING, "17"), Box(BOTH, "17"), occasion()
    seals = [old.seal("number", text, os.urandom(12)) for text in (b"a", b"b", b"c")]
    state = Outer("n", Inner(seals[0], 5), (seals[1], seals[2]))
    fresh = resealed(state, new, at.draw)
    assert fresh is not state
    found = [fresh.inner.number, *fresh.several]
    assert [each.key_id for each in found] == [2, 2, 2]
    assert [new.open("number", each) for each in found] == [b"a", b"b", b"c"]
    assert (fresh.name, fresh.inner.count) == ("n", 5)
    assert resealed(fresh, new, at.draw) is fresh
    assert resealed(state, old, at.draw) is state
    assert resealed(Outer("n", Inner(None, 5)), new, at.draw).inner.number is None
    with pytest.raises(BadRecord):
        resealed(state, Box(BOTH, "18"), at.draw)


@pytest.mark.parametrize("text", ["", "number", "number:1", "number:x:AAAA", "number:1:*", "a:1:AAAA:b"])
def test_texts_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Sealed.parse(text)


def test_nothing_of_it_is_in_a_repr() -> None:
    box = Box(RING, "17")
    sealed, (digest,) = box.seal("number", b"13800138000", b"r" * 12), box.fingerprints("id", b"123456")
    shown = repr([box, sealed, digest])
    assert sealed.text().split(":")[2] not in shown
    assert digest.value not in shown
    assert "1111" not in shown
