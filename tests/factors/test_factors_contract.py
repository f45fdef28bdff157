"""What every second factor keeps to, whatever it is: found by walking the folder, held with a device for each."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pkgutil
import threading
from typing import Any

import pytest
from factor_house import DEVICES, HASHING, NEW_KEY, NOW, OLD_KEY, Device, Keeper, occasion
from hypothesis import given, settings
from hypothesis import strategies as st

import mailauth.factors
from mailauth import plugins
from mailauth.factors import record, sealed
from mailauth.factors.factor import Asked, Done, Fetch, Later, Nature, Occasion, Reason, Wrong
from mailauth.factors.sealed import Box
from mailauth.interfaces import BadRecord, UnknownKey
from mailauth.keys import KeyRing


def found() -> list[str]:
    """The names of the plug-ins: the modules of the folder that can be built."""
    modules = [module.name for module in pkgutil.iter_modules(mailauth.factors.__path__)]
    return sorted(
        name.replace("_", "-")
        for name in modules
        if hasattr(__import__(f"mailauth.factors.{name}", fromlist=[name]), "build")
    )


def all_but(*others: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", [name for name in found() if name not in others])


every_factor = all_but()


async def enrolled(name: str) -> Device:
    device = DEVICES[name]()
    done = await device.enrol()
    assert isinstance(done, Done), done
    return device


def test_every_factor_brings_a_device_to_be_tested_with() -> None:
    assert found() == sorted(DEVICES)


@every_factor
def test_a_factor_is_called_as_its_file_and_says_what_it_is_good_for(name: str) -> None:
    factor = DEVICES[name]().keeper.factor
    assert factor.name == name
    assert isinstance(factor.nature, Nature)
    assert dataclasses.is_dataclass(factor.Enrolled)
    assert dataclasses.is_dataclass(factor.Pending)


@every_factor
async def test_what_is_enrolled_can_be_used_again_and_again(name: str) -> None:
    device = await enrolled(name)
    for _ in range(3):
        answer, ticket = await device.asked()
        step = await device.keeper.check(answer, ticket)
        assert isinstance(step, Done), step
        assert step.pending is None
        assert not device.keeper.pendings


@every_factor
async def test_nothing_is_enrolled_before_it_is_confirmed(name: str) -> None:
    device = DEVICES[name]()
    asked = await device.keeper.enrol(device.enrolment, purpose="enrol")
    assert isinstance(asked, Asked)
    assert device.keeper.enrolled() is None


@every_factor
async def test_the_same_answer_does_not_count_twice(name: str) -> None:
    device = await enrolled(name)
    answer, ticket = await device.asked()
    assert isinstance(await device.keeper.check(answer, ticket), Done)
    again = await device.keeper.check(answer, ticket)
    assert isinstance(again, Wrong), again
    assert again.reason in {Reason.USED, Reason.NOTHING_ASKED, Reason.WRONG}
    fresh = await device.keeper.challenge()
    other = None if fresh.pending is None else fresh.pending.ticket.id
    assert not isinstance(await device.keeper.check(answer, other), Done)


@every_factor
async def test_the_answer_that_enrolled_it_does_not_verify(name: str) -> None:
    device = DEVICES[name]()
    asked = await device.keeper.enrol(device.enrolment, purpose="enrol")
    ticket = asked.pending.ticket.id
    answer = device.confirming(device.keeper.show(ticket))
    assert isinstance(await device.keeper.confirm(answer, ticket, purpose="enrol"), Done)
    for open_ticket in (ticket, None):
        step = await device.keeper.check(answer, open_ticket, purpose="enrol")
        assert not isinstance(step, Done)


@every_factor
async def test_of_many_who_ask_at_once_with_one_answer_one_is_let_in(name: str) -> None:
    device = await enrolled(name)
    answer, ticket = await device.asked()
    steps: list[Any] = []
    together = threading.Barrier(50)

    def ask() -> None:
        together.wait()
        steps.append(asyncio.run(device.keeper.check(answer, ticket)))

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(step) for step in steps].count(Done) == 1
    assert len(steps) == 50


@every_factor
async def test_a_wrong_answer_is_refused_and_the_right_one_still_counts(name: str) -> None:
    device = await enrolled(name)
    answer, ticket = await device.asked()
    step = await device.keeper.check(device.wrong(answer), ticket)
    assert isinstance(step, Wrong), step
    if device.spends_question:
        assert not device.keeper.pendings
        answer, ticket = await device.asked()
    assert isinstance(await device.keeper.check(answer, ticket), Done)


@all_but("recovery-codes")  # paper does not expire
async def test_an_answer_that_comes_too_late_does_not_count(name: str) -> None:
    device = await enrolled(name)
    answer, ticket = await device.asked()
    device.clock.go(601)
    step = await device.keeper.check(answer, ticket)
    assert isinstance(step, Wrong), step
    assert step.reason in {Reason.EXPIRED, Reason.CLOCK}


@every_factor
async def test_an_enrolment_that_is_left_lying_does_not_count(name: str) -> None:
    device = DEVICES[name]()
    asked = await device.keeper.enrol(device.enrolment, purpose="enrol")
    ticket = asked.pending.ticket.id
    answer = device.confirming(device.keeper.show(ticket))
    device.clock.go(3601)
    step = await device.keeper.confirm(answer, ticket, purpose="enrol")
    assert isinstance(step, Wrong), step
    assert step.reason is Reason.EXPIRED
    assert device.keeper.enrolled() is None
    assert not device.keeper.pendings


@every_factor
@pytest.mark.parametrize("elsewhere", [{"session": "session-2"}, {"purpose": "mint"}, {"purpose": ""}])
async def test_a_question_is_answered_where_and_for_what_it_was_asked(name: str, elsewhere: dict[str, str]) -> None:
    device = DEVICES[name]()
    asked = await device.keeper.enrol(device.enrolment, purpose="enrol")
    ticket = asked.pending.ticket.id
    answer = device.confirming(device.keeper.show(ticket))
    step = await device.keeper.confirm(answer, ticket, **({"purpose": "enrol"} | elsewhere))
    assert isinstance(step, Wrong), step
    assert step.reason is Reason.ELSEWHERE
    assert isinstance(await device.keeper.confirm(answer, ticket, purpose="enrol"), Done)  # and nothing was lost

    answer, ticket = await device.asked()
    if ticket is None and name != "sms":
        return  # what needs no question is not tied to one: it counts once, for whatever it is shown
    step = await device.keeper.check(answer, ticket, **elsewhere)
    assert isinstance(step, Wrong), step
    assert step.reason is Reason.ELSEWHERE
    assert isinstance(await device.keeper.check(answer, ticket), Done)


@pytest.mark.parametrize("name", [name for name in found() if DEVICES[name].question])
async def test_two_questions_can_be_open_in_one_session(name: str) -> None:
    device = await enrolled(name)
    first, first_ticket = await device.asked()
    second, second_ticket = await device.asked()
    assert first_ticket != second_ticket
    assert isinstance(await device.keeper.check(first, first_ticket), Done)
    if name == "webauthn":
        second, second_ticket = await device.asked()  # the key has counted on meanwhile
    assert isinstance(await device.keeper.check(second, second_ticket), Done)


@every_factor
async def test_without_a_question_there_is_no_answer(name: str) -> None:
    device = await enrolled(name)
    step = await device.keeper.check({}, None)
    assert isinstance(step, Wrong)
    assert isinstance(await device.keeper.confirm({}, None), Wrong)


@every_factor
async def test_a_step_is_the_same_for_the_same_occasion(name: str) -> None:
    """Nothing else goes in: no clock, no random source, nothing remembered."""
    device = await enrolled(name)
    factor, keeper = device.keeper.factor, device.keeper
    at, state = keeper.occasion(), keeper.enrolled()
    for asked in (
        lambda: factor.enrol(at, state, device.enrolment),
        lambda: factor.challenge(at, state),
    ):
        first, second = asked(), asked()
        if isinstance(first, Fetch):
            first, second = (dataclasses.replace(each, then=len) for each in (first, second))
        assert first == second


@every_factor
async def test_other_randomness_gives_other_questions(name: str) -> None:
    device = DEVICES[name]()
    at = [occasion(random=bytes([number]) * 32) for number in range(8)]
    pendings = [device.keeper.factor.enrol(each, None, device.enrolment).pending for each in at]
    assert len({record.to_json(pending) for pending in pendings}) == 8
    assert len({pending.ticket.id for pending in pendings}) == 8


@every_factor
async def test_what_is_kept_comes_back_as_it_was(name: str) -> None:
    device = await enrolled(name)
    answer, ticket = await device.asked()
    await device.keeper.check(answer, ticket)
    factor = device.keeper.factor
    for text in device.keeper.written:
        kind = factor.Pending if "ticket" in json.loads(text) else factor.Enrolled
        value = record.from_json(kind, text)
        assert record.to_json(value) == text
        with pytest.raises(BadRecord):
            record.from_json(kind, text.replace("{", '{"another": 1, ', 1))
        with pytest.raises(BadRecord):
            record.from_json(kind, text[:-1])
        fields = json.loads(text)
        for field in fields:
            with pytest.raises(BadRecord):
                record.from_json(kind, json.dumps(fields | {field: {"of": "another type"}}))


@every_factor
async def test_no_secret_is_in_what_is_kept_or_in_any_repr(name: str) -> None:
    device = DEVICES[name]()
    seen: list[str] = []

    def note(step: Any) -> Any:
        seen.extend([repr(step), str(step), repr(step.state), repr(step.pending), f"{step!a}"])
        if isinstance(step, Fetch):
            seen.append(repr(step.request))
        return step

    factor = device.keeper.factor
    for method in ("enrol", "confirm", "challenge", "check"):
        original = getattr(factor, method)
        spied = lambda *arguments, original=original: note(original(*arguments))
        device.keeper.factor = _with(device.keeper.factor, method, spied)
    done = await device.enrol()
    seen.append(repr(done))
    answer, ticket = await device.asked()
    note(await device.keeper.check(device.wrong(answer), ticket))
    answer, ticket = await device.asked()
    seen.append(repr(device.keeper.occasion(session="the-session-itself")))
    assert "the-session-itself" not in seen[-1]
    note(await device.keeper.check(answer, ticket))
    seen.extend([repr(factor), *device.keeper.written])
    assert len(device.keeper.written) > 1
    for text in seen:
        for secret in device.secrets:
            assert secret not in text, (secret, text)


def _with(factor: Any, method: str, function: Any) -> Any:
    """A factor with one method put in place of its own; a factor itself cannot be changed."""

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return function if name == method else getattr(factor, name)

    return Spy()


@all_but("webauthn")  # keeps no secret, only a public key
async def test_what_is_kept_is_of_no_use_for_another_account(name: str) -> None:
    device = await enrolled(name)
    answer, ticket = await device.asked(session="s")
    stolen = {"session": "s", "box": Box(KeyRing([OLD_KEY]), "18")}
    try:
        step = await device.keeper.check(answer, ticket, **stolen)
    except BadRecord:
        return
    assert not isinstance(step, Done)


@every_factor
async def test_a_new_server_key_takes_over_what_the_old_one_has_sealed(name: str) -> None:
    device = await enrolled(name)
    device.keeper.ring = KeyRing([OLD_KEY, NEW_KEY])
    at = device.keeper.occasion()
    state = device.keeper.enrolled()
    answer, ticket = await device.asked()
    assert isinstance(await device.keeper.check(answer, ticket), Done)

    fresh = sealed.resealed(state, at.box, at.draw)
    assert sealed.resealed(fresh, at.box, at.draw) is fresh
    device.keeper.state = record.to_json(fresh)
    if name not in {"recovery-codes", "webauthn"}:  # they keep digests, which say under which key, or nothing secret
        assert fresh != state
        device.keeper.ring = KeyRing([NEW_KEY])
    answer, ticket = await device.asked()
    assert isinstance(await device.keeper.check(answer, ticket), Done)


@all_but("webauthn")  # keeps no secret
async def test_without_its_server_key_nothing_is_judged(name: str) -> None:
    device = await enrolled(name)
    answer, ticket = await device.asked()
    device.keeper.ring = KeyRing([NEW_KEY])
    with pytest.raises(UnknownKey):
        await device.keeper.check(answer, ticket)


@every_factor
async def test_it_is_listed_renamed_and_removed(name: str) -> None:
    device = await enrolled(name)
    factor, state = device.keeper.factor, device.keeper.enrolled()
    (part,) = factor.listed(state)
    assert part.created_at == NOW
    assert part.used_at is None
    renamed = factor.renamed(state, part.id, "  my \u202ephone\n\x1b ")
    assert factor.listed(renamed)[0].name == "my phone"
    assert factor.listed(renamed)[0].id == part.id
    assert len(factor.listed(factor.renamed(state, part.id, "x" * 10_000))[0].name) == 64
    assert factor.without(renamed, part.id) is None
    for change in (lambda: factor.renamed(state, "another", "x"), lambda: factor.without(state, "another")):
        with pytest.raises(LookupError):
            change()
    answer, ticket = await device.asked()
    device.keeper.state = record.to_json(renamed) if name != "sms" else device.keeper.state
    assert isinstance(await device.keeper.check(answer, ticket), Done)
    assert factor.listed(device.keeper.enrolled())[0].used_at == device.clock.now


@every_factor
async def test_the_page_of_an_open_question_can_be_shown_again(name: str) -> None:
    """The back button, a reload, a mistyped code: the same question, as long as it stands."""
    device = DEVICES[name]()
    asked = await device.keeper.enrol(device.enrolment, purpose="enrol")
    ticket = asked.pending.ticket.id
    assert device.keeper.show(ticket) == device.keeper.show(ticket)
    json.dumps(device.keeper.show(ticket))  # nothing a page could not have


FIELDS = ("code", "state", "authCode", "credential", "number", "name", "error")
texts = st.text(max_size=80) | st.text("0123456789 -", max_size=12) | st.sampled_from(["{}", "[]", '{"id": 1}', "null"])


@every_factor
@settings(max_examples=60, deadline=None)
@given(sent=st.dictionaries(st.sampled_from(FIELDS), texts))
def test_whatever_a_browser_sends_is_refused_in_order(name: str, sent: dict[str, str]) -> None:
    device = DEVICES[name]()
    factor, at = device.keeper.factor, occasion(NOW)
    begun = factor.enrol(at, None, device.enrolment)
    assert not isinstance(factor.enrol(at, None, sent), Done)
    confirmed = factor.confirm(at, begun.state, begun.pending, sent)
    if name != "recovery-codes":
        assert isinstance(confirmed, Wrong | Later), confirmed
    state = ENROLLED[name]
    asked = factor.challenge(at, state)
    step = factor.check(at, asked.state, asked.pending, sent)
    assert isinstance(step, Wrong | Later), step


def _all_enrolled() -> dict[str, Any]:
    async def enrol(name: str) -> Any:
        return (await enrolled(name)).keeper.enrolled()

    return {name: asyncio.run(enrol(name)) for name in DEVICES}


ENROLLED = _all_enrolled()


def test_an_occasion_without_randomness_is_refused() -> None:
    poor = dataclasses.replace(occasion(), random=b"short")
    with pytest.raises(ValueError, match="32 random bytes"):
        poor.draw("label", 8)


def test_randomness_for_one_use_says_nothing_about_another() -> None:
    at: Occasion = occasion()
    assert at.draw("one", 32) == at.draw("one", 32)
    assert len({at.draw(label, 32) for label in ("one", "two", "")} | {occasion().draw("one", 32)}) == 4


def test_an_unknown_setting_is_an_error_in_every_factor() -> None:
    for name in found():
        section = DEVICES[name].__new__(DEVICES[name])
        section.clock = type("Still", (), {"__call__": lambda _: NOW})()
        with pytest.raises(ValueError, match="unknown"):
            plugins.load("factors", name, section.section() | {"colour": "blue"})


def test_the_keeper_of_these_tests_loses_races_as_a_store_does() -> None:
    """So that `of many who ask at once` proves something."""
    keeper = Keeper(DEVICES["totp"]().keeper.factor, lambda: NOW)  # type: ignore[arg-type]
    keeper.state = "{}"
    step = Done(None)
    assert keeper._write(step, "{}", None, None) is True
    assert keeper._write(step, "another", None, None) is False
    assert keeper._write(step, "{}", "ticket", "gone") is False
    assert HASHING.verify(HASHING.hash(b"x"), b"x")
