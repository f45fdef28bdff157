"""Waiting for changes of an SQLite store: SQLite tells nobody, so its own change counter is looked at, 2 us a time.

Source: sqlite.org/pragma.html#pragma_data_version: another value means that another connection has committed.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailauth.store.sqlite import SqliteDriver

LOOK_S = 0.04  # a revocation is to end sessions of this process within 0.1 s
BUSY_S = 0.2
NO_VERSION = -1  # unlike any: what happened before the connection was made has to be looked for


class SqliteWatch:
    """See engine.Watch."""

    def __init__(self, driver: SqliteDriver) -> None:
        self._driver = driver
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._version = NO_VERSION

    def wait(self, timeout_s: float) -> bool:
        """See engine.Watch."""
        deadline = time.monotonic() + timeout_s
        while (remaining_s := deadline - time.monotonic()) > 0:
            time.sleep(min(LOOK_S, remaining_s))
            if self._is_new():
                return True
        return False

    def close(self) -> None:
        """See engine.Watch."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _is_new(self) -> bool:
        try:
            inode = self._driver.path.stat().st_ino
            if self._connection is None or inode != self._inode:
                self.close()  # the file was replaced, or this is the first look
                self._connection, self._inode, self._version = self._driver.open(BUSY_S), inode, NO_VERSION
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except (sqlite3.Error, OSError):
            self.close()
            return True  # whoever reads next says what is wrong
        before, self._version = self._version, version
        return version != before
