"""A coroutine whose driver hears of it before it waits."""

from __future__ import annotations

import asyncio

import pytest

from mailauth.serving.noticing import noticing


async def test_who_never_waits_is_not_noticed() -> None:
    async def at_once() -> int:
        return 7

    said: list[str] = []
    assert await noticing(at_once(), lambda: said.append("waits")) == 7
    assert said == []


async def test_each_wait_is_noticed_before_it_begins() -> None:
    said: list[str] = []

    async def work() -> str:
        said.append("begins")
        await asyncio.sleep(0)
        said.append("goes on")
        await asyncio.sleep(0.001)
        return "done"

    assert await noticing(work(), lambda: said.append("waits")) == "done"
    assert said == ["begins", "waits", "goes on", "waits"]


async def test_what_is_raised_comes_out() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise LookupError("where?")

    with pytest.raises(LookupError):
        await noticing(work(), lambda: None)


async def test_what_is_thrown_in_is_the_works_to_catch_and_a_time_limit_of_its_own_holds() -> None:
    async def work() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            await asyncio.sleep(0)
            return "late"
        return "never"

    assert await noticing(work(), lambda: None) == "late"


async def test_cancelled_it_cleans_up() -> None:
    cleaned: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    async def driver() -> None:
        await noticing(work(), lambda: None)

    task = asyncio.get_running_loop().create_task(driver())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == ["up"]
