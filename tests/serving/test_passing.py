"""A client and its back end: every byte both ways, unread; nothing said by us; and the end of either is the other's."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import socket
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import pytest

import virtual_time
from behind import OFFERED, Behind
from doors import IMAP, POP3, Gate, Words, greeted, secured
from doubles import Doorman, MemoryPassdb
from mailauth.attempt import Attempt, Service
from mailauth.dialogue import Ending
from mailauth.ends import NOWHERE, End, Ends
from mailauth.serving.backing import BackendUnavailable, Opened
from mailauth.serving.house import TimeLimits
from mailauth.serving.passing import Passage, Side
from mailauth.serving.sessions import LiveSessions
from mailauth.verdict import Accept, Principal, Stay
from servers import Running, listening
from wire import Wire, eventually

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

KINDS = ("implicit", "starttls", "off")
STREAM = b"x LOGIN a b\r\n\0\xff{3+}\r\nDONE\r\n" * 400
MANY_BYTES = 2_000_000
LATER = BackendUnavailable("nobody is there")


def accepted(words: Words) -> bytes:
    return f"a OK [CAPABILITY {' '.join(OFFERED)}] Logged in.\r\n".encode() if words is IMAP else words.accepted


class Staying(Doorman):
    """As a verifier's, its Accept can be held against changes."""

    async def authenticate(self, attempt: Attempt) -> Any:
        outcome = await super().authenticate(attempt)
        return Accept(outcome.principal, Stay(0, 1, None, None)) if type(outcome) is Accept else outcome


@asynccontextmanager
async def passing(
    words: Words, behind: Behind, kind: str = "off", authenticator: Any = None, **options: Any
) -> AsyncIterator[Running]:
    options.setdefault("mailbox", None)
    dialogue = words.dialogue(clear=kind == "off")
    async with listening(dialogue, authenticator or Staying(), tls=kind, backends=behind, **options) as running:
        yield running


async def client_of(running: Running, words: Words, kind: str) -> Wire:
    return await (secured(running.port, words) if kind == "starttls" else greeted(running.port, tls=kind != "off"))


@asynccontextmanager
async def joined(words: Words, behind: Behind, kind: str = "off", **options: Any) -> AsyncIterator[Any]:
    """A client that is in, and the back end's end."""
    async with passing(words, behind, kind, **options) as running:
        client = await client_of(running, words, kind)
        await client.send(words.login)
        assert await client.until(accepted(words)) == words.asked + accepted(words)
        far = await behind.far_end()
        try:
            yield running, client, far
        finally:
            client.close()
            far.close()


async def take(wire: Wire, count: int) -> bytes:
    heard = bytearray()
    while len(heard) < count:
        more = await wire.some()
        assert more, f"{len(heard)} of {count} bytes"
        heard += more
    return bytes(heard)


# ---- in


HEADERS = {
    "": None,
    "PROXY UNKNOWN\r\n": None,
    "PROXY TCP4 192.0.2.7 198.51.100.1 4001 993\r\n": Ends(End("192.0.2.7", 4001), End("198.51.100.1", 993)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("header", HEADERS)
async def test_the_back_end_is_told_of_both_ends_of_the_client_s_connection(
    words: Words, kind: str, header: str
) -> None:
    behind = Behind()
    options = {"proxies": ("127.0.0.1/32",)} if header else {}
    async with passing(words, behind, kind, **options) as running:
        client = await Wire.to(running.port)
        if kind == "implicit":
            await client.start_tls(before=header.encode())
        else:
            await client.send(header.encode())
        await client.line()
        if kind == "starttls":
            await client.exchange(words.starttls)
            await client.start_tls()
        await client.send(words.login)
        await client.until(accepted(words))
        direct = Ends(End.of(client.sock.getsockname()), End("127.0.0.1", running.port))
        assert behind.told == [HEADERS[header] or direct]
        client.close()
        (await behind.far_end()).close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [0, 5, 10_000])
@pytest.mark.parametrize("during", [0, 10_000])
async def test_what_came_behind_the_login_is_the_first_that_the_back_end_hears(
    words: Words, kind: str, before: int, during: int
) -> None:
    """before: so much comes in one segment with the login; during: so much while it is judged and opened."""
    gate, behind = Gate(inner=Staying()), Behind(unread=b"* 3 EXISTS\r\n")
    behind.go.clear()
    async with passing(words, behind, kind, gate) as running:
        client = await client_of(running, words, kind)
        await client.send(words.login + STREAM[:before])
        await gate.asked.wait()
        await client.send(STREAM[before : before + during])
        gate.go.set()
        await eventually(lambda: bool(behind.asked))
        behind.go.set()
        far = await behind.far_end()
        await far.send(b"* 4 EXISTS\r\n")
        expected = words.asked + accepted(words) + b"* 3 EXISTS\r\n* 4 EXISTS\r\n"
        assert await client.until(b"* 4 EXISTS\r\n") == expected
        await client.send(STREAM[before + during :])
        assert await take(far, len(STREAM)) == STREAM
        client.close()
        far.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("far_kind", ["tcp", "unix"])
async def test_much_goes_both_ways_at_once_and_nothing_is_lost(words: Words, kind: str, far_kind: str) -> None:
    up, down = (hashlib.shake_128(seed).digest(MANY_BYTES) for seed in (b"up", b"down"))
    async with joined(words, Behind(far_kind), kind) as (_, client, far):
        sending = [asyncio.ensure_future(wire.send(data)) for wire, data in ((client, up), (far, down))]
        got_down, got_up = await asyncio.gather(take(client, len(down)), take(far, len(up)))
        await asyncio.gather(*sending)
        assert (got_up == up, got_down == down) == (True, True)


async def test_the_back_end_is_opened_for_whom_was_accepted(words: Words) -> None:
    behind = Behind()
    async with joined(words, behind, "implicit"):
        ((attempt, principal),) = behind.asked
        assert (attempt.service, attempt.peer, attempt.tls) == (Service(words.name), "127.0.0.1", True)
        assert principal == Principal(1, "alice@example.test", 7)


async def test_who_is_refused_never_reaches_the_back_end(words: Words) -> None:
    behind = Behind()
    async with passing(words, behind) as running:
        client = await greeted(running.port)
        await client.send(words.wrong)
        assert await client.until(words.refused) == words.asked + words.refused
        client.close()
    assert behind.asked == []


async def test_a_back_end_whose_capabilities_nobody_knows_is_asked_by_the_client() -> None:
    async with passing(IMAP, behind := Behind(capabilities=())) as running:
        client = await greeted(running.port)
        assert await client.exchange(IMAP.login) == b"a OK Logged in.\r\n"
        client.close()
        (await behind.far_end()).close()


# ---- not in


@pytest.mark.parametrize("kind", ["implicit", "off"])
async def test_a_back_end_that_is_away_is_no_wrong_password_and_the_client_may_try_again(
    words: Words, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    behind, sessions = Behind(fault=LATER), LiveSessions(MemoryPassdb())
    async with passing(words, behind, kind, sessions=sessions) as running:
        client = await client_of(running, words, kind)
        for _ in range(7):  # more often than one may guess
            await client.send(words.login)
            assert await client.until(words.deferred) == words.asked + words.deferred
            assert len(sessions) == 0
        behind.fault = None
        await client.send(words.login)
        assert await client.until(accepted(words)) == words.asked + accepted(words)
        assert len(sessions) == 1
        client.close()
        (await behind.far_end()).close()
        await eventually(lambda: len(sessions) == len(running.census) == 0)
    assert {record.getMessage() for record in caplog.records} == {
        f"{words.name}: alice@example.test is told to try later: nobody is there"
    }
    caplog.clear()


async def test_commands_behind_a_login_that_had_to_wait_are_answered_by_us(
    words: Words, caplog: pytest.LogCaptureFixture
) -> None:
    behind = Behind(fault=LATER)
    async with passing(words, behind) as running:
        client = await greeted(running.port)
        await client.send(words.login + words.logout)
        assert await client.rest() == words.asked + words.deferred + words.logout_done
        client.close()
    caplog.clear()


@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_a_client_that_leaves_does_not_wait_for_the_back_end(words: Words, how: str) -> None:
    behind = Behind()
    behind.go.clear()
    async with passing(words, behind) as running:
        client = await greeted(running.port)
        await client.send(words.login)
        await eventually(lambda: bool(behind.asked))
        client.close() if how == "closes" else client.reset()
        if how == "closes":  # it may still listen, as far as TCP goes: it hears of it when it is spoken to
            behind.go.set()
            far = await behind.far_end()
            assert await far.rest() == b""
            far.close()
        await eventually(lambda: len(running.census) == 0)
        # A connection that was reset may have gone before its waiting was over.
        await eventually(lambda: behind.abandoned == (how == "resets"))
    assert all(sock.fileno() == -1 for sock in behind.given)


@pytest.mark.parametrize("cause", [Ending.REVOKED, Ending.SHUTDOWN])
async def test_who_has_to_go_while_the_back_end_is_opened_is_told_so(words: Words, cause: Ending) -> None:
    behind, sessions = Behind(), LiveSessions(MemoryPassdb())
    behind.go.clear()
    async with passing(words, behind, "implicit", sessions=sessions) as running:
        client = await greeted(running.port, tls=True)
        await client.send(words.login)
        await eventually(lambda: len(sessions) == 1 and bool(behind.asked))
        for connection in running.census.everyone():
            connection.end(cause)
        heard = (await client.rest()).removeprefix(words.asked)
        assert heard.startswith(words.bye)
        assert heard.count(b"\r\n") == 1
        client.close()
        await eventually(lambda: len(sessions) == len(running.census) == 0 and behind.abandoned == 1)


async def test_a_connection_that_was_opened_for_nobody_is_closed(words: Words) -> None:
    """The client is cut in the moment in which the back end is there."""
    behind = Behind()

    class AtTheSameMoment(Behind):
        async def open(self, attempt: Attempt, principal: Principal, ends: Ends = NOWHERE) -> Opened:
            opened = await behind.open(attempt, principal, ends)
            for connection in running.census.everyone():
                connection._transport.abort()  # type: ignore[attr-defined]
            return opened

    async with passing(words, AtTheSameMoment()) as running:
        client = await greeted(running.port)
        await client.send(words.login)
        far = await behind.far_end()
        assert await far.rest() == b""
        far.close()
        client.close()
        await eventually(lambda: len(running.census) == 0)
    assert behind.given[0].fileno() == -1


# ---- the end


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("far_kind", ["tcp", "unix"])
async def test_what_the_back_end_said_last_is_heard_and_then_the_end(words: Words, kind: str, far_kind: str) -> None:
    async with joined(words, Behind(far_kind), kind) as (running, client, far):
        await client.send(words.logout)
        assert await far.line() == words.logout
        last = b"* BYE\r\n" + bytes(500_000)
        saying = asyncio.ensure_future(far.send(last))
        assert await take(client, len(last)) == last
        await saying
        far.close()
        assert await client.rest() == b""
        client.close()
        await eventually(lambda: len(running.census) == 0)


@pytest.mark.parametrize("far_kind", ["tcp", "unix"])
async def test_half_a_connection_is_passed_on(words: Words, far_kind: str) -> None:
    async with joined(words, Behind(far_kind)) as (running, client, far):
        await client.send(b"last words")
        client.half_close()
        assert await far.rest() == b"last words"
        await far.send(b"the answer")
        far.close()
        assert await client.rest() == b"the answer"
        await eventually(lambda: len(running.census) == 0)


async def test_a_client_that_had_said_all_before_it_was_in_gets_its_answers(words: Words) -> None:
    behind = Behind()
    behind.go.clear()
    async with passing(words, behind) as running:
        client = await greeted(running.port)
        await client.send(words.login + b"all\r\n")
        client.half_close()
        await eventually(lambda: bool(behind.asked))
        behind.go.set()
        far = await behind.far_end()
        assert await far.rest() == b"all\r\n"
        await far.send(b"and the answer")
        far.close()
        assert await client.rest() == words.asked + accepted(words) + b"and the answer"
        client.close()
        await eventually(lambda: len(running.census) == 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["closes", "resets", "says goodbye"])
async def test_a_client_that_is_gone_takes_the_back_end_along(words: Words, kind: str, how: str) -> None:
    sessions = LiveSessions(MemoryPassdb())
    async with joined(words, Behind(), kind, sessions=sessions) as (running, client, far):
        assert len(sessions) == 1
        await client.send(b"last words")
        assert await far.until(b"words") == b"last words"
        await {"closes": _close, "resets": _reset, "says goodbye": Wire.end}[how](client)
        assert await far.rest() == b""
        far.close()
        await eventually(lambda: len(running.census) == len(sessions) == 0)


async def _close(wire: Wire) -> None:
    wire.close()


async def _reset(wire: Wire) -> None:
    wire.reset()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_back_end_that_breaks_off_takes_the_client_along(words: Words, kind: str) -> None:
    async with joined(words, Behind(), kind) as (running, client, far):
        await far.send(b"half a li")
        assert await client.until(b"li") == b"half a li"
        far.reset()
        assert await client.rest() == b""
        client.close()
        await eventually(lambda: len(running.census) == 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cause", [Ending.REVOKED, Ending.SHUTDOWN, Ending.TIMEOUT])
async def test_who_has_to_go_is_cut_without_a_word_of_ours(words: Words, kind: str, cause: Ending) -> None:
    sessions = LiveSessions(MemoryPassdb())
    async with joined(words, Behind(), kind, sessions=sessions) as (running, client, far):
        await far.send(b"half a li")
        assert await client.until(b"li") == b"half a li"
        await client.send(b"and half a comm")
        assert await far.until(b"comm") == b"and half a comm"
        for connection in running.census.everyone():
            connection.end(cause)
        assert (await client.rest(), await far.rest()) == (b"", b"")
        await eventually(lambda: len(running.census) == len(sessions) == 0)


async def test_who_has_to_go_in_the_moment_of_getting_in_says_nothing_to_the_back_end(words: Words) -> None:
    """What it had said in advance is not carried out any more."""
    behind = Behind(unread=b"")
    async with passing(words, behind) as running:
        (client, gate) = await greeted(running.port), behind.go
        gate.clear()
        await client.send(words.login + b"delete everything\r\n")
        await eventually(lambda: bool(behind.asked))
        gate.set()
        far = await behind.far_end()
        for connection in running.census.everyone():
            connection.end(Ending.REVOKED)
        assert await far.rest() == b""
        far.close()
        client.close()
        await eventually(lambda: len(running.census) == 0)


@pytest.mark.parametrize("kind", ["implicit", "off"])
async def test_what_a_session_took_is_free_without_a_collector(kind: str) -> None:
    async with joined(IMAP, Behind(), kind) as (running, client, far):
        (connection,) = [weakref.ref(connection) for connection in running.census.everyone()]
        gc.collect()
        gc.disable()
        try:
            client.close()
            await far.rest()
            far.close()
            await eventually(lambda: len(running.census) == 0)
            await eventually(lambda: connection() is None)
        finally:
            gc.enable()


# ---- who does not listen


@pytest.mark.parametrize("kind", ["implicit", "off"])
async def test_a_client_that_does_not_listen_holds_the_back_end_up(kind: str) -> None:
    async with passing(IMAP, behind := Behind(), kind) as running:
        running.server.doors[0].sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client = await greeted(running.port, tls=kind == "implicit", receive_bytes=4096)
        await client.send(IMAP.login)
        await client.until(accepted(IMAP))
        far = await behind.far_end()
        sent = await as_much_as_goes(far)
        assert sent < 20_000_000  # it is not all kept for later
        assert await take(client, sent) == bytes(sent)
        await far.send(b"and goes on")
        assert await client.until(b"on") == b"and goes on"
        client.close()
        far.close()


@pytest.mark.parametrize("kind", ["implicit", "off"])
async def test_a_back_end_that_does_not_listen_holds_the_client_up(kind: str) -> None:
    async with joined(IMAP, Behind(), kind) as (_, client, far):
        said = hashlib.shake_128(b"much").digest(30_000_000)
        saying = asyncio.ensure_future(client.send(said))
        await asyncio.wait([saying], timeout=0.3)
        assert not saying.done()  # it is not all kept for later
        heard = await take(far, len(said))
        await saying
        assert (heard == said) is True


@pytest.mark.parametrize("kind", ["implicit", "off"])
async def test_a_client_that_does_not_listen_can_be_cut(kind: str) -> None:
    async with joined(IMAP, Behind(), kind) as (running, _, far):
        await as_much_as_goes(far)
        for connection in running.census.everyone():
            connection.end(Ending.REVOKED)
        assert await far.rest() == b""
        await eventually(lambda: len(running.census) == 0)


async def as_much_as_goes(far: Wire) -> int:
    """Send zeros until nobody takes more; how many."""
    sent, quiet = 0, 0
    while quiet < 20:
        try:
            sent += far.sock.send(bytes(65536))
            quiet = 0
        except BlockingIOError:
            quiet += 1
            await asyncio.sleep(0.01)
    return sent


# ---- the passage by itself


@dataclass
class Apart:
    """A passage, both far ends of it, and when it was over. near: what the client's connection is to us."""

    passage: Passage
    near: asyncio.Transport
    client: socket.socket
    opened: socket.socket
    far: socket.socket
    over: asyncio.Future[float]

    @classmethod
    async def made(cls, limits: TimeLimits | None = None, *, is_choked: bool = False) -> Apart:
        loop = asyncio.get_running_loop()
        (near, client), (opened, far) = socket.socketpair(), socket.socketpair()
        for sock in (near, client, opened, far):
            sock.setblocking(False)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        over = loop.create_future()
        passage = Passage(transport, limits or TimeLimits(), lambda: over.set_result(loop.time()), is_choked=is_choked)
        return cls(passage, transport, client, opened, far, over)

    async def join(self, unread: bytes = b"", *, is_done: bool = False) -> None:
        await self.passage.open(Opened(self.opened), unread, is_done=is_done)

    async def end(self) -> None:
        self.passage.cut()
        await self.over
        self.client.close()
        self.far.close()


async def test_a_client_that_did_not_listen_before_is_told_nothing_until_it_does() -> None:
    apart = await Apart.made(is_choked=True)
    await apart.join()
    taken = 0
    with suppress(BlockingIOError):
        while taken < 100_000_000:
            taken += apart.far.send(bytes(65536))
            await asyncio.sleep(0.001)
    assert taken < 100_000_000
    with pytest.raises(BlockingIOError):
        apart.client.recv(1)
    await apart.end()


@pytest.mark.parametrize("far_takes", [False, True])
async def test_a_back_end_that_is_slow_from_the_first_holds_the_client_up(far_takes: bool) -> None:
    apart, unread = await Apart.made(), bytes(20_000_000)
    await apart.join(unread)
    assert not apart.near.is_reading()
    if far_takes:
        apart.client.send(b"and more")
        far = Wire(apart.far)
        assert await take(far, len(unread) + 8) == unread + b"and more"
        assert apart.near.is_reading()
    await apart.end()


async def test_the_last_words_of_a_client_that_is_gone_reach_the_back_end() -> None:
    apart = await Apart.made()
    apart.near.abort()
    await asyncio.sleep(0.01)
    await apart.join(b"last words")
    assert await Wire(apart.far).rest() == b"last words"
    apart.far.close()
    await apart.over
    apart.client.close()


async def test_a_connection_that_cannot_be_joined_ends_both() -> None:
    apart = await Apart.made()
    with pytest.raises((OSError, ValueError)):
        await apart.passage.open(Opened(socket.socket(type=socket.SOCK_DGRAM)), b"", is_done=False)
    apart.opened.close()
    await apart.over
    apart.client.close()
    apart.far.close()


async def test_bytes_that_come_while_a_side_is_closed_are_nobodys() -> None:
    """TLS has some in store when it is closed."""
    apart = await Apart.made()
    await apart.join()
    ours = cast("Side", apart.near.get_protocol())
    apart.far.close()
    apart.passage.cut()
    await apart.over
    for _ in range(10):
        ours.get_buffer(-1)[:8] = b"too late"
        ours.buffer_updated(8)
    apart.client.close()


# ---- time


@pytest.mark.parametrize("speaker", ["client", "back end", "nobody"])
def test_silence_of_both_ends_it_and_a_word_of_either_goes_on(speaker: str) -> None:
    async def main() -> None:
        apart = await Apart.made(TimeLimits(idle_s=600.0))
        await apart.join()
        began = virtual_time.now()
        for _ in range(10 if speaker != "nobody" else 0):
            await asyncio.sleep(599.0)
            (apart.client if speaker == "client" else apart.far).send(b"x")
            await asyncio.sleep(0.5)
        spoke_s = virtual_time.now() - began
        ended_s = await apart.over - began
        assert ended_s == pytest.approx(600.0 if speaker == "nobody" else spoke_s - 0.5 + 600.0)
        apart.client.close()
        apart.far.close()

    virtual_time.run(main())


@pytest.mark.parametrize("leaving", ["client", "back end"])
def test_who_never_leaves_when_the_other_has_is_cut(leaving: str) -> None:
    async def main() -> None:
        apart = await Apart.made(TimeLimits(drain_s=60.0))
        await apart.join()
        began = virtual_time.now()
        (apart.client if leaving == "client" else apart.far).shutdown(socket.SHUT_WR)
        assert await apart.over - began == pytest.approx(60.0)
        apart.client.close()
        apart.far.close()

    virtual_time.run(main())


# ---- what is offered


@pytest.mark.parametrize(("words", "asked"), [(IMAP, b"c CAPABILITY\r\n"), (POP3, b"CAPA\r\n")], ids=["imap", "pop3"])
async def test_after_login_every_word_is_the_back_ends(words: Words, asked: bytes) -> None:
    async with joined(words, Behind()) as (_, client, far):
        for line in (asked, words.noop, words.starttls, b'i ID ("name" "x")\r\n', words.login, words.logout):
            await client.send(line)
            assert await far.until(line) == line


async def test_a_bug_in_a_back_end_costs_one_connection(words: Words, caplog: pytest.LogCaptureFixture) -> None:
    sessions = LiveSessions(MemoryPassdb())
    async with passing(words, Behind(fault=ValueError("secret")), sessions=sessions) as running:
        client = await greeted(running.port)
        await client.send(words.login)
        assert await client.rest() == words.asked
        client.close()
        await eventually(lambda: len(running.census) == len(sessions) == 0)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "connection dropped: ValueError")
    ]
    caplog.clear()
