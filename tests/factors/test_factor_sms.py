from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from factor_house import NOW, RING, SmsDevice, occasion

from mailauth import plugins
from mailauth.factors import ledger, sms, telephone
from mailauth.factors.factor import Asked, Delay, Done, Fetch, Later, Reason, Wrong
from mailauth.factors.fetch import Answer, Request
from mailauth.factors.message import Busy, Message, Refused, Sent
from mailauth.factors.sealed import Box
from mailauth.factors.section import BadSection


class Post:
    """A gateway that is told what to say, and keeps what it was given."""

    def __init__(self, outcome: Any = Sent("1")) -> None:  # noqa: B008
        self.outcome = outcome
        self.messages: list[Message] = []

    def request(self, message: Message, now: float) -> Request:
        self.messages.append(message)
        assert now == NOW
        return Request("POST", "http://localhost/")

    def read(self, answer: Answer | None) -> Any:
        return self.outcome


def factor_with(post: Post, **section: object) -> Any:
    return plugins.load("factors", "sms", {"gateway": post} | section)


async def enrolled_device() -> SmsDevice:
    device = SmsDevice()
    assert isinstance(await device.enrol(), Done)
    return device


async def test_a_number_is_kept_sealed_and_shown_masked() -> None:
    device = await enrolled_device()
    state = device.keeper.enrolled()
    assert state.masked == "138****8000"
    assert device.keeper.factor.listed(state)[0].detail == "138****8000"
    assert device.keeper.occasion().box.open(sms.NUMBER, state.number) == b"+8613800138000"
    assert device.keeper.show(None) == {"number": "138****8000", "digits": 6}


async def test_the_page_counts_down() -> None:
    device = await enrolled_device()
    device.clock.go(61)
    await device.keeper.challenge()
    expected = {"number": "138****8000", "digits": 6, "resend_after_s": 60.0, "expires_in_s": 600.0, "tries_left": 5}
    assert device.keeper.show(None) == expected
    device.clock.go(59.5)
    assert device.keeper.show(None)["resend_after_s"] == 0.5
    device.clock.go(541)
    assert device.keeper.show(None) == {"number": "138****8000", "digits": 6}


async def test_five_wrong_codes_kill_the_code() -> None:
    device = await enrolled_device()
    answer, _ = await device.asked()
    for left in (4, 3, 2, 1):
        step = await device.keeper.check(device.wrong(answer), None)
        assert (step.reason, step.tries_left) == (Reason.WRONG, left)
    last = await device.keeper.check(device.wrong(answer), None)
    assert (last.reason, last.tries_left) == (Reason.EXHAUSTED, 0)
    assert (await device.keeper.check(answer, None)).reason is Reason.NOTHING_ASKED
    answer, _ = await device.asked()
    assert isinstance(await device.keeper.check(answer, None), Done)


async def test_five_wrong_codes_kill_an_enrolment_too() -> None:
    device = SmsDevice()
    asked = await device.keeper.enrol(device.enrolment, purpose="enrol")
    ticket = asked.pending.ticket.id
    right = device.confirming({})
    for _ in range(5):
        step = await device.keeper.confirm(device.wrong(right), ticket, purpose="enrol")
    assert step.reason is Reason.EXHAUSTED
    step = await device.keeper.confirm(right, ticket, purpose="enrol")
    assert step.reason is Reason.NOTHING_ASKED
    assert device.keeper.enrolled() is None


async def test_tries_in_many_sessions_are_tries_at_one_code() -> None:
    device = await enrolled_device()
    await device.asked(session="s")
    steps = [await device.keeper.check({"code": "000000"}, None, session="s") for _ in range(3)]
    assert [step.tries_left for step in steps] == [4, 3, 2]
    other = await device.keeper.check({"code": "000000"}, None, session="another")
    assert (other.reason, other.tries_left) == (Reason.ELSEWHERE, None)


async def test_what_is_no_code_is_not_counted() -> None:
    device = await enrolled_device()
    answer, _ = await device.asked()
    for text in ("", "12345", "abcdef", "1" * 1000):
        step = await device.keeper.check({"code": text}, None)
        assert (step.reason, step.tries_left) == (Reason.MALFORMED, None)
    assert isinstance(await device.keeper.check({"code": " ".join(answer["code"])}, None), Done)


async def test_a_new_code_kills_the_old_one_in_every_session() -> None:
    device = await enrolled_device()
    old, _ = await device.asked(session="first")
    new, _ = await device.asked(session="second")
    step = await device.keeper.check(old, None, session="first")
    assert step.reason is Reason.ELSEWHERE
    assert isinstance(await device.keeper.check(new, None, session="second"), Done)


@pytest.mark.parametrize(("after_s", "good"), [(599, True), (600, False)])
async def test_a_code_lives_ten_minutes_at_most(after_s: int, good: bool) -> None:
    device = await enrolled_device()
    answer, _ = await device.asked()
    device.clock.go(after_s)
    step = await device.keeper.check(answer, None)
    assert isinstance(step, Done) is good
    assert good or (step.reason is Reason.EXPIRED and step.state.code is None)


async def test_another_code_can_be_sent_after_a_minute() -> None:
    device = await enrolled_device()
    device.clock.go(61)
    assert isinstance(await device.keeper.challenge(), Asked)
    device.clock.go(20)
    held = await device.keeper.challenge()
    assert isinstance(held, Later)
    assert (held.why, held.retry_after_s) == (Delay.RESEND, 40.0)
    assert len(device.phone.messages) == 2  # that of the enrolment, and one
    device.clock.go(40)
    assert isinstance(await device.keeper.challenge(), Asked)


async def test_a_held_up_message_leaves_the_code_alone_that_lives() -> None:
    device = await enrolled_device()
    answer, _ = await device.asked()
    assert isinstance(await device.keeper.challenge(), Later)
    assert isinstance(await device.keeper.check(answer, None), Done)


async def test_a_number_gets_five_in_an_hour_and_ten_in_a_day() -> None:
    device = await enrolled_device()
    device.clock.go(86400)
    began, sent = device.clock.now, []
    while device.clock.now < began + 86400:
        step = await device.keeper.challenge()
        if isinstance(step, Asked):
            sent.append(device.clock.now - began)
            device.clock.go(61)
        else:
            assert step.why is Delay.SENDS
            device.clock.go(step.retry_after_s)
    assert len([at for at in sent if at < 3600]) == 5
    assert len(sent) == 10


async def test_who_only_types_a_number_cannot_use_up_its_owners_codes() -> None:
    owner = await enrolled_device()
    stranger = SmsDevice()
    stranger.keeper.clock, stranger.keeper.application = owner.clock, owner.phone.application
    owner.clock.go(86401)
    steps = []
    for _ in range(10):
        steps.append(await stranger.keeper.enrol(owner.enrolment, purpose="enrol", box=Box(RING, "18")))
        owner.clock.go(1201)
    assert len([step for step in steps if isinstance(step, Asked)]) == 5
    owner.keeper.tallies |= stranger.keeper.tallies  # it is one ledger
    assert isinstance(await owner.keeper.challenge(), Asked)


def costs_of(**changed: Any) -> dict[str, ledger.Cost]:
    factor = factor_with(Post())
    fetch = factor.enrol(occasion(**changed), None, {"number": "13800138000"})
    assert isinstance(fetch, Fetch)
    return {cost.subject.partition(":")[0]: cost for cost in fetch.costs}


def test_messages_are_limited_by_number_account_address_and_day() -> None:
    limits = {name: (cost.most, cost.window_s) for name, cost in costs_of().items()}
    assert limits == {
        "sms-resend-enrolment": (1, 60.0),
        "sms-hour-enrolment": (2, 3600.0),
        "sms-day-enrolment": (5, 86400.0),
        "sms-day-account": (15, 86400.0),
        "sms-day-all": (1000, 86400.0),
        "sms-hour-source": (60, 3600.0),
        "sms-day-source": (300, 86400.0),
    }
    assert costs_of()["sms-day-source"].subject == "sms-day-source:192.0.2.1"
    assert costs_of()["sms-day-account"].subject == "sms-day-account:17"
    assert "sms-day-source" not in costs_of(source="")


def test_the_ledger_knows_a_number_again_and_nobody_can_read_it() -> None:
    subject = costs_of()["sms-day-enrolment"].subject
    assert subject == costs_of(session="another", random=b"x" * 32)["sms-day-enrolment"].subject
    assert "138001" not in subject
    other = factor_with(Post()).enrol(occasion(), None, {"number": "13800138001"})
    assert subject not in {cost.subject for cost in other.costs}


def test_a_message_is_charged_before_it_is_sent() -> None:
    """A Fetch names its costs, and the code is in the state before anything leaves."""
    post = Post()
    factor = factor_with(post)
    fetch = factor.enrol(occasion(), None, {"number": "13800138000"})
    assert fetch.costs
    assert fetch.pending.code is not None


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("zh-Hans", ("zh", "验证码 ", "10 分钟")),
        ("zh", ("zh", "验证码 ", "10 分钟")),
        ("en", ("en", "Your code is ", "10 minutes")),
        ("fr", ("en", "Your code is ", "10 minutes")),
    ],
)
def test_the_text_is_in_the_users_language(language: str, expected: tuple[str, str, str]) -> None:
    post = Post()
    factor_with(post).enrol(occasion(language=language), None, {"number": "13800138000"})
    (message,) = post.messages
    assert message.language == expected[0]
    assert expected[1] + message.code in message.text
    assert expected[2] in message.text
    assert message.code.isdigit()
    assert len(message.code) == 6
    assert message.to == "+8613800138000"


def test_codes_are_of_six_digits_spread_evenly_and_ids_are_never_the_same() -> None:
    post = Post()
    factor = factor_with(post)
    for _ in range(2000):
        factor.enrol(occasion(), None, {"number": "13800138000"})
    codes = [message.code for message in post.messages]
    assert all(len(code) == 6 for code in codes)
    assert len(set(codes)) > 1980
    assert len({message.id for message in post.messages}) == 2000
    for place in range(6):
        counts = [sum(code[place] == digit for code in codes) for digit in "0123456789"]
        assert 120 < min(counts) <= max(counts) < 290  # 200 each; further off once in 10^8 runs


def test_a_number_that_cannot_be_reached_is_said_to_be() -> None:
    fetch = factor_with(Post(Refused("21211"))).enrol(occasion(), None, {"number": "13800138000"})
    step = fetch.then(Answer(400))
    assert isinstance(step, Wrong)
    assert (step.reason, step.detail, step.pending) == (Reason.UNREACHABLE, "21211", None)


async def test_a_refusal_later_on_takes_the_code_away_and_keeps_the_number() -> None:
    device = await enrolled_device()
    device.phone.fault = 410
    device.clock.go(61)
    step = await device.keeper.challenge()
    assert (step.reason, step.detail) == (Reason.UNREACHABLE, "status 410")
    assert device.keeper.enrolled().code is None
    assert device.keeper.enrolled().masked == "138****8000"


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_a_gateway_in_trouble_is_not_the_users_fault(status: int) -> None:
    device = await enrolled_device()
    device.phone.fault = status
    device.clock.go(61)
    step = await device.keeper.challenge()
    assert isinstance(step, Later)
    assert (step.why, step.detail) == (Delay.PROVIDER, f"status {status}")
    assert step.retry_after_s == 30


def test_a_message_of_which_nothing_was_heard_may_arrive_yet() -> None:
    fetch = factor_with(Post(Busy("no answer", 30.0))).enrol(occasion(), None, {"number": "13800138000"})
    step = fetch.then(None)
    assert isinstance(step, Later)
    assert step.pending is fetch.pending


NUMBERS = [
    ("13800138000", "+8613800138000"),
    (" 138-0013-8000 ", "+8613800138000"),
    ("138 0013 8000", "+8613800138000"),
    ("+86 138 0013 8000", "+8613800138000"),
    ("0086 13800138000", "+8613800138000"),
    ("8613800138000", "+8613800138000"),
    ("013800138000", "+8613800138000"),
    ("１３８００１３８０００", "+8613800138000"),
    ("\u202a13800138000\u202c", "+8613800138000"),
    ("(+86)13800138000", "+8613800138000"),
]


@pytest.mark.parametrize(("typed", "meant"), NUMBERS)
def test_a_number_is_understood_as_people_write_it(typed: str, meant: str) -> None:
    post = Post()
    assert isinstance(factor_with(post).enrol(occasion(), None, {"number": typed}), Fetch)
    assert post.messages[0].to == meant


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("", Reason.NOT_A_NUMBER),
        ("alice", Reason.NOT_A_NUMBER),
        ("123", Reason.NOT_A_NUMBER),
        ("13800138000,13800138001", Reason.NOT_A_NUMBER),
        ("13800138000\n13900139000", Reason.NOT_A_NUMBER),
        ("1" * 41, Reason.NOT_A_NUMBER),
        ("+1234567890123456", Reason.NOT_A_NUMBER),
        ("١٣٨٠٠١٣٨٠٠٠", Reason.NOT_A_NUMBER),
        ("12800138000", Reason.NOT_SERVED),  # no mobile number
        ("1380013800", Reason.NOT_SERVED),
        ("138001380001", Reason.NOT_SERVED),
        ("+44 7911 123456", Reason.NOT_SERVED),
        ("+852 9123 4567", Reason.NOT_SERVED),
        ("010-12345678", Reason.NOT_SERVED),
    ],
)
def test_what_is_no_mobile_number_of_the_mainland_is_refused(typed: str, reason: Reason) -> None:
    step = factor_with(Post()).enrol(occasion(), None, {"number": typed})
    assert isinstance(step, Wrong)
    assert step.reason is reason


def test_a_site_may_serve_other_countries() -> None:
    post = Post()
    factor = factor_with(post, numbers=[telephone.MAINLAND_CHINA, r"\+447[0-9]{9}"], country_code="44")
    for typed, meant in (("07911 123456", "+447911123456"), ("+8613800138000", "+8613800138000")):
        factor.enrol(occasion(), None, {"number": typed})
        assert post.messages[-1].to == meant


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+8613812345678", "138****5678"),
        ("+447911123456", "+4479****3456"),
        ("+85291234567", "+8529****4567"),
        ("+6591234567", "****4567"),
    ],
)
def test_masking_leaves_enough_to_know_and_not_enough_to_call(number: str, shown: str) -> None:
    assert telephone.masked(number) == shown


@pytest.mark.parametrize(
    "section",
    [
        {"valid_s": 601},
        {"valid_s": 30},
        {"resend_s": 0},
        {"numbers": []},
        {"numbers": ["("]},
        {"text_zh": "no place for it"},
        {"text_en": "two\nlines {code}"},
        {"max_per_day": 0},
        {"max_per_day": "many"},
    ],
)
def test_settings_that_make_no_sense_are_refused(section: dict[str, object]) -> None:
    with pytest.raises(BadSection) as refused:
        factor_with(Post(), **section)
    assert refused.value.key in section


def test_without_a_gateway_there_is_no_sms() -> None:
    with pytest.raises(BadSection) as refused:
        plugins.load("factors", "sms", {})
    assert refused.value.key == "gateway"


def test_sms_alone_is_not_enough_for_an_administrator() -> None:
    assert not factor_with(Post()).nature.for_administrators


async def test_of_codes_asked_for_at_once_one_is_sent() -> None:
    """Two tabs, two processes: whoever loses the race is told to wait, and sends nothing."""
    device = await enrolled_device()
    device.clock.go(61)
    steps: list[Any] = []
    together = threading.Barrier(10)

    def ask() -> None:
        together.wait()
        steps.append(asyncio.run(device.keeper.challenge()))

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(step) for step in steps].count(Asked) == 1
    assert [step.why for step in steps if isinstance(step, Later)] == [Delay.RESEND] * 9
    assert len(device.phone.messages) == 2  # that of the enrolment, and one
    code = device.answering({})
    assert isinstance(await device.keeper.check(code, None), Done)
