"""Every wait in here ends by an event of another thread or by the pool's own deadline."""

import asyncio
import gc
import itertools
import threading
import weakref

import pytest
import uvloop

from mailauth.hashing.argon2id import Argon2id
from mailauth.hashing.pool import LAST_LIMIT, HashPool, usable_cores
from mailauth.interfaces import BadRecord, HashUnavailable, Lane, PoolBusy

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
CHEAP = Argon2id(time_cost=1, memory_kib=8)
PATIENCE_S = 10.0


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Gate:
    """Work that has begun when it says so, and ends when it is told to."""

    def __init__(self):
        self.begun = threading.Event()
        self.open = threading.Event()

    def __call__(self, value=None):
        self.begun.set()
        assert self.open.wait(PATIENCE_S)
        return value

    async def reached(self):
        assert await asyncio.get_running_loop().run_in_executor(None, self.begun.wait, PATIENCE_S)


@pytest.fixture(params=LOOPS)
def play(request):
    """Run a coroutine function on either loop, and see that no thread is left."""

    def run(scene):
        async def bounded():
            async with asyncio.timeout(PATIENCE_S):
                await scene()

        before = set(threading.enumerate())
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(bounded())
        assert set(threading.enumerate()) <= before

    return run


@pytest.fixture
def pool_of():
    pools = []

    def make(threads=1, queue_deadline_s=PATIENCE_S, queue_limit=10, **more):
        pools.append(HashPool(threads, queue_deadline_s=queue_deadline_s, queue_limit=queue_limit, **more))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


async def running(pool, work, *args, lane=Lane.ORDINARY):
    """A task whose work the pool has accepted."""
    task = asyncio.create_task(pool.run(work, *args, lane=lane))
    await asyncio.sleep(0)
    return task


async def occupied(pool, threads=1):
    """Tasks that hold this many threads, and the gate that lets them go."""
    gates = [Gate() for _ in range(threads)]
    tasks = [await running(pool, gate) for gate in gates]
    for gate in gates:
        await gate.reached()
        gate.open = gates[0].open
    return tasks, gates[0]


def test_results_and_faults_reach_the_waiter(play, pool_of):
    def fail():
        raise BadRecord("as stored")

    async def scene():
        pool = pool_of()
        assert await pool.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(BadRecord, match="as stored"):
            await pool.run(fail)
        assert await pool.run(threading.get_ident) != threading.get_ident()
        pool.close()

    play(scene)


def test_no_more_than_the_threads_work_at_once(play, pool_of):
    lock, begun, most, both = threading.Lock(), [], [], threading.Barrier(2, timeout=PATIENCE_S)

    def work(number):
        with lock:
            begun.append(number)
            most.append(len(begun))
        both.wait()
        with lock:
            begun.remove(number)
        both.wait()
        return number

    async def scene():
        pool = pool_of(threads=2)
        assert await asyncio.gather(*(pool.run(work, number) for number in range(6))) == list(range(6))
        assert max(most) == 2
        pool.close()

    play(scene)


def test_a_full_queue_refuses_at_once(play, pool_of):
    async def scene():
        pool, gate = pool_of(queue_limit=1), Gate()
        first = await running(pool, gate, "first")
        await gate.reached()
        second = await running(pool, str, "second")
        with pytest.raises(PoolBusy, match="full"):
            await pool.run(str, "third")
        gate.open.set()
        assert [await first, await second] == ["first", "second"]
        assert await pool.run(str, "fourth") == "fourth"
        pool.close()

    play(scene)


def test_who_waits_too_long_is_told_so_and_the_work_is_never_begun(play, pool_of):
    async def scene():
        pool, gate, begun = pool_of(clock=Clock()), Gate(), []
        first = await running(pool, gate)
        await gate.reached()
        pool._queue_deadline_s = 0.001
        with pytest.raises(PoolBusy, match="too long"):
            await pool.run(begun.append, "second")
        pool._queue_deadline_s = PATIENCE_S
        third = await running(pool, str, "third")
        gate.open.set()
        await first
        assert await third == "third"
        assert begun == []
        pool.close()

    play(scene)


def test_what_was_begun_in_time_is_waited_for_deadline_or_not(play, pool_of):
    async def scene():
        pool, gate = pool_of(queue_deadline_s=0.001, clock=Clock()), Gate()
        submit = pool._submit

        def submit_and_see_it_begin(*work):
            future = submit(*work)
            assert gate.begun.wait(PATIENCE_S)
            return future

        pool._submit = submit_and_see_it_begin
        asyncio.get_running_loop().call_later(0.01, gate.open.set)
        assert await pool.run(gate, "first") == "first"
        pool.close()

    play(scene)


def test_a_deadline_that_passed_unseen_is_seen_by_the_thread(play, pool_of):
    async def scene():
        clock = Clock()
        pool, gate, begun = pool_of(clock=clock), Gate(), []
        first = await running(pool, gate)
        await gate.reached()
        second = await running(pool, begun.append, "second")
        clock.now += PATIENCE_S + 1
        gate.open.set()
        await first
        with pytest.raises(PoolBusy, match="too long"):
            await second
        assert begun == []
        pool.close()

    play(scene)


def test_the_wait_is_predicted_from_what_work_has_taken(play, pool_of):
    async def scene():
        clock = Clock()

        def work(took_s):
            clock.now += took_s

        pool, gates = pool_of(threads=2, queue_deadline_s=5.0, clock=clock), [Gate(), Gate()]
        assert pool.predicted_wait_s() == 0.0
        await pool.run(work, 2.0)
        await pool.run(work, 10.0)  # an average of 2 + (10 - 2) / 8
        assert pool.predicted_wait_s() == 0.0
        tasks = [await running(pool, gates[0])]
        await gates[0].reached()
        assert pool.predicted_wait_s() == 0.0  # the other thread is free
        tasks.append(await running(pool, gates[1]))
        await gates[1].reached()
        assert pool.predicted_wait_s() == pytest.approx(1.5)  # one of the two has to end
        tasks += [await running(pool, str), await running(pool, str)]
        assert pool.predicted_wait_s() == pytest.approx(4.5)
        assert pool.saturated(4.4)
        assert not pool.saturated(4.6)
        tasks.append(await running(pool, str))
        with pytest.raises(PoolBusy, match=r"would have to wait 6\.0 s"):
            await pool.run(str)
        for gate in gates:
            gate.open.set()
        await asyncio.gather(*tasks)
        assert pool.predicted_wait_s() == 0.0
        pool.close()

    play(scene)


def test_threads_that_do_not_come_back_are_a_long_wait_whatever_the_average(play, pool_of):
    async def scene():
        clock = Clock()
        pool, gates = pool_of(threads=2, clock=clock), [Gate(), Gate()]
        tasks = [await running(pool, gate) for gate in gates]
        for gate in gates:
            await gate.reached()
        assert not pool.saturated(2.0)
        clock.now += 6.0
        assert pool.predicted_wait_s() == pytest.approx(3.0)
        assert pool.saturated(2.0)
        for gate in gates:
            gate.open.set()
        await asyncio.gather(*tasks)
        assert not pool.saturated(0.0)
        pool.close()

    play(scene)


def test_a_waiter_that_leaves_the_queue_gives_its_place_up(play, pool_of):
    async def scene():
        pool, gate, begun = pool_of(queue_limit=1), Gate(), []
        first = await running(pool, gate)
        await gate.reached()
        second = await running(pool, begun.append, "second")
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        third = await running(pool, begun.append, "third")
        gate.open.set()
        await first
        await third
        assert begun == ["third"]
        assert pool.predicted_wait_s() == 0.0
        pool.close()

    play(scene)


def test_a_waiter_that_leaves_its_work_does_not_free_the_thread(play, pool_of):
    async def scene():
        pool, gate = pool_of(queue_limit=1), Gate()
        first = await running(pool, gate)
        await gate.reached()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = await running(pool, str, "second")
        assert not second.done()
        with pytest.raises(PoolBusy, match="full"):
            await pool.run(str, "third")
        gate.open.set()
        assert await second == "second"
        assert await asyncio.gather(pool.run(str, "fourth"), pool.run(str, "fifth")) == ["fourth", "fifth"]
        pool.close()

    play(scene)


def test_a_waiter_that_leaves_when_its_turn_has_come_costs_nothing(play, pool_of):
    async def scene():
        pool, begun = pool_of(), []
        (first,), gate = await occupied(pool)
        second = pool._submit(Lane.ORDINARY, begun.append, "second")
        third = await running(pool, begun.append, "third")
        assert second.future.cancel()  # and the thread comes before it is out of the queue
        gate.open.set()
        await asyncio.gather(first, third)
        assert begun == ["third"]
        pool.close()

    play(scene)


def test_closing_refuses_who_waits_and_lets_what_was_begun_end(play, pool_of):
    async def scene():
        pool, gate, begun = pool_of(), Gate(), []
        first = await running(pool, gate, "first")
        await gate.reached()
        second = await running(pool, begun.append, "second")
        closing = asyncio.get_running_loop().run_in_executor(None, pool.close)
        with pytest.raises(PoolBusy):
            await second
        with pytest.raises(PoolBusy, match="closed"):
            await pool.run(str)
        assert not closing.done()
        gate.open.set()
        assert await first == "first"
        await closing
        assert begun == []
        pool.close()  # again does no harm

    play(scene)


def test_a_system_without_threads_says_nothing_about_the_password(play, pool_of, monkeypatch):
    def fail(self):
        raise RuntimeError("can't start new thread")

    async def scene():
        pool = pool_of(queue_limit=0)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            for _ in range(3):
                with pytest.raises(HashUnavailable, match="can't start new thread"):
                    await pool.run(str)
        assert await pool.run(str, "later") == "later"
        pool.close()

    play(scene)


def test_a_thread_that_cannot_be_had_is_done_without_where_there_are_others(play, pool_of, monkeypatch):
    def fail(self):
        raise RuntimeError("can't start new thread")

    async def scene():
        pool = pool_of(threads=2)
        (first,), gate = await occupied(pool)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            second = await running(pool, str, "second")
        gate.open.set()
        await first
        assert await second == "second"
        pool.close()

    play(scene)


def test_a_loop_that_is_gone_leaves_the_pool_in_order(pool_of, caplog):
    pool, gate = pool_of(queue_limit=1), Gate()

    async def leave():
        await running(pool, gate)
        await gate.reached()
        await running(pool, str)

    asyncio.run(leave())
    gate.open.set()

    async def come_back():
        return await pool.run(str, "back")

    assert asyncio.run(come_back()) == "back"
    assert caplog.records == []


class Secret:
    """Bytes that can be seen to be gone."""


def fail_with(secret):
    raise BadRecord("as stored")


@pytest.mark.parametrize("end", ["result", "fault", "left"])
def test_what_is_done_or_given_up_is_held_by_nobody(play, pool_of, end):
    async def scene():
        pool, secret = pool_of(), Secret()
        held = weakref.ref(secret)
        gc.collect()
        gc.disable()
        try:
            if end == "left":
                (first,), gate = await occupied(pool)
                second = await running(pool, id, secret)
                second.cancel()
                await asyncio.wait([second])
                del second
            elif end == "fault":
                with pytest.raises(BadRecord):
                    await pool.run(fail_with, secret)
            else:
                await pool.run(id, secret)
            del secret
            for _ in range(3):  # callbacks that the loop still has to call
                await asyncio.sleep(0)
            if end != "left":
                await pool.run(id, None)  # the thread is not in the midst of forgetting it
            assert held() is None
        finally:
            gc.enable()
        if end == "left":
            gate.open.set()
            await first
        pool.close()

    play(scene)


# ---- lanes


def test_first_goes_before_ordinary_but_for_every_fourth_turn(play, pool_of):
    async def scene():
        pool, begun = pool_of(), []
        tasks, gate = await occupied(pool)
        for name in ("o1", "o2", "o3"):
            tasks.append(await running(pool, begun.append, name))
        for number in range(1, 9):
            tasks.append(await running(pool, begun.append, f"f{number}", lane=Lane.FIRST))
        gate.open.set()
        await asyncio.gather(*tasks)
        assert begun == ["f1", "f2", "f3", "o1", "f4", "f5", "f6", "o2", "f7", "f8", "o3"]
        pool.close()

    play(scene)


@pytest.mark.parametrize(("stormy", "spared"), [(Lane.ORDINARY, Lane.FIRST), (Lane.FIRST, Lane.ORDINARY)])
def test_a_storm_in_one_lane_leaves_the_other_its_room(play, pool_of, stormy, spared):
    async def scene():
        pool = pool_of(queue_limit=2)
        tasks, gate = await occupied(pool)
        for lane in (stormy, spared):
            tasks += [await running(pool, str, lane=lane) for _ in range(2)]
            with pytest.raises(PoolBusy, match="full"):
                await pool.run(str, lane=lane)
        gate.open.set()
        await asyncio.gather(*tasks)
        pool.close()

    play(scene)


@pytest.mark.parametrize("lane", [Lane.FIRST, Lane.ORDINARY])
@pytest.mark.parametrize(("first", "ordinary"), list(itertools.product(range(6), range(4))))
def test_the_wait_of_a_lane_is_that_of_the_work_before_its_turn(play, pool_of, lane, first, ordinary):
    async def scene():
        clock = Clock()

        def work(name):
            begun.append(name)
            clock.now += 1.0

        pool, begun = pool_of(clock=clock), []
        await pool.run(work, "one second")
        tasks, gate = await occupied(pool)
        tasks += [await running(pool, work, "o") for _ in range(ordinary)]
        tasks += [await running(pool, work, "f", lane=Lane.FIRST) for _ in range(first)]
        begun.clear()
        foreseen_s = pool.predicted_wait_s(lane)
        tasks.append(await running(pool, work, "it", lane=lane))
        gate.open.set()
        await asyncio.gather(*tasks)
        assert foreseen_s == pytest.approx(1.0 + begun.index("it"))  # one second for what was begun already
        pool.close()

    play(scene)


def test_a_long_queue_is_long_for_its_own_lane(play, pool_of):
    async def scene():
        clock = Clock()

        def work():
            clock.now += 1.0

        pool = pool_of(clock=clock, queue_deadline_s=4.0)
        await pool.run(work)
        tasks, gate = await occupied(pool)
        tasks += [await running(pool, work) for _ in range(4)]
        assert pool.saturated(4.0)
        with pytest.raises(PoolBusy, match=r"would have to wait 5\.0 s"):
            await pool.run(work)
        tasks += [await running(pool, str, "known", lane=Lane.FIRST)]
        clock.now += 0.5
        gate.open.set()
        assert await tasks[-1] == "known"
        await asyncio.gather(*tasks)
        pool.close()

    play(scene)


def test_last_waits_until_nobody_else_does(play, pool_of):
    async def scene():
        pool, begun = pool_of(), []
        tasks, gate = await occupied(pool)
        tasks.append(await running(pool, begun.append, "last", lane=Lane.LAST))
        tasks.append(await running(pool, begun.append, "ordinary"))
        tasks.append(await running(pool, begun.append, "first", lane=Lane.FIRST))
        gate.open.set()
        await asyncio.gather(*tasks)
        assert begun == ["first", "ordinary", "last"]
        pool.close()

    play(scene)


@pytest.mark.parametrize("lane", [Lane.FIRST, Lane.ORDINARY])
def test_last_is_not_taken_while_anybody_waits(play, pool_of, lane):
    async def scene():
        pool = pool_of()
        tasks, gate = await occupied(pool)
        tasks.append(await running(pool, str, lane=lane))
        with pytest.raises(PoolBusy, match="full"):
            await pool.run(str, lane=Lane.LAST)
        gate.open.set()
        await asyncio.gather(*tasks)
        assert await pool.run(str, "idle", lane=Lane.LAST) == "idle"
        pool.close()

    play(scene)


def test_last_has_little_room_and_takes_none_from_others(play, pool_of):
    async def scene():
        pool = pool_of(queue_limit=1, clock=Clock())
        tasks, gate = await occupied(pool)
        tasks += [await running(pool, str, lane=Lane.LAST) for _ in range(LAST_LIMIT)]
        with pytest.raises(PoolBusy, match="full"):
            await pool.run(str, lane=Lane.LAST)
        assert not pool.saturated(0.0)
        tasks.append(await running(pool, str, "ordinary"))
        gate.open.set()
        await asyncio.gather(*tasks)
        pool.close()

    play(scene)


def test_last_has_one_thread_at_most(play, pool_of):
    async def scene():
        pool, begun = pool_of(threads=3), []
        gate = Gate()
        tasks = [await running(pool, gate, lane=Lane.LAST)]
        await gate.reached()
        tasks += [await running(pool, begun.append, number, lane=Lane.LAST) for number in range(2)]
        both = [Gate(), Gate()]
        for other in both:
            tasks.append(await running(pool, other))
            await other.reached()  # they have the other two threads
            other.open.set()
        assert await pool.run(str, "ordinary") == "ordinary"
        assert begun == []
        gate.open.set()
        await asyncio.gather(*tasks)
        assert begun == [0, 1]
        pool.close()

    play(scene)


def test_who_waits_too_long_in_the_last_lane_is_told_so(play, pool_of):
    async def scene():
        pool, begun = pool_of(clock=Clock()), []
        tasks, gate = await occupied(pool)
        pool._queue_deadline_s = 0.001
        with pytest.raises(PoolBusy, match="too long"):
            await pool.run(begun.append, "last", lane=Lane.LAST)
        gate.open.set()
        await asyncio.gather(*tasks)
        assert begun == []
        pool.close()

    play(scene)


@pytest.mark.parametrize("lane", Lane)
def test_secrets_are_hashed_and_verified_in_the_pool(play, pool_of, lane):
    async def scene():
        pool = pool_of(threads=2, scheme=CHEAP)
        record = await pool.hash(b"secret", lane)
        assert await pool.verify(record, b"secret", lane) is True
        assert await pool.verify(record, b"Secret") is False
        assert await pool.verify("{PLAIN}secret", b"secret") is True
        with pytest.raises(BadRecord):
            await pool.verify("rubbish", b"secret")
        assert not pool.outdated(record)
        assert pool.outdated("{PLAIN}secret")
        assert (pool.is_legacy(record), pool.is_legacy("{PLAIN}secret")) == (False, True)
        assert pool.outdated(Argon2id().hash(b"secret"))
        pool.close()

    play(scene)


def test_by_default_there_is_a_thread_for_every_core_and_the_default_cost(play):
    async def scene():
        pool = HashPool(queue_deadline_s=PATIENCE_S, queue_limit=10)
        assert (await pool.hash(b"x")).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        gates = [Gate() for _ in range(usable_cores())]
        tasks = [await running(pool, gate) for gate in gates]
        for gate in gates:
            await gate.reached()
            gate.open.set()
        await asyncio.gather(*tasks)
        pool.close()

    play(scene)
