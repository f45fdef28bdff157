"""Listeners over real sockets for tests, with TLS from a throw-away authority."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import trustme

from mailauth import plugins
from mailauth.dialogue import Dialogue, Ending
from mailauth.imap.offer import Offer as ImapOffer
from mailauth.imap.protocol import ImapDialogue
from mailauth.interfaces import Authenticator
from mailauth.pop3.protocol import Offer as Pop3Offer
from mailauth.pop3.protocol import Pop3Dialogue
from mailauth.serving.backing import Backends
from mailauth.serving.census import Census
from mailauth.serving.clock import RefusalClock
from mailauth.serving.handover import MailboxSession
from mailauth.serving.house import House, TimeLimits
from mailauth.serving.lines import LineConnection
from mailauth.serving.listen import Door, Server, bind
from mailauth.serving.sessions import LiveSessions
from mailauth.verdict import Principal

MECHANISMS = {m.name: m for m in (plugins.load("sasl", "plain"), plugins.load("sasl", "login"))}


@functools.cache
def authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("localhost", "127.0.0.1", common_name="localhost").configure_cert(context)
    return context


@functools.cache
def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


async def lobby(
    principal: Principal,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    ending: asyncio.Future[Ending],
    *,
    named: Callable[[str], None],
) -> None:
    """A mailbox that says who came and echoes lines, until the client or the server has enough."""
    writer.write(f"* mailbox of {principal.login}\r\n".encode())
    while True:
        line = asyncio.ensure_future(reader.readline())
        await asyncio.wait([line, ending], return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            line.cancel()
            writer.write(b"* BYE " + ending.result().encode() + b"\r\n")
            return
        if not line.result():
            return
        writer.write(b"* echo " + line.result())


@dataclass
class Running:
    port: int
    census: Census
    server: Server
    extra: dict[str, Any] = field(default_factory=dict)


def imap(starttls: bool = True, clear: bool = False, **options: Any) -> Callable[[], Dialogue]:
    return functools.partial(ImapDialogue, ImapOffer(MECHANISMS, starttls, clear, **options))


def pop3(starttls: bool = True, clear: bool = False, **options: Any) -> Callable[[], Dialogue]:
    return functools.partial(Pop3Dialogue, Pop3Offer(MECHANISMS, starttls, clear, **options))


@asynccontextmanager
async def listening(
    dialogue: Callable[[], Dialogue],
    authenticator: Authenticator,
    *,
    tls: str = "starttls",
    limits: TimeLimits | None = None,
    delay_s: float = 0.0,
    census: Census | None = None,
    proxies: tuple[str, ...] = (),
    mailbox: MailboxSession | None = lobby,
    sessions: LiveSessions | None = None,
    backends: Backends | None = None,
    context: ssl.SSLContext | None = None,
    connection: type[LineConnection] = LineConnection,
    host: str = "127.0.0.1",
) -> AsyncIterator[Running]:
    """One listener on a port of its own. tls: implicit, starttls or off."""
    census = Census(1000, 1000) if census is None else census  # an empty one is false
    limits = limits or TimeLimits()
    context = context or server_tls()
    clock = RefusalClock(delay_s, 0.02)
    house = House(dialogue, authenticator, census, clock, limits, context, mailbox, sessions, backends)
    sock = bind(host, 0)
    door = Door(
        "test",
        sock,
        lambda proxied: connection(house, proxied),
        context if tls == "implicit" else None,
        limits.handshake_s,
        tuple(ip_network(proxy) for proxy in proxies),
    )
    server = Server(census, [door])
    port = sock.getsockname()[1]
    await server.start()
    try:
        yield Running(port, census, server)
    finally:
        await server.stop()
