"""TLS, time, room, junk and endings of a submission connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from fakes_smtp import ALICE, BOB, PASSWORD, Site, Slow, Talker, b64, deaf, plain, site, talking

from doubles import Doorman
from mailauth.dialogue import Ending
from mailauth.serving.census import Census
from mailauth.smtp import connection
from mailauth.smtp.house import Limits
from mailauth.verdict import Accept, Principal
from servers import client_tls

IN = Accept(Principal(1, ALICE, 7))


@contextlib.asynccontextmanager
async def talker(port: int, *, tls: bool = True) -> AsyncIterator[Talker]:
    async with talking(port, tls=tls) as client:
        await client.greeting()
        yield client


# ---- STARTTLS


INJECTED = [
    b"NOOP\r\n",
    b"RSET\r\nNOOP\r\n",
    b"EHLO evil\r\nAUTH PLAIN " + plain().encode() + b"\r\nMAIL FROM:<evil@example.test>\r\n",
    b"NOO",
    b"EHLO evil\r\nMAIL FROM:<ev",
    b"x" * 20_000,
    b"\r\n",
]


@pytest.mark.parametrize("injected", INJECTED)
async def test_nothing_sent_in_clear_behind_starttls_is_ever_acted_on(injected: bytes) -> None:
    doorman = Doorman()
    async with site(doorman, tls="starttls") as here, talker(here.port, tls=False) as client:
        client.send(b"STARTTLS\r\n" + injected)
        assert (await client.reply()).startswith("220 ")
        await client.start_tls()
        client.send(f"AUTH PLAIN {plain()}\r\nEHLO good\r\nAUTH PLAIN {plain()}\r\nQUIT\r\n".encode())
        assert await client.reply() == "503 5.5.1 Send EHLO first"  # nor was the EHLO in clear remembered
        assert (await client.reply()).endswith("250 AUTH PLAIN LOGIN")
        assert (await client.reply()).startswith("235 ")
        assert (await client.reply()).startswith("221 ")
        assert await client.rest() == b""
    (attempt,) = doorman.attempts
    assert (attempt.tls, attempt.client) == (True, "good")


async def test_what_is_injected_while_the_client_does_not_read_is_not_acted_on_either() -> None:
    async with site(tls="starttls") as here, deaf(here) as client:
        client.send(b"EHLO client\r\n" + b"HELP\r\n" * 2000 + b"STARTTLS\r\n")
        await _until_choked(here)
        client.send(b"NOOP\r\n" * 3)  # comes while the 220, and much before it, waits to leave
        cast("asyncio.ReadTransport", client.writer.transport).resume_reading()
        while not (await client.reply()).startswith("220 2.0.0 "):
            pass
        try:
            await client.start_tls()
        except (ssl.SSLError, ConnectionError):
            return  # taken for a TLS record: the connection is cut
        assert await client.say(f"AUTH PLAIN {plain()}") == "503 5.5.1 Send EHLO first"


async def _until_choked(here: Site) -> None:
    """Wait until the server can write no more to its first client; the loop tells only its protocol."""
    async with asyncio.timeout(5):
        while not here.made or not here.made[0]._paused:  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_starttls_forgets_what_was_said() -> None:
    async with site(tls="starttls") as here, talker(here.port, tls=False) as client:
        await client.say("STARTTLS")
        await client.start_tls()
        assert (await client.say(f"MAIL FROM:<{ALICE}>")).startswith("503 5.5.1 ")
        assert (await client.say("EHLO client")).endswith("250 AUTH PLAIN LOGIN")
        assert (await client.say("STARTTLS")).startswith("503 5.5.1 ")
        assert (await client.say(f"AUTH PLAIN {plain()}")).startswith("235 ")


async def test_a_failed_handshake_ends_the_connection() -> None:
    async with site(tls="starttls") as here, talker(here.port, tls=False) as client:
        await client.say("STARTTLS")
        client.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" * 10)
        assert b"250" not in await client.rest()
        await here.everybody_gone()


async def test_a_client_that_leaves_during_the_handshake_is_forgotten() -> None:
    async with site(tls="starttls") as here, talker(here.port, tls=False) as client:
        await client.say("STARTTLS")
        client.writer.transport.abort()
        await here.everybody_gone()


@pytest.mark.parametrize("limits", [Limits(handshake_s=0.05), Limits(login_s=0.05)])
async def test_a_handshake_has_a_time_limit(limits: Limits) -> None:
    async with site(tls="starttls", limits=limits) as here, talker(here.port, tls=False) as client:
        await client.say("STARTTLS")
        assert await client.rest() == b""
        await here.everybody_gone()


@pytest.mark.parametrize("handshake_s", [0.05, 5])
async def test_after_a_failed_handshake_nothing_is_waited_for(handshake_s: float) -> None:
    async with site(tls="starttls", limits=Limits(handshake_s=handshake_s)) as here, deaf(here) as client:
        client.send(b"EHLO client\r\n" + b"HELP\r\n" * 400 + b"STARTTLS\r\n")
        await asyncio.sleep(0.01)
        (protocol,) = here.made
        assert cast(Any, protocol.transport).get_write_buffer_size() > 0
        if handshake_s > 1:
            protocol.end(Ending.SHUTDOWN)
        await here.everybody_gone()
        cast("asyncio.ReadTransport", client.writer.transport).resume_reading()
        assert b"220 2.0.0 " not in await client.rest()


async def test_a_shutdown_during_the_handshake_just_cuts() -> None:
    async with site(tls="starttls") as here, talker(here.port, tls=False) as client:
        await client.say("STARTTLS")
        await here.server.stop()
        assert await client.rest() == b""
        assert len(here.census) == 0


async def test_a_client_may_speak_right_behind_its_handshake() -> None:
    """With TLS 1.3 the first command may be in the segment that ends the handshake."""
    async with site(tls="starttls") as here, talker(here.port, tls=False) as client:
        await client.say("STARTTLS")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_tls().wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.send(outgoing.read())
                incoming.write(await client.reader.read(65536))
        tls.write(b"EHLO quick\r\n" + b"NOOP\r\n" * 10_000 + b"QUIT\r\n")  # more than the reader's buffer
        client.send(outgoing.read())
        got = b""
        async with asyncio.timeout(5):
            while b"221 " not in got:
                incoming.write(await client.reader.read(65536))
                with contextlib.suppress(ssl.SSLWantReadError):
                    while some := tls.read():
                        got += some
        assert got.startswith(b"250-mail.example.test\r\n")
        assert got.count(b"250 2.0.0 OK\r\n") == 10_000


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
async def test_what_comes_while_a_verdict_is_awaited_stays_outside(tls: Any) -> None:
    slow = Slow(IN)
    async with site(slow, tls=tls) as here, talker(here.port, tls=tls == "implicit") as client:
        if tls == "starttls":
            await client.say("STARTTLS")
            await client.start_tls()
            await client.say("EHLO client")
        client.send(f"AUTH PLAIN {plain()}\r\n".encode())
        await asyncio.wait_for(slow.asked.wait(), 5)
        client.send(b"NOOP\r\n" * 300_000)
        await asyncio.sleep(0.05)
        assert len(here.made[0]._reader._buffer) < 2**19  # type: ignore[attr-defined]


# ---- endings


async def test_shutdown_says_421_wherever_a_client_stands() -> None:
    slow = Slow(IN)
    async with site(slow) as here, talking(here.port) as greeted, talker(here.port) as idle:
        async with talker(here.port) as judged, talker(here.port) as halfway:
            await greeted.reply()
            judged.send(f"AUTH PLAIN {plain()}\r\n".encode())
            await asyncio.wait_for(slow.asked.wait(), 5)
            assert await halfway.say("AUTH LOGIN") == "334 " + b64("Username:")
            await here.server.stop()
            for client in (greeted, idle, judged, halfway):
                assert await client.rest() == b"421 4.3.2 Server is shutting down, try again later\r\n"
        await asyncio.wait_for(slow.cancelled.wait(), 5)
        assert len(here.census) == 0


@pytest.mark.parametrize(
    ("cause", "goodbye"),
    [
        (Ending.REVOKED, b"421 4.7.0 This session was ended: its password or its access was withdrawn\r\n"),
        (Ending.SHUTDOWN, b"421 4.3.2 Server is shutting down, try again later\r\n"),
        (Ending.CROWDED, b"421 4.3.2 Too many connections, try again later\r\n"),
        (Ending.TIMEOUT, b"421 4.4.2 Disconnected for inactivity\r\n"),
    ],
)
async def test_a_message_that_is_not_all_there_is_not_accepted(cause: Ending, goodbye: bytes) -> None:
    async with site() as here, talking(here.port) as client:
        await client.login()
        await client.say(f"MAIL FROM:<{ALICE}>")
        await client.say(f"RCPT TO:<{BOB}>")
        assert (await client.say("DATA")).startswith("354 ")
        client.send(b"Subject: too late\r\n\r\nbody\r\n")
        await asyncio.sleep(0.01)
        here.made[0].end(cause)
        client.send(b".\r\n")
        assert await client.rest() == goodbye
        assert here.postbox.delivered == []


async def test_a_delivery_under_way_is_answered_before_the_end() -> None:
    async with site() as here, talking(here.port) as client:
        here.postbox.gate = asyncio.Event()
        await client.login()
        await client.say(f"MAIL FROM:<{ALICE}>")
        await client.say(f"RCPT TO:<{BOB}>")
        await client.say("DATA")
        client.send(b"Subject: in time\r\n\r\n.\r\nMAIL FROM:<alice@example.test>\r\n")
        await asyncio.wait_for(here.postbox.started.wait(), 5)
        here.made[0].end(Ending.REVOKED)
        here.made[0].end(Ending.SHUTDOWN)
        assert not here.postbox.delivered
        here.postbox.gate.set()
        said = (await client.rest()).split(b"\r\n")
        assert said[0].startswith(b"250 2.0.0 Accepted as ")
        assert said[1:] == [b"421 4.7.0 This session was ended: its password or its access was withdrawn", b""]
        assert len(here.postbox.delivered) == 1


async def test_a_delivery_that_fails_ends_the_session_that_was_to_end_meanwhile() -> None:
    """Otherwise somebody who was told to be out would stay, and nobody would know of him any more."""
    async with site() as here, talking(here.port) as client:
        here.postbox.gate = asyncio.Event()
        here.postbox.faults = {BOB: RuntimeError("no thread")}
        await client.login()
        await client.say(f"MAIL FROM:<{ALICE}>")
        await client.say(f"RCPT TO:<{BOB}>")
        await client.say("DATA")
        client.send(b"Subject: in time\r\n\r\n.\r\nMAIL FROM:<alice@example.test>\r\n")
        await asyncio.wait_for(here.postbox.started.wait(), 5)
        here.made[0].end(Ending.REVOKED)
        here.postbox.gate.set()
        said = (await client.rest()).split(b"\r\n")
        assert said[0][:3] == b"451"
        assert said[1:] == [b"421 4.7.0 This session was ended: its password or its access was withdrawn", b""]


async def test_a_full_house_says_so_in_the_greeting_and_drops_its_oldest_stranger() -> None:
    async with (
        site(census=Census(10, 1), tls="starttls") as here,
        talker(here.port, tls=False),
        talking(here.port, tls=False) as second,
    ):
        assert await second.rest() == b"421 4.3.2 Too many connections, try again later\r\n"
        assert len(here.census) == 1
    async with site(census=Census(2, 10)) as here, talking(here.port) as known, talker(here.port) as stranger:
        await known.login()
        async with talking(here.port) as newcomer:
            assert (await newcomer.reply()).startswith("220 ")
            assert await stranger.rest() == b"421 4.3.2 Too many connections, try again later\r\n"
            assert await known.say("NOOP") == "250 2.0.0 OK"


async def test_a_client_that_does_not_read_its_goodbye_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0.05)
    async with site(tls="off") as here, deaf(here) as client:
        client.send(b"EHLO client\r\n" + b"HELP\r\n" * 100_000)
        await _until_choked(here)
        here.made[0].end(Ending.SHUTDOWN)
        await here.everybody_gone()


# ---- time


async def test_logging_in_has_a_time_limit_however_busy_the_client_is() -> None:
    async with site(limits=Limits(login_s=0.2)) as here, talker(here.port) as client:
        loop = asyncio.get_running_loop()
        before = loop.time()
        reply = ""
        while not reply.startswith("421"):
            reply = await client.say("NOOP")
        assert reply == "421 4.4.2 Disconnected for inactivity"
        assert loop.time() - before < 1
        await here.everybody_gone()


async def test_a_verdict_that_comes_too_late_is_not_waited_for() -> None:
    slow = Slow(IN)
    async with site(slow, limits=Limits(login_s=0.1)) as here, talker(here.port) as client:
        assert await client.say(f"AUTH PLAIN {plain()}") == "421 4.4.2 Disconnected for inactivity"
        await asyncio.wait_for(slow.cancelled.wait(), 5)


@pytest.mark.parametrize("login_s", [0.1, 60])
async def test_after_login_only_silence_ends_the_session(login_s: float) -> None:
    limits = Limits(login_s=login_s, idle_s=0.3)
    async with site(limits=limits) as here, talking(here.port) as client:
        await client.login()
        for _ in range(5):
            await asyncio.sleep(0.1)
            assert await client.say("NOOP") == "250 2.0.0 OK"
        assert await client.rest() == b"421 4.4.2 Disconnected for inactivity\r\n"


async def test_a_message_that_keeps_coming_and_a_long_delivery_are_no_silence() -> None:
    async with site(limits=Limits(idle_s=0.2)) as here, talking(here.port) as client:
        await client.login()
        here.postbox.gate = asyncio.Event()
        await client.say(f"MAIL FROM:<{ALICE}>")
        await client.say(f"RCPT TO:<{BOB}>")
        await client.say("DATA")
        for _ in range(4):
            client.send(b"X-Slow: yes\r\n")
            await asyncio.sleep(0.1)
        client.send(b"\r\n.\r\n")
        await asyncio.sleep(0.4)
        here.postbox.gate.set()
        assert (await client.reply()).startswith("250 2.0.0 ")
        assert await client.say("NOOP") == "250 2.0.0 OK"


async def test_each_auth_response_has_a_time_limit() -> None:
    async with site(limits=Limits(response_s=0.05)) as here, talker(here.port) as client:
        assert await client.say("AUTH LOGIN") == "334 " + b64("Username:")
        assert await client.say(b64(ALICE)) == "334 " + b64("Password:")
        assert (await client.rest()).startswith(b"421 4.4.2 No authentication response in time")
        await here.everybody_gone()


# ---- junk


async def test_before_login_every_error_counts_and_the_tenth_is_the_last() -> None:
    async with site() as here, talker(here.port) as client:
        commands = ["FOO", "MAIL FROM:<a@b>", "", "AUTH", "EHLO", "AUTH X", "AUTH PLAIN !", "DATA", "STARTTLS", "bar"]
        codes = [(await client.say(command))[:3] for command in commands]
        assert codes == ["500", "530", "500", "501", "501", "504", "501", "530", "503", "500"]
        assert await client.rest() == b"421 4.7.0 Too many errors, closing the connection\r\n"


async def test_after_login_only_what_is_no_command_counts() -> None:
    async with site() as here, talking(here.port) as client:
        for _ in range(9):
            assert (await client.say("JUNK") if here.made and _ else await client.greeting())[:1] in {"5", "2"}
        assert (await client.say(f"AUTH PLAIN {plain()}")).startswith("235 ")
        for _ in range(30):
            assert (await client.say("MAIL FROM:<other@example.test>")).startswith("553 ")
        for _ in range(10):
            assert await client.say("JUNK") == "500 5.5.1 Command not recognised"
        assert await client.rest() == b"421 4.7.0 Too many errors, closing the connection\r\n"


@pytest.mark.parametrize("verb", ["GET", "POST", "put", "OPTIONS", "CONNECT", "PRI"])
@pytest.mark.parametrize("tls", [True, False])
async def test_a_browser_is_shown_the_door(verb: str, tls: bool) -> None:
    async with site(tls="implicit" if tls else "starttls") as here, talking(here.port, tls=tls) as client:
        await client.reply()
        client.send(f"{verb} /<script>EHLO</script> HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n".encode())
        assert await client.rest() == b"421 4.7.0 This is not a web server\r\n"


@pytest.mark.parametrize("line", [b"NOOP\nNOOP", b"NOOP\rNOOP", b"NOOP\0", b"\n", b"NOOP \xff\n", b"EHLO a\nQUIT"])
async def test_only_crlf_ends_a_line(line: bytes) -> None:
    async with site() as here, talker(here.port) as client:
        assert await client.say(line) == "500 5.5.2 Not a command line"
        assert await client.say("NOOP") == "250 2.0.0 OK"


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"\xc3\xbc", "ＮＯＯＰ".encode(), b"NOOP\t", b" NOOP", b"smtp_NOOP", b"__init__"]
)
async def test_what_is_no_command_is_not_taken_for_one(line: bytes) -> None:
    async with site() as here, talker(here.port) as client:
        assert await client.say(line) == "500 5.5.1 Command not recognised"


async def test_octets_that_are_no_utf8_reach_no_fault() -> None:
    async with site() as here, talking(here.port) as client:
        await client.greeting()
        assert (await client.say(b"EHLO \xff\xfe")).startswith("250-")
        assert (await client.say(b"AUTH PLAIN \xff\xfe")).startswith("501 5.5.2 ")
        assert (await client.say(f"AUTH PLAIN {plain()}")).startswith("235 ")
        assert (await client.say(b"MAIL FROM:<\xff\xfe@example.test>")).startswith("553 5.1.3 ")
        assert (await client.say(b"NOOP \xff")).startswith("250 ")


async def test_a_line_without_end_costs_a_bounded_buffer_and_then_the_connection() -> None:
    async with site(tls="off") as here, talker(here.port, tls=False) as client:
        peak = 0

        async def flood() -> None:
            nonlocal peak
            with contextlib.suppress(ConnectionError):
                for _ in range(200):
                    client.send(b"A" * 10_000)
                    await client.writer.drain()
                    peak = max(peak, len(here.made[0]._reader._buffer))  # type: ignore[attr-defined]

        await asyncio.wait_for(flood(), 5)
        assert (await client.rest()) in {b"500 5.5.6 Line too long\r\n", b""}
        assert peak <= 2 * connection.MAX_AUTH_LINE_BYTES + 2**18 + 10
        await here.everybody_gone()


# ---- clients that leave


async def test_a_client_that_leaves_cancels_what_it_asked_for() -> None:
    slow = Slow(IN)
    async with site(slow) as here, talker(here.port) as client:
        client.send(f"AUTH PLAIN {plain()}\r\n".encode())
        await asyncio.wait_for(slow.asked.wait(), 5)
        client.writer.close()
        await asyncio.wait_for(slow.cancelled.wait(), 5)
        await here.everybody_gone()


async def test_a_client_reset_in_the_middle_is_forgotten_without_noise(caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow(IN)
    async with site(slow, tls="off") as here, talker(here.port, tls=False) as client:
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.send(f"AUTH PLAIN {plain()}\r\nNOOP\r\n".encode())
        await asyncio.wait_for(slow.asked.wait(), 5)
        client.writer.transport.abort()
        await asyncio.wait_for(slow.cancelled.wait(), 5)
        await here.everybody_gone()
    assert caplog.records == []


@pytest.mark.parametrize("tls", ["implicit", "off"])
async def test_no_task_and_no_connection_is_left_behind(tls: Any) -> None:
    before = asyncio.all_tasks()
    async with site(tls=tls) as here:
        for octets in (
            b"",
            b"EHLO x\r\n",
            b"EHLO x\r\nAUTH LOGIN\r\n",
            b"EHL",
            f"EHLO x\r\nAUTH PLAIN {plain()}\r\nDA".encode(),
        ):
            async with talking(here.port, tls=tls == "implicit") as client:
                client.send(octets)
                await client.reply()
        await here.everybody_gone()
        for protocol in here.made:
            assert protocol._handler_coroutine is not None
            await asyncio.wait([protocol._handler_coroutine], timeout=5)
        assert asyncio.all_tasks() - before == set()


async def test_a_half_line_at_the_end_is_no_command() -> None:
    doorman = Doorman()
    async with site(doorman, tls="off") as here, talker(here.port, tls=False) as client:
        client.send(f"AUTH PLAIN {plain()}".encode())
        client.writer.write_eof()
        assert await client.rest() == b""
    assert doorman.attempts == []


async def test_a_half_closed_client_gets_its_verdict() -> None:
    slow = Slow(IN)
    async with site(slow, tls="off") as here, talker(here.port, tls=False) as client:
        client.send(f"AUTH PLAIN {plain()}\r\nNOOP\r\n".encode())
        client.writer.write_eof()
        await asyncio.wait_for(slow.asked.wait(), 5)
        await asyncio.sleep(0.02)
        slow.let_go.set()
        assert await client.rest() == b"235 2.7.0 Authentication successful\r\n250 2.0.0 OK\r\n"


# ---- faults


class Faulty:
    """A handler whose hooks fail."""

    async def handle_MAIL(self, *_: Any) -> bytes:
        raise ConnectionError(f"the {PASSWORD} of MAIL")

    async def handle_NOOP(self, *_: Any) -> bytes:
        raise ZeroDivisionError(f"the {PASSWORD} of NOOP")

    async def handle_RSET(self, *_: Any) -> bytes:
        raise TimeoutError


async def test_a_fault_of_a_handler_is_temporary_and_its_text_stays_here(caplog: pytest.LogCaptureFixture) -> None:
    async with site(handler=Faulty()) as here, talking(here.port) as client:
        await client.login()
        for command in (f"MAIL FROM:<{ALICE}>", "NOOP", "RSET"):
            assert await client.say(command) == "451 4.3.0 Internal error, try again later"
        assert (await client.say("HELP")).startswith("214 ")
    assert "MAIL failed: ConnectionError" in caplog.text
    assert "handle_NOOP" in caplog.text
    assert PASSWORD not in caplog.text


class Quiet:
    """A handler without hooks, as aiosmtpd allows."""


async def test_any_handler_will_do() -> None:
    async with site(handler=Quiet()) as here, talking(here.port) as client:
        await client.login()
        await client.say(f"MAIL FROM:<{ALICE}>")
        await client.say(f"RCPT TO:<{BOB}>")
        await client.say("DATA")
        assert await client.say(".") == "250 2.0.0 OK"
