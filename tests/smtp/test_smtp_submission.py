"""Who may send what to whom, and what 250 promises."""

from __future__ import annotations

import asyncio
import email
import smtplib
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from fakes_smtp import ALICE, BOB, PASSWORD, Talker, site, talking

from mailauth.mailbox.delivery import DeliveryFailed
from mailauth.smtp.house import Limits
from mailauth.smtp.relay import Refused, Unavailable
from servers import client_tls

OWN = f"MAIL FROM:<{ALICE}>"


async def send(client: Talker, content: bytes, *recipients: str, sender: str = ALICE) -> str:
    """One transaction; the reply to its message."""
    assert (await client.say(f"MAIL FROM:<{sender}>")).startswith("250 2.1.0 ")
    for recipient in recipients or (BOB,):
        assert (await client.say(f"RCPT TO:<{recipient}>")).startswith("250 2.1.5 ")
    assert (await client.say("DATA")).startswith("354 ")
    client.send(content)
    return await client.say(".")


class Beyond:
    """A Relay that notes what it is asked to send. fault: what it raises instead."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.sent: list[tuple[str, tuple[str, ...], bytes, bool]] = []
        self._fault = fault

    async def send(self, sender: str, recipients: Any, content: bytes, *, smtp_utf8: bool) -> None:
        if self._fault is not None:
            raise self._fault
        self.sent.append((sender, tuple(recipients), content, smtp_utf8))


async def test_a_message_by_smtplib_arrives_with_its_trace() -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = ALICE, BOB, "Grüße"
    message.set_content("Hallo\n.\n..\nTschüß\n")

    def by_smtplib(port: int) -> None:
        with smtplib.SMTP_SSL("localhost", port, local_hostname="laptop", timeout=5, context=client_tls()) as client:
            client.login(ALICE, PASSWORD)
            assert client.send_message(message) == {}

    async with site() as here:
        await asyncio.to_thread(by_smtplib, here.port)
        ((login, content, sender),) = here.postbox.delivered
    assert (login, sender) == (BOB, ALICE)
    got = email.message_from_bytes(content, policy=email.policy.SMTP)
    assert got["Subject"] == "Grüße"
    assert got.get_content().replace("\r\n", "\n") == "Hallo\n.\n..\nTschüß\n"
    assert "from laptop ([127.0.0.1])" in got["Received"]
    assert "by mail.example.test with ESMTPSA id " in got["Received"]
    assert parsedate_to_datetime(got["Date"]).tzinfo is not None
    assert got["Message-ID"].endswith("@mail.example.test>")


async def test_smtplib_may_send_bytes_with_bare_line_feeds() -> None:
    def by_smtplib(port: int) -> None:
        with smtplib.SMTP_SSL("localhost", port, timeout=5, context=client_tls()) as client:
            client.login(ALICE, PASSWORD)
            client.sendmail(ALICE, [BOB], b"Subject: x\nMessage-ID: <1@x>\n\nbody\n.\n")

    async with site() as here:
        await asyncio.to_thread(by_smtplib, here.port)
        ((_, content, _),) = here.postbox.delivered
    assert content.endswith(b"Subject: x\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n.\r\n\r\n")


async def test_the_sender_is_one_s_own_address_or_alias() -> None:
    async with site() as here, talking(here.port) as client:
        await client.login()
        for stranger in (BOB, "nobody@example.test", "alice@elsewhere.test"):
            reply = await client.say(f"MAIL FROM:<{stranger}>")
            assert reply == "553 5.7.1 The sender address is not one of this account's"
        assert await client.say("MAIL FROM:<>") == "550 5.7.1 A message that is submitted has a sender"
        for own in (ALICE, "ALI@example.test"):
            assert await client.say(f"MAIL FROM:<{own}>") == "250 2.1.0 Sender accepted"
            assert (await client.say(OWN)).startswith("503 5.5.1 ")
            await client.say("RSET")


async def test_any_sender_where_the_site_wants_it_so() -> None:
    async with site(require_own_sender=False) as here, talking(here.port) as client:
        await client.login()
        assert (await client.say("MAIL FROM:<boss@elsewhere.test>")).startswith("250 ")
        assert (await client.say("RSET")).startswith("250 ")
        assert (await client.say("MAIL FROM:<>")).startswith("550 5.7.1 ")


@pytest.mark.parametrize(
    "parameters",
    [
        " SIZE=100",
        " BODY=8BITMIME",
        " BODY=7BIT SIZE=1",
        " SMTPUTF8",
        " AUTH=<>",
        " AUTH=alice+40example.test SIZE=3",
        " SIZE=3 auth=<> BODY=8BITMIME",
        " SIZE=3 AUTH=" + "x" * 500,
    ],
)
async def test_mail_takes_the_parameters_that_ehlo_offers(parameters: str) -> None:
    async with site() as here, talking(here.port) as client:
        await client.login()
        assert (await client.say(OWN + parameters)).startswith("250 2.1.0 ")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("MAIL", "501 5.5.4"),
        ("MAIL FROM", "501 5.5.4"),
        ("MAIL FROM:", "553 5.1.3"),
        ("MAIL FROM:alice@example.test", "553 5.1.3"),
        ("MAIL FROM:<alice@example.test", "553 5.1.3"),
        ("MAIL FROM:<alice>", "553 5.1.3"),
        ("MAIL FROM:<@>", "553 5.1.3"),
        ("MAIL FROM:<a@b@c>", "553 5.1.3"),
        ("MAIL FROM:<a b@c>", "553 5.1.3"),
        ("MAIL FROM:<alice@example.test>SIZE=3", "553 5.1.3"),
        ("MAIL FROM:<alice@example.test\x01>", "553 5.1.3"),
        ("MAIL FROM:<alice@example.test> SIZE=", "501 5.5.4"),
        ("MAIL FROM:<alice@example.test> SIZE=x", "501 5.5.4"),
        ("MAIL FROM:<alice@example.test> SIZE=99999999999", "552 5.3.4"),
        ("MAIL FROM:<alice@example.test> BODY=BINARYMIME", "501 5.5.4"),
        ("MAIL FROM:<alice@example.test> SMTPUTF8=yes", "501 5.5.4"),
        ("MAIL FROM:<alice@example.test> RET=FULL", "555 5.5.4"),
        ("MAIL FROM:<用户@example.test>", "553 5.6.7"),
        ("RCPT TO:<bob@example.test>", "503 5.5.1"),
        ("DATA", "503 5.5.1"),
    ],
)
async def test_what_mail_does_not_take(command: str, code: str) -> None:
    async with site() as here, talking(here.port) as client:
        await client.login()
        assert (await client.say(command)).startswith(code + " ")
        assert (await client.say(OWN)).startswith("250 ")


@pytest.mark.parametrize("command", ["mail from:", "MAIL FROM: ", "Mail From:"])
async def test_spelling_of_mail_is_as_usual(command: str) -> None:
    async with site() as here, talking(here.port) as client:
        await client.login()
        assert (await client.say(f"{command}<@relay.test,@b:{ALICE}>")).startswith("250 ")
        await client.say("RSET")
        assert (await client.say(f"{command}<@relay.test:{ALICE}>")).startswith("250 ")


@pytest.mark.parametrize(
    ("recipient", "code"),
    [
        (BOB, "250 2.1.5"),
        ("ali@example.test", "250 2.1.5"),
        ("nobody@example.test", "550 5.1.1"),
        ("nobody@EXAMPLE.TEST", "550 5.1.1"),
        ("bob@elsewhere.test", "550 5.7.1"),
        ('"quoted name"@elsewhere.test', "550 5.7.1"),
        ("", "553 5.1.3"),
        ("bob", "553 5.1.3"),
        ("用户@example.test", "553 5.6.7"),
    ],
)
async def test_recipients(recipient: str, code: str) -> None:
    async with site() as here, talking(here.port) as client:
        await client.login()
        await client.say(OWN)
        assert (await client.say(f"RCPT TO:<{recipient}>")).startswith(code + " ")
        assert (await client.say("DATA")).startswith("354 " if code.startswith("2") else "503 ")


async def test_recipients_have_no_parameters() -> None:
    async with site() as here, talking(here.port) as client:
        await client.login()
        await client.say(OWN)
        assert (await client.say(f"RCPT TO:<{BOB}> NOTIFY=NEVER")).startswith("555 5.5.4 ")
        assert (await client.say("RCPT")).startswith("501 5.5.4 ")


async def test_an_address_that_is_not_ascii_needs_smtputf8() -> None:
    async with site() as here, talking(here.port) as client:
        await client.login()
        assert (await client.say(OWN + " SMTPUTF8")).startswith("250 ")
        assert (await client.say("RCPT TO:<用户@example.test>")).startswith("250 ")
        await client.say("DATA")
        assert (await client.say(".")).startswith("250 ")
        ((login, content, _),) = here.postbox.delivered
    assert login == "用户@example.test"
    assert b"with UTF8SMTPSA id" in content


async def test_the_store_s_faults_are_temporary() -> None:
    async with site() as here, talking(here.port) as client:
        await client.login()
        here.directory.is_down = True
        assert (await client.say(OWN)).startswith("451 4.3.0 ")
        here.directory.is_down = False
        await client.say(OWN)
        here.directory.is_down = True
        assert (await client.say(f"RCPT TO:<{BOB}>")).startswith("451 4.3.0 ")
        assert (await client.say("RCPT TO:<a@elsewhere.test>")).startswith("451 4.3.0 ")
        here.directory.is_down = False
        assert (await client.say(f"RCPT TO:<{BOB}>")).startswith("250 ")


async def test_recipients_are_counted() -> None:
    async with site(max_recipients_count=2) as here, talking(here.port) as client:
        await client.login()
        await client.say(OWN)
        codes = [(await client.say(f"RCPT TO:<{BOB}>"))[:9] for _ in range(3)]
        assert codes == ["250 2.1.5", "250 2.1.5", "452 4.5.3"]


async def test_each_mailbox_gets_a_message_once() -> None:
    async with site() as here, talking(here.port) as client:
        await client.login()
        reply = await send(client, b"Subject: x\r\n\r\n", ALICE, "ali@example.test", BOB, BOB)
        assert reply.startswith("250 2.0.0 Accepted as ")
        assert [login for login, _, _ in here.postbox.delivered] == [ALICE, BOB]
        assert len({content for _, content, _ in here.postbox.delivered}) == 1


async def test_the_next_transaction_begins_from_nothing() -> None:
    async with site() as here, talking(here.port) as client:
        await client.login()
        await send(client, b"one\r\n", ALICE)
        assert (await client.say(f"RCPT TO:<{BOB}>")).startswith("503 5.5.1 ")
        await client.say(OWN)
        await client.say(f"RCPT TO:<{ALICE}>")
        await client.say("RSET")
        await send(client, b"two\r\n", BOB)
        await client.say(OWN)
        await client.say(f"RCPT TO:<{ALICE}>")
        await client.say("EHLO again")
        await send(client, b"three\r\n", BOB)
        assert [login for login, _, _ in here.postbox.delivered] == [ALICE, BOB, BOB]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (DeliveryFailed("no space left"), "The message could not be stored, try again later: no space left"),
        (OSError("disk"), "Internal error, try again later"),
        (ConnectionResetError("store"), "Internal error, try again later"),
    ],
)
async def test_no_250_unless_everybody_has_it(fault: Exception, text: str) -> None:
    async with site() as here, talking(here.port) as client:
        await client.login()
        here.postbox.faults[BOB] = fault
        assert await send(client, b"x\r\n", ALICE, BOB) == f"451 4.3.0 {text}"
        assert [login for login, _, _ in here.postbox.delivered] == [ALICE]
        here.postbox.faults.clear()
        assert (await send(client, b"x\r\n", ALICE, BOB)).startswith("250 ")


async def test_without_a_relay_nobody_elsewhere_is_reached_and_with_one_all_are() -> None:
    beyond = Beyond()
    async with site(relay=beyond) as here, talking(here.port) as client:
        await client.login()
        reply = await send(client, b"Subject: out\r\n\r\n", "a@elsewhere.test", BOB, "b@elsewhere.test")
        assert reply.startswith("250 ")
        ((login, content, _),) = here.postbox.delivered
        assert login == BOB
        assert beyond.sent == [(ALICE, ("a@elsewhere.test", "b@elsewhere.test"), content, False)]
        assert (await client.say(OWN)).startswith("250 ")
        assert (await client.say("RCPT TO:<nobody@example.test>")).startswith("550 5.1.1 ")


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        (Refused(b"550 5.1.1 No such user"), "550 5.1.1 No such user"),
        (Refused(b"554 spam"), "554 5.0.0 spam"),
        (Unavailable(), "451 4.4.1 The next mail server cannot take the message now, try again later"),
    ],
)
async def test_what_the_relay_does_not_take_nobody_gets(fault: Exception, reply: str) -> None:
    async with site(relay=Beyond(fault)) as here, talking(here.port) as client:
        await client.login()
        assert await send(client, b"x\r\n", BOB, "a@elsewhere.test") == reply
        assert here.postbox.delivered == []


async def _into_data(client: Talker) -> None:
    await client.login()
    await client.say(OWN)
    await client.say(f"RCPT TO:<{BOB}>")
    await client.say("DATA")


SMUGGLED = b"MAIL FROM:<ceo@example.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\n"


@pytest.mark.parametrize(
    "false_end",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\n.\r",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\n. \r\n",
    ],
)
async def test_only_crlf_dot_crlf_ends_a_message(false_end: bytes) -> None:
    async with site() as here, talking(here.port) as client:
        await _into_data(client)
        client.send(b"Subject: real\r\n\r\nbody" + false_end + SMUGGLED)
        assert (await client.say(".")).startswith("250 ")
        assert await client.say("NOOP") == "250 2.0.0 OK"
        ((login, content, _),) = here.postbox.delivered
        assert login == BOB
        assert b"Subject: smuggled" in content
        assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")


@pytest.mark.parametrize(
    "content", [b"", b"..\r\n", b"\r\n", b"a\r\n..\r\n...a\r\n", b"x" * 100_000 + b"\r\n", b".x\r\n"]
)
@pytest.mark.parametrize("piece_bytes", [1, 3, 4096, 10**6])
async def test_a_message_may_be_cut_anywhere(content: bytes, piece_bytes: int) -> None:
    if len(content) > 1000 and piece_bytes < 1000:
        content = content[-1000:]
    async with site() as here, talking(here.port) as client:
        await _into_data(client)
        raw = content + b".\r\nNOOP\r\n"
        for start in range(0, len(raw), piece_bytes):
            client.send(raw[start : start + piece_bytes])
            if piece_bytes < 10:
                await asyncio.sleep(0)
        assert (await client.reply()).startswith("250 2.0.0 Accepted")
        assert await client.reply() == "250 2.0.0 OK"
        ((_, delivered, _),) = here.postbox.delivered
        body = delivered.partition(b"\r\n\r\n")[2] if b"\r\n\r\n" in delivered else b""
        assert (b"\r\n" + body).endswith((b"\r\n" + content).replace(b"\r\n.", b"\r\n")[2:])


@pytest.mark.parametrize(
    ("size_bytes", "most_bytes"),
    [
        (999, 1000),
        (1000, 1000),
        (1001, 1000),
        (300_000, 1000),
        (300_000, 300_000),
        (300_001, 300_000),
        (900_000, 300_000),
    ],
)
async def test_a_message_too_big_is_read_and_refused(size_bytes: int, most_bytes: int) -> None:
    async with site(limits=Limits(max_message_bytes=most_bytes)) as here, talking(here.port) as client:
        await _into_data(client)
        client.send(b"x" * (size_bytes - 2) + b"\r\n.\r\nNOOP\r\n")
        reply = await client.reply()
        assert await client.reply() == "250 2.0.0 OK"
        if size_bytes <= most_bytes:
            assert reply.startswith("250 2.0.0 ")
            assert len(here.postbox.delivered) == 1
        else:
            assert reply == "552 5.3.4 Message too big"
            assert here.postbox.delivered == []
        assert (await client.say(OWN)).startswith("250 ")


async def test_a_client_that_leaves_within_its_message_has_sent_none(caplog: pytest.LogCaptureFixture) -> None:
    async with site(tls="off") as here:
        for goodbye in ("write_eof", "close"):
            async with talking(here.port, tls=False) as client:
                await _into_data(client)
                client.send(b"Subject: half\r\n\r\n")
                getattr(client.writer, goodbye)()
                await here.everybody_gone()
        assert here.postbox.delivered == []
    assert caplog.records == []
