"""An outage is waited for, within the deadline, and in no herd."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter

import pytest

import virtual_time
from mailauth.begun import begun
from mailauth.interfaces import BadRecord, StoreUnavailable
from mailauth.store.patience import LONGEST_PAUSE_S, PatientReader

DEADLINE_S = 20.0
ROWS = [("alice@example.test",)]


class Away:
    """A Reader of a store that is away for a while. hangs: it says nothing then, in place of a fault."""

    def __init__(self, for_s: float = float("inf"), *, hangs: bool = False) -> None:
        self.back_at = virtual_time.now() + for_s
        self.hangs = hangs
        self.tried_at: list[float] = []

    async def rows(self, statement, values):
        self.tried_at.append(virtual_time.now())
        if virtual_time.now() >= self.back_at:
            return ROWS
        if self.hangs and len(self.tried_at) > 1:
            await asyncio.sleep(self.back_at - virtual_time.now())
        raise StoreUnavailable(f"away, {len(self.tried_at)}")

    async def close(self):
        pass


@pytest.mark.parametrize("away_s", [0.001, 0.05, 1.0, 7.0, DEADLINE_S - LONGEST_PAUSE_S])
def test_what_is_over_within_the_deadline_is_only_waited_for(away_s):
    async def main():
        began = virtual_time.now()
        away = Away(away_s)
        assert await PatientReader(away, DEADLINE_S).rows("SELECT", {}) == ROWS
        waited_s = virtual_time.now() - began
        assert away_s <= waited_s <= away_s + min(away_s * 2, LONGEST_PAUSE_S)
        return len(away.tried_at)

    assert virtual_time.run(main()) < 100  # some ten tries until the pauses are long, then a few a second


@pytest.mark.parametrize("hangs", [False, True])
def test_an_outage_that_lasts_is_a_fault_at_the_deadline(hangs):
    async def main():
        away = Away(3600.0, hangs=hangs)
        began = virtual_time.now()
        with pytest.raises(StoreUnavailable, match="away, ") as fault:
            await PatientReader(away, DEADLINE_S).rows("SELECT", {})
        assert virtual_time.now() - began == pytest.approx(DEADLINE_S, abs=0.1)
        assert str(fault.value) == f"away, {1 if hangs else len(away.tried_at)}"  # what is known last

    virtual_time.run(main())


def test_a_first_try_that_takes_all_the_time_is_the_only_one():
    class Slow(Away):
        async def rows(self, statement, values):
            await asyncio.sleep(DEADLINE_S)
            return await super().rows(statement, values)

    async def main():
        slow = Slow()
        with pytest.raises(StoreUnavailable):
            await PatientReader(slow, DEADLINE_S).rows("SELECT", {})
        await asyncio.sleep(DEADLINE_S)
        assert len(slow.tried_at) == 1

    virtual_time.run(main())


def test_what_the_store_has_answered_is_not_asked_again():
    class Unreadable(Away):
        async def rows(self, statement, values):
            self.tried_at.append(virtual_time.now())
            raise BadRecord("no text")

    async def main():
        reader = Unreadable()
        with pytest.raises(BadRecord):
            await PatientReader(reader, DEADLINE_S).rows("SELECT", {})
        assert len(reader.tried_at) == 1

    virtual_time.run(main())


def test_a_login_that_leaves_asks_no_more():
    async def main():
        away = Away()
        waiting = asyncio.ensure_future(PatientReader(away, DEADLINE_S).rows("SELECT", {}))
        await asyncio.sleep(1.0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        tried = len(away.tried_at)
        await asyncio.sleep(5.0)
        assert len(away.tried_at) == tried

    virtual_time.run(main())


def test_a_store_that_comes_back_is_not_met_by_everybody_at_once():
    """Five hundred logins of one moment: soon no two hundredth of a second has more than a few of them."""
    count, away_s = 500, 10.0
    random.seed(1)

    async def main():
        away = Away(away_s)
        reader = PatientReader(away, DEADLINE_S)
        assert await asyncio.gather(*(reader.rows("SELECT", {}) for _ in range(count))) == [ROWS] * count
        return [at - away.back_at + away_s for at in away.tried_at]

    tried_at = virtual_time.run(main())
    settled = Counter(int(at * 50) for at in tried_at if at > 5.0)
    assert max(settled.values()) < count / 8
    per_second = Counter(int(at) for at in itertools.filterfalse(lambda at: at < 5.0, tried_at))
    assert max(per_second.values()) < count * 4


def test_begun_outside_of_any_task_it_waits_all_the_same():
    async def main():
        loop, found = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

        async def look():
            found.set_result(await PatientReader(Away(1.0), DEADLINE_S).rows("SELECT", {}))

        loop.call_soon(begun, look(), loop)
        assert await found == ROWS

    virtual_time.run(main())
