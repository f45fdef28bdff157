"""Work begun at once, and given to a task only if it has to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from mailauth.begun import begun, in_a_task


async def task_of(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any] | None:
    """Begun outside of any task, as by a transport's callback. Raises what comes out of that."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[asyncio.Task[Any] | None] = loop.create_future()

    def begin() -> None:
        try:
            found.set_result(begun(work, loop))
        except LookupError as error:
            found.set_exception(error)

    loop.call_soon(begin)
    return await found


async def test_who_never_waits_needs_no_task() -> None:
    said: list[str] = []

    async def work() -> None:
        said.append("done")

    assert await task_of(work()) is None
    assert said == ["done"]


async def test_who_waits_goes_on_in_a_task_and_what_it_comes_to_is_the_tasks() -> None:
    said: list[object] = []

    async def work() -> str:
        said.append(asyncio.current_task())
        await asyncio.sleep(0)
        said.append(asyncio.current_task())
        await asyncio.sleep(0.001)
        return "done"

    task = await task_of(work())
    assert task is not None
    assert await task == "done"
    assert said == [None, task]


async def test_it_waits_for_what_is_over_before_the_task_runs() -> None:
    over = asyncio.get_running_loop().create_future()

    async def work() -> object:
        asyncio.get_running_loop().call_soon(over.set_result, 7)
        return await over

    task = await task_of(work())
    assert task is not None
    assert await task == 7


async def test_what_it_raises_at_once_comes_out_at_once_and_later_out_of_the_task() -> None:
    async def work(*, waits: bool) -> None:
        if waits:
            await asyncio.sleep(0)
        raise LookupError("where?")

    with pytest.raises(LookupError):
        await task_of(work(waits=False))
    task = await task_of(work(waits=True))
    assert task is not None
    with pytest.raises(LookupError):
        await task


async def test_a_time_limit_behind_the_first_wait_holds() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            await asyncio.sleep(0)
            return "late"
        return "never"

    task = await task_of(work())
    assert task is not None
    assert await task == "late"


async def test_what_is_begun_from_within_a_task_is_given_its_own() -> None:
    """Otherwise its time limits would be of the one that began it, which may have come to its end by then."""
    tasks: list[asyncio.Task[Any] | None] = []
    ran_in: list[object] = []

    async def work() -> str:
        await in_a_task()
        ran_in.append(asyncio.current_task())
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "late"
        return "never"

    async def other() -> None:
        tasks.append(begun(work(), asyncio.get_running_loop()))

    await asyncio.create_task(other())
    (task,) = tasks
    assert task is not None
    done, _ = await asyncio.wait([task], timeout=30)
    assert [one.result() for one in done] == ["late"]
    assert ran_in == [task]


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_cancelled_it_cleans_up_also_before_its_first_turn_in_the_task(turns: int) -> None:
    cleaned: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            cleaned.append("up")
            raise

    tasks: list[asyncio.Task[None] | None] = []
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: tasks.append(begun(work(), loop)))
    loop.call_soon(lambda: tasks[0] and not turns and tasks[0].cancel())
    for _ in range(1 + turns):
        await asyncio.sleep(0)
    (task,) = tasks
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == ["up"]
