"""The store as the cold path and the write-behind thread use it: transactions over a bare driver.

Rule: every driver error leaves here as StoreUnavailable (or Clash), in a text that holds no parameter of a statement.
SQLAlchemy is not imported at run time (0.4 s); the statements are the constant texts of `Store.sql`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mailauth.store.highwater import HighWater

Row = dict[str, Any]
SQLITE_SCHEME = "sqlite:///"
POSTGRESQL_SCHEMES = ("postgresql://", "postgresql+psycopg://", "postgres://")
MAX_IDLE_CONNECTIONS = 4  # the write-behind thread, and a few commands or pages


AtOnce = Callable[[str, Mapping[str, Any] | Sequence[Any]], list[tuple[Any, ...]]]  # values by name, or by place


class Reader(Protocol):
    """What runs the SELECTs of logins without holding up the event loop."""

    async def rows(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """All rows, each in the order of the columns. Raises StoreUnavailable, BadRecord for a text that is none."""

    @property
    def at_once(self) -> AtOnce | None:
        """The same without waiting; None: this one always waits."""

    def together(self) -> None:
        """The reads from now on see one state, that of the first of them, until `apart`; nothing may wait meanwhile."""

    def apart(self) -> None:
        """Each read sees the newest state again."""

    async def close(self) -> None:
        """Let go of the connections."""


class Driver(Protocol):
    """One kind of database behind the same few calls. `sql`: the statements; `name`: for error texts, no password."""

    name: str
    dialect: str  # SQLAlchemy's name of it
    sql: ModuleType
    list_tables: str
    begin_upgrade: str
    given_ids: str  # per table, the highest id ever given
    clock: str  # gives `now`, epoch seconds by the clock of the database's server; "": that is this machine's
    raise_ids: tuple[str, ...]  # to be run in order: no id of this table up to this one is given any more
    error: tuple[type[Exception], ...]
    keeps_connections: bool
    stale: tuple[type[Exception], ...]  # of `error`, what a kept connection says whose other end is gone

    def create(self) -> None:
        """Make the place of a new store, if that is ours to make. Raises StoreUnavailable."""

    def prepare(self) -> None:
        """Set what the database itself remembers. Raises StoreUnavailable."""

    def keeping(self) -> Driver:
        """The same database by a driver that keeps connections for later, for who asks often."""

    def connect_for_upgrade(self) -> Any:
        """A connection as SQLAlchemy wants it. Raises StoreUnavailable."""

    def reader(self, deadline_s: float, connections: int) -> Reader:
        """What logins read with."""

    def connect(self) -> Any:
        """A new connection in autocommit, its rows as dicts. Raises StoreUnavailable."""

    def begin(self, connection: Any, *, writing: bool) -> None:
        """Begin a transaction that may write (and then nobody else's does), or one that reads a single state."""

    def announce(self, tx: Transaction) -> None:
        """Wake those who wait for changes, if the database has a way to, when this transaction is committed."""

    def watch(self) -> Watch:
        """What waits for changes. Raises StoreUnavailable."""

    def fault(self, error: Exception, *, committing: bool = False) -> Exception:
        """What to raise instead of this error: Clash, CommitUnknown, BadRecord or StoreUnavailable."""


class Watch(Protocol):
    """Waits for changes of the store that others make. Belongs to one thread."""

    def wait(self, timeout_s: float) -> bool:
        """Whether there may be something new; False: nothing was heard for this time. Raises StoreUnavailable."""

    def close(self) -> None:
        """Let go of the connection."""


class Transaction:
    """What is done between BEGIN and COMMIT. statement: one of `Store.sql`; values: its parameters by name."""

    __slots__ = ("_connection", "_driver", "fault")

    def __init__(self, connection: Any, driver: Driver) -> None:
        self._connection = connection
        self._driver = driver
        self.fault: Exception | None = None

    def rows(self, statement: str, **values: Any) -> list[Row]:
        """All rows of a SELECT, by column name."""
        return self._run(lambda: self._connection.execute(statement, values).fetchall())  # type: ignore[no-any-return]

    def row(self, statement: str, **values: Any) -> Row | None:
        """The first row of a SELECT; None: there is none."""
        return self._run(lambda: self._connection.execute(statement, values).fetchone())  # type: ignore[no-any-return]

    def write(self, statement: str, **values: Any) -> int:
        """How many rows an INSERT, UPDATE or DELETE touched. Raises Clash."""
        return self._run(lambda: self._connection.execute(statement, values).rowcount)  # type: ignore[no-any-return]

    def write_each(self, statement: str, values: Iterable[Mapping[str, Any]]) -> None:
        """Run one statement for each of these."""
        self._run(lambda: self._connection.cursor().executemany(statement, list(values)))

    def _run(self, call: Any) -> Any:
        try:
            return call()
        except self._driver.error as error:
            self.fault = self._driver.fault(error)
        raise self.fault  # outside the handler: the driver's error may quote values, and stays out of the traceback


class Store:
    """One database. May be used by any thread: each transaction has a connection of its own.

    highwater: what is known of this store outside it; None: nothing is kept.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.sql = driver.sql
        self._lock = threading.Lock()
        self._idle: list[Any] = []
        self.highwater: HighWater | None = None

    def __repr__(self) -> str:
        return f"Store({self.driver.name})"

    def keeping(self) -> Store:
        """The same store, by connections of its own that are kept, for who asks often; to be closed for itself."""
        store = Store(self.driver.keeping())
        store.highwater = self.highwater
        return store

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Change something: committed at the end of the block, nothing changed if the block raises.

        Raises StoreUnavailable, CommitUnknown if nobody can say whether it was committed, and what the block raises.
        """
        yield from self._unit(writing=True)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Read one state of the store, however many statements it takes. Raises StoreUnavailable."""
        yield from self._unit(writing=False)

    def close(self) -> None:
        """Close the connections kept for later use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _unit(self, *, writing: bool) -> Iterator[Transaction]:
        connection = self._begun(writing=writing)
        transaction = Transaction(connection, self.driver)
        try:
            yield transaction
            if transaction.fault is not None:  # swallowed in the block: PostgreSQL would call a rollback a success
                raise transaction.fault
            self._commit(connection, writing=writing)
        except BaseException:
            connection.close()  # which rolls back
            raise
        self._keep(connection)

    def _begun(self, *, writing: bool) -> Any:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            try:
                self.driver.begin(connection, writing=writing)
                return connection
            except self.driver.stale:  # nothing was done yet, so a new one may be tried
                connection.close()
                self.close()
            except self.driver.error as error:
                connection.close()
                raise self.driver.fault(error) from None
        connection = self.driver.connect()
        try:
            self.driver.begin(connection, writing=writing)
        except self.driver.error as error:
            connection.close()
            fault = self.driver.fault(error)
        else:
            return connection
        raise fault

    def _commit(self, connection: Any, *, writing: bool = True) -> None:
        try:
            connection.execute("COMMIT")
            return
        except self.driver.error as error:
            fault = self.driver.fault(error, committing=writing)
        raise fault

    def _keep(self, connection: Any) -> None:
        with self._lock:
            if self.driver.keeps_connections and len(self._idle) < MAX_IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()


def open_store(url: str, password: str | None = None) -> Store:
    """The store at this URL, not yet connected to.

    url: `sqlite:///relative/path`, `sqlite:////absolute/path` or `postgresql://...`; password: in place of one in the
    URL, PostgreSQL only. Raises ValueError for any other URL, and where psycopg is needed and not installed.
    """
    if url.startswith(SQLITE_SCHEME):
        from mailauth.store.sqlite import SqliteDriver  # noqa: PLC0415 - only the driver in use is imported

        return Store(SqliteDriver(sqlite_path(url)))
    if url.startswith(POSTGRESQL_SCHEMES):
        try:
            from mailauth.store.postgresql import PostgresqlDriver  # noqa: PLC0415
        except ImportError:
            raise ValueError("a postgresql URL needs psycopg: pip install 'mailauth[postgresql]'") from None

        return Store(PostgresqlDriver(f"postgresql://{url.partition('://')[2]}", password))
    raise ValueError("the store's URL must begin with sqlite:/// or postgresql://")


def sqlite_path(url: str) -> Path:
    """The file of an SQLite URL. Raises ValueError if it names none."""
    path = url.removeprefix(SQLITE_SCHEME)
    if not path or path.startswith(":") or "\0" in path:
        raise ValueError("an SQLite URL must name a file: sqlite:///path/to/mailauth.db")
    return Path(path)
