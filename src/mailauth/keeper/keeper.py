"""What the keeper does for those who ask: log somebody in and hand the connection over; have Dovecot end and forget.

Rule: it knows `open`, `offer`, `kick` and `flush`, and no word that would tell a secret. The name of an account is
looked at here again: who asks may have been taken over.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from mailauth import logs
from mailauth.attempt import Service
from mailauth.backends import proxy_header
from mailauth.backends.backend import Backend, NotServed, Routes, is_address
from mailauth.backends.exchange import Done, Exchange, Failed, Login, Script
from mailauth.backends.smtp_login import common_offer, smtp_offer
from mailauth.dialogue import Send, StartTLS
from mailauth.ends import NOWHERE, UNKNOWN, End, Ends
from mailauth.gateways.doveadm import Doveadm, NotReached
from mailauth.keeper.channel import Channel, Message
from mailauth.keeper.connecting import Connection, NoConnection
from mailauth.keeper.pump import Pump
from mailauth.serving import memory
from mailauth.serving.listen import CROWD

log = logging.getLogger(__name__)

LOGIN_S = 8.0  # for one login, from connecting on
MOST_KICK_S = 30.0

Answered = tuple[dict[str, object], socket.socket | None]


class Fault(Exception):
    """It cannot be done now. The text says why, and is said to who asked."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One back end with what the configuration leaves out. context: None where it has no TLS."""

    backend: Backend
    password: str = field(default="", repr=False)
    context: ssl.SSLContext | None = None


@dataclass(slots=True)
class Keeper:
    """kept: by name of the back end; doveadms: by name of the bridge. hostname: how we call ourselves."""

    routes: Routes
    kept: Mapping[str, Kept]
    doveadms: Mapping[str, Doveadm]
    hostname: str = "localhost"
    _offers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _pumps: set[Pump] = field(default_factory=set)
    _most_pumps: int = 0  # since memory was given back
    _channels: dict[Channel, set[asyncio.Task[None]]] = field(default_factory=dict)

    def serve(self, sock: socket.socket, ended: Callable[[], object] = lambda: None) -> None:
        """Answer whoever is at the other end. ended: called when he has gone."""

        def asked(message: Message, carried: socket.socket | None) -> None:
            if carried is not None:  # nobody hands us anything
                carried.close()
            task = asyncio.get_running_loop().create_task(self._answer(channel, message))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        def over() -> None:
            self._leave(channel)
            ended()

        channel = Channel(sock, asked, over)
        tasks = self._channels[channel] = set()
        channel.send({"ready": True})

    async def close(self) -> None:
        """Leave everybody, and end what is pumped."""
        tasks = [task for channel in list(self._channels) for task in self._leave(channel)]
        await asyncio.gather(*tasks, return_exceptions=True)
        for pump in list(self._pumps):
            pump.close()

    def _leave(self, channel: Channel) -> set[asyncio.Task[None]]:
        channel.close()
        tasks = self._channels.pop(channel, set())
        for task in tasks:
            task.cancel()
        return tasks

    async def _answer(self, channel: Channel, message: Message) -> None:
        doing: dict[object, Callable[[Message], Awaitable[Answered]]] = {
            "open": self._open,
            "offer": self._offer,
            "kick": self._kick,
            "flush": self._flush,
        }
        carried: socket.socket | None = None
        try:
            answer, carried = await doing[message.get("do")](message)
        except (Fault, NotServed) as fault:
            answer = {"fault": str(fault)}
        except (KeyError, TypeError, ValueError, AttributeError) as bug:
            log.error("something was asked that the keeper does not know: %s", logs.whereabouts(bug))
            answer = {"fault": "the keeper was asked something that it does not know; are both of one version?"}
        channel.send({"id": message.get("id"), **answer}, carried)

    # ---- open and offer

    async def _open(self, asked: Message) -> Answered:
        service, account = Service(asked["service"]), str(asked["account"])
        kept = self.kept[self.routes.of(service, account).name]
        backend = kept.backend
        login = backend.login_as(account, kept.password)
        ends = _ends(asked)
        told = replace(
            login,
            ends=ends if backend.origin == "id" else NOWHERE,
            name=str(asked["client"]),
            hostname=self.hostname,
        )
        header = _Header(backend.origin, ends, tls=asked["tls"] is True)
        connection, done = await self._logged_in(kept, service, backend.script(service, told), header)
        sock = self._handed_over(connection)
        return {"capabilities": done.capabilities, "unread": base64.b64encode(done.unread).decode()}, sock

    def _handed_over(self, connection: Connection) -> socket.socket:
        if connection.tls is None:
            return connection.sock
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            connection.close()
            raise Fault(f"the keeper cannot hand it over: {error.strerror}") from None
        theirs.setblocking(False)
        pump = Pump(connection, ours, self._pumped)
        self._pumps.add(pump)
        self._most_pumps = max(self._most_pumps, len(self._pumps))
        pump.start()
        return theirs

    def _pumped(self, pump: Pump) -> None:
        """It has ended. A crowd that has left leaves its memory too."""
        self._pumps.discard(pump)
        present = len(self._pumps)
        if self._most_pumps - present >= max(CROWD, present):
            self._most_pumps = present
            asyncio.get_running_loop().run_in_executor(None, memory.give_back)

    async def _offer(self, asked: Message) -> Answered:  # noqa: ARG002
        kept = [self.kept[backend.name] for backend in self.routes.all(Service.SMTP)]
        told = await asyncio.gather(*[self._asked_for_offer(one) for one in kept], return_exceptions=True)
        for fault in told:
            if isinstance(fault, BaseException) and not isinstance(fault, Fault):
                raise fault
        if not self._offers:
            raise Fault("; ".join(map(str, told)) or "no [backends.NAME] has smtp")
        return {"offer": common_offer(list(self._offers.values()))}, None

    async def _asked_for_offer(self, kept: Kept) -> None:
        login = Login(starttls=kept.backend.tls == "starttls", hostname=self.hostname)
        header = _Header(kept.backend.origin, NOWHERE, tls=False)
        connection, done = await self._logged_in(kept, Service.SMTP, smtp_offer(login), header)
        connection.close()
        self._offers[kept.backend.name] = done.capabilities

    async def _logged_in(
        self, kept: Kept, service: Service, script: Script, header: _Header
    ) -> tuple[Connection, Done]:
        """Raises Fault."""
        host, port = kept.backend.address(service) or ("", 0)
        try:
            async with asyncio.timeout(LOGIN_S):
                connection = await Connection.to(host, port)
                try:
                    return connection, await _run(connection, kept, host, Exchange(script), header)
                except BaseException:
                    connection.close()
                    raise
        except TimeoutError:
            fault = "has not let us in in time"
        except (NoConnection, Fault) as error:
            fault = str(error)
        except OSError as error:  # a connection that was reset has no address any more
            fault = f"the connection was lost: {error.strerror or type(error).__name__}"
        raise Fault(f"back end {kept.backend.name}, {service} at {host}:{port}: {fault}")

    # ---- kick and flush

    async def _kick(self, asked: Message) -> Answered:
        doveadm, timeout_s = self._doveadm(asked)
        only = {name: str(asked[name]) for name in ("passdb_field", "address")}
        try:
            ended = await doveadm.kick(str(asked["mask"]), timeout_s, **only)
        except NotReached as error:
            raise Fault(str(error)) from None
        return {"ended": ended}, None

    async def _flush(self, asked: Message) -> Answered:
        doveadm, timeout_s = self._doveadm(asked)
        try:
            await doveadm.forget(str(asked["user"]), timeout_s)
        except NotReached as error:
            raise Fault(str(error)) from None
        return {}, None

    def _doveadm(self, asked: Message) -> tuple[Doveadm, float]:
        return self.doveadms[asked["at"]], min(float(asked["timeout_s"]), MOST_KICK_S)


@dataclass(frozen=True, slots=True)
class _Header:
    """What a server is told before everything, if so configured."""

    origin: str
    ends: Ends
    tls: bool

    def bytes(self, sock: socket.socket) -> bytes:
        """sock: ours to the server, whose far end stands for where the client connected, if that is not known."""
        if not self.origin.startswith("proxy"):
            return b""
        client, server = self.ends.client, self.ends.server
        if not (server.address and server.port):
            server = End.of(sock.getpeername())
        if self.origin == "proxy2":
            return proxy_header.version_2(Ends(client, server), tls=self.tls)
        if not client.port:  # Dovecot takes 0 for no port; by ours both logs can be matched
            client = replace(client, port=End.of(sock.getsockname()).port)
        return proxy_header.version_1(Ends(client, server))


def _ends(asked: Message) -> Ends:
    """What may be told of the client's connection. Of another version, who asks may know the client's address alone."""
    client = _end(asked["peer"], asked.get("port"))
    return Ends(client, _end(asked.get("server"), asked.get("server_port"))) if client.address else NOWHERE


def _end(address: object, port: object) -> End:
    if type(address) is not str or not is_address(address):
        return UNKNOWN
    return End(address, port if type(port) is int and 0 < port < 65536 else 0)


async def _run(connection: Connection, kept: Kept, host: str, exchange: Exchange, header: _Header) -> Done:
    """Drive one login to its end. Raises Fault, NoConnection."""
    await connection.send(header.bytes(connection.sock))
    name = kept.backend.tls_name or host
    if kept.backend.tls == "implicit" and kept.context is not None:
        await connection.start_tls(kept.context, name)
    said: bytes | None = b""
    while True:
        actions = exchange.received(said if said is not None else await connection.receive())
        said = None
        for action in actions:
            match action:
                case Send(data):
                    await connection.send(data)
                case StartTLS():
                    assert kept.context is not None  # noqa: S101  nobody asks for TLS without
                    await connection.start_tls(kept.context, name)
                    said = b""
                case Done():
                    return action
                case Failed(text):
                    raise Fault(text)
