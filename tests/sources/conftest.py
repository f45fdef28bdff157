"""Sources are asked from the event loop: every test runs on both kinds."""

from loops import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
