"""Our submission server in front of another: each transaction goes on, and nothing else does."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import smtplib
import socket
from email.message import EmailMessage

import pytest
from fakes_behind import CLOSE, OFFER, ServerBehind, WayThere, behind_us
from fakes_smtp import ALICE, BOB, DEADLINE_S, PASSWORD, Site, Talker, plain, site, talking

from doubles import Doorman, MemoryPassdb
from mailauth.attempt import Attempt, Credential, Service
from mailauth.dialogue import Ending
from mailauth.ends import End, Ends
from mailauth.interfaces import Change
from mailauth.serving.backing import Opened
from mailauth.serving.sessions import LiveSessions
from mailauth.smtp import behind as connection
from mailauth.smtp.front import reached, shared
from mailauth.smtp.house import Limits
from mailauth.verdict import Accept, Outcome, Principal, Stay
from servers import client_tls
from wire import eventually

LATER = "454 4.7.0 Temporary authentication failure, try again later"
IN = "235 2.7.0 Authentication successful"
GONE = "451 4.4.1 The next mail server cannot take the message now, try again later"
ENDED = "421 4.7.0 This session was ended: its password or its access was withdrawn"
NOT_YOURS = "553 5.7.1 The sender address is not one of this account's"
QUEUED = "250 2.0.0 Ok: queued as 4XYZ"
OWN = f"MAIL FROM:<{ALICE}>"
TO_BOB = "RCPT TO:<bob@elsewhere.test>"


async def begin(client: Talker, *recipients: str) -> None:
    """A transaction, up to its data."""
    assert await client.say(OWN) == "250 2.1.0 Ok"
    for recipient in recipients or ("bob@elsewhere.test",):
        assert await client.say(f"RCPT TO:<{recipient}>") == "250 2.1.5 Ok"
    assert await client.say("DATA") == "354 End data with <CR><LF>.<CR><LF>"


# ---- a transaction


async def test_a_transaction_goes_on_command_by_command(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        await begin(client, "bob@elsewhere.test", "carol@elsewhere.test")
        assert await client.say("Subject: x\r\n\r\nbody\r\n.") == QUEUED
        assert await client.say("QUIT") == "221 2.0.0 Bye"
        await eventually(lambda: len(server.lines) == 5)
    recipients = ["RCPT TO:<bob@elsewhere.test>", "RCPT TO:<carol@elsewhere.test>"]
    assert server.heard == [[f"MAIL FROM:<{ALICE}>", *recipients, "DATA", "QUIT"]]
    assert server.messages == [b"Subject: x\r\n\r\nbody\r\n.\r\n"]
    assert "submitted account=1 recipients=2 bytes=20 queue=4XYZ" in caplog.text


async def test_smtplib_sends_and_the_message_arrives_as_it_was_written() -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = ALICE, "bob@elsewhere.test", "Grüße"
    message.set_content("Hallo\n.\n..\nTschüß\n", cte="8bit")

    def by_smtplib(port: int) -> None:
        with smtplib.SMTP_SSL(
            "localhost", port, local_hostname="laptop", timeout=DEADLINE_S, context=client_tls()
        ) as client:
            client.login(ALICE, PASSWORD)
            assert client.send_message(message) == {}

    async with behind_us() as (server, way), site(backends=way) as here:
        await asyncio.to_thread(by_smtplib, here.port)
    (content,) = server.messages
    assert b"\r\n..\r\n...\r\n" in content
    assert content.endswith(b"\r\n.\r\n")
    assert not content.startswith(b"Received")  # who takes the message stamps it
    assert server.lines[0].startswith(f"MAIL FROM:<{ALICE}> ")


async def test_who_has_logged_in_where_from_is_told_without_the_password() -> None:
    async with behind_us() as (_, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        whence = End.of(client.writer.get_extra_info("sockname"))
        ((attempt, principal),) = way.asked
    credential = attempt.credential
    assert (credential.authcid, credential.password) == (ALICE, "")
    assert attempt == Attempt(credential, Service.SMTP, "127.0.0.1", True, "client.example.test")
    assert principal == Principal(1, ALICE, 7)
    assert way.told == [Ends(whence, End("127.0.0.1", here.port))]


async def test_where_a_client_is_is_told_anew_with_each_connection() -> None:
    ends = Ends(End("2001:db8::7", 4001), End("2001:db8::1", 587))
    async with behind_us() as (server, way), site(backends=way, proxied=ends) as here, talking(here.port) as client:
        await client.login()
        server.hang_up()
        await eventually(lambda: here.made[0]._behind._transport is None)
        await begin(client)
        assert way.told == [ends, ends]
        assert {attempt.peer for attempt, _ in way.asked} == {"2001:db8::7"}


async def test_what_a_client_says_before_login_goes_nowhere() -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.greeting()
        assert await client.say("NOOP") == await client.say("RSET") == "250 2.0.0 OK"
        for line in (OWN, TO_BOB, "DATA", "VRFY bob"):
            assert (await client.say(line)).startswith("530 5.7.0 ")
        assert (await client.say(f"AUTH PLAIN {plain(password='wrong')}")).startswith("535 ")
    assert (way.asked, server.heard) == ([], [])


@pytest.mark.parametrize(
    ("sender", "answer"),
    [
        (BOB, NOT_YOURS),
        ("carol@elsewhere.test", NOT_YOURS),
        ("", "550 5.7.1 A message that is submitted has a sender"),
        ("用户@example.test", "553 5.6.7 This address needs SMTPUTF8"),
    ],
)
async def test_the_sender_is_judged_here_before_anything_goes_on(sender: str, answer: str) -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        assert await client.say(f"MAIL FROM:<{sender}>") == answer
        here.directory.is_down = True
        assert (await client.say(OWN)).startswith("451 4.3.0 ")
        here.directory.is_down = False
        assert await client.say("MAIL FROM:<ALI@example.test>") == "250 2.1.0 Ok"
        assert server.lines == ["MAIL FROM:<ALI@example.test>"]


@pytest.mark.parametrize("recipient", ["", "用户@example.test", '"\x01"@example.test', "nobody", "a@b@c"])
async def test_a_recipient_that_is_no_address_goes_no_further(recipient: str) -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        await client.say(OWN)
        assert (await client.say(f"RCPT TO:<{recipient}>")).startswith("553 ")
        assert server.lines == [OWN]


async def test_any_sender_goes_on_where_it_is_not_to_be_one_s_own() -> None:
    async with behind_us() as (server, way), site(backends=way, require_own_sender=False) as here:
        async with talking(here.port) as client:
            await client.login()
            assert await client.say("MAIL FROM:<carol@elsewhere.test>") == "250 2.1.0 Ok"
        assert server.lines[0] == "MAIL FROM:<carol@elsewhere.test>"


# ---- answers


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"MAIL": "552 5.3.4 too big"}, ["552 5.3.4 too big"]),
        ({"MAIL": "451 wait"}, ["451 4.0.0 wait"]),
        ({"RCPT": "550 5.1.1 nobody"}, ["250 2.1.0 Ok", "550 5.1.1 nobody"]),
        ({"RCPT": "550-one\r\n550 two"}, ["250 2.1.0 Ok", "550-5.0.0 one\n550 5.0.0 two"]),
        ({"RCPT": "450 4.2.0 grey"}, ["250 2.1.0 Ok", "450 4.2.0 grey"]),
        ({"DATA": "554 5.5.1 no"}, ["250 2.1.0 Ok", "250 2.1.5 Ok", "554 5.5.1 no"]),
        ({"end": "554 5.6.0 bad"}, ["250 2.1.0 Ok", "250 2.1.5 Ok", "354 End", "554 5.6.0 bad"]),
        ({"end": "452 4.3.1 full"}, ["250 2.1.0 Ok", "250 2.1.5 Ok", "354 End", "452 4.3.1 full"]),
        ({"end": "250-a\r\n250 b"}, ["250 2.1.0 Ok", "250 2.1.5 Ok", "354 End", "250-2.0.0 a\n250 2.0.0 b"]),
    ],
)
async def test_the_other_server_s_answer_is_the_client_s(answers: dict[str, str], said: list[str]) -> None:
    async with behind_us(**answers) as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        for line, answer in zip([OWN, TO_BOB, "DATA", "body\r\n."], said, strict=False):
            assert (await client.say(line)).startswith(answer)
        server.answers.clear()
        assert await client.say("RSET") == QUEUED
        await begin(client)
        assert await client.say("again\r\n.") == QUEUED
    assert len(server.heard) == 1


# What is no answer about the message: to each of these the client may come again, and none is a refusal.
@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (command, answer)
        for command in ("MAIL", "RCPT", "DATA", "end")
        for answer in (
            CLOSE,
            "421 4.3.2 going down",
            "530 5.7.0 Authentication required",
            "535 5.7.8 no",
            "503 5.5.1 bad sequence",
            "250 what" if command == "DATA" else "354 go",
            "334 what",
            "nonsense",
            "250-ok\r\n550 no",
            "250 ok\r\n250 and more",
        )
    ],
)
async def test_a_server_that_goes_away_or_speaks_of_itself_is_no_refusal(command: str, answer: str | None) -> None:
    async with behind_us(**{command: answer}) as (server, way), site(backends=way) as here:
        async with talking(here.port) as client:
            await client.login()
            for line in (OWN, TO_BOB, "DATA", "body\r\n."):
                said = await client.say(line)
                if not said.startswith(("250 2.1", "354 ")):
                    break
            unasked = answer is not None and answer.endswith("and more")
            assert said in ({GONE, "250 2.0.0 ok"} if unasked else {GONE})
            if line == TO_BOB:  # the rest of the transaction, which a client may have sent already
                assert await client.say(TO_BOB) == await client.say("DATA") == GONE
            server.answers.clear()
            await client.say("RSET")
            await begin(client)
            assert await client.say("again\r\n.") == QUEUED
        assert server.messages[-1] == b"again\r\n.\r\n"


async def test_a_lost_transaction_may_be_begun_anew_without_rset() -> None:
    async with behind_us(RCPT=[CLOSE]) as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        assert await client.say(OWN) == "250 2.1.0 Ok"
        assert await client.say(TO_BOB) == GONE
        await begin(client)
        assert await client.say("again\r\n.") == QUEUED
    assert server.heard[1] == [f"MAIL FROM:<{ALICE}>", TO_BOB, "DATA"] or server.heard[1][-1] == "QUIT"


async def test_nothing_said_by_the_server_is_logged_beyond_its_code(caplog: pytest.LogCaptureFixture) -> None:
    async with behind_us(RCPT="421 hunter2") as (_, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        await client.say(OWN)
        assert await client.say(TO_BOB) == GONE
    assert f"{ALICE} is told to try later: it said 421" in caplog.text
    assert "hunter2" not in caplog.text


# ---- what is never forwarded


@pytest.mark.parametrize(
    "line",
    [
        "XCLIENT LOGIN=bob@example.test",
        "XCLIENT ADDR=192.0.2.1 LOGIN=bob@example.test",
        "XFORWARD ADDR=192.0.2.1",
        "BDAT 5 LAST",
        "ETRN example.test",
        "TURN",
        "SEND FROM:<bob@example.test>",
        "SAML FROM:<bob@example.test>",
        "BURL imap://x LAST",
    ],
)
async def test_no_other_command_goes_on_in_any_state(line: str) -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        for before in (None, OWN, TO_BOB):
            if before is not None:
                assert (await client.say(before)).startswith("250 ")
            assert await client.say(line) == "500 5.5.1 Command not recognised"
    assert [heard for heard in server.lines if heard != "QUIT"] == [OWN, TO_BOB]


async def test_ours_are_answered_by_us() -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        assert (await client.say("EHLO again")).startswith("250-mail.example.test\n")
        assert (await client.say("HELP")).startswith("214 ")
        assert (await client.say("EXPN staff")).startswith("502 ")
        assert (await client.say("STARTTLS")).startswith("503 ")
        assert (await client.say(f"AUTH PLAIN {plain()}")).startswith("503 ")
        assert server.lines == []


INJECTED = "XCLIENT LOGIN=bob@example.test"


@pytest.mark.parametrize(
    "raw",
    [
        f"{OWN}\r\n{INJECTED}\r\n{TO_BOB}\r\nDATA\r\n",
        f"{OWN}\n{INJECTED}\r\n{OWN}\r\n{TO_BOB}\r\nDATA\r\n",
        f"{OWN}\r{INJECTED}\r\n{OWN}\r\n{TO_BOB}\r\nDATA\r\n",
        f"{OWN}\0\r\n{OWN}\r\n{TO_BOB}\r\nDATA\r\n",
        f"{OWN} SIZE=1\n{INJECTED}\r\n{OWN}\r\n{TO_BOB}\r\nDATA\r\n",
        f'{OWN}\r\nRCPT TO:<"a\n{INJECTED}\n"@example.test>\r\n{TO_BOB}\r\nDATA\r\n',
        f"{OWN}\r\n{TO_BOB}\n{INJECTED}\r\n{TO_BOB}\r\nDATA\r\n",
        f"VRFY a\n{INJECTED}\r\nNOOP a\n{INJECTED}\r\n{OWN}\r\n{TO_BOB}\r\nDATA\r\n",
        f"NOOP {INJECTED}\r\n{OWN}\r\nRSET {INJECTED}\r\n{TO_BOB}\r\nDATA\r\n",
    ],
)
@pytest.mark.parametrize("end", ["\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r\n.\r", "\r\n\0.\r\n"])
async def test_nobody_becomes_somebody_else_by_what_is_sent(raw: str, end: str) -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        client.send(f"{raw}body{end}{INJECTED}\r\nMAIL FROM:<{BOB}>\r\n.\r\n{INJECTED}\r\nQUIT\r\n".encode())
        await client.rest()
        await eventually(lambda: bool(server.lines) and server.lines[-1] == "QUIT")
    assert not [line for line in server.lines if not line.startswith((OWN, TO_BOB, "DATA", "NOOP", "RSET", "QUIT"))]
    assert not [line for line in server.lines if "XCLIENT" in line]
    (message,) = server.messages  # all of it is one message, whose only end is the last
    assert message.count(b"\r\n.\r\n") == 1
    assert message.count(b"\n") == message.count(b"\r") == message.count(b"\r\n")


ALLOWED = re.compile(
    r"MAIL FROM:<alice@example\.test>(?: (?:SIZE=[0-9]{1,20}|BODY=(?:7BIT|8BITMIME)|SMTPUTF8))*"
    r'|RCPT TO:<(?:"[^\r\n]*"|[^\s<>"@:]+)@[^\s<>"@]+>|DATA|RSET|NOOP|VRFY [ -~]+|QUIT'
)
LINES = [*3 * [OWN, TO_BOB, "DATA"], "RSET", "NOOP", "VRFY x", "MAIL FROM:<bob@example.test>", "EHLO x", INJECTED]
SCRAPS = [
    *(f"{line}\r\n" for line in LINES),
    *("RCPT TO:<x", ">", " SIZE=9", " BODY=8BITMIME", " SMTPUTF8", "@example.test", f"\n{INJECTED}\r\n"),
    *("\r\n", "\n", "\r", ".", "\r\n.\r\n", "\n.\n", "\0", '"', "\\", "\x0b", "\x85", "用", " "),
]


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_a_client_says_only_a_few_commands_arrive(seed: int) -> None:
    chance = random.Random(seed)
    async with behind_us() as (server, way), site(backends=way, limits=Limits(max_junk=10_000)) as here:
        async with talking(here.port) as client:
            await client.login()
            said = "".join(chance.choices(SCRAPS, k=400))
            client.send(f"{said}\r\n.\r\nQUIT\r\n.\r\nQUIT\r\n".encode())
            await client.rest()
        await eventually(lambda: all(writer.is_closing() for writer in server.writers))
    assert [line for line in server.lines if not ALLOWED.fullmatch(line)] == []
    for message in server.messages:
        assert (b"\r\n" + message).count(b"\r\n.\r\n") == 1
        assert message.count(b"\n") == message.count(b"\r") == message.count(b"\r\n")


async def test_noop_vrfy_and_rset_go_on_without_what_they_do_not_need() -> None:
    async with behind_us(VRFY="252 maybe") as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        assert await client.say("NOOP with words") == QUEUED
        assert await client.say("VRFY bob") == "252 2.0.0 maybe"
        for unfit in ("VRFY", "VRFY \x01", "VRFY 用户"):
            assert await client.say(unfit) == "252 2.5.0 Cannot verify; send and see"
        assert await client.say(OWN) == "250 2.1.0 Ok"
        assert await client.say("RSET") == QUEUED
        assert await client.say("RSET now") == "501 5.5.4 Syntax: RSET"
        assert (await client.say(TO_BOB)).startswith("503 ")
        server.hang_up()
        await eventually(lambda: here.made[0]._behind._transport is None)
        assert await client.say("NOOP") == await client.say("RSET") == "250 2.0.0 OK"
        assert await client.say("VRFY bob") == "252 2.5.0 Cannot verify; send and see"
    assert server.lines == ["NOOP", "VRFY bob", OWN, "RSET"]


@pytest.mark.parametrize("between", ["EHLO again", "RSET"])
async def test_a_transaction_given_up_is_forgotten_there_too(between: str) -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        await client.say(OWN)
        await client.say(TO_BOB)
        await client.say(between)
        await begin(client, "carol@elsewhere.test")
        assert await client.say("body\r\n.") == QUEUED
        assert server.lines == [OWN, TO_BOB, "RSET", OWN, "RCPT TO:<carol@elsewhere.test>", "DATA"]


async def test_a_server_that_does_not_forget_is_left() -> None:
    async with behind_us(RSET="502 no") as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        await client.say(OWN)
        assert await client.say("RSET") == "502 5.0.0 no"
        await begin(client)
        assert await client.say("body\r\n.") == QUEUED
    assert [lines[0] for lines in server.heard] == [OWN, OWN]


# ---- EHLO


@pytest.mark.parametrize(
    ("theirs", "offered"),
    [
        (OFFER, ["SIZE 1000000", "8BITMIME", "SMTPUTF8", "PIPELINING", "ENHANCEDSTATUSCODES"]),
        (("SIZE 99999999", "8bitmime"), ["SIZE 33554432", "8BITMIME"]),
        (("SIZE 0", "PIPELINING"), ["SIZE 33554432", "PIPELINING"]),
        (("SIZE",), ["SIZE 33554432"]),
        (("SIZE many", "XCLIENT LOGIN", "", " "), ["SIZE 33554432"]),
        ((), []),
        (None, []),
    ],
)
async def test_only_what_both_mean_is_offered(theirs: tuple[str, ...] | None, offered: list[str]) -> None:
    async with behind_us() as (_, way), site(backends=way) as here, talking(here.port) as client:
        way.offer = theirs
        answer = await client.greeting()
    assert [line[4:] for line in answer.split("\n")] == ["mail.example.test", *offered, "AUTH PLAIN LOGIN"]


def test_of_two_sizes_the_smaller_is_offered() -> None:
    assert shared(["SIZE 10", "8BITMIME"], ["SIZE 9"]) == ["SIZE 9"]
    assert shared(["SIZE 10"], ["SIZE 11"]) == ["SIZE 10"]


@pytest.mark.parametrize(
    ("offer", "parameter", "answer"),
    [
        (OFFER, "SIZE=1000", "250 2.1.0 Ok"),
        (OFFER, "BODY=8BITMIME SMTPUTF8 SIZE=1", "250 2.1.0 Ok"),
        (OFFER, "body=7bit", "250 2.1.0 Ok"),
        (OFFER, "SIZE=99999999", "552 5.3.4 Error: message size exceeds fixed maximum message size"),
        (OFFER, "RET=HDRS", "555 5.5.4 MAIL FROM parameters not recognized or not implemented"),
        (OFFER, "XCLIENT=bob", "555 5.5.4 MAIL FROM parameters not recognized or not implemented"),
        (OFFER, "SIZE=", "501 5.5.4 Syntax: MAIL FROM: <address> [SP <mail-parameters>]"),
        (OFFER, "SIZE=0000000000000000000000001", "555 5.5.4 This parameter was not offered"),
        ((), "SIZE=1", "555 5.5.4 This parameter was not offered"),
        ((), "BODY=8BITMIME", "555 5.5.4 This parameter was not offered"),
        ((), "SMTPUTF8", "501 5.5.4 Error: SMTPUTF8 disabled"),
    ],
)
async def test_parameters_go_on_that_were_offered(offer: tuple[str, ...], parameter: str, answer: str) -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        way.offer = offer
        await client.login()
        assert await client.say(f"{OWN} AUTH=<> {parameter}") == answer
        assert (await client.say(f"{TO_BOB} NOTIFY=NEVER"))[:3] in {"503", "555"}
        assert server.lines == ([f"{OWN} {parameter.upper()}"] if answer.startswith("250") else [])


async def test_addresses_beyond_ascii_go_on_in_utf8() -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        here.directory.owners[1] = "用户@example.test"
        await client.login()
        assert await client.say("MAIL FROM:<用户@example.test> SMTPUTF8") == "250 2.1.0 Ok"
        assert await client.say("RCPT TO:<ü@elsewhere.test>") == "250 2.1.5 Ok"
        assert server.lines == ["MAIL FROM:<用户@example.test> SMTPUTF8", "RCPT TO:<ü@elsewhere.test>"]


# ---- mail data


@pytest.mark.parametrize(
    "content",
    [b"", b"a\r\n", b"..\r\n", b"...\r\na\r\n", b"x" * 70_000 + b"\r\n", (b"..\r\n" + b"y" * 76 + b"\r\n") * 20_000],
)
async def test_mail_data_goes_on_unchanged_in_any_length(content: bytes) -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        await begin(client)
        client.send(content)
        assert await client.say(".") == QUEUED
        (message,) = server.messages
        assert message == content + b".\r\n"


async def test_a_message_too_big_is_taken_back_there_and_the_next_goes_through() -> None:
    async with behind_us() as (server, way), site(backends=way, limits=Limits(max_message_bytes=100_000)) as here:
        async with talking(here.port) as client:
            await client.login()
            await begin(client)
            client.send(b"x" * 70 + b"\r\n")
            client.send((b"y" * 98 + b"\r\n") * 5000)
            assert await client.say(".") == "552 5.3.4 Message too big"
            await begin(client)
            assert await client.say("small\r\n.") == QUEUED
            assert server.messages == [b"small\r\n.\r\n"]
        await eventually(lambda: len(server.cut_short) == 1)
        assert len(server.cut_short[0]) <= 100_000


async def test_a_message_is_not_kept_here_while_the_other_server_is_slow() -> None:
    """Who does not read makes the client wait: no memory of ours holds what is between them."""
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        await begin(client)
        await eventually(lambda: server.asked[-1] == "DATA" and bool(server.writers))
        server.writers[0].transport.pause_reading()  # type: ignore[attr-defined]
        client.send((b"x" * 98 + b"\r\n") * 200_000)
        here_now = here.made[0]
        await eventually(lambda: here_now._reader._paused)  # type: ignore[attr-defined]
        there = here_now._behind._transport
        kept_bytes = len(here_now._reader._buffer) + there.get_write_buffer_size()  # type: ignore[attr-defined]
        assert kept_bytes < 2_000_000
        server.writers[0].transport.resume_reading()  # type: ignore[attr-defined]
        assert await client.say(".") == QUEUED
        assert len(server.messages[0]) == 20_000_003


@pytest.mark.parametrize("how", ["silent", "hang up"])
async def test_a_server_that_takes_no_more_data_is_told_at_its_end(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        await begin(client)
        server.writers[0].transport.pause_reading()  # type: ignore[attr-defined]
        if how == "silent":
            monkeypatch.setattr(connection, "REPLY_S", 0.2)
        client.send((b"x" * 98 + b"\r\n") * 200_000)
        if how == "hang up":
            await eventually(lambda: here.made[0]._reader._paused)  # type: ignore[attr-defined]
            server.hang_up()
        assert await client.say(".") == GONE
        monkeypatch.undo()
        await begin(client)
        assert await client.say("again\r\n.") == QUEUED


async def test_only_what_the_other_server_has_taken_is_said_to_be_taken() -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        server.silent["end"] = asyncio.Event()
        await client.login()
        await begin(client)
        client.send(b"body\r\n.\r\n")
        await eventually(lambda: server.asked[-1] == "end")
        answer = asyncio.ensure_future(client.reply())
        await asyncio.sleep(0.05)
        assert not answer.done()
        server.silent["end"].set()
        assert await answer == QUEUED


async def test_a_server_killed_in_the_middle_of_data_is_told_at_its_end() -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        await begin(client)
        client.send(b"half\r\n")
        await eventually(lambda: server.asked[-1] == "DATA")
        server.hang_up()
        client.send(b"z" * 76 + b"\r\n")
        client.send((b"z" * 76 + b"\r\n") * 10_000)
        assert await client.say(".") == GONE
        await begin(client)
        assert await client.say("again\r\n.") == QUEUED
        assert server.messages == [b"again\r\n.\r\n"]


async def test_a_client_that_leaves_in_the_middle_of_data_leaves_no_message() -> None:
    async with behind_us() as (server, way), site(backends=way) as here:
        async with talking(here.port) as client:
            await client.login()
            await begin(client)
            client.send(b"half\r\n")
            await eventually(lambda: server.asked[-1] == "DATA")
        await eventually(lambda: bool(server.cut_short))
    assert server.messages == []


# ---- the other server's absence


async def test_a_login_whose_server_is_away_is_deferred_and_may_be_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sessions = LiveSessions(MemoryPassdb())
    async with behind_us() as (_, way), site(backends=way, sessions=sessions) as here, talking(here.port) as client:
        way.fault = "10.0.0.1:25 refuses connections"
        await client.greeting()
        for _ in range(7):  # no guess, and no junk
            assert await client.say(f"AUTH PLAIN {plain()}") == LATER
        assert len(sessions) == 0
        assert (await client.say(OWN)).startswith("530 ")
        way.fault = None
        assert await client.say(f"AUTH PLAIN {plain()}") == IN
        assert await client.say(OWN) == "250 2.1.0 Ok"
    assert f"{ALICE} is told to try later: 10.0.0.1:25 refuses connections" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("unread", [b"421 4.3.2 going down\r\n", b"2"])
async def test_a_server_that_speaks_before_it_is_asked_lets_nobody_in(unread: bytes) -> None:
    async with behind_us() as (_, way), site(backends=way) as here, talking(here.port) as client:
        way.unread = unread
        await client.greeting()
        assert await client.say(f"AUTH PLAIN {plain()}") == LATER


async def test_half_a_reply_that_nobody_asked_for_ends_a_connection() -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        await client.say("NOOP")
        server.writers[0].write(b"25")
        there = here.made[0]._behind
        assert there is not None
        await eventually(lambda: there._answers.is_amid)
        assert await client.say(OWN) == "250 2.1.0 Ok"
        assert server.heard == [["NOOP"], [OWN]]


async def test_a_login_that_a_change_has_overtaken_reaches_nobody() -> None:
    sessions, doorman = followed()
    async with (
        behind_us() as (_, way),
        site(doorman, backends=way, sessions=sessions) as here,
        talking(here.port) as client,
    ):
        await client.greeting()
        await revoke(sessions)  # after the mark that the Accept stands on
        assert await client.say(f"AUTH PLAIN {plain()}") == LATER
    assert way.asked == []


@pytest.mark.parametrize("how", ["hang up", "421 and close"])
async def test_a_connection_that_ended_while_idle_is_opened_anew(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        await client.say("NOOP")
        if how == "hang up":
            server.hang_up()
        else:
            server.writers[0].write(b"421 4.4.2 timeout exceeded\r\n")
            server.writers[0].close()
        await eventually(lambda: here.made[0]._behind._transport is None)
        await begin(client)
        assert await client.say("body\r\n.") == QUEUED
        assert [lines[0] for lines in server.heard] == ["NOOP", OWN]
        assert [attempt.credential.password for attempt, _ in way.asked] == ["", ""]
    assert "try later" not in caplog.text


async def test_a_server_that_takes_no_more_on_one_connection_gets_another() -> None:
    async with behind_us(MAIL=["250 2.1.0 Ok", "421 4.7.0 too many messages"]) as (server, way):
        async with site(backends=way) as here, talking(here.port) as client:
            await client.login()
            for text in ("one", "two"):
                await begin(client)
                assert await client.say(f"{text}\r\n.") == QUEUED
        assert len(server.heard) == 2


async def test_while_it_cannot_be_reached_mail_is_deferred_and_the_client_stays_in() -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        server.hang_up()
        way.fault = "refuses connections"
        assert await client.say(OWN) == await client.say(OWN) == GONE
        assert await client.say("NOOP") == "250 2.0.0 OK"
        way.fault = None
        await begin(client)
        assert await client.say("body\r\n.") == QUEUED


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA", "end"])
async def test_a_silent_server_is_waited_for_and_then_left(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        server.silent[command] = asyncio.Event()
        await client.login()
        monkeypatch.setattr(connection, "REPLY_S", 0.5)
        monkeypatch.setattr(connection, "VERDICT_S", 0.5)
        for line in (OWN, TO_BOB, "DATA", "body\r\n."):
            said = await client.say(line)
            if said == GONE:
                break
        assert said == GONE
        assert len(way.asked) == 1
        monkeypatch.undo()
        del server.silent[command]
        await client.say("RSET")
        await begin(client)
        assert await client.say("again\r\n.") == QUEUED


# ---- the end


async def logged_in(here: Site, client: Talker) -> None:
    await client.login()
    assert len(here.census) == 1


def followed() -> tuple[LiveSessions, Doorman]:
    """Sessions that are revoked by `revoke`, and who lets Alice in."""
    passdb = MemoryPassdb()
    passdb.add(ALICE)
    doorman = Doorman()

    def accepted(attempt: Attempt) -> Outcome:
        return Accept(Principal(1, attempt.credential.authcid, 7), Stay(0, 1, None, None))

    doorman.outcome = accepted
    return LiveSessions(passdb), doorman


async def revoke(sessions: LiveSessions) -> None:
    await sessions.apply([Change(1, "app-password-revoked", account_id=1, takes='{"app_passwords": [7]}')])


async def ask_to_be_let_in(client: Talker, way: WayThere) -> asyncio.Event:
    """Show the right password; the way there is open when the event is set."""
    way.gate = asyncio.Event()
    await client.greeting()
    client.send(f"AUTH PLAIN {plain()}\r\n".encode())
    await eventually(lambda: bool(way.asked))
    return way.gate


@pytest.mark.parametrize("state", ["idle", "MAIL", "transaction", "DATA"])
async def test_revocation_ends_both_sides_in_any_state(state: str) -> None:
    sessions, doorman = followed()
    async with behind_us() as (server, way), site(doorman, backends=way, sessions=sessions) as here:
        async with talking(here.port) as client:
            await client.login()
            if state == "MAIL":
                server.silent["MAIL"] = asyncio.Event()
                client.send(OWN.encode() + b"\r\n")
                await eventually(lambda: list(server.asked) == ["MAIL"])
            elif state == "transaction":
                await client.say(OWN)
            elif state == "DATA":
                await begin(client)
                client.send(b"half\r\n")
                await eventually(lambda: server.asked[-1] == "DATA")
            await revoke(sessions)
            assert (await client.reply()) == ENDED
            assert await client.rest() == b""
            if "MAIL" in server.silent:
                server.silent["MAIL"].set()
            await eventually(lambda: all(writer.is_closing() for writer in server.writers))
        assert server.messages == []
        assert here.made[0]._behind is None


async def test_a_message_whose_end_was_sent_gets_its_answer_before_the_session_ends() -> None:
    sessions, doorman = followed()
    async with behind_us() as (server, way), site(doorman, backends=way, sessions=sessions) as here:
        server.silent["end"] = asyncio.Event()
        async with talking(here.port) as client:
            await client.login()
            await begin(client)
            client.send(b"body\r\n.\r\nNOOP\r\n")
            await eventually(lambda: server.asked[-1] == "end")
            await revoke(sessions)
            server.silent["end"].set()
            assert await client.reply() == QUEUED
            assert await client.reply() == ENDED
            assert await client.rest() == b""
        await eventually(lambda: all(writer.is_closing() for writer in server.writers))


async def test_a_session_revoked_while_its_connection_is_opened_is_not_let_in() -> None:
    sessions, doorman = followed()
    async with behind_us() as (server, way), site(doorman, backends=way, sessions=sessions) as here:
        async with talking(here.port) as client:
            gate = await ask_to_be_let_in(client, way)
            assert len(sessions) == 1
            await revoke(sessions)
            assert await client.reply() == ENDED
            assert await client.rest() == b""
            gate.set()
        assert (server.heard, len(sessions)) == ([], 0)


async def test_a_connection_that_comes_when_nobody_waits_any_more_is_closed() -> None:
    sessions, doorman = followed()
    async with behind_us() as (_, way), site(doorman, backends=way, sessions=sessions) as here:
        async with talking(here.port) as client:
            (await ask_to_be_let_in(client, way)).set()
            here.made[0].end(Ending.REVOKED)
            assert await client.reply() == ENDED
        await here.everybody_gone()
        await eventually(lambda: all(sock.fileno() < 0 for sock in way.opened))
        assert len(sessions) == 0


@pytest.mark.parametrize("fault", [None, "refuses connections"])
async def test_what_is_opened_too_late_is_left(fault: str | None) -> None:
    async with behind_us() as (server, way):
        way.gate, way.fault = asyncio.Event(), fault
        attempt = Attempt(Credential(ALICE), Service.SMTP, "", tls=True)
        opening = asyncio.ensure_future(reached(way, attempt, Principal(1, ALICE, 7)))
        await eventually(lambda: bool(way.asked))
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        way.gate.set()
        await eventually(lambda: server.lines == ([] if fault else ["QUIT"]))
    assert len(way.opened) == (0 if fault else 1)


async def test_a_socket_that_was_closed_meanwhile_is_no_connection() -> None:
    sock = socket.socket()
    sock.close()
    with pytest.raises(connection.Ended):
        await connection.behind(Opened(sock))


async def test_a_server_that_does_not_even_take_a_goodbye_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0.05)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        there = await connection.behind(Opened(ours))
        there._open.write(bytes(2**24))  # more than anybody takes who does not read
        there.leave()
        await eventually(lambda: ours.fileno() < 0)


async def test_shutdown_ends_both_sides() -> None:
    async with behind_us() as (server, way), site(backends=way) as here, talking(here.port) as client:
        await client.login()
        await client.say("NOOP")
        await here.server.stop()
        assert await client.reply() == "421 4.3.2 Server is shutting down, try again later"
        await eventually(lambda: server.lines == ["NOOP", "QUIT"])


async def test_forty_at_once_each_send_their_own() -> None:
    async def one(port: int, number: int) -> None:
        async with talking(port) as client:
            await client.login()
            for _ in range(2):
                await begin(client, f"{number}@elsewhere.test")
                client.send(b"%d\r\n" % number * 1000)
                assert await client.say(".") == QUEUED
            await client.say("QUIT")

    async with behind_us() as (server, way), site(backends=way) as here:
        async with asyncio.timeout(2 * DEADLINE_S):
            await asyncio.gather(*[one(here.port, number) for number in range(40)])
        await eventually(lambda: server.lines.count("QUIT") == 40)
    assert sorted(server.messages) == sorted(2 * [b"%d\r\n" % n * 1000 + b".\r\n" for n in range(40)])


async def test_the_server_behind_is_one_per_client() -> None:
    async with ServerBehind().listening() as server, behind_us() as (_, way):
        way.server = server
        async with site(backends=way) as here, talking(here.port) as one, talking(here.port) as other:
            await one.login()
            await other.login()
            await one.say(OWN)
            assert (await other.say(TO_BOB)).startswith("503 ")
            assert len(server.heard) == 2
