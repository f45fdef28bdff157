"""Work begun at once, and given to a task only if it has to wait.

Most logins never wait: for them a task, and a turn of the event loop, cost as much as several steps of the login.
Source: PEP 492, what a coroutine yields to who drives it. Rule: up to its first wait the work runs outside of any task;
what needs one before (asyncio.timeout does) first waits a turn. What is begun from within a task is given one at once:
in another's, its time limits would be the other's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def begun(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> asyncio.Task[T] | None:
    """The task that goes on with `work`; None: it came to its end without waiting. Raises what it raises till then."""
    if asyncio.current_task(loop) is not None:
        return loop.create_task(work)
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    rest = _going_on(work, awaited)
    rest.send(None)  # a task that is cancelled before its first turn throws that into what has begun, or into nothing
    return loop.create_task(rest)


async def in_a_task() -> None:
    """Come back in a task: a login may be begun outside of any, and a time limit needs one."""
    if asyncio.current_task() is None:
        await asyncio.sleep(0)


async def _going_on(work: Coroutine[Any, Any, T], awaited: Any) -> T:
    return await _driven(work, awaited)


@coroutine
def _driven(work: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    waits_for: Any = None
    is_first_turn = True
    while True:
        step, given = work.send, None
        try:
            given = yield waits_for
        except BaseException as thrown:  # noqa: BLE001  handed on as it came
            step, given = work.throw, thrown
        else:
            if is_first_turn:
                waits_for, is_first_turn = awaited, False
                continue
        is_first_turn = False
        try:
            waits_for = step(given)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
