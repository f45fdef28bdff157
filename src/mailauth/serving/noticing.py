"""A coroutine whose driver hears of it before it waits, so that it can do first what must not wait with it.

Source: PEP 380, how `yield from` hands on what is sent and thrown. Rule: knows nothing of what it drives.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


@coroutine
def noticing(work: Coroutine[Any, Any, T], about_to_wait: Callable[[], object]) -> Generator[Any, Any, T]:
    """The result of `work`. about_to_wait: called each time before it gives way to the event loop; must not raise."""
    step: Callable[[Any], Any] = work.send
    given: Any = None
    while True:
        try:
            awaited = step(given)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        about_to_wait()
        try:
            given = yield awaited
            step = work.send
        except BaseException as thrown:  # noqa: BLE001  handed on as it came
            step, given = work.throw, thrown
