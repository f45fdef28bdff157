from __future__ import annotations

import dataclasses
import re
import time
import xml.etree.ElementTree as ET
from typing import Any

import pytest
import segno
from factor_house import NOW, TotpDevice, occasion

from mailauth import plugins
from mailauth.factors import totp
from mailauth.factors.factor import Asked, Delay, Done, Later, Reason, Wrong
from mailauth.factors.sealed import NONCE_BYTES
from mailauth.factors.section import BadSection

STEP_S = 30.0
FACTOR: Any = plugins.load("factors", "totp")

# RFC 6238 appendix B: the time, and the codes of eight digits
VECTORS = [
    (59, "94287082", "46119246", "90693936"),
    (1111111109, "07081804", "68084774", "25091201"),
    (1111111111, "14050471", "67062674", "99943326"),
    (1234567890, "89005924", "91819424", "93441116"),
    (2000000000, "69279037", "90698825", "38618901"),
    (20000000000, "65353130", "77737706", "47863826"),
]
SEEDS = {"sha1": b"1234567890" * 2, "sha256": b"1234567890" * 3 + b"12", "sha512": b"1234567890" * 6 + b"1234"}


def state_of(form: totp.Form = totp.Form(), secret: bytes = SEEDS["sha1"], **fields: Any) -> totp.Enrolled:  # noqa: B008
    sealed = occasion().box.seal(totp.SECRET, secret, bytes(NONCE_BYTES))
    return totp.Enrolled(sealed, form, **({"last_step": -1, "confirmed_at": 0.0} | fields))


def code_at(now: float, form: totp.Form = totp.Form()) -> str:  # noqa: B008
    return form.codes(SEEDS["sha1"]).at(now)


def check(state: totp.Enrolled, code: str, now: float = NOW) -> Any:
    return FACTOR.check(occasion(now), state, None, {"code": code})


@pytest.mark.parametrize("algorithm", SEEDS)
@pytest.mark.parametrize("vector", VECTORS)
def test_the_codes_are_those_of_rfc_6238(algorithm: str, vector: tuple[int, str, str, str]) -> None:
    state = state_of(totp.Form(algorithm, digits=8), SEEDS[algorithm])
    step = check(state, vector[1 + list(SEEDS).index(algorithm)], vector[0])
    assert isinstance(step, Done)
    assert step.state.last_step == vector[0] // 30


def test_spaces_and_full_width_digits_are_taken() -> None:
    code = code_at(NOW)
    spaced = f"{code[:3]} {code[3:]}"
    wide = "".join(chr(ord(digit) + 0xFEE0) for digit in code)
    for text in (code, spaced, f"\t{code}\n", f"{code[:3]}-{code[3:]}", wide):
        assert isinstance(check(state_of(), text), Done)


@pytest.mark.parametrize("text", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦x", "12345\0", "1" * 10_000, "²²²²²²x"])
def test_what_cannot_be_a_code_is_said_to_be_none_and_not_counted(text: str) -> None:
    step = check(state_of(), text)
    assert isinstance(step, Wrong)
    assert step.reason is Reason.MALFORMED
    assert step.state == state_of()


@pytest.mark.parametrize(("offset_s", "good"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_one_step_either_side_counts(offset_s: int, good: bool) -> None:
    assert isinstance(check(state_of(), code_at(NOW + offset_s)), Done) is good


def test_each_step_counts_once_and_none_before_it() -> None:
    step = check(state_of(), code_at(NOW))
    for offset_s in (0, -30):
        again = check(step.state, code_at(NOW + offset_s))
        assert (again.reason, again.state) == (Reason.USED, step.state)
    assert again.again_in_s == 30 - NOW % 30
    later = check(step.state, code_at(NOW + 30))
    assert isinstance(later, Done)
    assert check(later.state, code_at(NOW)).reason is Reason.USED


def test_a_used_code_is_still_called_used_some_minutes_later() -> None:
    step = check(state_of(), code_at(NOW))
    again = check(step.state, code_at(NOW), NOW + 300)
    assert again.reason is Reason.USED
    assert again.state.tries.wrong == 0


def test_a_wrong_code_is_counted_and_the_fifth_one_delays_the_sixth() -> None:
    state = state_of()
    for left in (4, 3, 2, 1, 0):
        step = check(state, _never(NOW))
        assert (step.reason, step.tries_left) == (Reason.WRONG, left)
        state = step.state
    assert step.again_in_s == 30
    held = check(state, code_at(NOW))
    assert isinstance(held, Later)
    assert (held.why, held.retry_after_s) == (Delay.TRIES, 30)
    assert held.state == state
    assert isinstance(check(state, code_at(NOW + 30), NOW + 30), Done)


def test_the_delay_grows_to_an_hour_and_ends_with_a_right_code() -> None:
    state, now, waits = state_of(), NOW, []
    for _ in range(16):
        step = check(state, _never(now), now)
        state = step.state
        waits.append(step.again_in_s)
        now += step.again_in_s
    assert waits == [0, 0, 0, 0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600, 3600]
    assert check(state, code_at(now), now).state.tries.wrong == 0


def test_a_guesser_has_a_few_tries_a_day() -> None:
    state, now, judged = state_of(), NOW, 0
    while now < NOW + 86400:
        step = check(state, _never(now), now)
        judged += isinstance(step, Wrong)
        state = step.state
        now += 1 if isinstance(step, Wrong) else step.retry_after_s
    assert judged < 40


def test_a_clock_that_is_set_back_delays_no_longer_than_it_would_have() -> None:
    state = state_of()
    for _ in range(5):
        state = check(state, _never(NOW)).state
    yesterday = NOW - 86400
    held = check(state, code_at(yesterday), yesterday)
    assert held.retry_after_s == 30
    assert isinstance(check(held.state, code_at(yesterday + 31), yesterday + 31), Done)


@pytest.mark.parametrize("steps_away", [-119, -20, -2, 2, 20, 119])
def test_a_code_of_another_time_is_told_from_a_wrong_one(steps_away: int) -> None:
    step = check(state_of(), code_at(NOW + steps_away * STEP_S))
    assert (step.reason, step.off_by_s) == (Reason.CLOCK, steps_away * STEP_S)
    assert step.tries_left == 4


def test_a_code_of_an_hour_and_more_away_is_wrong() -> None:
    assert check(state_of(), code_at(NOW + 121 * STEP_S)).reason is Reason.WRONG


def test_a_code_to_come_is_spent_by_being_told() -> None:
    """Else "your clock is ten minutes ahead" would tell a guesser when to come back with it."""
    ahead = NOW + 600
    told = check(state_of(), code_at(ahead)).state
    assert told.told == (int(ahead // 30),)
    again = check(told, code_at(ahead), ahead)
    assert (again.reason, again.again_in_s) == (Reason.USED, 30 - ahead % 30)
    following = check(again.state, code_at(ahead + 30), ahead + 30)
    assert isinstance(following, Done)
    assert following.state.told == ()


def test_the_next_code_is_one_that_nobody_has_shown_us() -> None:
    state = state_of(last_step=int(NOW // 30), told=(int(NOW // 30) + 1, int(NOW // 30) + 2))
    step = check(state, code_at(NOW + 30))
    assert (step.reason, step.again_in_s) == (Reason.USED, 90 - NOW % 30)


def test_what_was_told_is_forgotten_when_it_is_past() -> None:
    told = check(state_of(), code_at(NOW + 600)).state
    later = check(told, code_at(NOW + 1800), NOW + 1200).state
    assert later.told == (int((NOW + 1800) // 30),)


def test_a_code_of_the_past_is_told_and_leaves_nothing() -> None:
    assert check(state_of(), code_at(NOW - 600)).state.told == ()


def test_early_in_time_no_step_is_negative() -> None:
    assert isinstance(check(state_of(), code_at(0), 5.0), Done)
    assert check(state_of(), code_at(1e9), 5.0).reason is Reason.WRONG


def test_the_enrolment_shows_a_qr_code_and_the_same_secret_to_type() -> None:
    at = occasion()
    asked = FACTOR.enrol(at, None, {})
    assert isinstance(asked, Asked)
    shown = FACTOR.show(at, None, asked.pending)
    groups = shown["secret"].split(" ")
    assert [len(group) for group in groups] == [4] * 8  # 160 bits, RFC 4226
    assert shown["uri"] == (f"otpauth://totp/mailauth:alice%40example.test?secret={''.join(groups)}&issuer=mailauth")
    assert (shown["digits"], shown["period_s"], shown["algorithm"]) == (6, 30, "sha1")
    image = ET.fromstring(shown["svg"])
    assert {element.tag for element in image.iter()} <= {"svg", "g", "path", "{http://www.w3.org/2000/svg}svg"}
    assert not {name for element in image.iter() for name in element.attrib} & {"style", "href", "onload"}


def test_the_qr_code_says_what_the_uri_says() -> None:
    at = occasion()
    shown = FACTOR.show(at, None, FACTOR.enrol(at, None, {}).pending)
    drawn = _modules(shown["svg"])
    assert drawn == {
        (x, y) for y, row in enumerate(segno.make(shown["uri"], error="m").matrix) for x, one in enumerate(row) if one
    }
    assert drawn != _modules(totp.qr_svg("otpauth://totp/another"))


def _modules(svg: str) -> set[tuple[int, int]]:
    """The dark modules of a picture, from its path: moves and horizontal lines, with a margin of four."""
    path = ET.fromstring(svg).findall(".//{*}path")[-1].attrib["d"]
    x, y, dark = 0.0, 0.0, set()
    for letter, numbers in re.findall(r"([Mmh])([-\d. ]+)", path):
        amounts = [float(number) for number in numbers.split()]
        if letter == "h":
            dark |= {(int(x) + each - 4, int(y) - 4) for each in range(int(amounts[0]))}
            x += amounts[0]
        else:
            x, y = (amounts[0], amounts[1]) if letter == "M" else (x + amounts[0], y + amounts[1])
    return dark


def test_the_secret_is_not_shown_once_it_is_enrolled() -> None:
    assert FACTOR.show(occasion(), state_of(), None) == {}


async def test_several_people_may_scan_one_code() -> None:
    device = TotpDevice()
    await device.enrol()
    colleague = device.app
    answer, ticket = await device.asked()
    assert isinstance(await device.keeper.check(answer, ticket), Done)
    at_once = await device.keeper.check({"code": colleague.at(device.clock.now)}, None)
    assert at_once.reason is Reason.USED  # wait for the next
    device.clock.go(at_once.again_in_s)
    assert isinstance(await device.keeper.check({"code": colleague.at(device.clock.now)}, None), Done)


async def test_a_mistyped_confirmation_keeps_the_secret_on_the_page() -> None:
    device = TotpDevice()
    asked = await device.keeper.enrol(purpose="enrol")
    ticket = asked.pending.ticket.id
    shown = device.keeper.show(ticket)
    right = device.confirming(shown)
    wrong = await device.keeper.confirm(device.wrong(right), ticket, purpose="enrol")
    assert (wrong.reason, wrong.tries_left) == (Reason.WRONG, 4)
    assert device.keeper.show(ticket) == shown
    assert isinstance(await device.keeper.confirm(right, ticket, purpose="enrol"), Done)


async def test_a_new_secret_replaces_the_old_one_only_when_it_is_confirmed() -> None:
    device = TotpDevice()
    await device.enrol()
    old = device.app
    asked = await device.keeper.enrol(purpose="enrol")
    device.clock.go(30)
    assert isinstance(await device.keeper.check({"code": old.at(device.clock.now)}, None), Done)
    ticket = asked.pending.ticket.id
    answer = device.confirming(device.keeper.show(ticket))
    assert isinstance(await device.keeper.confirm(answer, ticket, purpose="enrol"), Done)
    device.clock.go(30)
    step = await device.keeper.check({"code": old.at(device.clock.now)}, None)
    assert step.reason is Reason.WRONG
    device.clock.go(30)
    assert isinstance(await device.keeper.check({"code": device.app.at(device.clock.now)}, None), Done)


def test_a_changed_setting_leaves_enrolled_apps_alone() -> None:
    other: Any = plugins.load("factors", "totp", {"algorithm": "sha256", "digits": 8, "period_s": 60})
    step = other.check(occasion(), state_of(), None, {"code": code_at(NOW)})
    assert isinstance(step, Done)
    assert other.enrol(occasion(), None, {}).pending.form == totp.Form("sha256", 8, 60)


@pytest.mark.parametrize(
    "section", [{"digits": 7}, {"algorithm": "md5"}, {"period_s": 300}, {"issuer": ""}, {"digits": True}]
)
def test_settings_that_no_app_understands_are_refused(section: dict[str, object]) -> None:
    with pytest.raises(BadSection) as refused:
        plugins.load("factors", "totp", section)
    assert refused.value.key in section


def test_a_wrong_code_costs_milliseconds() -> None:
    began = time.process_time()
    for _ in range(20):
        check(state_of(), _never(NOW))
    assert (time.process_time() - began) / 20 < 0.1  # 240 steps are looked at; some 2 ms where this was written


def _never(now: float) -> str:
    """A code that is right for no time near."""
    codes = totp.Form().codes(SEEDS["sha1"])
    near = {codes.generate_otp(step) for step in range(max(0, int(now // 30) - 150), int(now // 30) + 150)}
    return next(code for number in range(1000) if (code := str(number).zfill(6)) not in near)


def test_states_are_values() -> None:
    state = state_of()
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.last_step = 0  # type: ignore[misc]
