"""One at a time, across processes: a lock file in a directory.

Rule: never held over a wait for anything but the disk.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mailauth.mailbox.view import FolderGone

FILE_NAME = "mailauth.lock"


@contextmanager
def directory_lock(path: str) -> Iterator[None]:
    """Hold the lock of this directory; it ends with the process, whatever becomes of that. Blocks.

    Raises FolderGone when there is no such directory.
    """
    try:
        descriptor = os.open(f"{path}/{FILE_NAME}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise FolderGone from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
