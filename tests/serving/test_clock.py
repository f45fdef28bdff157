"""Refusals leave tick by tick, together, and never after their tick."""

from __future__ import annotations

import asyncio
import math

from mailauth.serving.clock import RefusalClock

TICK_S = 0.05
DELAY_S = 0.2


def tick_to_come() -> float:
    """A tick that is at least one away."""
    return (math.ceil(asyncio.get_running_loop().time() / TICK_S) + 1) * TICK_S


async def first_of(*waits: asyncio.Task[bool]) -> set[asyncio.Task[bool]]:
    done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    return done


async def test_refusals_of_one_tick_leave_together_and_later_ones_later() -> None:
    clock = RefusalClock(DELAY_S, TICK_S)
    tick = tick_to_come()
    loop = asyncio.get_running_loop()
    early = loop.create_task(clock.hold(tick - DELAY_S - 0.9 * TICK_S))
    late = loop.create_task(clock.hold(tick - DELAY_S - 0.1 * TICK_S))
    next_one = loop.create_task(clock.hold(tick - DELAY_S + 0.1 * TICK_S))
    assert await first_of(early, late, next_one) == {early, late}
    assert loop.time() > tick - 0.002  # a loop's timers count in milliseconds
    assert await next_one
    assert early.result()
    assert late.result()
    assert loop.time() > tick + TICK_S - 0.002


async def test_a_refusal_after_its_tick_has_missed_it() -> None:
    clock = RefusalClock(DELAY_S, TICK_S)
    assert not await clock.hold(asyncio.get_running_loop().time() - DELAY_S - 1.01 * TICK_S)


async def test_work_within_the_delay_never_misses_the_tick() -> None:
    clock = RefusalClock(DELAY_S, TICK_S)
    assert await clock.hold(asyncio.get_running_loop().time() - 0.9 * DELAY_S)


async def test_without_a_delay_there_is_no_clock() -> None:
    assert await RefusalClock(0).hold(0.0)


async def test_each_refusal_on_a_connection_takes_longer_than_the_ones_before() -> None:
    clock = RefusalClock(DELAY_S, TICK_S)
    loop = asyncio.get_running_loop()
    arrived = tick_to_come() - TICK_S / 2
    waits = [loop.create_task(clock.hold(arrived, earlier)) for earlier in (0, 1, 2, 3, 9)]
    left = [0.0] * len(waits)
    for place, wait in enumerate(waits):
        wait.add_done_callback(lambda _, place=place: left.__setitem__(place, loop.time()))
    assert await asyncio.gather(*waits) == [True] * len(waits)
    await asyncio.sleep(0)
    assert left[0] <= left[1] < left[2] < left[3] <= left[4]
    due = [arrived + factor * DELAY_S - 0.002 for factor in (1, 1, 2, 4, 4)]
    assert all(at >= earliest for at, earliest in zip(left, due, strict=True))


async def test_one_that_leaves_takes_no_other_with_it() -> None:
    clock = RefusalClock(DELAY_S, TICK_S)
    arrived = tick_to_come() - DELAY_S
    loop = asyncio.get_running_loop()
    leaving = loop.create_task(clock.hold(arrived - 0.001))
    staying = loop.create_task(clock.hold(arrived - 0.001))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying
    assert leaving.cancelled()


async def test_a_tick_for_which_nobody_waits_any_more_strikes_quietly() -> None:
    clock = RefusalClock(DELAY_S, TICK_S)
    arrived = tick_to_come() - DELAY_S
    loop = asyncio.get_running_loop()
    only = loop.create_task(clock.hold(arrived - 0.001))
    await asyncio.sleep(0)
    only.cancel()
    assert await clock.hold(arrived + 0.5 * TICK_S)  # the tick after
    assert only.cancelled()
