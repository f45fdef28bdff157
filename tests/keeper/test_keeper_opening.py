"""The keeper at servers of every kind: what it hands over, and what it says of those that let nobody in."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from scripted import Scripted, Serve, echo, imap, serving, silent

from keepers import MASTER_PASSWORD, asked, attempt, backend, keeper_of, kept_backends, principal
from mailauth.attempt import Service
from mailauth.backends.backend import Routes
from mailauth.gateways.doveadm import NotReached
from mailauth.keeper import keeper as keeper_module
from mailauth.keeper.client import KeptBackends, NoKeeper
from mailauth.keeper.connecting import Connection
from mailauth.keeper.doveadm import KeptDoveadm
from mailauth.keeper.keeper import Keeper
from mailauth.serving.backing import BackendUnavailable, Opened
from mailauth.serving.bridging import RESET_AT_CLOSE
from servers import client_tls, server_tls
from site_of_tests import free_ports
from wire import eventually

PATIENCE_S = 30.0


async def heard(opened: Opened, count: int | None = None) -> bytes:
    """So many bytes; None: all up to the end."""
    loop, said = asyncio.get_running_loop(), b""
    async with asyncio.timeout(PATIENCE_S):
        while count is None or len(said) < count:
            more = await loop.sock_recv(opened.sock, 65536)
            if not more:
                break
            said += more
    return said


async def say(opened: Opened, data: bytes) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.get_running_loop().sock_sendall(opened.sock, data)


@contextlib.asynccontextmanager
async def behind_it(serve: Serve, *, tls: bool) -> AsyncIterator[tuple[Scripted, KeptBackends]]:
    """Such a server of IMAP, and what opens sessions there."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(serve, server_tls() if tls else None))
        one = backend(imap=server.address, **how(tls=tls))
        yield server, await stack.enter_async_context(kept_backends(one, context=client_tls()))


each_way = pytest.mark.parametrize("tls", [False, True], ids=["clear", "TLS"])


def how(*, tls: bool) -> dict[str, object]:
    return {"tls": "implicit", "tls_name": "localhost"} if tls else {"tls": "off"}


@each_way
async def test_what_comes_behind_the_answer_is_handed_over_unread(tls: bool) -> None:
    behind = b"* 1 EXISTS\r\n" * 100
    async with behind_it(imap(echo, behind), tls=tls) as (server, backends):
        opened = await backends.open(attempt(), principal())
        with opened.sock:
            assert opened.capabilities == ("IMAP4rev1", "IDLE")
            await say(opened, b"tail")
            assert opened.unread + await heard(opened, len(behind) + 4 - len(opened.unread)) == behind + b"tail"
        await eventually(lambda: server.here == 0)


@each_way
async def test_much_goes_both_ways_at_once(tls: bool) -> None:
    """As much as no buffer holds: who does not read holds the other up, and nothing is lost."""
    data = b"".join(b"%09d\n" % number for number in range(800_000))
    async with behind_it(imap(echo), tls=tls) as (_, backends):
        opened = await backends.open(attempt(), principal())
        with opened.sock:
            sending = asyncio.create_task(say(opened, data))
            await asyncio.sleep(0)
            assert await heard(opened, len(data)) == data
            await sending


async def test_who_does_not_read_holds_up_the_server_and_not_the_keeper() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async with serving(imap(flood), server_tls()) as server:
        keeper = keeper_of(backend(imap=server.address, **how(tls=True)), context=client_tls())
        async with asked(keeper) as asking:
            _, sock = await asking.ask(
                {"do": "open", "service": "imap", "account": "a@b.test", "peer": "", "tls": True, "client": ""}
            )
            assert sock is not None
            before = -1
            while before != sent:  # until it is held up
                before = sent
                await asyncio.sleep(0.2)
            (pump,) = keeper._pumps
            assert 0 < len(pump._to_pair) <= 4 * 16384
            assert sent > 0
            sock.close()
            await eventually(lambda: not keeper._pumps)
        await eventually(lambda: server.here == 0)


@each_way
async def test_an_end_in_one_direction_leaves_the_other(tls: bool) -> None:
    async def last_words(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"all that I have to say"
        writer.write(b"and this is the answer")

    async with behind_it(imap(last_words), tls=tls) as (server, backends):
        opened = await backends.open(attempt(), principal())
        with opened.sock:
            await say(opened, b"all that I have to say")
            opened.sock.shutdown(socket.SHUT_WR)
            if not tls:  # asyncio's server knows no half of a TLS connection; what it got is looked at there
                assert await heard(opened) == b"and this is the answer"
            await eventually(lambda: server.here == 0)


@each_way
async def test_what_the_server_ends_ends_here(tls: bool) -> None:
    async def goodbye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* BYE\r\n")

    async with serving(imap(goodbye), server_tls() if tls else None) as server:
        keeper = keeper_of(backend(imap=server.address, **how(tls=tls)), context=client_tls())
        async with asked(keeper) as asking:
            _, sock = await asking.ask(
                {"do": "open", "service": "imap", "account": "a@b.test", "peer": "", "tls": True, "client": ""}
            )
            assert sock is not None
            with sock:
                said = b""
                while more := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 100), PATIENCE_S):
                    said += more
                assert b"* BYE\r\n".endswith(said)
            await eventually(lambda: not keeper._pumps)


async def test_pumps_end_with_the_keeper() -> None:
    keeping = contextlib.AsyncExitStack()
    async with serving(imap(silent), server_tls()) as server:
        one = backend(imap=server.address, **how(tls=True))
        backends = await keeping.enter_async_context(kept_backends(one, context=client_tls()))
        opened = await backends.open(attempt(), principal())
        await keeping.aclose()
        assert await heard(opened) == b""
        opened.sock.close()
        await eventually(lambda: server.here == 0)


class Deaf(threading.Thread):
    """A server that lets one client in, and then neither reads nor ends anything until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.over = threading.Event()
        self.last = b""

    def run(self) -> None:
        plain, _ = self.listening.accept()
        with server_tls().wrap_socket(plain, server_side=True) as sock:
            sock.sendall(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")
            sock.recv(1000)
            sock.sendall(b"a4 OK [CAPABILITY IMAP4rev1] in\r\n")
            self.over.wait(PATIENCE_S)
            self.last = sock.recv(1000)


@contextlib.asynccontextmanager
async def let_in_by(server: Deaf) -> AsyncIterator[tuple[Keeper, Opened]]:
    """In the end it is over, and the server has heard what there was to hear."""
    with server.listening:
        server.start()
        port = server.listening.getsockname()[1]
        keeper = keeper_of(backend(imap=f"127.0.0.1:{port}", **how(tls=True)), context=client_tls())
        async with asked(keeper) as asking:
            yield keeper, await KeptBackends(asking).open(attempt(), principal())
            server.over.set()
            await asyncio.to_thread(server.join)


async def test_who_leaves_altogether_is_not_waited_for_and_his_last_words_are_passed_on() -> None:
    server = Deaf()
    async with let_in_by(server) as (keeper, opened):
        await say(opened, b"x LOGOUT\r\n")
        opened.sock.close()
        await eventually(lambda: not keeper._pumps)
    assert server.last == b"x LOGOUT\r\n"


@pytest.mark.parametrize("is_full", [True, False], ids=["full", "half closed"])
async def test_a_server_that_neither_reads_nor_ends_keeps_nothing_of_who_has_left(
    is_full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailauth.keeper.pump.LOOK_S", 0.05)
    async with let_in_by(Deaf()) as (keeper, opened):
        (pump,) = keeper._pumps
        if is_full:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):  # as much as goes
                    await asyncio.get_running_loop().sock_sendall(opened.sock, bytes(2**26))
            await eventually(lambda: bool(pump._to_net))
        else:
            opened.sock.shutdown(socket.SHUT_WR)
            await eventually(lambda: pump._net_shut)
        await asyncio.sleep(0.2)  # whoever is there and waits is left in peace
        assert keeper._pumps == {pump}
        opened.sock.close()
        await eventually(lambda: not keeper._pumps)


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


async def hang_up_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"* OK [CAPABILITY SASL-IR AUTH=PLAIN] ready\r\n")
    await reader.readline()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A line of which there is always more to come, and never the end."""
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"* 1 EXISTS\r\n" * 1000)
        await writer.drain()


async def babble_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"* OK [CAPABILITY SASL-IR AUTH=PLAIN] ready\r\n")
    await babble(reader, writer)


BAD = {
    "hangs up": (hang_up, "hung up before the login"),
    "hangs up after the password": (hang_up_later, "hung up before the login"),
    "says nothing": (silent, "has not let us in in time"),
    "never ends a line": (drip, "has not let us in in time"),
    "says something else": (babble, "does not greet with OK"),
    "never ends": (babble_later, "says too much before the login"),
    "refuses": (imap(answer=b"NO [UNAVAILABLE] not now"), r"refuses the login \[UNAVAILABLE\]"),
}


@each_way
@pytest.mark.parametrize("kind", BAD)
async def test_who_lets_nobody_in_is_left(kind: str, tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    serve, told = BAD[kind]
    monkeypatch.setattr(keeper_module, "LOGIN_S", 0.5 if "in time" in told else 8.0)
    async with behind_it(serve, tls=tls) as (server, backends):
        with pytest.raises(BackendUnavailable, match=f"^back end here, imap at {server.address}: {told}") as caught:
            await backends.open(attempt(), principal())
        await eventually(lambda: server.here == 0)
    assert MASTER_PASSWORD not in str(caught.value)


async def test_who_is_not_there_is_not_reached() -> None:
    (port,) = free_ports(1)
    async with kept_backends(backend(imap=f"127.0.0.1:{port}", pop3=f"nowhere.invalid:{port}")) as backends:
        with pytest.raises(BackendUnavailable, match=r"not reached: Connection refused$"):
            await backends.open(attempt(), principal())
        with pytest.raises(BackendUnavailable, match="not reached: "):
            await backends.open(attempt(Service.POP3), principal())


async def test_a_connection_that_is_reset_at_once_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        to = Connection.to

        async def reset(host: str, port: int) -> Connection:
            connection = await to(host, port)
            there, _ = listening.accept()
            there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            there.close()
            return connection

        monkeypatch.setattr(Connection, "to", reset)
        async with kept_backends(backend(imap=f"127.0.0.1:{listening.getsockname()[1]}", origin="proxy1")) as backends:
            with pytest.raises(
                BackendUnavailable, match=r"^back end here, imap at 127\.0\.0\.1:\d+: the connection was lost"
            ):
                await backends.open(attempt(), principal())


async def test_each_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(imap(echo)) as server:

        async def found(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
            assert host == "mail.example.test"
            v6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
            return [v6, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
        async with kept_backends(backend(imap=f"mail.example.test:{server.port}")) as backends:
            opened = await backends.open(attempt(), principal())
            with opened.sock:
                await say(opened, b"hello")
                assert await heard(opened, 5) == b"hello"


async def test_a_crowd_is_let_in_at_once() -> None:
    async with serving(imap(echo)) as server, kept_backends(backend(imap=server.address)) as backends:
        found = await asyncio.gather(*[backends.open(attempt(), principal(f"{n}@example.test")) for n in range(100)])
        for number, opened in enumerate(found):
            with opened.sock:
                await say(opened, b"%d" % number)
                assert await heard(opened, len(b"%d" % number)) == b"%d" % number
        assert server.most == 100
        await eventually(lambda: server.here == 0)


async def test_who_leaves_takes_what_was_begun_along() -> None:
    async with behind_it(silent, tls=False) as (server, backends):
        tasks = [asyncio.create_task(backends.open(attempt(), principal())) for _ in range(5)]
        await eventually(lambda: server.here == 5)
        await backends._asking.close()
        for task in tasks:
            with pytest.raises(BackendUnavailable):
                await task
        await eventually(lambda: server.here == 0)


UNKNOWN = [
    {},
    {"do": "read"},
    {"do": ["open"]},
    {"do": "open"},
    {"do": "open", "service": "ftp", "account": "a@b.test", "peer": "", "tls": True, "client": ""},
    {"do": "kick", "at": "nowhere", "mask": "*", "passdb_field": "", "timeout_s": 1},
    {"do": "flush", "at": {}, "user": "a@b.test", "timeout_s": "soon"},
]


@pytest.mark.parametrize("message", UNKNOWN, ids=repr)
async def test_what_the_keeper_does_not_know_it_does_not_do(message: dict[str, object]) -> None:
    async with asked(keeper_of(backend(imap="127.0.0.1:1"))) as asking:
        with pytest.raises(NoKeeper, match="something that it does not know"):
            await asking.ask(message, PATIENCE_S)


@pytest.mark.parametrize(
    "account", ["alice*root@example.test", "%u@example.test", "a\r\nb@example.test", ""], ids=ascii
)
async def test_the_keeper_looks_at_names_itself(account: str) -> None:
    """Whoever asks it, it says nothing to a server that could be more than a name."""
    async with serving(silent) as server, asked(keeper_of(backend(imap=server.address))) as asking:
        with pytest.raises(NoKeeper, match="must not be said to it"):
            await asking.ask(
                {"do": "open", "service": "imap", "account": account, "peer": "", "tls": True, "client": ""}
            )
        assert server.most == 0


def esmtp(*lines: str):
    """A server that offers these."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        await reader.readline()
        said = ["mx", *lines]
        writer.write("".join(f"250{'-' if line is not said[-1] else ' '}{line}\r\n" for line in said).encode())
        await reader.readline()

    return serve


async def test_what_all_offer_is_offered_and_one_that_is_away_is_remembered() -> None:
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(serving(esmtp("SIZE 2000", "8BITMIME", "dsn")))
        away = contextlib.AsyncExitStack()
        other = await away.enter_async_context(serving(esmtp("DSN", "SIZE 1000", "SMTPUTF8")))
        keeper = keeper_of(backend("one", smtp=one.address), backend("other", smtp=other.address, domains=["b.test"]))
        asking = await stack.enter_async_context(asked(keeper))
        for _ in range(2):
            answer, _ = await asking.ask({"do": "offer"})
            assert answer["offer"] == ["SIZE 1000", "DSN"]
            await away.aclose()
    async with asked(keeper_of(backend("one", smtp=one.address))) as asking:
        with pytest.raises(NoKeeper, match=r"back end one, smtp at .* not reached"):
            await asking.ask({"do": "offer"})


# ---- doveadm


@dataclass
class Doveadm:
    """Has done what it was told, unless it is away."""

    url: str = "http://127.0.0.1:8414"
    away: bool = False
    done: list[tuple[str, ...]] = field(default_factory=list)

    async def kick(self, mask: str, timeout_s: float, *, passdb_field: str = "", address: str = "") -> bool:
        if self.away:
            raise NotReached("no connection")
        self.done.append(("kick", mask, passdb_field, address))
        return mask != "nobody@example.test"

    async def forget(self, user: str, timeout_s: float) -> None:
        if self.away:
            raise NotReached("no connection")
        self.done.append(("forget", user))


async def test_doveadm_is_asked_by_the_keeper() -> None:
    doveadm = Doveadm()
    keeper = Keeper(Routes({}), {}, {"dovecot-lua 127.0.0.1:8414": doveadm})  # type: ignore[dict-item]
    async with asked(keeper) as asking:
        kept = KeptDoveadm(asking, "dovecot-lua 127.0.0.1:8414", doveadm.url)
        assert await kept.kick("7", PATIENCE_S, passdb_field="user_app") is True
        assert await kept.kick("nobody@example.test", PATIENCE_S) is False
        assert await kept.kick("alice@example.test", PATIENCE_S, address="192.0.2.1") is True
        await kept.forget("alice@example.test", PATIENCE_S)
        assert doveadm.done == [
            ("kick", "7", "user_app", ""),
            ("kick", "nobody@example.test", "", ""),
            ("kick", "alice@example.test", "", "192.0.2.1"),
            ("forget", "alice@example.test"),
        ]
        doveadm.away = True
        for doing in (kept.kick("7", PATIENCE_S), kept.forget("7", PATIENCE_S)):
            with pytest.raises(NotReached, match="no connection"):
                await doing
    with pytest.raises(NotReached, match="the keeper has not answered in time"):
        await kept.kick("7", 0.05)
