"""One login and one revocation, step by step: each can be held at every arrow while the other goes on.

A login: asked -> registered -> read -> hashed -> checked -> answered. A revocation: asked -> committed -> heard (it
has been read) -> marked (logins that read before are judged again) -> ended (sessions are) -> published -> returned.
Everything is the product's own, on a real store: door, dialogue, verifier, registry, applier. Only where somebody would
wait by himself, a gate stands. Rule: no clock and no sleep decides anything.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from mailauth import plugins
from mailauth.attempt import Attempt
from mailauth.events import Events
from mailauth.hashing.argon2id import Argon2id
from mailauth.imap.offer import Offer
from mailauth.imap.protocol import ImapDialogue
from mailauth.interfaces import Account, Answer, Change, Lane
from mailauth.keys import KeyRing
from mailauth.serving.census import Census
from mailauth.serving.clock import RefusalClock
from mailauth.serving.house import House, TimeLimits
from mailauth.serving.lines import LineConnection
from mailauth.serving.sessions import LiveSessions
from mailauth.store.applier import Applier
from mailauth.store.changes import Effect
from mailauth.store.engine import Store, Transaction, open_store
from mailauth.store.passdb import StorePassdb, open_passdb
from mailauth.verdict import Outcome
from mailauth.verify.verifier import Verifier
from servers import lobby

QUICK = Argon2id(1, 8, 1)  # weak on purpose: tests measure behaviour, not strength
PATIENCE_S = 60.0  # reached only by what hangs
MECHANISMS = {m.name: m for m in (plugins.load("sasl", "plain"), plugins.load("sasl", "login"))}

LOGIN = ("registered", "read", "hashed", "checked")  # where a login can be held; then it is answered
REVOCATION = ("committed", "heard", "marked", "ended", "published")  # then it has returned

_login: contextvars.ContextVar[Steps | None] = contextvars.ContextVar("login", default=None)


class Steps:
    """The gates on one way. Each holds once: what is done again is not held again."""

    def __init__(self, names: Sequence[str]) -> None:
        self._open = {name: asyncio.Event() for name in names}
        self._passed: set[str] = set()
        self._news = asyncio.Event()
        self.at: str | None = None
        self.is_done = False

    async def pass_(self, name: str) -> None:
        """What goes this way is here."""
        if name in self._passed or self.is_done:
            return
        self._passed.add(name)
        self.at = name
        self._news.set()
        await self._open[name].wait()

    def done(self) -> None:
        """It has come to its end."""
        self.at, self.is_done = None, True
        self._news.set()

    async def next(self) -> None:
        """Let it go on to the next gate, or to its end."""
        if self.is_done:
            return
        self._news.clear()
        self.open()
        async with asyncio.timeout(PATIENCE_S):
            await self._news.wait()

    async def reach(self, name: str) -> None:
        """Let it go on to this gate."""
        while self.at != name:
            await self.next()
            assert not self.is_done, f"it never came to {name}"

    async def finish(self) -> None:
        """Let it go on to its end."""
        while not self.is_done:
            await self.next()

    def open(self) -> None:
        """Open the gate where it is, and do not wait for what comes of it."""
        if self.at is not None:
            self._open[self.at].set()

    def open_all(self) -> None:
        """Hold it nowhere any more."""
        for gate in self._open.values():
            gate.set()


async def hold(name: str) -> None:
    """A gate for whichever login comes by."""
    steps = _login.get()
    if steps is not None:
        await steps.pass_(name)


class GatedPassdb:
    """The store's passdb; sessions are read at the revocation's gate. accounts_seen: ids."""

    def __init__(self, inner: StorePassdb) -> None:
        self._inner = inner
        self.accounts_seen: list[int] = []
        self.revocation: Steps | None = None

    async def lookup(self, *asked: Any) -> Account | None:
        await hold("registered")
        found = await self._inner.lookup(*asked)
        if found is not None:
            self.accounts_seen.append(found.id)
        await hold("read")
        return found

    async def session(self, *asked: Any) -> Account | None:
        if self.revocation is not None:
            await self.revocation.pass_("marked")
        return await self._inner.session(*asked)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class GatedHashes:
    """Argon2id without a pool."""

    async def verify(self, record: str, secret: bytes, lane: Lane = Lane.ORDINARY) -> bool:
        found = QUICK.verify(record, secret)
        await hold("hashed")
        return found

    async def hash(self, secret: bytes, lane: Lane = Lane.ORDINARY) -> str:
        return QUICK.hash(secret)

    def outdated(self, record: str) -> bool:
        return False

    def is_legacy(self, record: str) -> bool:
        return False

    def saturated(self, delay_s: float) -> bool:
        return False


class GatedSessions(LiveSessions):
    """The registry, whose `current` is the last place where a login may wait."""

    __slots__ = ()

    async def current(self) -> None:
        await super().current()
        await hold("checked")


class Client(asyncio.Transport):
    """A connection without a network, to a LineConnection of IMAP. heard: what the server has said."""

    def __init__(self, process: Process) -> None:
        super().__init__({"sslcontext": True, "peername": ("192.0.2.7", 40000)})
        self._protocol = LineConnection(process.house)
        self.heard = b""
        self._is_closing = False
        self._protocol.connection_made(self)

    def say(self, data: bytes) -> None:
        self._protocol.data_received(data)

    def write(self, data: Any) -> None:
        self.heard += bytes(data)

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._protocol.connection_lost(None)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    @property
    def was_let_in(self) -> bool:
        return b"a OK " in self.heard

    @property
    def was_refused(self) -> bool:
        return b"a NO [AUTHENTICATIONFAILED]" in self.heard

    @property
    def was_ended(self) -> bool:
        return b"* BYE This session was ended" in self.heard

    @property
    def is_live(self) -> bool:
        return self.was_let_in and not self.was_ended


class Login(Steps):
    """A client that logs in, held at each of LOGIN."""

    def __init__(self, process: Process, login: str, password: str) -> None:
        super().__init__(LOGIN)
        self.client = Client(process)
        self.credential = login, password
        self._process = process
        self._line = b"a LOGIN %b %b\r\n" % (login.encode(), b'"%b"' % password.encode())
        self._is_asked = False

    async def next(self) -> None:
        if not self._is_asked:
            self._is_asked = True
            self._process.ask(self, lambda: self.client.say(self._line))
            if self.at is not None:  # a login is begun at once: it is at its first gate
                return
        await super().next()


class ToldToLook:
    """engine.Watch without anything to watch."""

    def __init__(self, looks: threading.Semaphore) -> None:
        self._looks = looks

    def wait(self, timeout_s: float) -> bool:
        return self._looks.acquire()

    def close(self) -> None: ...


class Process:
    """What a process that lets clients in is made of; its applier looks when it is told to."""

    def __init__(self, store: Store, ring: KeyRing, lease_s: float) -> None:
        self.store, self._ring = store, ring
        self.held_store = HeldStore(store.driver)
        self.passdb = GatedPassdb(open_passdb(store, ring.ids))
        self.live = GatedSessions(self.passdb, lease_s=lease_s)
        self._looks = threading.Semaphore(0)
        self.house = House(
            dialogue=lambda: ImapDialogue(Offer(MECHANISMS, starttls=False)),
            authenticator=self,
            census=Census(1000, 1000),
            refusals=RefusalClock(0.0),
            limits=TimeLimits(),
            tls=None,
            mailbox=lobby,
            sessions=self.live,
        )

    async def open(self) -> None:
        self.forget_proofs()
        self.store.driver.watch = lambda: ToldToLook(self._looks)  # type: ignore[method-assign]
        loop = asyncio.get_running_loop()
        self.applier = await asyncio.to_thread(Applier, self.store, self._apply, self.live.has_read, loop)

    async def close(self) -> None:
        self.applier._stopping.set()
        self._looks.release()
        await asyncio.to_thread(self.applier.close)
        await self.passdb.close()
        self.store.close()
        self.held_store.close()

    def forget_proofs(self) -> None:
        """A hash is computed again for each password."""
        self._verifier = Verifier(self.passdb, self._ring, GatedHashes(), Events(), changes=self.live)

    # ---- an Authenticator

    async def authenticate(self, attempt: Attempt) -> Outcome:
        return await self._verifier.authenticate(attempt)

    def ask(self, login: Login, ask: Callable[[], None]) -> None:
        """Have a login begin, with its gates."""

        def begin() -> None:
            _login.set(login)
            ask()
            connection = login.client._protocol
            assert connection._waiting is not None
            connection._waiting.add_done_callback(lambda _: login.done())

        contextvars.copy_context().run(begin)

    # ---- the applier's

    def look(self) -> None:
        """Let the applier look once."""
        self._looks.release()

    async def _apply(self, changes: Sequence[Change]) -> Mapping[int, Answer]:
        steps = self.passdb.revocation
        if steps is None:
            return await self.live.apply(changes)
        await steps.pass_("heard")
        answers = await self.live.apply(changes)
        await steps.pass_("ended")
        return answers


class HeldStore(Store):
    """The store of whoever revokes: looks after the others when it is told to."""

    def __init__(self, driver: Any) -> None:
        super().__init__(driver)
        self._committed: Callable[[], None] | None = None
        self.may_look = threading.Event()

    def hold(self, committed: Callable[[], None]) -> None:
        """Hold the next look, and say so."""
        self._committed = committed
        self.may_look.clear()

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        committed, self._committed = self._committed, None
        if committed is not None:
            committed()
        assert self.may_look.wait(PATIENCE_S)
        yield from self._unit(writing=False)


class Revocation(Steps):
    """A change of the store, held at each of REVOCATION. change: makes it, in a thread."""

    def __init__(self, process: Process, change: Callable[[Store, Effect], object]) -> None:
        super().__init__(REVOCATION)
        self.effect = Effect()
        self._process, self._change = process, change
        self._loop = asyncio.get_running_loop()
        self._store = process.held_store
        self._store.hold(self._is_committed)
        self._task: asyncio.Task[None] | None = None

    async def next(self) -> None:
        if self._task is None:
            self._process.passdb.revocation = self
            self._task = asyncio.ensure_future(self._run())
        elif self.at == "committed":
            self._process.look()
        elif self.at == "published":
            self._store.may_look.set()
        if self.at == "ended":
            await self._publish()
        else:
            await super().next()

    async def _run(self) -> None:
        await asyncio.to_thread(self._change, self._store, self.effect)
        self._process.passdb.revocation = None
        self.done()

    def _is_committed(self) -> None:
        self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self.pass_("committed")))

    async def _publish(self) -> None:
        self._open["ended"].set()
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(self._is_published):
                pass
        self.at = "published"

    def _is_published(self) -> bool:
        with self._process.store.reading() as tx:
            newest = tx.row(self._store.sql.CHANGE_NUMBER)
            rows = tx.rows(self._store.sql.PROCESSES)
        return newest is not None and all(row["applied"] >= newest["number"] for row in rows)


@asynccontextmanager
async def processes(url: str, ring: KeyRing, count: int = 1, lease_s: float = 3600.0) -> AsyncIterator[list[Process]]:
    """So many of them on one store, whose appliers look when they are told to."""
    opened: list[Process] = []
    try:
        for _ in range(count):
            opened.append(Process(open_store(url), ring, lease_s))
            await opened[-1].open()
        yield opened
    finally:
        for process in opened:
            await process.close()
