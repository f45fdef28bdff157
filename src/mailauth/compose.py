"""The composition root: settings become running objects here, and nowhere else.

Rule: wiring only. Every decision belongs to the room whose object it is.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

from mailauth import config, logs
from mailauth.assembly import open_core, opened_store
from mailauth.bridgeheads import open_bridges
from mailauth.config import Settings
from mailauth.interfaces import Authenticator
from mailauth.keeper.summoning import open_behind
from mailauth.listeners import Doors
from mailauth.serving import tls
from mailauth.serving.census import Census
from mailauth.serving.hardening import keep_memory_private
from mailauth.serving.inherited import Inherited
from mailauth.serving.listen import Server
from mailauth.serving.shortage import raise_descriptor_limit
from mailauth.webportal import Around, open_portal

__all__ = ["open_authenticator", "open_core", "opened_store", "serve"]

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_authenticator(path: str | Path | None = None) -> AsyncIterator[Authenticator]:
    """An Authenticator for a server of one's own. path: mailauth.toml; None: where commands look for it.

    Raises ConfigError, KeyFileError, SchemaMismatch, WrongKey and StoreUnavailable, each with what to do.
    """
    async with open_core(config.load(config.find(None if path is None else str(path)))) as core:
        yield core.verifier


async def serve(
    settings: Settings,
    ready: Callable[[list[str]], object],
    ending: Callable[[], object] = lambda: None,
    around: Around = lambda app: app,
) -> None:
    """Run all listeners, bridges and the portal until SIGTERM or SIGINT; SIGHUP reads the certificates again.

    ready: told once, with a line for each that listens. ending: told of a signal. around: is put before the portal.
    Raises what opening these raises, BadCertificate and CannotListen, and then nothing has been served.
    """
    keep_memory_private()
    raise_descriptor_limit()
    stream = logs.configure(settings.log.level, settings.log.file)
    context = _tls(settings)
    async with AsyncExitStack() as stack:
        inherited = stack.enter_context(closing(Inherited()))
        core = await stack.enter_async_context(open_core(settings))
        census = _census(settings)
        asking, backends = await stack.enter_async_context(open_behind(settings))
        doors = Doors(settings, core.verifier, core.passdb, census, context, sessions=core.sessions, backends=backends)
        portal = await stack.enter_async_context(open_portal(core, context, doors.carrier(), inherited, around))
        told = (settings, core.verifier, core.sessions, core.reported, inherited)
        bridges = stack.enter_context(open_bridges(*told, passdb=core.passdb, recurring=core.recurring, asking=asking))
        server = Server(census, doors.open(inherited), descriptors_each=1 if backends is None else 2)
        inherited.close()
        login_log = logs.LoginLog(stream.write)
        core.events.subscribe(login_log)
        over = _told_to_end(settings, context)
        await server.start()
        await bridges.start(core.earlier)
        await portal.start()
        gc.freeze()  # what is here now stays: the collector need not walk it again and again
        ready([f"listening {name}" for name in (*server.names, *bridges.names, *portal.names)])
        try:
            await over.wait()
            ending()
        finally:
            await asyncio.gather(portal.stop(), bridges.stop(), server.stop())
            login_log.flush()


def _census(settings: Settings) -> Census:
    throttle = settings.throttle
    return Census(settings.limits.max_connections, throttle.max_connections_per_source, throttle.trusted_networks)


def _told_to_end(settings: Settings, context: ssl.SSLContext | None) -> asyncio.Event:
    """What happens when a signal asks for the end; another one has the certificates read again."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, settings, context)
    return over


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
