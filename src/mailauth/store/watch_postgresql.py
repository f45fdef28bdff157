"""Waiting for changes of a PostgreSQL store: LISTEN, and a look in any case when nothing is heard.

Source: postgresql.org/docs/current/sql-listen.html, psycopg.org/psycopg3/docs/advanced/async.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from mailauth.store.postgresql import CHANNEL

if TYPE_CHECKING:
    from mailauth.store.postgresql import PostgresqlDriver


class PostgresqlWatch:
    """See engine.Watch."""

    def __init__(self, driver: PostgresqlDriver) -> None:
        self._driver = driver
        self._connection: psycopg.Connection[Any] | None = None

    def wait(self, timeout_s: float) -> bool:
        """See engine.Watch. A new connection may have missed something: it comes back at once."""
        try:
            if self._connection is None:
                self._connection = self._driver.connect()
                self._connection.execute(f"LISTEN {CHANNEL}")
                return True
            return any(True for _ in self._connection.notifies(timeout=timeout_s, stop_after=1))
        except psycopg.Error as error:
            self.close()
            raise self._driver.fault(error) from None

    def close(self) -> None:
        """See engine.Watch."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
