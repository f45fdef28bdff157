"""AUTH in stock aiosmtpd servers: the Controller with its own thread and loop, and one on our loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import smtplib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Session
from fakes_smtp import ALICE, BOB, PASSWORD, Slow, Talker, b64, plain, talking

import mailauth.smtp
from doubles import Doorman
from mailauth.attempt import Service
from mailauth.serving.listen import bind
from mailauth.smtp import with_auth
from mailauth.verdict import Cause, Defer, Principal, Reason, Reject
from servers import client_tls, server_tls

LATER = "454 4.7.0 Temporary authentication failure, try again later"


class Inbox:
    """Somebody's own handler."""

    def __init__(self) -> None:
        self.got: list[tuple[object, bytes]] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Any) -> str:
        self.got.append((session.auth_data, envelope.content))
        return "250 Mine now"


class Tidy(Controller):
    """A Controller that cuts its connections before it stops; the stock one leaves them to the garbage collector."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.made: list[SMTP] = []

    def factory(self) -> SMTP:
        self.made.append(super().factory())
        return self.made[-1]

    async def cut(self) -> None:
        for protocol in self.made:
            if protocol.transport is not None:
                protocol.transport.abort()  # type: ignore[attr-defined]
        tasks = [protocol._handler_coroutine for protocol in self.made if protocol._handler_coroutine is not None]
        await asyncio.wait(tasks)


@contextlib.asynccontextmanager
async def controller(handler: object, **options: Any) -> AsyncIterator[int]:
    """aiosmtpd's Controller, in its own thread; yields its port."""
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
    options = {"auth_required": True, "tls_context": server_tls(), "server_hostname": "localhost", **options}
    running = Tidy(handler, hostname="127.0.0.1", port=port, **options)
    await asyncio.to_thread(running.start)
    try:
        yield port
    finally:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(running.cut(), running.loop))
        await asyncio.to_thread(running.stop)


@contextlib.asynccontextmanager
async def stock(handler: object, **options: Any) -> AsyncIterator[int]:
    """A stock SMTP on the running loop, in clear."""
    loop = asyncio.get_running_loop()
    options = {"hostname": "localhost", "loop": loop, "auth_require_tls": False, **options}
    server = await loop.create_server(lambda: SMTP(handler, **options), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextlib.asynccontextmanager
async def clear_talk(port: int) -> AsyncIterator[Talker]:
    async with talking(port, tls=False) as client:
        await client.greeting()
        yield client


def smtplib_send(port: int, login: str, password: str, mechanism: str | None = None) -> tuple[int, bytes]:
    with smtplib.SMTP("localhost", port, local_hostname="laptop", timeout=5) as client:
        client.starttls(context=client_tls())
        client.ehlo()
        if mechanism is None:
            client.login(login, password)
        else:
            client.user, client.password = login, password
            client.auth(mechanism, getattr(client, f"auth_{mechanism.lower()}"))
        client.sendmail(ALICE, [BOB], b"Subject: x\r\n\r\nbody\r\n")
        return client.noop()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", None])
async def test_a_controller_in_its_thread_asks_an_authenticator_on_our_loop(mechanism: str | None) -> None:
    threads: list[threading.Thread] = []

    class Here(Doorman):
        async def authenticate(self, attempt: Any) -> Any:
            threads.append(threading.current_thread())
            return await super().authenticate(attempt)

    doorman, inbox = Here(), Inbox()
    async with controller(with_auth(inbox, doorman)) as port:
        await asyncio.to_thread(smtplib_send, port, ALICE, PASSWORD, mechanism)
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            await asyncio.to_thread(smtplib_send, port, ALICE, "wrong", mechanism)
    assert (caught.value.smtp_code, caught.value.smtp_error) == (535, b"5.7.8 Authentication failed.")
    assert inbox.got == [(Principal(1, ALICE, 7), b"Subject: x\r\n\r\nbody\r\n")]
    assert set(threads) == {threading.main_thread()}
    attempt = doorman.attempts[0]
    assert (attempt.service, attempt.peer, attempt.tls, attempt.client) == (Service.SMTP, "127.0.0.1", True, "laptop")


async def test_implicit_tls_is_tls() -> None:
    doorman = Doorman()
    options = {"tls_context": None, "ssl_context": server_tls(), "auth_require_tls": False, "auth_required": False}
    async with controller(with_auth(Inbox(), doorman), **options) as port, talking(port) as client:
        await client.greeting()
        assert (await client.say(f"AUTH PLAIN {plain()}")).startswith("235 ")
    assert doorman.attempts[0].tls


async def test_in_clear_nobody_is_asked() -> None:
    doorman = Doorman()
    async with controller(with_auth(Inbox(), doorman)) as port, clear_talk(port) as client:
        assert (await client.say(f"AUTH PLAIN {plain()}")).startswith("538 ")
    assert doorman.attempts == []


@pytest.mark.parametrize("answer", [*[Defer(cause) for cause in Cause], RuntimeError("secret"), OSError("secret")])
async def test_what_was_not_judged_is_never_called_a_wrong_password(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    doorman = Doorman()
    doorman.outcome = answer
    in_clear = {"auth_require_tls": False, "auth_required": False}
    async with controller(with_auth(Inbox(), doorman), **in_clear) as port, clear_talk(port) as client:
        assert await client.say(f"AUTH PLAIN {plain()}") == LATER
    async with stock(with_auth(Inbox(), doorman)) as port, clear_talk(port) as client:
        assert await client.say(f"AUTH PLAIN {plain()}") == LATER
        assert (await client.say("NOOP")).startswith("250 ")
    assert len(doorman.attempts) == 2
    assert "secret" not in caplog.text


async def test_an_authenticator_that_hangs_is_given_up() -> None:
    slow = Slow(Reject(Reason.WRONG_PASSWORD))
    handler = with_auth(Inbox(), slow, time_limit_s=0.05)
    async with controller(handler, auth_require_tls=False, auth_required=False) as port, clear_talk(port) as client:
        assert await client.say(f"AUTH PLAIN {plain()}") == LATER
        await asyncio.wait_for(slow.cancelled.wait(), 5)


async def test_a_client_that_leaves_cancels_its_attempt_on_the_other_loop() -> None:
    slow = Slow(Reject(Reason.WRONG_PASSWORD))
    async with controller(with_auth(Inbox(), slow), auth_require_tls=False, auth_required=False) as port:
        async with clear_talk(port) as client:
            client.send(f"AUTH PLAIN {plain()}\r\n".encode())
            await asyncio.wait_for(slow.asked.wait(), 5)
        await asyncio.wait_for(slow.cancelled.wait(), 5)


async def test_an_attempt_cancelled_on_its_own_loop_is_deferred() -> None:
    class Leaving:
        async def authenticate(self, attempt: Any) -> Any:
            raise asyncio.CancelledError

    handler = with_auth(Inbox(), Leaving())
    async with controller(handler, auth_require_tls=False, auth_required=False) as port, clear_talk(port) as client:
        assert await client.say(f"AUTH PLAIN {plain()}") == LATER
        assert (await client.say("NOOP")).startswith("250 ")


@pytest.mark.parametrize("is_closed", [True, False])
async def test_an_authenticator_whose_loop_does_not_run_judges_nobody(is_closed: bool) -> None:
    home = asyncio.new_event_loop()
    if is_closed:
        home.close()
    doorman = Doorman()
    async with stock(with_auth(Inbox(), doorman, loop=home)) as port, clear_talk(port) as client:
        assert await client.say(f"AUTH PLAIN {plain()}") == LATER
    home.close()
    assert doorman.attempts == []


async def test_a_loop_that_closes_at_the_wrong_moment_judges_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    home = asyncio.new_event_loop()
    home.close()
    monkeypatch.setattr(home, "is_running", lambda: True)
    async with stock(with_auth(Inbox(), Doorman(), loop=home)) as port, clear_talk(port) as client:
        assert await client.say(f"AUTH PLAIN {plain()}") == LATER


def test_without_a_running_loop_the_server_s_own_is_meant() -> None:
    doorman = Doorman()
    handler = with_auth(Inbox(), doorman)

    async def talk() -> None:
        async with stock(handler) as port, clear_talk(port) as client:
            assert (await client.say(f"AUTH PLAIN {plain()}")).startswith("235 ")

    asyncio.run(talk())
    assert len(doorman.attempts) == 1


async def test_the_exchange_is_the_same_as_at_our_own_listener() -> None:
    doorman = Doorman()
    async with stock(with_auth(Inbox(), doorman, help_line="问服务台")) as port, clear_talk(port) as client:
        assert await client.say("AUTH PLAIN") == "334 "
        assert (await client.say("*")).startswith("501 5.5.2 ")
        assert await client.say("AUTH LOGIN") == "334 " + b64("Username:")
        assert (await client.say("!!!")).startswith("501 5.5.2 ")
        assert await client.say(f"AUTH LOGIN {b64(ALICE)}") == "334 " + b64("Password:")
        assert await client.say(b64("wrong")) == "535 5.7.8 Authentication failed. 问服务台"
        assert await client.say("AUTH PLAIN") == "334 "
        assert (await client.say("x" * 5000)).startswith("500 5.5.6 ")
        assert (await client.say(f"AUTH PLAIN {b64('no')}")).startswith("501 5.5.2 ")
        assert (await client.say("AUTH PLAIN =")).startswith("501 5.5.2 ")
        assert (await client.say(f"MAIL FROM:<{ALICE}>")).startswith("250 ")
        assert (await client.say(f"AUTH PLAIN {plain()}")).startswith("503 5.5.1 ")
        await client.say("RSET")
        assert await client.say(f"AUTH PLAIN {plain()}") == "235 2.7.0 Authentication successful"
        assert (await client.say(f"AUTH PLAIN {plain()}")).startswith("503 ")
    assert len(doorman.attempts) == 2


async def test_a_client_that_does_not_answer_or_does_not_end_is_cut() -> None:
    async with stock(with_auth(Inbox(), Doorman(), time_limit_s=0.05)) as port, clear_talk(port) as client:
        assert await client.say("AUTH PLAIN") == "334 "
        assert (await client.rest()).startswith(b"421 4.4.2 ")
    async with stock(with_auth(Inbox(), Doorman())) as port, clear_talk(port) as client:
        assert await client.say("AUTH PLAIN") == "334 "
        client.send(b"x" * 200_000)
        assert (await client.rest()) in {b"500 5.5.6 Line too long\r\n", b""}


async def test_nothing_secret_and_nothing_deprecated_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    mail_log = logging.getLogger("mail.log")
    level = mail_log.level
    mail_log.setLevel(logging.DEBUG)
    try:
        async with stock(with_auth(Inbox(), Doorman())) as port, clear_talk(port) as client:
            for secret in (plain(password="hunter2"), "aHVudGVyMg", b64("\0hunter2")):
                await client.say(f"AUTH PLAIN {secret}")
                assert await client.say("AUTH PLAIN") == "334 "
                await client.say(secret)
            await client.say(f"AUTH PLAIN {plain()}")
    finally:
        mail_log.setLevel(level)
    assert "AUTH" in caplog.text
    assert "deprecated" not in caplog.text
    for secret in (plain(password="hunter2"), "aHVudGVyMg", b64("\0hunter2"), "hunter2", plain()):
        assert secret not in caplog.text


async def test_the_client_that_a_proxy_named_is_the_peer() -> None:
    class Behind(Inbox):
        async def handle_PROXY(self, *_: object) -> bool:
            return True

    doorman = Doorman()
    async with (
        stock(with_auth(Behind(), doorman), proxy_protocol_timeout=5) as port,
        talking(port, tls=False) as client,
    ):
        client.send(b"PROXY TCP4 192.0.2.77 127.0.0.1 1024 25\r\n")
        await client.greeting()
        await client.say(f"AUTH PLAIN {plain()}")
    assert doorman.attempts[0].peer == "192.0.2.77"


def test_the_handler_stays_itself() -> None:
    inbox = Inbox()
    assert with_auth(inbox, Doorman()) is inbox


def test_names_are_imported_when_they_are_used() -> None:
    code = (
        "import sys, mailauth.smtp as room; assert 'aiosmtpd' not in sys.modules;"
        "room.with_auth; assert 'aiosmtpd' in sys.modules; assert 'mailauth.smtp.server' not in sys.modules;"
        "[getattr(room, name) for name in room.__all__]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError):
        mailauth.smtp.nothing  # noqa: B018
