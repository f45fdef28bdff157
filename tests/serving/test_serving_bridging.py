"""The connections of bridges: deadlines, refusals held and let go, revocation in between, and who may ask at all."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import grp
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

import pytest

import virtual_time
from bridge_stage import built
from doubles import Doorman, MemoryPassdb
from mailauth.attempt import Attempt
from mailauth.interfaces import StoreUnavailable
from mailauth.serving import bridging, peercred
from mailauth.serving.admitted import Admitted
from mailauth.serving.bridgehouse import BridgeHouse
from mailauth.serving.bridging import BridgeConnection
from mailauth.serving.census import Census
from mailauth.serving.clock import FewHeld, RefusalClock
from mailauth.serving.listen import CannotListen, Door, Server, bind
from mailauth.serving.peercred import LocalPeers, NetworkPeers
from mailauth.serving.tokens import Tokens
from mailauth.serving.unixsocket import bind_unix
from mailauth.serving.whence import Whence
from mailauth.verdict import Accept, Outcome, Principal, Reason, Reject, Stay
from wire import Wire, eventually

ALICE = "alice@example.test"
HELLO = b"VERSION\t1\t0\nCPID\t1\n"
HELLO_OF_OTHERS = b"VERSION\t1\t2\nCPID\t1\n"


def auth(number: int, login: str = ALICE, password: str = "secret") -> bytes:
    return b"AUTH\t%d\tPLAIN\tservice=smtp\tresp=%b\n" % (number, base64.b64encode(f"\0{login}\0{password}".encode()))


@dataclass
class Running:
    house: BridgeHouse
    server: Server
    port: int = 0
    path: Path | None = None
    wires: list[Wire] = field(default_factory=list)

    async def wire(self, hello: bytes = HELLO) -> Wire:
        """A connection past the greetings."""
        if self.path is not None:
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, os.fspath(self.path))
            wire = Wire(sock)
        else:
            wire = await Wire.to(self.port)
        self.wires.append(wire)
        assert (await wire.until(b"DONE\n")).endswith(b"DONE\n")
        await wire.send(hello)
        return wire


@contextlib.asynccontextmanager
async def bridged(
    authenticator: object,
    *,
    kind: str = "dovecot-auth",
    path: Path | None = None,
    delay_s: float = 0.0,
    most_held: int = 25,
    admits: Callable[[socket.socket], bool] | None = lambda sock: True,
    census: Census | None = None,
    **changes: object,
) -> AsyncIterator[Running]:
    """One bridge, on TCP unless a path is named."""
    bridge = built(kind)
    census = Census(1000, 1000) if census is None else census
    held = FewHeld(RefusalClock(delay_s, 0.02), most_held)
    options = {"silence_s": bridge.silence_s, **changes}
    house = BridgeHouse("test", bridge.dialogue, authenticator, census, held, **options)  # type: ignore[arg-type]
    bound = None if path is None else bind_unix(path, 0o660)
    sock = bind("127.0.0.1", 0) if bound is None else bound.sock
    port = sock.getsockname()[1] if bound is None else 0
    server = Server(census, [Door("test", sock, lambda client: BridgeConnection(house, client), admits=admits)])
    await server.start()
    running = Running(house, server, port, path)
    try:
        yield running
    finally:
        await server.stop()
        await house.close()
        for wire in running.wires:
            wire.close()
        if bound is not None:
            bound.remove()


class Slow:
    """Answers when told to."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.verdicts: dict[str, asyncio.Future[Outcome]] = {}

    async def authenticate(self, attempt: Attempt) -> Outcome:
        self.attempts.append(attempt)
        verdict = self.verdicts[attempt.credential.authcid] = asyncio.get_running_loop().create_future()
        return await verdict


# ---- asked again


POLICY_REQUEST = (
    b"request=smtpd_access_policy\nclient_address=\nsasl_username=%b\ninstance=7b.1.1.0\n\n" % ALICE.encode()
)


@contextlib.asynccontextmanager
async def asked_again(admitted: Admitted | None, **changes: object) -> AsyncIterator[Wire]:
    """A connection of Postfix's, which asks before it takes a message."""
    bridge = built("postfix-policy")
    house = BridgeHouse("test", bridge.dialogue, Doorman(), Census(9, 9), None, admitted=admitted, **changes)  # type: ignore[arg-type]
    server = Server(house.census, [Door("test", bind("127.0.0.1", 0), lambda _: BridgeConnection(house))])
    await server.start()
    wire = await Wire.to(server.doors[0].sock.getsockname()[1])
    try:
        yield wire
    finally:
        wire.close()
        await server.stop()
        await house.close()


async def test_who_was_let_in_at_one_bridge_is_known_at_another() -> None:
    passdb = MemoryPassdb()
    account = passdb.add(ALICE)
    phone = passdb.mint(ALICE, "phone")
    admitted = Admitted(passdb)
    accept = Accept(Principal(account.id, ALICE, phone.id), Stay(1, 1, None, None))
    doorman = Doorman()
    doorman.outcome = accept
    async with bridged(doorman, admitted=admitted) as running, asked_again(admitted) as postfix:
        logged_in = await running.wire(b"VERSION\t1\t0\nCPID\t123\n")
        await logged_in.send(auth(1))
        assert (await logged_in.line()).startswith(b"OK\t1\t")
        await postfix.send(POLICY_REQUEST)
        assert await postfix.until(b"\n\n") == b"action=DUNNO\n\n"
        passdb.revoke(ALICE, "phone")
        await postfix.send(POLICY_REQUEST)
        assert (await postfix.until(b"\n\n")).startswith(b"action=421 ")
        passdb.fault = StoreUnavailable("away")
        await postfix.send(POLICY_REQUEST)
        assert (await postfix.until(b"\n\n")).startswith(b"action=DEFER_IF_PERMIT ")


async def test_where_nobody_remembers_nothing_is_said() -> None:
    async with asked_again(None) as postfix:
        await postfix.send(POLICY_REQUEST)
        assert (await postfix.until(b"\n\n")).startswith(b"action=DEFER_IF_PERMIT ")


# ---- answers


@pytest.mark.parametrize("over", ["tcp", "unix"])
async def test_right_and_wrong(over: str, tmp_path: Path) -> None:
    async with bridged(Doorman(), path=tmp_path / "s" if over == "unix" else None) as running:
        wire = await running.wire()
        await wire.dribble(auth(1))
        assert await wire.line() == b"OK\t1\tuser=alice@example.test\n"
        assert (await wire.exchange(auth(2, password="wrong"))).startswith(b"FAIL\t2\tuser=alice@example.test")


async def test_two_hundred_on_one_connection_in_any_order_are_not_mixed_up() -> None:
    """Half of them wrong."""
    slow = Slow()
    async with bridged(slow) as running:
        wire = await running.wire()
        await wire.send(b"".join(auth(number, f"user{number}@example.test") for number in range(200)))
        await eventually(lambda: len(slow.verdicts) == 200)
        for login, verdict in sorted(slow.verdicts.items(), key=lambda item: hash(item[0])):
            number = int(login[4:].partition("@")[0])
            verdict.set_result(Accept(Principal(number, login, 1)) if number % 2 else Reject(Reason.WRONG_PASSWORD))
        for _ in range(200):
            word, number, user = (await wire.line()).rstrip().split(b"\t")[:3]
            assert word == (b"OK" if int(number) % 2 else b"FAIL")
            assert user == b"user=user%b@example.test" % number


def test_what_came_together_is_answered_together() -> None:
    async def main() -> None:
        made, transport = connection(Doorman())
        asyncio.get_running_loop().call_soon(made.data_received, b"".join(auth(number) for number in range(16)))
        await asyncio.sleep(1)
        ((_, said),) = transport.written
        assert [line.split(b"\t")[:2] for line in said.splitlines()] == [[b"OK", b"%d" % n] for n in range(16)]

    virtual_time.run(main())


def test_one_that_has_to_wait_holds_up_neither_the_answers_before_it_nor_the_questions_behind_it() -> None:
    class Sometimes(Doorman):
        async def authenticate(self, attempt: Attempt) -> Outcome:
            if attempt.credential.authcid.startswith("slow"):
                await asyncio.sleep(3)
            return await super().authenticate(attempt)

    async def main() -> None:
        made, transport = connection(Sometimes(), held=None)
        began = virtual_time.now()
        logins = [ALICE, "slow1@example.test", ALICE, "slow2@example.test", ALICE]
        made.data_received(b"".join(auth(number, login) for number, login in enumerate(logins)))
        await asyncio.sleep(5)
        at_once = [(at, line.split(b"\t")[1]) for at, said in transport.written for line in said.splitlines()]
        assert at_once == [(began, b"0"), (began, b"2"), (began, b"4"), (began + 3, b"1"), (began + 3, b"3")]
        assert not made._house.judging

    virtual_time.run(main())


async def test_a_bug_in_an_answer_ends_its_connection_and_no_other() -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with bridged(Doorman()) as running:
        wire, other = await running.wire(), await running.wire()
        connection_of_wire = next(iter(running.server.census.everyone()))
        connection_of_wire._dialogue.judged = lambda ticket, outcome: 1 / 0  # type: ignore[attr-defined]
        await wire.send(auth(1) + auth(2))
        assert await wire.rest() == b""
        assert (await other.exchange(auth(1))).startswith(b"OK\t1\t")
    assert "Fatal error" in str(told[0]["message"])


async def test_a_fault_of_the_authenticator_ends_the_connection_and_is_no_refusal() -> None:
    doorman = Doorman()
    doorman.outcome = RuntimeError("broken")
    async with bridged(doorman) as running:
        wire = await running.wire()
        await wire.send(auth(1))
        assert await wire.rest() == b""
        others = await running.wire(HELLO_OF_OTHERS)
        assert b"code=temp_fail" in await others.exchange(auth(1))


async def test_over_tcp_not_now_is_a_reset_so_that_the_host_connects_anew_at_once() -> None:
    doorman = Doorman()
    doorman.outcome = RuntimeError("broken")
    async with bridged(doorman) as running:
        wire = await running.wire()
        await wire.send(auth(1))
        with pytest.raises(ConnectionResetError):
            await asyncio.get_running_loop().sock_recv(wire.sock, 100)
        wire.close()


async def test_what_was_changed_between_verdict_and_answer_is_not_let_in() -> None:
    class Touched:
        def unavailable(self) -> bool:
            return False

        def touched(self, mark: int, account_id: int, domain_id: int) -> bool:
            return (mark, account_id, domain_id) == (3, 1, 2)

    doorman = Doorman()
    async with bridged(doorman, sessions=Touched()) as running:
        wire = await running.wire(HELLO_OF_OTHERS)
        for mark, said in ((3, b"FAIL\t1\tuser=alice@example.test\tcode=temp_fail\ttemp\n"), (4, b"OK\t1\tuser=a\n")):
            doorman.outcome = Accept(Principal(1, "a", 7), Stay(mark, 2, None, None))
            assert await wire.exchange(auth(1)) == said


async def test_from_where_somebody_was_let_in_is_remembered_before_the_host_is_told() -> None:
    class Nothing:
        async def let_in_from(self, login: str, credential_id: int, most: int) -> frozenset[str]:
            return frozenset()

    doorman, whence = Doorman(), Whence(Nothing())
    async with bridged(doorman, whence=whence) as running:
        wire = await running.wire(HELLO_OF_OTHERS)
        for number, outcome in enumerate((Accept(Principal(1, ALICE, 7)), Reject(Reason.WRONG_PASSWORD, 8)), start=1):
            doorman.outcome = outcome
            await wire.exchange(auth(number).replace(b"smtp", b"imap\trip=192.0.2.1"))
    assert await whence.addresses(ALICE, [7]) == ("192.0.2.1",)
    assert await whence.addresses(ALICE, [8]) == ()


def test_who_was_told_later_was_not_let_in_when_the_verdict_comes() -> None:
    """Otherwise a login that got nowhere would stand for the session that another password opened meanwhile."""

    class Nothing:
        async def let_in_from(self, login: str, credential_id: int, most: int) -> frozenset[str]:
            return frozenset()

    async def main() -> None:
        slow, whence = Slow(), Whence(Nothing())
        made, _ = connection(slow, whence=whence)
        for number, login in ((1, "late@example.test"), (2, "soon@example.test")):
            made.data_received(auth(number, login).replace(b"smtp", b"imap\trip=192.0.2.1"))
            await asyncio.sleep(7)
        for number, login in ((1, "late@example.test"), (2, "soon@example.test")):
            slow.verdicts[login].set_result(Accept(Principal(number, login, number)))
        await asyncio.sleep(1)
        assert await whence.addresses("late@example.test", [1]) == ()
        assert await whence.addresses("soon@example.test", [2]) == ("192.0.2.1",)

    virtual_time.run(main())


async def test_while_the_store_is_known_to_be_away_nobody_waits_and_nobody_is_judged() -> None:
    class Away:
        def unavailable(self) -> bool:
            return True

    doorman = Doorman()
    async with bridged(doorman, sessions=Away()) as running:
        wire = await running.wire(HELLO_OF_OTHERS)
        assert b"code=temp_fail" in await wire.exchange(auth(1))
        assert not doorman.attempts


async def test_beyond_what_can_be_judged_at_once_it_is_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridging, "MOST_JUDGED", 3)
    slow = Slow()
    async with bridged(slow) as running:
        wire = await running.wire(HELLO_OF_OTHERS)
        await wire.send(b"".join(auth(number, f"user{number}@example.test") for number in range(4)))
        assert await wire.line() == b"FAIL\t3\tuser=user3@example.test\tcode=temp_fail\ttemp\n"
        slow.verdicts["user0@example.test"].set_result(Accept(Principal(1, "user0@example.test", 1)))
        assert (await wire.line()).startswith(b"OK\t0\t")
        await wire.send(auth(4, "user4@example.test"))
        await eventually(lambda: "user4@example.test" in slow.verdicts)


# ---- time


class Quiet(asyncio.Transport):
    """A transport that only takes down what is written, for a loop whose clock jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[float, bytes]] = []
        self.ended_at: float | None = None
        self.protocol: BridgeConnection | None = None

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written.append((virtual_time.now(), data))

    def is_closing(self) -> bool:
        return self.ended_at is not None

    def abort(self) -> None:
        if self.ended_at is None:
            self.ended_at = virtual_time.now()
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)  # type: ignore[union-attr]

    close = abort


def connection(authenticator: object, kind: str = "dovecot-auth", hello: bytes = HELLO_OF_OTHERS, **changes: object):
    bridge = built(kind, {"admits": lambda shown: True})
    options = {"held": FewHeld(RefusalClock(2.0), 25), "silence_s": bridge.silence_s, **changes}
    house = BridgeHouse("test", bridge.dialogue, authenticator, Census(9, 9), **options)  # type: ignore[arg-type]
    made, transport = BridgeConnection(house), Quiet()
    transport.protocol = made
    made.connection_made(transport)
    transport.written.clear()
    made.data_received(hello)
    return made, transport


def test_what_is_not_decided_in_eight_seconds_is_later_and_its_verdict_comes_too_late_for_anybody() -> None:
    async def main() -> None:
        slow = Slow()
        made, transport = connection(slow)
        began = virtual_time.now()
        made.data_received(auth(1, "one@example.test"))
        await asyncio.sleep(3)
        made.data_received(auth(2, "two@example.test"))
        await asyncio.sleep(7)
        slow.verdicts["one@example.test"].set_result(Accept(Principal(1, "one@example.test", 1)))
        await asyncio.sleep(0.5)
        slow.verdicts["two@example.test"].set_result(Accept(Principal(2, "two@example.test", 1)))
        await asyncio.sleep(30)
        ((first_at, first), (second_at, second)) = transport.written
        assert (first_at - began, first[:7]) == (8.0, b"FAIL\t1\t")
        assert b"code=temp_fail" in first
        assert (second_at - began, second[:5]) == (10.5, b"OK\t2\t")
        assert transport.ended_at is None
        assert not made._house.judging

    virtual_time.run(main())


def test_what_is_judged_too_late_is_judged_to_its_end() -> None:
    """So it is on record, and a right password is not left counted as a guess."""

    async def main() -> None:
        slow = Slow()
        made, transport = connection(slow, hello=HELLO)
        made.data_received(auth(1))
        await asyncio.sleep(9)
        assert transport.ended_at is not None  # Postfix's way to hear "later"
        assert not slow.verdicts[ALICE].cancelled()
        slow.verdicts[ALICE].set_result(Accept(Principal(1, ALICE, 1)))
        await asyncio.sleep(1)
        assert not made._house.judging

    virtual_time.run(main())


def test_a_refusal_leaves_on_the_clock_and_one_that_missed_its_tick_is_later() -> None:
    async def main() -> None:
        slow = Slow()
        made, transport = connection(slow)
        began = virtual_time.now()
        made.data_received(auth(1, "soon@example.test") + auth(2, "late@example.test"))
        await asyncio.sleep(1)
        slow.verdicts["soon@example.test"].set_result(Reject(Reason.WRONG_PASSWORD))
        await asyncio.sleep(2)
        slow.verdicts["late@example.test"].set_result(Reject(Reason.WRONG_PASSWORD))
        await asyncio.sleep(1)
        ((soon_at, soon), (_, late)) = transport.written
        assert soon_at - began == pytest.approx(2.0, abs=0.11)
        assert b"temp_fail" not in soon
        assert b"temp_fail" in late

    virtual_time.run(main())


def test_no_more_than_a_quarter_of_the_hosts_slots_wait_for_a_refusal() -> None:
    """A hundred refusals a second, and the host has a hundred places: 75 of them are free at any time."""

    async def main() -> None:
        doorman = Doorman()
        made, transport = connection(doorman)
        waiting: list[int] = []
        began = virtual_time.now()
        for number in range(500):
            made.data_received(auth(number, password="wrong"))
            await asyncio.sleep(0.01)
            waiting.append(number + 1 - len(transport.written))
        assert max(waiting) <= 25
        assert min(waiting[100:]) >= 24  # and so many do wait
        answered = [(at, int(line.split(b"\t")[1])) for at, line in transport.written]
        assert [number for _, number in answered] == sorted(number for _, number in answered)  # the longest first
        made.data_received(auth(1000))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        at, line = transport.written[-1]
        assert line.startswith(b"OK\t1000\t")
        assert at == virtual_time.now()
        await asyncio.sleep(3)
        assert len(transport.written) == 501
        assert all(line.startswith((b"FAIL", b"OK")) and b"temp" not in line for _, line in transport.written)
        assert virtual_time.now() > began

    virtual_time.run(main())


def test_where_the_host_waits_we_do_not() -> None:
    async def main() -> None:
        made, transport = connection(Doorman(), held=None)
        made.data_received(auth(1, password="wrong"))
        began = virtual_time.now()
        await asyncio.sleep(1)
        ((at, line),) = transport.written
        assert line.startswith(b"FAIL\t1\t")
        assert at == began

    virtual_time.run(main())


def test_who_connects_for_one_request_and_does_not_make_it_is_cut_and_who_stays_for_life_is_not() -> None:
    async def main() -> None:
        began = virtual_time.now()
        made, transport = connection(Doorman(), "saslauthd", b"\0\x05ali")
        for _ in range(8):
            await asyncio.sleep(1)
            made.data_received(b"x")  # a byte at a time does not help
        await asyncio.sleep(20)
        assert transport.ended_at is not None
        assert transport.ended_at - began == 10.0
        _, transport = connection(Doorman())
        await asyncio.sleep(86_400)
        assert transport.ended_at is None

    virtual_time.run(main())


def test_who_goes_on_asking_what_needs_no_judging_is_not_cut() -> None:
    """Dovecot's policy requests are answered at once, and come by one connection as long as there are any."""

    async def main() -> None:
        request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        made, transport = connection(Doorman(), "http", request)
        for _ in range(9):
            await asyncio.sleep(60)
            made.data_received(request)
        asked_at = virtual_time.now()
        assert transport.ended_at is None
        assert len(transport.written) == 10
        await asyncio.sleep(200)
        assert transport.ended_at == asked_at + 90.0

    virtual_time.run(main())


def test_the_deadline_of_a_late_request_does_not_wait_for_that_of_silence() -> None:
    async def main() -> None:
        began = virtual_time.now()
        made, transport = connection(Slow(), "saslauthd", b"\0\x05alice\0\x01p\0\x04smtp\0")
        await asyncio.sleep(0.1)
        made.data_received(b"\0")
        await asyncio.sleep(30)
        assert transport.ended_at is not None
        assert transport.ended_at - began == pytest.approx(8.1)
        assert transport.written == []

    virtual_time.run(main())


# ---- many peers


async def test_slow_and_endless_peers_block_nobody() -> None:
    async with bridged(Doorman()) as running:
        slow = [await running.wire() for _ in range(20)]
        for number, wire in enumerate(slow):
            await wire.send(auth(1)[: 5 + number])
        endless = await running.wire()
        await endless.send(b"x" * 16_384)
        assert await endless.rest() == b""
        good = await running.wire()
        assert (await good.exchange(auth(1))).startswith(b"OK\t1\t")
        for number, wire in enumerate(slow):
            assert (await wire.exchange(auth(1)[5 + number :])).startswith(b"OK\t1\t")
            wire.close()


async def test_where_there_is_no_room_those_go_who_never_let_anybody_in() -> None:
    async with bridged(Doorman(), census=Census(3, 3)) as running:
        good = await running.wire()
        assert (await good.exchange(auth(1))).startswith(b"OK\t1\t")
        idle = [await running.wire() for _ in range(4)]
        assert await idle[0].rest() == b""
        assert (await good.exchange(auth(2))).startswith(b"OK\t2\t")


async def test_the_end_of_the_server_is_no_refusal() -> None:
    slow = Slow()
    async with bridged(slow) as running:
        wire = await running.wire()
        await wire.send(auth(1))
        await eventually(lambda: bool(slow.verdicts))
        await running.server.stop()
        assert await wire.rest() == b""
    assert slow.verdicts[ALICE].cancelled()


async def test_who_leaves_leaves_nothing_behind() -> None:
    slow = Slow()
    async with bridged(slow) as running:
        wire = await running.wire()
        await wire.send(auth(1))
        await eventually(lambda: bool(slow.verdicts))
        wire.reset()
        await eventually(lambda: len(running.house.census) == 0)
        slow.verdicts[ALICE].set_result(Accept(Principal(1, ALICE, 1)))
        await eventually(lambda: not running.house.judging)


# ---- the UNIX socket


def listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(os.fspath(path)) == 0


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("mode", [0o660, 0o600, 0o770])
def test_a_socket_has_its_mode_and_group_and_is_gone_in_the_end(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "socket"
    group = os.getgroups()[-1] if os.getgroups() else os.getgid()
    bound = bind_unix(path, mode, group)
    status = path.lstat()
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == mode
    assert status.st_gid == group
    assert listening(path)
    assert os.listdir(tmp_path) == ["socket"]  # noqa: PTH208
    bound.remove()
    bound.sock.close()
    assert not path.exists()


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    bind_unix(path, 0o660).sock.close()  # as by a process that was killed
    assert not listening(path)
    bound = bind_unix(path, 0o660)
    assert listening(path)
    bound.sock.close()


def test_a_socket_that_somebody_listens_on_stays_his(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    first = bind_unix(path, 0o660)
    with pytest.raises(CannotListen, match="another process does"):
        bind_unix(path, 0o660)
    assert listening(path)
    first.sock.close()


def test_a_socket_that_another_has_put_in_place_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    first = bind_unix(path, 0o660)
    path.unlink()
    second = bind_unix(path, 0o660)
    first.remove()
    assert listening(path)
    first.sock.close()
    second.sock.close()


def test_why_a_socket_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for path, said in (
        (tmp_path / "file", "no socket; move it away"),
        (tmp_path / "no" / "such" / "folder", "folder is not there"),
        (tmp_path / ("x" * 200), "too long"),
    ):
        with pytest.raises(CannotListen, match=said):
            bind_unix(path, 0o660)
    assert (tmp_path / "file").read_text() == "precious"
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208


# ---- who may ask


def test_who_is_at_the_other_end_is_known() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    uid, groups = peercred.credentials(one)
    assert uid == os.geteuid()
    assert os.getegid() in groups
    one.close()
    other.close()


def test_names_and_numbers_of_users_and_groups() -> None:
    assert peercred.user_id("root") == 0
    assert peercred.user_id("4711") == 4711
    assert peercred.group_id(grp.getgrgid(0).gr_name) == 0
    assert peercred.group_id("4711") == 4711
    with pytest.raises(peercred.NoSuchName, match="no user 'nobody-at-all'"):
        peercred.user_id("nobody-at-all")
    with pytest.raises(peercred.NoSuchName, match="no group 'nobody-at-all'"):
        peercred.group_id("nobody-at-all")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that every user may enter."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    folder.rmdir()


def as_another(path: Path) -> bytes:
    """How much user 4711 of group 4712 hears there."""
    connect = (
        "import os, socket, sys; os.setgroups([]); os.setgid(4712); os.setuid(4711);"
        "sock = socket.socket(socket.AF_UNIX); sock.settimeout(30); sock.connect(sys.argv[1]);"
        "print(len(sock.recv(4096)))"
    )
    words = [sys.executable, "-S", "-E", "-c", connect, path]
    return subprocess.run(words, capture_output=True, check=True).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("users", "groups", "admitted"),
    [((), (), False), ((4711,), (), True), ((), (4712,), True), ((4713,), (4713,), False)],
)
async def test_another_user_gets_in_only_by_name_or_group(open_folder, caplog, users, groups, admitted) -> None:
    path = open_folder / "socket"
    async with bridged(Doorman(), path=path, admits=LocalPeers("bridge test", users, groups)):
        os.chmod(path, 0o777)  # noqa: PTH101  the file's mode is another lock, tried elsewhere
        for _ in range(2):
            out = await asyncio.to_thread(as_another, path)
            assert (int(out) > 0) is admitted
    told = [record.getMessage() for record in caplog.records if "turned away" in record.getMessage()]
    assert len(told) == (0 if admitted else 1)
    assert admitted or "user 4711" in told[0]


@pytest.mark.parametrize(("networks", "admitted"), [("127.0.0.0/8", True), ("192.0.2.0/24", False)])
async def test_by_tcp_only_named_hosts_get_in(networks: str, admitted: bool) -> None:
    async with bridged(Doorman(), admits=NetworkPeers("bridge test", [ip_network(networks)])) as running:
        wire = await Wire.to(running.port)
        assert bool(await wire.line()) is admitted
        wire.close()


def test_tokens_are_those_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("the-old-token-of-this-host\n")
    tokens = Tokens(str(file), lambda: "the-old-token-of-this-host")
    assert tokens.admits(b"the-old-token-of-this-host")
    assert not tokens.admits(b"the-new-token-of-this-host")
    assert not tokens.admits(b"")
    time.sleep(0.01)  # so that the file's time is another, whatever the file system's grain
    file.write_text("the-new-token-of-this-host\nthe-old-token-of-this-host\nshort\n\n")
    assert tokens.admits(b"the-new-token-of-this-host")
    assert tokens.admits(b"the-old-token-of-this-host")
    assert not tokens.admits(b"short")
    assert not tokens.admits(b"")
    file.write_text("the-new-token-of-this-host\n")
    assert not tokens.admits(b"the-old-token-of-this-host")
    file.unlink()
    assert not tokens.admits(b"the-new-token-of-this-host")
    file.write_text("the-new-token-of-this-host\n")
    assert tokens.admits(b"the-new-token-of-this-host")


def test_a_token_of_the_environment_stays(tmp_path: Path) -> None:
    tokens = Tokens("env:TOKEN", lambda: "the-token-of-this-host")
    assert tokens.admits(b"the-token-of-this-host")
    assert not tokens.admits(b"another-token-of-a-host")
