"""SMTP is tried on both event loops."""

from loops import pytest_asyncio_loop_factories  # noqa: F401
