"""Dialogues on real sockets: hurried, slow and hostile clients, time, budgets, the refusal clock."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from doors import IMAP, Collector, Gate, Words, greeted
from doubles import Doorman
from mailauth.attempt import Attempt
from mailauth.dialogue import Actions, Ending
from mailauth.serving.house import TimeLimits
from mailauth.serving.lines import LineConnection
from mailauth.verdict import Accept, Cause, Defer, Outcome, Principal, Reason, Reject
from servers import listening
from wire import DEADLINE_S, Wire, eventually

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


# ---- pipelining, dribbling, half-closing


async def test_everything_at_once(words: Words) -> None:
    async with listening(words.dialogue(), Doorman(), tls="implicit") as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.noop + words.wrong + words.login + words.logout + words.noop)
        heard = words.noop_done + words.asked + words.refused + words.asked + words.accepted + words.logout_done
        assert await wire.rest() == heard
        wire.close()


async def test_many_at_once_that_need_not_wait_make_the_stack_no_deeper(words: Words) -> None:
    depths: list[int] = []

    def deferred(attempt: Attempt) -> Outcome:
        depths.append(len(inspect.stack(0)))
        return Defer(Cause.STORE)

    doorman = Doorman()
    doorman.outcome = deferred
    async with listening(words.dialogue(), doorman, tls="implicit") as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.wrong * 90 + words.logout)
        assert await wire.rest() == (words.asked + words.deferred) * 90 + words.logout_done
        wire.close()
    assert len(depths) == 90
    assert max(depths) - depths[0] < 15


async def test_one_byte_at_a_time(words: Words) -> None:
    async with listening(words.dialogue(), Doorman(), tls="implicit") as running:
        wire = await greeted(running.port, tls=True)
        await wire.dribble(words.noop + words.wrong + words.login + words.logout)
        heard = words.noop_done + words.asked + words.refused + words.asked + words.accepted + words.logout_done
        assert await wire.rest() == heard
        wire.close()


async def test_what_comes_behind_a_pending_verdict_waits_for_it(words: Words) -> None:
    gate = Gate()
    async with listening(words.dialogue(), gate, tls="implicit") as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.wrong)
        await gate.asked.wait()
        await wire.send(words.noop)
        await wire.send(words.noop + words.logout)
        gate.go.set()
        assert await wire.rest() == words.asked + words.refused + words.noop_done * 2 + words.logout_done
        wire.close()


async def test_a_half_closed_client_gets_its_answer(words: Words) -> None:
    gate = Gate()
    async with listening(words.dialogue(clear=True), gate, tls="off") as running:
        wire = await greeted(running.port)
        await wire.send(words.login)
        wire.half_close()
        await gate.asked.wait()
        gate.go.set()
        assert await wire.rest() == words.asked + words.accepted
        wire.close()


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_half_closed_client_gets_to_its_mailbox(words: Words, at_once: bool) -> None:
    gate, mailbox = Gate(), Collector()
    async with listening(words.dialogue(clear=True), gate, tls="off", mailbox=mailbox) as running:
        wire = await greeted(running.port)
        await wire.send(words.login + words.mailbox * at_once)
        await gate.asked.wait()
        await wire.send(words.mailbox * (not at_once))
        wire.half_close()
        await asyncio.sleep(0.01)  # it may be noticed before the verdict, or after
        gate.go.set()
        assert await wire.rest() == words.asked + words.accepted
        wire.close()
    assert mailbox.got == words.mailbox


async def test_a_half_closed_client_that_wants_nothing_is_closed(words: Words) -> None:
    async with listening(words.dialogue(), Doorman()) as running:
        wire = await greeted(running.port)
        await wire.send(words.noop + b"half a comm")
        wire.half_close()
        assert await wire.rest() == words.noop_done
        wire.close()


# ---- clients that leave


@pytest.mark.parametrize("kind", ["implicit", "off"])
@pytest.mark.parametrize("leave", [Wire.reset, Wire.close])
@pytest.mark.parametrize("state", ["greeted", "half a line", "in", "mailbox"])
async def test_a_client_that_leaves_leaves_nothing(words: Words, kind: str, leave: Any, state: str) -> None:
    said = {
        "greeted": b"",
        "half a line": b"a NO",
        "in": words.login,
        "mailbox": words.login + words.mailbox,
    }[state]
    async with listening(words.dialogue(clear=True), Doorman(), tls=kind) as running:
        wire = await greeted(running.port, tls=kind == "implicit")
        await wire.send(said)
        if state in {"in", "mailbox"}:
            await wire.until(words.accepted)
        assert len(running.census) == 1
        leave(wire)
        await eventually(lambda: len(running.census) == 0)


@pytest.mark.parametrize("kind", ["implicit", "off"])
async def test_a_client_that_resets_while_it_is_judged_leaves_nothing(words: Words, kind: str) -> None:
    gate = Gate()
    async with listening(words.dialogue(clear=True), gate, tls=kind) as running:
        wire = await greeted(running.port, tls=kind == "implicit")
        await wire.send(words.login)
        await gate.asked.wait()
        wire.reset()
        await eventually(lambda: len(running.census) == 0)
        await eventually(lambda: gate.abandoned == 1)  # the cancelled task ends a turn of the loop later


@pytest.mark.parametrize("kind", ["implicit", "off"])
async def test_a_client_that_leaves_while_its_refusal_is_held_leaves_nothing(words: Words, kind: str) -> None:
    doorman = Doorman()
    async with listening(words.dialogue(clear=True), doorman, tls=kind, delay_s=DEADLINE_S) as running:
        wire = await greeted(running.port, tls=kind == "implicit")
        await wire.send(words.wrong)
        await eventually(lambda: bool(doorman.attempts))
        wire.reset()
        await eventually(lambda: len(running.census) == 0)


@pytest.mark.parametrize("kind", ["implicit", "starttls", "off"])
async def test_no_descriptor_is_left_behind(words: Words, kind: str) -> None:
    gate = Gate()
    async with listening(words.dialogue(clear=True), gate, tls=kind) as running:
        (await greeted(running.port, tls=kind == "implicit")).reset()  # uvloop keeps one for itself from here on
        await eventually(lambda: len(running.census) == 0)
        before = descriptors()
        for said in (b"", b"half a line", words.login, words.logout, b"GET / HTTP/1.1\r\n", words.starttls):
            for leave in (Wire.reset, Wire.close):
                wire = await greeted(running.port, tls=kind == "implicit")
                await wire.send(said)
                leave(wire)
        gate.go.set()
        await eventually(lambda: len(running.census) == 0)
        await eventually(lambda: descriptors() <= before)


async def test_a_client_that_does_not_listen_to_our_goodbye_is_cut(words: Words) -> None:
    """In TLS a goodbye waits for the client's own; this one says nothing more."""
    limits = TimeLimits(linger_s=0.05)
    async with listening(words.dialogue(), Doorman(), tls="implicit", limits=limits) as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.logout)
        await eventually(lambda: len(running.census) == 0)
        wire.close()


async def test_a_client_that_does_not_read_is_not_read() -> None:
    """Its answers wait for it; so does what it says. Only IMAP answers without end, to who is in."""
    async with listening(IMAP.dialogue(clear=True), Doorman(), tls="off") as running:
        running.server.doors[0].sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        wire = await greeted(running.port, receive_bytes=4096)
        await wire.send(IMAP.login)
        await wire.until(IMAP.accepted)
        (connection,) = running.census.everyone()
        assert isinstance(connection, LineConnection)
        assert connection._transport is not None
        sent, refused = 0, 0
        while refused < 50:
            try:
                sent += wire.sock.send(IMAP.noop * 1000)
            except BlockingIOError:
                refused += 1
            await asyncio.sleep(0.001)
            assert sent < 20_000_000
        assert connection._transport.get_write_buffer_size() < 2_000_000  # the answers to one reading
        wire.reset()


@pytest.mark.parametrize("kind", ["implicit", "off"])
async def test_a_mailbox_that_has_more_to_say_than_its_client_hears_is_cut(words: Words, kind: str) -> None:
    async def talkative(
        principal: Principal,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ending: asyncio.Future[Ending],
        *,
        named: Callable[[str], None],
    ) -> None:
        writer.write(b"x" * 20_000_000)

    limits = TimeLimits(linger_s=0.05)
    door = words.dialogue(clear=True)
    async with listening(door, Doorman(), tls=kind, limits=limits, mailbox=talkative) as running:
        wire = await greeted(running.port, tls=kind == "implicit", receive_bytes=4096)
        await wire.send(words.login + words.mailbox)
        await wire.until(words.accepted)
        await eventually(lambda: len(running.census) == 0)
        assert len(await wire.rest()) < 20_000_000
        wire.close()


# ---- time


async def test_who_does_not_log_in_in_time_is_told_so(words: Words) -> None:
    async with listening(words.dialogue(), Doorman(), tls="implicit", limits=TimeLimits(login_s=0.05)) as running:
        wire = await greeted(running.port, tls=True)
        heard = await wire.rest()
        assert heard == words.bye + b"Disconnected for inactivity.\r\n"
        wire.close()
        await eventually(lambda: len(running.census) == 0)


async def test_a_client_that_dribbles_is_not_logging_in(words: Words) -> None:
    async with listening(words.dialogue(clear=True), Doorman(), tls="off", limits=TimeLimits(login_s=0.1)) as running:
        wire = await greeted(running.port)
        hearing = asyncio.ensure_future(wire.rest())
        while not hearing.done():
            with suppress(ConnectionError):
                await wire.send(b"x")
            await asyncio.sleep(0.005)
        assert await hearing == words.bye + b"Disconnected for inactivity.\r\n"
        wire.close()


async def test_a_verdict_on_someone_who_was_sent_away_is_not_awaited(words: Words) -> None:
    gate = Gate()
    limits = TimeLimits(linger_s=10 * DEADLINE_S)
    async with listening(words.dialogue(), gate, tls="implicit", limits=limits) as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.login)
        await gate.asked.wait()
        for connection in running.census.everyone():
            connection.end(Ending.REVOKED)
        await eventually(lambda: gate.abandoned == 1)
        heard = await wire.rest()
        assert heard.removeprefix(words.asked).startswith(words.bye)
        wire.close()


async def test_a_verdict_that_takes_too_long_is_not_awaited(words: Words) -> None:
    gate = Gate()
    async with listening(words.dialogue(), gate, tls="implicit", limits=TimeLimits(login_s=0.05)) as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.login)
        assert await wire.rest() == words.asked + words.bye + b"Disconnected for inactivity.\r\n"
        wire.close()
        await eventually(lambda: gate.abandoned == 1)


async def test_who_is_in_and_idle_is_told_to_go(words: Words) -> None:
    limits = TimeLimits(idle_s=0.05)
    async with listening(words.dialogue(), Doorman(), tls="implicit", limits=limits) as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.login)
        assert await wire.rest() == words.asked + words.accepted + words.bye + b"Disconnected for inactivity.\r\n"
        wire.close()


async def test_who_says_something_is_not_idle(words: Words) -> None:
    async with listening(words.dialogue(), Doorman(), tls="implicit") as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.login)
        await wire.until(words.accepted)
        (connection,) = running.census.everyone()
        assert isinstance(connection, LineConnection)
        due = connection._due
        await asyncio.sleep(0.002)  # uvloop's clock counts milliseconds
        await wire.send(b"half a comm")
        await eventually(lambda: connection._due > due)
        wire.close()


async def test_to_be_idle_may_take_less_time_than_to_log_in(words: Words) -> None:
    limits = TimeLimits(login_s=10 * DEADLINE_S, idle_s=0.05)
    async with listening(words.dialogue(), Doorman(), tls="implicit", limits=limits) as running:
        wire = await greeted(running.port, tls=True)
        await asyncio.sleep(1.5 * limits.idle_s)  # before login that is no time at all
        await wire.send(words.login)
        assert await wire.rest() == words.asked + words.accepted + words.bye + b"Disconnected for inactivity.\r\n"
        wire.close()


async def test_who_is_in_has_the_time_of_those_who_are_in(words: Words) -> None:
    limits = TimeLimits(login_s=0.05)
    async with listening(words.dialogue(), Doorman(), tls="implicit", limits=limits) as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.login)
        await wire.until(words.accepted)
        await asyncio.sleep(2 * limits.login_s)  # the time to log in passes, and nothing happens
        await wire.send(words.logout)
        assert await wire.rest() == words.logout_done
        wire.close()


async def test_in_the_mailbox_time_is_the_mailboxs(words: Words) -> None:
    mailbox = Collector()
    limits = TimeLimits(login_s=0.05, idle_s=0.05)
    async with listening(words.dialogue(), Doorman(), tls="implicit", limits=limits, mailbox=mailbox) as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.login + words.mailbox)
        await mailbox.arrived.wait()
        await asyncio.sleep(2 * limits.idle_s)
        assert not mailbox.left.is_set()
        wire.close()
        await mailbox.left.wait()


# ---- budgets


async def test_a_wrong_password_does_not_close_and_too_many_do(words: Words) -> None:
    async with listening(words.dialogue(max_failures=3), Doorman(), tls="implicit") as running:
        wire = await greeted(running.port, tls=True)
        for _ in range(2):
            await wire.send(words.wrong)
            assert await wire.until(words.refused) == words.asked + words.refused
        assert await wire.exchange(words.noop) == words.noop_done
        await wire.send(words.wrong + words.login)
        heard = await wire.rest()
        assert heard.startswith(words.asked + words.refused)
        assert words.accepted not in heard
        wire.close()


async def test_junk_is_answered_so_often_and_no_more(words: Words) -> None:
    async with listening(words.dialogue(), Doorman(), tls="implicit") as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(b"x y\r\n" * 50)
        heard = await wire.rest()
        assert heard.count(b"\r\n") == 21
        wire.close()


async def test_a_browser_is_closed_without_a_word(words: Words) -> None:
    doorman = Doorman()
    async with listening(words.dialogue(clear=True), doorman, tls="off") as running:
        wire = await greeted(running.port)
        await wire.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + words.login)
        assert await wire.rest() == b""
        wire.close()
    assert doorman.attempts == []


async def test_a_line_without_end_is_cut(words: Words) -> None:
    async with listening(words.dialogue(), Doorman(), tls="implicit") as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(b"x" * 13_000)
        assert await wire.rest() == words.bye + b"Line too long.\r\n"
        wire.close()


async def test_a_flood_behind_a_pending_verdict_is_not_taken_in(words: Words) -> None:
    """Only so much is held as the kernel and TLS hand over before they are told to stop."""
    gate, connections = Gate(), []

    class Seen(LineConnection):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            connections.append(self)

    async with listening(words.dialogue(clear=True), gate, tls="off", connection=Seen) as running:
        wire = await greeted(running.port)
        await wire.send(words.login)
        await gate.asked.wait()
        wire.sock.setblocking(False)
        sent = 0
        for _ in range(200):
            try:
                sent += wire.sock.send(words.noop * 10_000)
            except BlockingIOError:
                await asyncio.sleep(0.001)
        assert sent > len(connections[0]._held)
        assert len(connections[0]._held) <= 2 * 262_144
        wire.reset()
        gate.go.set()
        await eventually(lambda: len(running.census) == 0)


# ---- the refusal clock


async def test_a_refusal_waits_for_its_tick(words: Words) -> None:
    delay_s = 0.1
    loop = asyncio.get_running_loop()
    async with listening(words.dialogue(), Doorman(), tls="implicit", delay_s=delay_s) as running:
        wire = await greeted(running.port, tls=True)
        began = loop.time()
        await wire.send(words.wrong)
        assert await wire.until(words.refused) == words.asked + words.refused
        assert loop.time() - began > delay_s - 0.002
        wire.close()


@pytest.mark.parametrize(
    "outcome", [None, Defer(Cause.STORE), Defer(Cause.THROTTLED, 30.0)], ids=["accept", "store", "throttled"]
)
async def test_anything_but_a_refusal_leaves_at_once(words: Words, outcome: Outcome | None) -> None:
    doorman = Doorman()
    doorman.outcome = outcome
    async with listening(words.dialogue(), doorman, tls="implicit", delay_s=10 * DEADLINE_S) as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.login + words.logout)  # a held one would outlast the client's patience
        said = words.accepted if outcome is None else words.deferred
        assert await wire.rest() == words.asked + said + words.logout_done
        wire.close()


async def test_a_refusal_that_missed_its_tick_is_not_one(words: Words) -> None:
    class Slow:
        async def authenticate(self, attempt: Attempt) -> Outcome:
            await asyncio.sleep(0.1)
            return Reject(Reason.WRONG_PASSWORD)

    async with listening(words.dialogue(), Slow(), tls="implicit", delay_s=0.01) as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.wrong + words.logout)
        assert await wire.rest() == words.asked + words.deferred + words.logout_done
        wire.close()


# ---- faults


async def test_an_authenticator_that_breaks_judges_nobody(words: Words, caplog: pytest.LogCaptureFixture) -> None:
    doorman = Doorman()
    doorman.outcome = ValueError("wrong password: hunter2")
    async with listening(words.dialogue(), doorman, tls="implicit") as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.login)
        assert await wire.until(words.deferred) == words.asked + words.deferred
        doorman.outcome = Accept(Principal(1, "alice@example.test", None))
        await wire.send(words.login + words.logout)
        assert await wire.rest() == words.asked + words.accepted + words.logout_done
        wire.close()
    assert caplog.messages == ["authenticator failed: ValueError"]
    caplog.clear()


async def test_connections_do_not_touch_one_another(words: Words) -> None:
    """Bad base64 in one session; a verdict pending in the other."""
    gate = Gate()
    async with listening(words.dialogue(), gate, tls="implicit") as running:
        one = await greeted(running.port, tls=True)
        other = await greeted(running.port, tls=True)
        await one.send(words.login)
        await gate.asked.wait()
        heard = await other.exchange({"imap": b"x AUTHENTICATE PLAIN ?\r\n", "pop3": b"AUTH PLAIN ?\r\n"}[words.name])
        assert heard.startswith((b"x BAD ", b"-ERR "))
        other.reset()
        gate.go.set()
        assert await one.until(words.accepted) == words.asked + words.accepted
        one.close()


async def test_a_dialogue_that_breaks_costs_only_its_connection(words: Words, caplog: pytest.LogCaptureFixture) -> None:
    class Breaking:
        """Any Dialogue, but for its answer to a verdict."""

        def __init__(self) -> None:
            self._inner = words.dialogue()()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def judged(self, ticket: int, outcome: Outcome, behind: Sequence[str] | None = None) -> Actions:
            raise ValueError("with something secret in it")

    async with listening(Breaking, Doorman(), tls="implicit") as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.login)
        assert await wire.rest() == words.asked
        wire.close()
        await eventually(lambda: len(running.census) == 0)
    assert caplog.messages == ["connection dropped: ValueError"]
    caplog.clear()
