"""Sockets are tried on both event loops, and nobody may complain or be left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from doors import IMAP, POP3, Words
from loops import pytest_asyncio_loop_factories  # noqa: F401


@pytest.fixture(params=[IMAP, POP3], ids=["imap", "pop3"])
def words(request: pytest.FixtureRequest) -> Words:
    """Both doors."""
    return request.param


@pytest.fixture
def unfinished() -> Callable[[], int]:
    """How many tasks there are beside the test's own."""
    return lambda: len(asyncio.all_tasks() - {asyncio.current_task()})


@pytest.fixture
async def nothing_left_behind(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Fails if a test has left a task, or if the event loop or the server found something to complain of."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    before = asyncio.all_tasks()
    yield
    for _ in range(5):  # what was cancelled or lost comes to its end
        await asyncio.sleep(0)
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}
    assert complaints == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
