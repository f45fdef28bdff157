from __future__ import annotations

import re
from typing import Any

import pytest
from factor_house import HASHING, NOW, RecoveryDevice, occasion

from mailauth.apppassword import ALPHABET
from mailauth.factors import recovery_codes
from mailauth.factors.factor import Delay, Done, Hashing, Later, Reason
from mailauth.interfaces import HashUnavailable


async def enrolled() -> RecoveryDevice:
    device = RecoveryDevice()
    assert isinstance(await device.enrol(), Done)
    return device


async def test_there_are_ten_to_keep_readable_and_all_different() -> None:
    device = await enrolled()
    assert len(set(device.paper)) == 10
    for code in device.paper:
        assert re.fullmatch(rf"[{ALPHABET}]{{5}}-[{ALPHABET}]{{5}}", code)


async def test_the_file_to_keep_names_the_account_and_numbers_the_codes() -> None:
    device = RecoveryDevice()
    asked = await device.keeper.enrol(purpose="enrol")
    shown = device.keeper.show(asked.pending.ticket.id)
    lines = shown["text"].splitlines()
    assert lines[:2] == ["alice@example.test", ""]
    assert [line.split(". ")[1] for line in lines[2:]] == list(shown["codes"])
    assert (lines[2][:4], lines[11][:4]) == (" 1. ", "10. ")
    assert shown["text"].endswith("\n")


async def test_each_opens_once_and_the_rest_is_counted() -> None:
    device = await enrolled()
    paper = list(device.paper)
    for left, code in zip(range(9, -1, -1), paper, strict=True):
        assert isinstance(await device.keeper.check({"code": code}, None), Done)
        assert device.keeper.show(None) == {"left": left}
        assert device.keeper.factor.listed(device.keeper.enrolled())[0].detail == str(left)
    for code in paper[:4]:
        assert (await device.keeper.check({"code": code}, None)).reason is Reason.WRONG


@pytest.mark.parametrize("change", [str.upper, lambda code: code.replace("-", " "), lambda code: f" {code}\n"])
async def test_they_are_taken_as_people_type_them(change: Any) -> None:
    device = await enrolled()
    assert isinstance(await device.keeper.check({"code": change(device.paper[3])}, None), Done)


@pytest.mark.parametrize("text", ["", "abcde", "abcde-fghj", "abcde-fghjkm", "abcde-fgh1l", "\u4e00" * 10, "a" * 5000])
async def test_what_cannot_be_one_is_not_counted(text: str) -> None:
    device = await enrolled()
    step = await device.keeper.check({"code": text}, None)
    assert (step.reason, step.tries_left) == (Reason.MALFORMED, None)


async def test_new_ones_kill_the_old_ones_when_they_are_kept_and_not_before() -> None:
    device = await enrolled()
    old = list(device.paper)
    asked = await device.keeper.enrol(purpose="enrol")
    assert isinstance(await device.keeper.check({"code": old[0]}, None), Done)
    ticket = asked.pending.ticket.id
    device.confirming(device.keeper.show(ticket))
    assert isinstance(await device.keeper.confirm({}, ticket, purpose="enrol"), Done)
    assert (await device.keeper.check({"code": old[1]}, None)).reason is Reason.WRONG
    assert isinstance(await device.keeper.check({"code": device.paper[0]}, None), Done)
    assert device.keeper.show(None) == {"left": 9}


async def test_wrong_ones_are_slowed_down() -> None:
    device = await enrolled()
    for left in (4, 3, 2, 1, 0):
        step = await device.keeper.check({"code": "22222-22222"}, None)
        assert (step.reason, step.tries_left) == (Reason.WRONG, left)
    held = await device.keeper.check({"code": device.paper[0]}, None)
    assert isinstance(held, Later)
    assert (held.why, held.retry_after_s) == (Delay.TRIES, 30.0)
    device.clock.go(30)
    assert isinstance(await device.keeper.check({"code": device.paper[0]}, None), Done)


async def test_a_wrong_one_costs_no_hash_and_a_right_one_costs_one() -> None:
    device = await enrolled()
    computed: list[str] = []

    def verify(record: str, secret: bytes) -> bool:
        computed.append(record)
        return HASHING.verify(record, secret)

    counted = Hashing(HASHING.hash, verify)
    await device.keeper.check({"code": "22222-22222"}, None, hashing=counted)
    assert computed == []
    assert isinstance(await device.keeper.check({"code": device.paper[0]}, None, hashing=counted), Done)
    assert len(computed) == 1


async def test_the_hash_decides_and_not_the_selector() -> None:
    device = await enrolled()
    chance = Hashing(HASHING.hash, lambda record, secret: False)
    step = await device.keeper.check({"code": device.paper[0]}, None, hashing=chance)
    assert step.reason is Reason.WRONG


async def test_a_hash_that_cannot_be_computed_is_a_fault_and_uses_nothing_up() -> None:
    device = await enrolled()

    def fails(record: str, secret: bytes) -> bool:
        raise HashUnavailable("no memory")

    with pytest.raises(HashUnavailable):
        await device.keeper.check({"code": device.paper[0]}, None, hashing=Hashing(HASHING.hash, fails))
    assert isinstance(await device.keeper.check({"code": device.paper[0]}, None), Done)


async def test_they_are_stored_as_slow_hashes() -> None:
    device = await enrolled()
    for stored in device.keeper.enrolled().codes:
        assert stored.record.startswith("$argon2id$")
        assert len(stored.selector) == 4  # 16 bits


def test_every_letter_is_as_likely_as_any_other() -> None:
    counts = dict.fromkeys(ALPHABET, 0)
    for number in range(400):
        asked = recovery_codes.build({}).enrol(occasion(), None, {})
        shown = recovery_codes.build({}).show(occasion(NOW), None, asked.pending)
        for letter in "".join(shown["codes"]).replace("-", ""):  # type: ignore[arg-type]
            counts[letter] += 1
        assert number < 400
    assert sum(counts.values()) == 40_000  # 1290 each
    assert 1050 < min(counts.values()) <= max(counts.values()) < 1540


def test_they_prove_a_sign_in_and_no_act() -> None:
    nature = recovery_codes.RecoveryCodes.nature
    assert not nature.proves_acts
    assert not nature.alone
