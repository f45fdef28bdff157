"""The event loop that `serve` and `demo` run in."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine

from mailauth import compose
from mailauth.cli.opening import check_log, check_mailbox, store_of
from mailauth.config import Settings
from mailauth.serving import readiness
from mailauth.webportal import Around

END_S = 9.0  # service managers ask twice, and the second time they do not ask

log = logging.getLogger(__name__)


def run(settings: Settings, ready: Callable[[list[str]], None], around: Around = lambda app: app) -> None:
    """Serve until a signal ends it. ready: is told once everything listens. around: see compose.serve.

    Raises ConfigError, and whatever compose.serve raises.
    """
    os.umask(0o077)  # mail, records and logs are this user's alone
    check_log(settings)
    check_mailbox(settings)
    store_of(settings).close()
    runner()(compose.serve(settings, ready, end_in_time, around))


def end_in_time() -> None:
    """Say that the end has come, and end the process END_S from now at the latest, though a thread of it may hang.

    By then every client has been told, and cut; what a store has not taken yet is lost.
    """
    readiness.tell(readiness.STOPPING)
    timer = threading.Timer(END_S, _end_now)
    timer.daemon = True
    timer.start()


def _end_now() -> None:
    log.error("the store or the relay does not answer, and is not waited for any longer: ended without")
    os._exit(0)


def runner() -> Callable[[Coroutine[None, None, None]], None]:
    """What runs a coroutine to its end, in the fastest event loop there is."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:  # a platform without it: slower, but right
        return asyncio.run
    return uvloop.run
