"""Logins that come again through a bridge: answered at once where they are let in, and judged where they are not."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from bridge_stage import built
from doubles import Doorman
from mailauth.attempt import Attempt, Credential, Service
from mailauth.serving.bridgehouse import BridgeHouse
from mailauth.serving.bridging import BridgeConnection
from mailauth.serving.census import Census
from mailauth.serving.listen import Door, Server, bind
from mailauth.verdict import Accept, Principal, Stay
from wire import Wire

ALICE = "alice@example.test"
AGAIN = Accept(Principal(1, ALICE, 100), Stay(1, 1, None, None))
DOVECOT, POSTFIX = b"VERSION\t1\t2\nCPID\t42\n", b"VERSION\t1\t0\nCPID\t42\n"
OK = b"OK\t%d\tuser=alice@example.test\n"


@dataclass
class Login:
    attempt: Attempt
    accept: Accept


@dataclass
class Recurring:
    """Knows every question, and lets in, or does not, as it is told."""

    says: Accept | Exception | None = AGAIN
    asked: list[bytes] = field(default_factory=list)

    def __contains__(self, question: object) -> bool:
        return True

    def judge(self, question: bytes) -> Login | None:
        self.asked.append(question)
        if isinstance(self.says, Exception):
            raise self.says
        told = Attempt(Credential(ALICE), Service.SMTP, "192.0.2.1", tls=True)
        return None if self.says is None else Login(told, self.says)


@dataclass
class Reads:
    """What was done together, in order."""

    said: list[str] = field(default_factory=list)

    def together(self) -> None:
        self.said.append("together")

    def apart(self) -> None:
        self.said.append("apart")


@dataclass
class Noted:
    """In place of Admitted and Whence: whom the host was told to let in."""

    heard: list[tuple[str, ...]] = field(default_factory=list)

    def note(self, attempt: Attempt, accept: Accept, *session: str) -> None:
        self.heard.append((attempt.peer, accept.principal.login, *session))


@contextlib.asynccontextmanager
async def bridged(
    recurring: Recurring | None, known: Recurring, *, hello: bytes = DOVECOT, **changes: object
) -> AsyncIterator[tuple[Wire, ...]]:
    """A connection past the greetings, and the authenticator. known: the questions that the dialogue has met."""
    doorman = Doorman()
    bridge = built("dovecot-auth", {"recurring": known})
    house = BridgeHouse("test", bridge.dialogue, doorman, Census(9, 9), None, recurring=recurring, **changes)  # type: ignore[arg-type]
    server = Server(house.census, [Door("test", bind("127.0.0.1", 0), lambda _: BridgeConnection(house))])
    await server.start()
    wire = await Wire.to(server.doors[0].sock.getsockname()[1])
    try:
        await wire.until(b"DONE\n")
        await wire.send(hello)
        yield wire, doorman, house
    finally:
        wire.close()
        await server.stop()
        await house.close()


def auth(number: int) -> bytes:
    shown = base64.b64encode(f"\0{ALICE}\0secret".encode())
    return b"AUTH\t%d\tPLAIN\tservice=smtp\trip=192.0.2.1\tresp=%b\n" % (number, shown)


async def test_who_comes_again_is_let_in_and_noted_like_anybody() -> None:
    recurring, admitted, whence = Recurring(), Noted(), Noted()
    async with bridged(recurring, recurring, admitted=admitted, whence=whence) as (wire, doorman, house):
        await wire.send(auth(1))
        assert await wire.line() == OK % 1
        assert doorman.attempts == []
        assert admitted.heard == [("192.0.2.1", ALICE, "42")]
        assert whence.heard == [("192.0.2.1", ALICE)]
        assert not house.census.make_room()  # it is no stranger any more


@pytest.mark.parametrize("says", [None, RuntimeError("secret")])
async def test_who_is_not_let_in_at_once_is_judged_from_the_beginning(
    says: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    recurring = Recurring(says)
    async with bridged(recurring, recurring) as (wire, doorman, _):
        await wire.send(auth(1))
        assert await wire.line() == OK % 1
        (attempt,) = doorman.attempts
        assert (attempt.credential.password, attempt.question) == ("secret", recurring.asked[0])
    assert caplog.messages == ([] if says is None else ["logins that come again: RuntimeError"])
    caplog.clear()


async def test_where_nothing_judges_what_comes_again_all_are_judged() -> None:
    async with bridged(None, Recurring()) as (wire, doorman, _):
        await wire.send(auth(1))
        assert await wire.line() == OK % 1
        assert len(doorman.attempts) == 1


@pytest.mark.parametrize("says", [AGAIN, None])
async def test_what_comes_together_is_read_together(says: Accept | None) -> None:
    recurring, reads = Recurring(says), Reads()
    async with bridged(recurring, recurring, reads=reads) as (wire, *_):
        await wire.send(auth(1))
        assert await wire.line() == OK % 1
        assert reads.said == []
        await wire.send(b"".join(auth(number) for number in range(2, 18)))
        assert await wire.until(OK % 17) == b"".join(OK % number for number in range(2, 18))
        assert reads.said == ["together", "apart"] * (len(reads.said) // 2)
        stretches = 2 if says is None else 1  # those to be judged from the beginning are read together then
        assert stretches <= len(reads.said) // 2 <= 2 * stretches  # the segment may have come in two pieces


async def test_half_of_them_known_are_answered_each_by_its_own_number() -> None:
    recurring = Recurring()
    every_other = iter([True, False] * 20)
    recurring.judge = lambda question: Recurring.judge(recurring, question) if next(every_other) else None  # type: ignore[method-assign]
    async with bridged(recurring, recurring) as (wire, doorman, _):
        await wire.send(b"".join(auth(number) for number in range(40)))
        said = [await wire.line() for _ in range(40)]
        assert sorted(said) == sorted(OK % number for number in range(40))
        assert len(doorman.attempts) == 20


class Away:
    """In place of LiveSessions, of a process that lets nobody in now."""

    def unavailable(self) -> bool:
        return True


async def test_what_stands_behind_one_that_ended_the_connection_is_neither_answered_nor_judged() -> None:
    recurring, admitted = Recurring(), Noted()
    said = iter([AGAIN, None, AGAIN, AGAIN])

    def judge(question: bytes) -> Login | None:
        recurring.says = next(said)
        return Recurring.judge(recurring, question)

    recurring.judge = judge  # type: ignore[method-assign]
    async with bridged(recurring, recurring, admitted=admitted, sessions=Away(), hello=POSTFIX) as (wire, doorman, _):
        await wire.send(b"".join(auth(number) for number in range(4)))
        with contextlib.suppress(ConnectionResetError):
            assert await wire.rest() in {OK % 0, b""}  # a reset may overtake it
        assert len(recurring.asked) == 2
        assert len(admitted.heard) == 1
        assert doorman.attempts == []


@pytest.mark.parametrize("behind", [b"CANCEL\t1\n", auth(1), b"VERSION\t2\t0\n"])
async def test_whom_the_host_is_not_told_of_is_not_noted(behind: bytes, caplog: pytest.LogCaptureFixture) -> None:
    recurring, admitted = Recurring(), Noted()
    async with bridged(recurring, recurring, admitted=admitted) as (wire, *_):
        await wire.send(auth(1) + behind + auth(2))
        if behind.startswith(b"CANCEL"):
            assert await wire.line() == OK % 2
        else:
            assert await wire.rest() == b""
        assert len(admitted.heard) == behind.startswith(b"CANCEL")
    caplog.clear()


async def test_a_fault_leaves_nobody_reading_an_old_state(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def note(self, *told: object) -> None:
            raise RuntimeError("told")

    recurring, reads = Recurring(), Reads()
    async with bridged(recurring, recurring, reads=reads, admitted=Broken()) as (wire, *_):
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        await wire.send(auth(1) + auth(2))
        assert await wire.rest() == b""
        assert reads.said == ["together", "apart"]
    caplog.clear()


async def test_the_end_of_input_takes_no_answer_along() -> None:
    recurring = Recurring()
    async with bridged(recurring, recurring) as (wire, *_):
        wire.sock.setblocking(True)
        wire.sock.sendall(auth(1))
        wire.sock.shutdown(1)
        wire.sock.setblocking(False)
        async with asyncio.timeout(30):
            assert await wire.rest() == OK % 1
