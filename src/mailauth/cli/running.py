"""The event loop that `serve` and `demo` run in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from mailauth import compose
from mailauth.cli.opening import check_log, check_mailbox, store_of
from mailauth.config import Settings


def run(settings: Settings, ready: Callable[[list[str]], None]) -> None:
    """Serve until a signal ends it. ready: is told once everything listens.

    Raises ConfigError, and whatever compose.serve raises.
    """
    check_log(settings)
    check_mailbox(settings)
    store_of(settings).close()
    runner()(compose.serve(settings, ready))


def runner() -> Callable[[Coroutine[None, None, None]], None]:
    """What runs a coroutine to its end, in the fastest event loop there is."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:  # a platform without it: slower, but right
        return asyncio.run
    return uvloop.run
