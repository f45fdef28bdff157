"""Asking the keeper: what comes late is closed, and one that dies is had back."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from keepers import attempt, principal
from mailauth.ends import End, Ends
from mailauth.keeper import client
from mailauth.keeper.channel import Channel, Message
from mailauth.keeper.client import Asking, KeptBackends, NoKeeper
from mailauth.serving.backing import BackendUnavailable
from wire import eventually


@dataclass
class StandIn:
    """A keeper that does as it is told. answer: None: not at all. refuse: so often nobody is there."""

    answer: Callable[[Message], tuple[dict[str, object], socket.socket | None] | None] = lambda _: None
    greeting: dict[str, object] = field(default_factory=lambda: {"ready": True})
    refuse: int = 0
    why: Exception = field(default_factory=lambda: NoKeeper("it cannot be started"))
    summoned: int = 0
    asked: list[Message] = field(default_factory=list)
    channel: Channel | None = None

    async def summon(self) -> socket.socket:
        self.summoned += 1
        if self.refuse and self.summoned > 1:
            self.refuse -= 1
            raise self.why
        ours, theirs = socket.socketpair()
        self.channel = Channel(theirs, lambda message, _: self.said(message), self.die)
        if self.greeting:
            self.channel.send(self.greeting)
        return ours

    def said(self, message: Message) -> None:
        self.asked.append(message)
        found = self.answer(message)
        if found is not None:
            self.reply(message, *found)

    def reply(self, message: Message, answer: dict[str, object], carried: socket.socket | None = None) -> None:
        assert self.channel is not None
        self.channel.send({"id": message["id"], **answer}, carried)

    def die(self) -> None:
        if self.channel is not None:
            self.channel.close()


@contextlib.asynccontextmanager
async def asking(keeper: StandIn) -> AsyncIterator[Asking]:
    found = Asking(keeper.summon)
    try:
        await found.start()
        yield found
    finally:
        await found.close()
        keeper.die()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSES_S", (0.01,))


def opened(message: Message) -> tuple[dict[str, object], socket.socket | None]:
    return {"capabilities": ["IDLE"], "unread": "KiBoaQ=="}, named(str(message["account"]).encode())


def named(name: bytes) -> socket.socket:
    ours, theirs = socket.socketpair()
    ours.sendall(name)
    ours.close()
    return theirs


async def test_many_ask_at_once_and_each_gets_its_own() -> None:
    keeper = StandIn()
    async with asking(keeper) as found:
        backends = KeptBackends(found)
        logins = [f"{number}@example.test" for number in range(50)]
        tasks = [asyncio.create_task(backends.open(attempt(), principal(login))) for login in logins]
        await eventually(lambda: len(keeper.asked) == 50)
        for message in reversed(keeper.asked):
            keeper.reply(message, *opened(message))
        for login, got in zip(logins, await asyncio.gather(*tasks), strict=True):
            assert got.sock.recv(100) == login.encode()
            assert not got.sock.getblocking()
            assert (got.capabilities, got.unread) == (("IDLE",), b"* hi")
            got.sock.close()


async def test_the_attempt_s_password_is_not_said() -> None:
    keeper = StandIn(lambda _: ({"fault": "no"}, None))
    async with asking(keeper) as found:
        with pytest.raises(BackendUnavailable, match=r"^no$"):
            await KeptBackends(found).open(attempt(), principal())
    (message,) = keeper.asked
    assert "what the client typed" not in str(message)


async def test_the_keeper_is_told_who_is_meant_and_from_where() -> None:
    keeper = StandIn(lambda _: ({"fault": "no"}, None))
    ends = Ends(End("192.0.2.7", 4001), End("198.51.100.1", 993))
    async with asking(keeper) as found:
        with pytest.raises(BackendUnavailable):
            await KeptBackends(found).open(attempt(client="phone"), principal(), ends)
    (message,) = keeper.asked
    assert message == {
        "id": 1,
        "do": "open",
        "service": "imap",
        "account": "alice@example.test",
        "peer": "192.0.2.7",
        "port": 4001,
        "server": "198.51.100.1",
        "server_port": 993,
        "tls": True,
        "client": "phone",
    }


@pytest.mark.parametrize("how", ["late", "cancelled"])
async def test_a_connection_that_nobody_waits_for_is_closed(how: str) -> None:
    keeper = StandIn()
    carried, other = socket.socketpair()
    other.setblocking(False)
    async with asking(keeper) as found:
        task = asyncio.create_task(found.ask({"do": "open"}, 0.01 if how == "late" else 30))
        await eventually(lambda: len(keeper.asked) == 1)
        if how == "cancelled":
            task.cancel()
        with pytest.raises(NoKeeper if how == "late" else asyncio.CancelledError):
            await task
        keeper.reply(keeper.asked[0], {}, carried)
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(other, 1), 30) == b""
    other.close()


async def test_a_connection_that_comes_in_the_moment_of_leaving_is_closed() -> None:
    keeper = StandIn()
    carried, other = socket.socketpair()
    other.setblocking(False)
    async with asking(keeper) as found:
        task = asyncio.create_task(found.ask({"do": "open"}))
        await eventually(lambda: len(keeper.asked) == 1)
        found._received({"id": keeper.asked[0]["id"]}, carried)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(other, 1), 30) == b""
    other.close()


async def test_one_that_dies_is_had_back(caplog: pytest.LogCaptureFixture) -> None:
    keeper = StandIn(refuse=2)
    async with asking(keeper) as found:
        backends = KeptBackends(found)
        task = asyncio.create_task(backends.open(attempt(), principal()))
        await eventually(lambda: len(keeper.asked) == 1)
        keeper.die()
        with pytest.raises(BackendUnavailable, match="the keeper has gone"):
            await task
        keeper.answer = opened
        got = await backends.open(attempt(), principal())  # waits until there is one again
        assert got.sock.recv(100) == b"alice@example.test"
        got.sock.close()
        assert keeper.summoned == 4
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.split(",")[0].split(";")[0] for line in told] == [
        "the keeper has gone",
        "no keeper",
        "no keeper",
        "there is a keeper again",
    ]


@pytest.mark.parametrize(
    ("why", "told"),
    [
        (NoKeeper("it cannot be started"), "it cannot be started"),
        (OSError(24, "Too many open files"), "it cannot be connected to: Too many open files"),
        (RuntimeError("can't start new thread"), "it cannot be connected to: can't start new thread"),
    ],
    ids=["keeper", "descriptors", "threads"],
)
async def test_who_asks_while_there_is_none_is_told_why(why: Exception, told: str) -> None:
    keeper = StandIn(lambda _: ({"yes": True}, None), refuse=1_000_000, why=why)
    async with asking(keeper) as found:
        keeper.die()
        await eventually(lambda: keeper.summoned > 2)  # and it is tried again
        with pytest.raises(NoKeeper, match=told):
            await found.ask({"do": "open"}, 0.05)
        keeper.refuse = 0
        assert (await found.ask({"do": "open"}))[0]["yes"]


@pytest.mark.parametrize(
    ("keeper", "told"),
    [
        (StandIn(greeting={"fault": "password_file: cannot be read"}), "password_file: cannot be read"),
        (StandIn(greeting={}), "does not greet"),
    ],
)
async def test_one_that_cannot_begin_is_no_keeper(keeper: StandIn, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_S", 0.2)
    with pytest.raises(NoKeeper, match=told):
        async with asking(keeper):
            pass


async def test_nobody_is_left_waiting_for_a_keeper_that_cannot_be_summoned() -> None:
    """Its greeting is waited for by nobody, so nothing may be said of it when all ends."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))

    async def summon() -> socket.socket:
        raise NoKeeper("it cannot be started")

    found = Asking(summon)
    with pytest.raises(NoKeeper, match="it cannot be started"):
        await found.start()
    await found.close()
    del found
    gc.collect()
    assert told == []


async def test_who_waits_for_a_keeper_that_is_gone_at_once_waits_for_the_next() -> None:
    keeper = StandIn(lambda _: ({"yes": True}, None), refuse=1)
    async with asking(keeper) as found:
        keeper.die()
        await eventually(lambda: found._channel is None)
        waiting = asyncio.create_task(found.ask({"do": "offer"}))
        await asyncio.sleep(0)
        found._there.set()  # there was one, and before anybody had his turn it was gone
        found._there.clear()
        assert await waiting == ({"id": 1, "yes": True}, None)


async def test_one_that_hands_nothing_over_is_of_no_use() -> None:
    async with asking(StandIn(lambda _: ({"capabilities": [], "unread": ""}, None))) as found:
        with pytest.raises(BackendUnavailable, match="handed nothing over"):
            await KeptBackends(found).open(attempt(), principal())


NOT_UNDERSTOOD = {
    "no capabilities": {"unread": ""},
    "capabilities that are a number": {"capabilities": 1, "unread": ""},
    "nothing of what is unread": {"capabilities": []},
    "unread without an encoding": {"capabilities": [], "unread": "=\u00fc"},
}


@pytest.mark.parametrize("answer", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
async def test_a_keeper_of_another_version_is_a_fault_and_what_it_hands_over_is_closed(answer: dict) -> None:
    carried, other = socket.socketpair()
    other.setblocking(False)
    async with asking(StandIn(lambda _: (answer, carried))) as found:
        with pytest.raises(BackendUnavailable, match="not understood; are it and this process of one version"):
            await KeptBackends(found).open(attempt(), principal())
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(other, 1), 30) == b""
    other.close()


@pytest.mark.parametrize("answer", [{}, {"offer": 1}], ids=str)
async def test_an_offer_that_is_not_understood_is_none(answer: dict, caplog: pytest.LogCaptureFixture) -> None:
    async with asking(StandIn(lambda _: (answer, None))) as found:
        backends = KeptBackends(found)
        with pytest.raises(BackendUnavailable, match="no SMTP back end has said yet"):
            await backends.smtp_offer()
        assert "cannot be asked now: the keeper's answer is not understood" in caplog.text
        await backends.close()


async def test_what_is_offered_is_asked_for_once_and_then_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = StandIn(lambda message: ({"offer": [f"SIZE {len(keeper.asked)}"]}, None))
    async with asking(keeper) as found:
        backends = KeptBackends(found)
        offers = await asyncio.gather(*[backends.smtp_offer() for _ in range(20)])
        assert set(offers) == {("SIZE 1",)}
        assert len(keeper.asked) == 1
        monkeypatch.setattr(client, "OFFER_S", 0.0)
        backends._ask_again_at = 0.0
        assert await backends.smtp_offer() == ("SIZE 1",)
        await eventually(lambda: backends._offer == ("SIZE 2",))
        keeper.answer = lambda _: ({"fault": "away"}, None)
        await backends.smtp_offer()
        await eventually(lambda: backends._is_away)
        assert len(keeper.asked) == 3
        assert await backends.smtp_offer() == ("SIZE 2",)  # the last that is known
        await backends.close()


async def test_nobody_waits_for_what_has_not_been_told_lately(caplog: pytest.LogCaptureFixture) -> None:
    keeper = StandIn(lambda _: ({"fault": "away"}, None))
    async with asking(keeper) as found:
        backends = KeptBackends(found)
        for _ in range(20):
            with pytest.raises(BackendUnavailable, match="no SMTP back end has said yet"):
                await backends.smtp_offer()
        assert len(keeper.asked) == 1
        assert len(caplog.records) == 1
        backends._ask_again_at = 0.0
        keeper.answer = lambda _: None
        with pytest.raises(BackendUnavailable):
            await backends.smtp_offer()  # asks, and does not wait
        await eventually(lambda: len(keeper.asked) == 2)
        keeper.reply(keeper.asked[1], {"offer": ["8BITMIME"]})
        await eventually(lambda: backends._offer is not None)
        assert await backends.smtp_offer() == ("8BITMIME",)
        await backends.close()
