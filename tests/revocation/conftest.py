"""Sessions on sockets are ended on both event loops; where nothing but the order of steps counts, one will do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

import loops


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    both = loops.pytest_asyncio_loop_factories(config, item)
    return both if "test_same_process" in item.nodeid else {"asyncio": both["asyncio"]}
