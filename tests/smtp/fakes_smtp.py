"""A submission listener over real sockets, a client that says exactly what it is told, and a world for them."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from doubles import Doorman
from mailauth.attempt import Attempt
from mailauth.ends import Ends
from mailauth.interfaces import Authenticator, StoreUnavailable
from mailauth.serving.backing import Backends
from mailauth.serving.census import Census
from mailauth.serving.listen import Door, Server, bind
from mailauth.serving.sessions import LiveSessions
from mailauth.smtp.forwarding import Forwarding
from mailauth.smtp.front import FrontProtocol
from mailauth.smtp.house import House, Limits, leave_at_once
from mailauth.smtp.server import SubmissionProtocol
from mailauth.smtp.submission import Submission
from mailauth.verdict import Outcome
from servers import client_tls, server_tls

ALICE = "alice@example.test"
BOB = "bob@example.test"
PASSWORD = "secret"
DEADLINE_S = 30.0  # longer than anything a test waits for, however busy the machine


def plain(login: str = ALICE, password: str = PASSWORD, authzid: str = "") -> str:
    """PLAIN's message in base64."""
    return base64.b64encode(f"{authzid}\0{login}\0{password}".encode()).decode()


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class AddressBook:
    """A Directory: example.test with Alice (alias), Bob, and a login that is not ASCII."""

    def __init__(self) -> None:
        self.logins = {ALICE: ALICE, "ali@example.test": ALICE, BOB: BOB, "用户@example.test": "用户@example.test"}
        self.owners = {1: ALICE}
        self.is_down = False

    def _check(self) -> None:
        if self.is_down:
            raise StoreUnavailable

    async def recipient(self, address: str) -> str | None:
        self._check()
        return self.logins.get(address.lower())

    async def may_send_as(self, account_id: int, address: str) -> bool:
        self._check()
        return self.logins.get(address.lower()) == self.owners[account_id]

    async def is_local_domain(self, domain: str) -> bool:
        self._check()
        return domain.lower() == "example.test"


@dataclass
class Postbox:
    """Takes what is delivered. faults: by login; gate: what a delivery waits for."""

    delivered: list[tuple[str, bytes, str]] = field(default_factory=list)
    faults: dict[str, Exception] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, login: str, content: bytes, envelope_from: str) -> None:
        self.started.set()
        if self.gate is not None:
            await self.gate.wait()
        if login in self.faults:
            raise self.faults[login]
        self.delivered.append((login, content, envelope_from))


class Slow:
    """An Authenticator that waits until it is let go; remembers whether it was cancelled."""

    def __init__(self, then: Outcome) -> None:
        self.asked = asyncio.Event()
        self.let_go = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._then = then

    async def authenticate(self, attempt: Attempt) -> Outcome:
        self.asked.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return self._then


@dataclass
class Site:
    port: int
    server: Server
    census: Census
    directory: AddressBook
    postbox: Postbox
    made: list[SubmissionProtocol]

    async def everybody_gone(self) -> None:
        """Wait until no connection is left."""
        empty = asyncio.Event()
        self.census.when_empty = empty.set
        if len(self.census):
            await asyncio.wait_for(empty.wait(), DEADLINE_S)
        self.census.when_empty = None


def _handler(directory: AddressBook, postbox: Postbox, backends: Backends | None, options: dict[str, Any]) -> object:
    if backends is not None:
        return Forwarding(directory=directory, **options)
    return Submission(directory=directory, deliver=postbox, **options)


@asynccontextmanager
async def site(
    authenticator: Authenticator | None = None,
    *,
    tls: Literal["implicit", "starttls", "off"] = "implicit",
    limits: Limits | None = None,
    census: Census | None = None,
    proxied: Ends | None = None,
    help_line: bytes = b"",
    hold: Callable[[float, int], Awaitable[bool]] = leave_at_once,
    sessions: LiveSessions | None = None,
    handler: object | None = None,
    wrapped: bool = True,
    backends: Backends | None = None,
    **submission: Any,
) -> AsyncIterator[Site]:
    """One submission listener on a port of its own. proxied: said by a proxy. backends: it stands in front of these."""
    census = Census(100, 100) if census is None else census  # an empty one is false
    directory, postbox = AddressBook(), Postbox()
    made: list[SubmissionProtocol] = []
    house = House(
        hostname="mail.example.test",
        authenticator=authenticator or Doorman(),
        handler=handler or _handler(directory, postbox, backends, submission),
        census=census,
        tls=tls,
        tls_context=server_tls(),
        hold=hold,
        sessions=sessions,
        help_line=help_line,
        limits=limits or Limits(),
    )

    def protocol(_: Ends | None) -> SubmissionProtocol:
        made.append(SubmissionProtocol(house, proxied) if backends is None else FrontProtocol(house, backends, proxied))
        return made[-1]

    sock = bind("127.0.0.1", 0)
    server = Server(census, [Door("test", sock, protocol, server_tls() if tls == "implicit" and wrapped else None)])
    port = sock.getsockname()[1]
    await server.start()
    try:
        yield Site(port, server, census, directory, postbox, made)
    finally:
        await server.stop()


class Talker:
    """A client for one connection. Every reply is awaited for a while only."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """One whole reply, its lines joined by a line feed."""
        lines: list[str] = []
        async with asyncio.timeout(DEADLINE_S):
            while not lines or lines[-1][3:4] == "-":
                line = await self.reader.readuntil(b"\r\n")
                lines.append(line[:-2].decode())
        return "\n".join(lines)

    async def say(self, line: str | bytes) -> str:
        """Send a line, return the reply."""
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return await self.reply()

    def send(self, raw: bytes) -> None:
        self.writer.write(raw)

    async def greeting(self) -> str:
        """The server's greeting, then EHLO's answer, which is returned."""
        assert (await self.reply()).startswith("220 ")
        return await self.say("EHLO client.example.test")

    async def login(self) -> None:
        await self.greeting()
        assert await self.say(f"AUTH PLAIN {plain()}") == "235 2.7.0 Authentication successful"

    async def start_tls(self, context: ssl.SSLContext | None = None) -> None:
        """The handshake, once the server has agreed."""
        await self.writer.start_tls(context or client_tls(), server_hostname="localhost")

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def talking(port: int, *, tls: bool = True) -> AsyncIterator[Talker]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=client_tls() if tls else None, server_hostname="localhost" if tls else None
    )
    try:
        yield Talker(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def deaf(here: Site) -> AsyncIterator[Talker]:
    """A client in clear that does not read yet, with next to no room for what it is told."""
    here.server.doors[0].sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", here.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=2**20)
    cast("asyncio.ReadTransport", writer.transport).pause_reading()
    try:
        yield Talker(reader, writer)
    finally:
        writer.transport.abort()
