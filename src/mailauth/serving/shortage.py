"""When the system has no descriptor or no memory for another connection: one line in the log, and a quick answer.

Source: accept(2). One descriptor is held back; with it those who cannot be served are accepted and closed at once, as
libuv does too. Left in the queue they would wait for nothing, and keep the listening socket ready for ever.
Rule: one object for all doors, so that one outage is told once, and once more when it is over.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger(__name__)

OVER_AFTER_S = 5.0  # without a failure; on the brink, descriptors come and go many times a second
KEPT_FREE = 100  # descriptors for the store, for mailboxes, for the relay, and for connections told to go
ADVICE = {
    errno.EMFILE: "; raise the limit of open files of this process above [limits] max_connections",
    errno.ENFILE: "; the whole system has no more open files to give",
}


def raise_descriptor_limit() -> None:
    """As many descriptors as this user may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says "unlimited" and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def room() -> int:
    """How many connections there may be beside what is open now, with some descriptors left for everything else."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return sys.maxsize
    lowest_free = os.open(os.devnull, os.O_RDONLY)  # so many are open: at a start there are no gaps to speak of
    os.close(lowest_free)
    left = most - lowest_free
    return left - min(KEPT_FREE, left // 2)


class Shortage:
    """What new connections fail for, as long as they do. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spare: int | None = None
        self._failed_at: float | None = None  # None: nothing is short

    def note(self, error: OSError) -> None:
        """A connection could not be accepted."""
        if self._failed_at is None:
            advice = ADVICE.get(error.errno or 0, "")
            log.error("no new connections: %s%s", error.strerror, advice)
        self._failed_at = self._clock()

    def turn_away(self, listening: socket.socket) -> bool:
        """Accept and close one connection by means of the spare descriptor; False: not even that can be done."""
        if self._spare is None:
            return False
        os.close(self._spare)
        self._spare = None
        try:
            listening.accept()[0].close()
        except OSError:
            return False
        finally:
            self.look()
        return True

    def look(self) -> bool:
        """Whether a descriptor can be had now. To be asked every second: so it is found out when that is over."""
        try:
            if self._spare is None:
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            os.close(os.dup(self._spare))
        except OSError as error:
            self.note(error)
            return False
        if self._failed_at is not None and self._clock() - self._failed_at >= OVER_AFTER_S:
            self._failed_at = None
            log.warning("new connections are accepted again")
        return True

    def close(self) -> None:
        """Give the spare descriptor back."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
