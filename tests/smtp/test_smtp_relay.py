"""The next server: what it is told, and what becomes of its answers."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from fakes_smtp import ALICE, BOB, PASSWORD, site, talking

from mailauth.serving.listen import bind
from mailauth.smtp.relay import Refused, Relay, Unavailable
from next_server import NextServer
from servers import client_tls

MESSAGE = b"Subject: out\r\n\r\n.\r\n..\r\nbody\r\n"


@contextlib.contextmanager
def relay(port: int, tls: Any = "off", **options: Any) -> Iterator[Relay]:
    options = {
        "host": "localhost",
        "hostname": "mail.example.test",
        "timeout_s": 5.0,
        "context": client_tls(),
        **options,
    }
    there = Relay(port=port, tls=tls, **options)
    try:
        yield there
    finally:
        there.close()


async def send(there: Relay, content: bytes = MESSAGE, *recipients: str, smtp_utf8: bool = False) -> None:
    await there.send(ALICE, recipients or (BOB,), content, smtp_utf8=smtp_utf8)


@pytest.mark.parametrize("tls", ["implicit", "starttls", "off"])
async def test_a_message_goes_on_with_a_login(tls: Any) -> None:
    async with site(tls=tls) as here:
        with relay(here.port, tls, username=ALICE, password=PASSWORD) as there:
            await send(there, MESSAGE, BOB, ALICE)
        assert [login for login, _, _ in here.postbox.delivered] == [BOB, ALICE]
        assert here.postbox.delivered[0][1].endswith(MESSAGE)


async def test_the_next_server_s_certificate_is_checked() -> None:
    for tls in ("implicit", "starttls"):
        async with site(tls=tls) as here:
            for options in ({"context": None}, {"host": "127.0.0.2"}):
                login = {"username": ALICE, "password": PASSWORD}
                with relay(here.port, tls, **login, **options) as there, pytest.raises(Unavailable):
                    await send(there)
            assert here.postbox.delivered == []


async def test_tls_that_is_not_offered_is_not_done_without() -> None:
    async with NextServer().listening() as beyond:
        with relay(beyond.port, "starttls") as there, pytest.raises(Unavailable):
            await send(there)
        assert not [line for line in beyond.heard if line.lower().startswith("mail")]


async def test_our_own_login_refused_is_no_refusal_of_the_message(caplog: pytest.LogCaptureFixture) -> None:
    async with site() as here:
        for login in (
            {"username": ALICE, "password": "hunter2"},
            {"username": ALICE, "password": "pässword"},
            {},  # 530 to MAIL
        ):
            with relay(here.port, "implicit", **login) as there, pytest.raises(Unavailable):
                await send(there)
    assert "SMTPAuthenticationError 535" in caplog.text
    assert "530" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("command", ["mail", "rcpt", "data", "end"])
@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("550 5.1.1 No such user", b"550 5.1.1 No such user"),
        ("554-5.7.1 two\r\n554 5.7.1 lines", b"554 5.7.1 two 5.7.1 lines"),
        ("552 \x1b[31mtoo\tbig\xff\x00", b"552 [31mtoo big"),
        ("501 " + "x" * 900, b"501 " + b"x" * 400),
    ],
)
async def test_a_permanent_refusal_is_passed_on_clean(command: str, answer: str, reply: bytes) -> None:
    async with NextServer(**{command: answer}).listening() as beyond:
        with relay(beyond.port) as there, pytest.raises(Refused) as caught:
            await send(there)
    assert caught.value.reply == reply
    assert caught.value.reply.isascii()


@pytest.mark.parametrize("command", ["greeting", "ehlo", "mail", "rcpt", "data", "end"])
@pytest.mark.parametrize("answer", ["451 later", "421 bye", "530 5.7.0 login", "503 order", "x", None])
async def test_anything_else_is_a_fault(command: str, answer: str | None) -> None:
    async with NextServer(**{command: answer}).listening() as beyond:
        with relay(beyond.port) as there, pytest.raises(Unavailable):
            await send(there)
        assert len(beyond.messages) == (1 if command == "end" else 0)


@pytest.mark.parametrize("answer", ["550 no service", "554 go away"])
async def test_a_server_that_does_not_want_us_at_all_is_a_fault(answer: str) -> None:
    async with NextServer(greeting=answer).listening() as beyond:
        with relay(beyond.port) as there, pytest.raises(Unavailable):
            await send(there)


async def test_one_recipient_refused_and_nobody_gets_the_message() -> None:
    async with site(tls="off") as here:
        with relay(here.port, username=ALICE, password=PASSWORD) as there, pytest.raises(Refused) as caught:
            await send(there, MESSAGE, BOB, "nobody@example.test", ALICE)
        assert caught.value.reply == b"550 5.1.1 No such mailbox here"
        assert here.postbox.delivered == []


@pytest.mark.parametrize("answer", [None, "500 what", "421 bye"])
async def test_what_comes_after_the_250_does_not_matter(answer: str | None) -> None:
    async with NextServer(quit=answer).listening() as beyond:
        with relay(beyond.port) as there:
            await send(there)
        assert beyond.messages == [b"Subject: out\r\n\r\n..\r\n...\r\nbody\r\n.\r\n"]


async def test_a_server_that_is_gone_after_its_250_has_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    putcmd = smtplib.SMTP.putcmd

    def broken(self: smtplib.SMTP, cmd: str, args: str = "") -> None:
        if cmd == "quit":
            raise smtplib.SMTPServerDisconnected
        putcmd(self, cmd, args)

    monkeypatch.setattr(smtplib.SMTP, "putcmd", broken)
    async with NextServer().listening() as beyond:
        with relay(beyond.port) as there:
            await send(there)
        assert len(beyond.messages) == 1


async def test_nobody_there_and_nobody_answering_are_faults() -> None:
    async with NextServer().listening() as beyond:
        port = beyond.port
    with relay(port) as there, pytest.raises(Unavailable):
        await send(there)
    with bind("127.0.0.1", 0) as sock, relay(sock.getsockname()[1], timeout_s=0.1) as there:
        silence = pytest.raises(Unavailable)
        with silence:
            await send(there)


GERMAN = "Subject: Grüße\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("ehlo", "content", "recipient", "smtp_utf8", "parameters"),
    [
        ("250 next", MESSAGE, BOB, False, ""),
        ("250 next", MESSAGE, BOB, True, ""),
        ("250-next\r\n250 SIZE", MESSAGE, BOB, False, " SIZE=29"),
        ("250-next\r\n250 8BITMIME", GERMAN, BOB, False, " BODY=8BITMIME"),
        ("250-next\r\n250-8BITMIME\r\n250 SMTPUTF8", GERMAN, BOB, True, " BODY=8BITMIME SMTPUTF8"),
        ("250-next\r\n250-8BITMIME\r\n250 SMTPUTF8", MESSAGE, "用户@x.test", True, " BODY=8BITMIME SMTPUTF8"),
        ("250 next", GERMAN, BOB, False, b"554 5.6.3"),
        ("250-next\r\n250 8BITMIME", GERMAN, BOB, True, b"553 5.6.7"),
    ],
)
async def test_what_a_message_needs_is_asked_of_the_next_server(
    ehlo: str, content: bytes, recipient: str, smtp_utf8: bool, parameters: str | bytes
) -> None:
    async with NextServer(ehlo=ehlo).listening() as beyond:
        with relay(beyond.port) as there:
            if isinstance(parameters, bytes):
                with pytest.raises(Refused) as caught:
                    await send(there, content, recipient, smtp_utf8=smtp_utf8)
                assert caught.value.reply.startswith(parameters + b" ")
                assert beyond.messages == []
                return
            await send(there, content, recipient, smtp_utf8=smtp_utf8)
        said = [line for line in beyond.heard if line.lower().startswith(("ehlo", "mail", "rcpt"))]
        assert [line.lower() for line in said] == [
            "ehlo mail.example.test",
            f"mail from:<{ALICE}>{parameters}".lower(),
            f"rcpt to:<{recipient}>",
        ]


async def test_a_session_whose_client_has_left_gives_its_thread_back() -> None:
    async with NextServer(mail=None).listening() as beyond:
        with relay(beyond.port, max_connections_count=1) as there:
            waiting = asyncio.ensure_future(send(there))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(Unavailable):
                await send(there)


async def test_the_client_s_250_comes_after_the_next_server_s() -> None:
    async with site(tls="off") as next_site:
        next_site.postbox.gate = asyncio.Event()
        with relay(next_site.port, username=ALICE, password=PASSWORD) as there:
            async with site(relay=there) as here, talking(here.port) as client:
                here.directory.logins.clear()
                here.directory.logins[ALICE] = ALICE
                here.directory.is_local_domain = _nothing_is_local  # type: ignore[method-assign]
                await client.login()
                await client.say(f"MAIL FROM:<{ALICE}>")
                await client.say(f"RCPT TO:<{BOB}>")
                await client.say("DATA")
                answer = asyncio.ensure_future(client.say("."))
                await asyncio.wait_for(next_site.postbox.started.wait(), 5)
                assert not answer.done()
                next_site.postbox.gate.set()
                assert (await answer).startswith("250 2.0.0 ")
        assert [login for login, _, _ in next_site.postbox.delivered] == [BOB]


async def _nothing_is_local(domain: str) -> bool:
    return False


def test_certificates_are_verified_unless_said_otherwise() -> None:
    there = Relay(host="h", port=1, tls="implicit", hostname="h")
    assert there._context.verify_mode is ssl.CERT_REQUIRED
    assert there._context.check_hostname
    there.close()
