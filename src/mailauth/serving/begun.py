"""Work begun at once, and given to a task only if it has to wait.

Most logins never wait: for them a task, and a turn of the event loop, cost as much as several steps of the login.
Source: PEP 492, what a coroutine yields to who drives it. Rule: up to its first wait the work runs outside of any task;
what needs one before (asyncio.timeout does) first waits a turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def begun(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> asyncio.Task[T] | None:
    """The task that goes on with `work`; None: it came to its end without waiting. Raises what it raises till then."""
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    return loop.create_task(_going_on(work, awaited))


async def _going_on(work: Coroutine[Any, Any, T], awaited: Any) -> T:
    return await _driven(work, awaited)


@coroutine
def _driven(work: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    while True:
        step: Any = work.send
        given: Any = None
        try:
            given = yield awaited
        except BaseException as thrown:  # noqa: BLE001  handed on as it came
            step, given = work.throw, thrown
        try:
            awaited = step(given)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
