"""The composition root: settings become running objects here, and nowhere else.

Rule: wiring only. Every decision belongs to the room whose object it is.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mailauth import config, logs
from mailauth.config import Settings
from mailauth.events import Events
from mailauth.hashing.argon2id import Argon2id
from mailauth.hashing.pool import HashPool
from mailauth.interfaces import Authenticator
from mailauth.keys import KeyRing
from mailauth.listeners import Doors
from mailauth.serving import tls
from mailauth.serving.census import Census
from mailauth.serving.listen import Server
from mailauth.store.engine import Store, open_store
from mailauth.store.keycheck import require_key
from mailauth.store.passdb import StorePassdb, open_passdb
from mailauth.store.upgrade import require_current
from mailauth.store.writebehind import WriteBehind
from mailauth.verify.throttle import GuessThrottle
from mailauth.verify.verifier import Verifier

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Core:
    """What judges, and what it stands on."""

    settings: Settings
    store: Store
    passdb: StorePassdb
    verifier: Verifier
    events: Events


def opened_store(settings: Settings) -> tuple[Store, KeyRing]:
    """The store, of this version's schema and this key file's. Raises what says why not, with what to do."""
    ring = KeyRing.load(settings.key.file)
    secret = settings.store.password_file
    try:
        store = open_store(settings.store.url, None if secret is None else secret.read())
    except ValueError as error:
        raise config.ConfigError(f"{settings.source}: [store] url: {error}") from None
    try:
        require_current(store)
        require_key(store, ring)
    except BaseException:
        store.close()
        raise
    return store, ring


@asynccontextmanager
async def open_core(settings: Settings, *, throttled: bool = True) -> AsyncIterator[Core]:
    """Open the store and everything a verdict needs; on leaving, what was begun is finished and written."""
    store, ring = opened_store(settings)
    hashing, policy = settings.hashing, settings.policy
    events = Events()
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        pool = HashPool(
            hashing.threads or None,
            queue_deadline_s=hashing.queue_deadline_s,
            queue_limit=hashing.queue_limit,
            scheme=Argon2id(hashing.time_cost, hashing.memory_kib, hashing.parallelism),
        )
        stack.callback(pool.close)
        passdb = open_passdb(
            store, ring.ids, deadline_s=settings.store.timeout_s, connections=settings.store.connections
        )
        stack.push_async_callback(passdb.close)
        behind = WriteBehind(store, audit_days=settings.retention.audit_days)
        events.subscribe(behind)
        stack.push_async_callback(asyncio.to_thread, behind.close)
        verifier = Verifier(
            passdb,
            ring,
            pool,
            events,
            GuessThrottle(settings.throttle.trusted_networks) if throttled and settings.throttle.enabled else None,
            refusal_delay_s=settings.replies.refusal_delay_s or hashing.queue_deadline_s,
            aliases_log_in=policy.aliases_log_in,
        )
        stack.push_async_callback(verifier.close)
        yield Core(settings, store, passdb, verifier, events)


@asynccontextmanager
async def open_authenticator(path: str | Path | None = None) -> AsyncIterator[Authenticator]:
    """An Authenticator for a server of one's own. path: mailauth.toml; None: where commands look for it.

    Raises ConfigError, KeyFileError, SchemaMismatch, WrongKey and StoreUnavailable, each with what to do.
    """
    async with open_core(config.load(config.find(None if path is None else str(path)))) as core:
        yield core.verifier


async def serve(settings: Settings, ready: Callable[[list[str]], object]) -> None:
    """Run all listeners until SIGTERM or SIGINT; SIGHUP reads the certificates again.

    ready: told once, when connections are accepted, with a line for each listener. Raises what open_core raises,
    BadCertificate and CannotListen, and then nothing has been served.
    """
    _set_limits()
    stream = logs.configure(settings.log.level, settings.log.file)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    async with open_core(settings) as core:
        context = _tls(settings)
        census = Census(
            settings.limits.max_connections,
            settings.throttle.max_connections_per_source,
            settings.throttle.trusted_networks,
        )
        server = Server(census, Doors(settings, core.verifier, core.passdb, census, context).open())
        login_log = logs.LoginLog(stream.write)
        core.events.subscribe(login_log)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, over.set)
        loop.add_signal_handler(signal.SIGHUP, _reload, settings, context)
        await server.start()
        gc.freeze()  # what is here now stays: the collector need not walk it again and again
        ready([f"listening {door.name}" for door in server.doors])
        try:
            await over.wait()
        finally:
            await server.stop()
            login_log.flush()


def _set_limits() -> None:
    """No core dump, which would hold passwords; and as many descriptors as this user may have."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says "unlimited" and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _tls(settings: Settings) -> ssl.SSLContext | None:
    return None if settings.tls is None else tls.server_context(settings.tls.certificate, settings.tls.key)


def _reload(settings: Settings, context: ssl.SSLContext | None) -> None:
    if settings.tls is None or context is None:
        return
    try:
        tls.reload(context, settings.tls.certificate, settings.tls.key)
    except tls.BadCertificate as bad:
        log.error("certificate not reloaded, the old one stays in use: %s", bad)
    else:
        log.warning("certificate reloaded from %s", settings.tls.certificate)
