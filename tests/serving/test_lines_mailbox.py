"""From login to mailbox, and the end: not a byte lost, and goodbye everywhere."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from doors import IMAP, Collector, Gate, Words, greeted, hear_and_leave, secured
from doubles import Doorman
from mailauth.dialogue import Ending
from mailauth.serving.house import TimeLimits
from mailauth.verdict import Principal
from servers import listening
from wire import DEADLINE_S, eventually

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


# ---- the mailbox


def stream(words: Words) -> bytes:
    """What a client says to its mailbox; a literal, and something that looks like a login."""
    return (
        words.mailbox
        + b"b APPEND INBOX {14+}\r\n"
        + b"x LOGIN a b\r\n\0"
        + b"\r\n"
        + words.login
        + b"d IDLE\r\nDONE\r\n"
    )


@pytest.mark.parametrize("kind", ["implicit", "starttls", "off"])
@pytest.mark.parametrize("before", [0, 5, 30, 10_000])
@pytest.mark.parametrize("during", [0, 10, 10_000])
async def test_the_mailbox_gets_every_byte_once(words: Words, kind: str, before: int, during: int) -> None:
    """before: so much comes in one segment with the login; during: so much while it is judged."""
    gate, mailbox = Gate(), Collector()
    data = stream(words)
    async with listening(words.dialogue(clear=kind == "off"), gate, tls=kind, mailbox=mailbox) as running:
        wire = await (secured(running.port, words) if kind == "starttls" else greeted(running.port, tls=kind != "off"))
        await wire.send(words.login + data[:before])
        await gate.asked.wait()
        await wire.send(data[before : before + during])
        for _ in range(10):  # it is taken in, and reading is paused
            await asyncio.sleep(0)
        gate.go.set()
        assert await wire.until(words.accepted) == words.asked + words.accepted
        await wire.send(data[before + during :])
        await eventually(lambda: len(mailbox.got) >= len(data))
        await wire.end()
        await mailbox.left.wait()
        wire.close()
    assert mailbox.got == data


@pytest.mark.parametrize("kind", ["implicit", "off"])
async def test_a_client_that_enters_while_it_does_not_read_is_heard_again(kind: str) -> None:
    """Its answers have filled the buffers, so that neither is it read nor written to when the mailbox gets it."""
    mailbox, many = Collector(), 30_000
    async with listening(IMAP.dialogue(clear=True), Doorman(), tls=kind, mailbox=mailbox) as running:
        running.server.doors[0].sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        wire = await greeted(running.port, tls=kind == "implicit", receive_bytes=4096)
        await wire.send(IMAP.login)
        await wire.until(IMAP.accepted)
        sending = asyncio.ensure_future(wire.send(IMAP.noop * many + IMAP.mailbox))
        await asyncio.wait([sending], timeout=0.2)  # as much as goes, without hearing anything
        hearing = asyncio.ensure_future(hear_and_leave(wire))
        await sending
        await wire.send(b"more")
        await eventually(lambda: mailbox.got == IMAP.mailbox + b"more")
        for connection in running.census.everyone():
            connection.end(Ending.REVOKED)
        assert (await hearing).count(IMAP.noop_done) == many


async def test_a_mailbox_that_breaks_costs_only_its_session(words: Words, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(*visit: object, named: object) -> None:
        raise ValueError("with something secret in it")

    async with listening(words.dialogue(), Doorman(), tls="implicit", mailbox=broken) as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.login + words.mailbox)
        assert await wire.rest() == words.asked + words.accepted
        wire.close()
        await eventually(lambda: len(running.census) == 0)
    assert [record.getMessage() for record in caplog.records] == [
        "mailbox session of alice@example.test failed: ValueError"
    ]
    caplog.clear()


# ---- the end


@pytest.mark.parametrize("state", ["greeted", "half a line", "judged", "held", "in", "mailbox"])
async def test_a_stopping_server_says_goodbye_everywhere(words: Words, state: str) -> None:
    authenticator = Gate()
    said = {
        "greeted": b"",
        "half a line": b"a NO",
        "judged": words.login,
        "held": words.wrong,
        "in": words.login,
        "mailbox": words.login + words.mailbox,
    }[state]
    if state != "judged":
        authenticator.go.set()
    async with listening(words.dialogue(), authenticator, tls="implicit", delay_s=DEADLINE_S) as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(said)
        if state in {"in", "mailbox"}:
            await wire.until(words.accepted)
        elif state in {"judged", "held"}:
            await authenticator.asked.wait()
        if state == "mailbox":
            await wire.line()
        hearing = asyncio.ensure_future(hear_and_leave(wire))
        await running.server.stop()
        heard = await hearing
        assert len(running.census) == 0
        assert heard.removeprefix(words.asked).startswith(b"* BYE shutdown" if state == "mailbox" else words.bye)
        assert b"AUTH" not in heard


async def test_a_mailbox_is_told_why_it_ends(words: Words) -> None:
    mailbox = Collector()
    async with listening(words.dialogue(), Doorman(), tls="implicit", mailbox=mailbox) as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.login + words.mailbox)
        await mailbox.arrived.wait()
        for cause in (Ending.REVOKED, Ending.SHUTDOWN):  # the first one counts
            for connection in running.census.everyone():
                connection.end(cause)
        await mailbox.left.wait()
        assert mailbox.ended is Ending.REVOKED
        wire.close()


async def test_a_mailbox_that_does_not_end_is_cut(words: Words) -> None:
    left = asyncio.Event()

    async def deaf(
        principal: Principal,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ending: asyncio.Future[Ending],
        *,
        named: Callable[[str], None],
    ) -> None:
        await reader.read(-1)
        left.set()

    limits = TimeLimits(linger_s=0.05)
    async with listening(words.dialogue(), Doorman(), tls="implicit", mailbox=deaf, limits=limits) as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.login + words.mailbox)
        await wire.until(words.accepted)
        for connection in running.census.everyone():
            connection.end(Ending.REVOKED)
        await wire.rest()
        async with asyncio.timeout(DEADLINE_S):
            await left.wait()
        wire.close()
        await eventually(lambda: len(running.census) == 0)
