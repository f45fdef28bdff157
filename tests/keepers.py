"""A keeper in this process, and whoever asks it: for tests that need no child."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

from mailauth.attempt import Attempt, Credential, Service
from mailauth.backends.backend import Backend, build, routes
from mailauth.factors.section import Section
from mailauth.keeper.client import Asking, KeptBackends
from mailauth.keeper.keeper import Keeper, Kept
from mailauth.verdict import Principal

MASTER, MASTER_PASSWORD = "proxy", "the master password, which nobody says"


class Password:
    """A secret that is at hand."""

    def read(self) -> str:
        return MASTER_PASSWORD


def backend(name: str = "here", **keys: object) -> Backend:
    """One section; where nothing is said of it, in clear and by the master password."""
    written = {"tls": "off", **keys}
    if written.get("login") != "xclient":
        written = {"user": MASTER, "password": Password(), **written}
    return build(name, Section(written, {"name": name}))


def keeper_of(*backends: Backend, context: ssl.SSLContext | None = None, password: str = MASTER_PASSWORD) -> Keeper:
    kept = {one.name: Kept(one, password, None if one.tls == "off" else context) for one in backends}
    return Keeper(routes(backends), kept, {}, "mail.example.test")


@contextlib.asynccontextmanager
async def asked(keeper: Keeper) -> AsyncIterator[Asking]:
    """Whoever asks this keeper."""

    async def summon() -> socket.socket:
        ours, theirs = socket.socketpair()
        keeper.serve(theirs)
        return ours

    asking = Asking(summon)
    await asking.start()
    try:
        yield asking
    finally:
        await asking.close()
        await keeper.close()


@contextlib.asynccontextmanager
async def kept_backends(
    *backends: Backend, context: ssl.SSLContext | None = None, password: str = MASTER_PASSWORD
) -> AsyncIterator[KeptBackends]:
    """serving.backing.Backends over these, with a keeper in this process."""
    async with asked(keeper_of(*backends, context=context, password=password)) as asking:
        found = KeptBackends(asking)
        try:
            yield found
        finally:
            await found.close()


def attempt(
    service: Service = Service.IMAP,
    login: str = "alice@example.test",
    peer: str = "192.0.2.7",
    *,
    tls: bool = True,
    client: str = "",
) -> Attempt:
    return Attempt(Credential(login, "what the client typed"), service, peer, tls, client)


def principal(login: str = "alice@example.test") -> Principal:
    return Principal(1, login, 7)
