from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailauth.factors.ledger import Cost, Overdrawn, Tally, charge
from mailauth.factors.tries import FREE, UNTRIED, Tries

HOUR = Cost("hour", 2, 3600.0, "sends")
MINUTE = Cost("minute", 1, 60.0, "resend")


def test_a_first_use_begins_a_window() -> None:
    assert charge([HOUR, MINUTE], {}, 100.0) == {"hour": Tally(100.0, 1), "minute": Tally(100.0, 1)}


def test_uses_within_a_window_are_counted_and_the_next_window_is_new() -> None:
    tallies = {"hour": Tally(100.0, 1)}
    assert charge([HOUR], tallies, 3699.9) == {"hour": Tally(100.0, 2)}
    assert charge([HOUR], tallies, 3700.0) == {"hour": Tally(3700.0, 1)}


def test_what_is_used_up_is_said_with_the_time_until_there_is_more() -> None:
    assert charge([HOUR], {"hour": Tally(100.0, 2)}, 700.0) == Overdrawn("hour", "sends", 3000.0)


def test_all_or_nothing_and_the_longest_wait_is_told() -> None:
    tallies = {"hour": Tally(100.0, 2), "minute": Tally(100.0, 1)}
    for costs in ([HOUR, MINUTE], [MINUTE, HOUR]):
        assert charge(costs, tallies, 130.0) == Overdrawn("hour", "sends", 3570.0)
    assert charge([MINUTE], tallies, 130.0) == Overdrawn("minute", "resend", 30.0)
    assert tallies == {"hour": Tally(100.0, 2), "minute": Tally(100.0, 1)}


def test_one_subject_named_twice_is_charged_twice() -> None:
    assert charge([HOUR, HOUR], {}, 0.0) == {"hour": Tally(0.0, 2)}
    assert isinstance(charge([HOUR, HOUR, HOUR], {}, 0.0), Overdrawn)


def test_a_clock_that_was_set_back_locks_nobody_out() -> None:
    assert charge([HOUR], {"hour": Tally(1e9, 2)}, 5e8) == {"hour": Tally(5e8, 1)}


@given(gaps=st.lists(st.floats(0, 500), max_size=60))
def test_in_no_window_is_there_more_than_twice_what_may_be_had(gaps: list[float]) -> None:
    now, tallies, had = 0.0, {}, []
    for gap in gaps:
        now += gap
        charged = charge([Cost("x", 3, 600.0, "sends")], tallies, now)
        if not isinstance(charged, Overdrawn):
            tallies = charged
            had.append(now)
    for at in had:
        assert len([each for each in had if at <= each < at + 600]) <= 6


def test_the_first_tries_are_free() -> None:
    tries = UNTRIED
    for _ in range(FREE - 1):
        tries = tries.missed(100.0)
        assert tries.wait_s(100.0) == 0
    assert tries.left == 1
    assert tries.missed(100.0).left == 0
    assert tries.missed(100.0).missed(100.0).left == 0


@pytest.mark.parametrize(("wrong", "wait_s"), [(5, 30), (6, 60), (7, 120), (11, 1920), (12, 3600), (1000, 3600)])
def test_the_wait_doubles_to_an_hour(wrong: int, wait_s: float) -> None:
    tries = Tries(wrong, 100.0)
    assert tries.wait_s(100.0) == wait_s
    assert tries.wait_s(100.0 + wait_s - 1) == 1
    assert tries.wait_s(100.0 + wait_s) == 0
    assert tries.wait_s(1e12) == 0


def test_a_clock_that_was_set_back_makes_nobody_wait_until_it_has_caught_up() -> None:
    tries = Tries(5, 1e9)
    assert tries.wait_s(5e8) == 30
    healed = tries.seen(5e8)
    assert (healed, healed.wait_s(5e8 + 30)) == (Tries(5, 5e8), 0)
    assert healed.seen(5e8 + 10) is healed
