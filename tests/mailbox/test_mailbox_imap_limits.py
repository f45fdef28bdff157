# ruff: noqa: ASYNC240

import asyncio
import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailbox_house import House

from mailauth.dialogue import Ending
from mailauth.mailbox import imap_session, maildir

PLAIN = b"Subject: plain\r\n\r\nhello\r\n"


@pytest.fixture
async def small(tmp_path):
    """Mailboxes that take messages of 100,000 octets."""
    house = House(tmp_path / "mail", max_message_bytes=100_000)
    house.fill(PLAIN)
    yield house
    await house.close()


async def test_a_message_of_the_limit_is_taken_and_one_octet_more_is_not(small):
    client = await small.imap()
    assert b"APPENDLIMIT=100000" in (await client.ok(b"CAPABILITY"))[0]
    await client.ok(b"APPEND INBOX {100000+}\r\n" + b"x" * 100_000)
    client.send(b"a APPEND INBOX {200000}\r\n")
    assert await client.line() == b"a NO [TOOBIG] Literal too big.\r\n"  # and no invitation to send it
    assert await client.ok(b"NOOP") == []


async def test_a_literal_on_its_way_that_is_too_big_ends_the_session(small):
    client = await small.imap()
    client.send(b"a APPEND INBOX {5000000000+}\r\n" + b"x" * 100_000)
    assert await client.rest() == (b"a NO [TOOBIG] Literal too big.\r\n* BYE [TOOBIG] Literal too big.\r\n")


@pytest.mark.parametrize(
    "command",
    [
        b"a SELECT {70000}\r\n",
        b"a SEARCH TEXT {65536}\r\n",
        b"a XYZZY {99999999999999999999999}\r\n",
        b"APPEND INBOX {70000}\r\n",
    ],
)
async def test_only_append_takes_large_literals(small, command):
    client = await small.imap()
    client.send(command)
    assert (await client.line()).endswith(b" NO [TOOBIG] Literal too big.\r\n")
    assert await client.ok(b"NOOP") == []


async def test_many_small_literals_are_a_large_one(small):
    client = await small.imap()
    client.send(b"a ID (" + b'"k" {1000+}\r\n' + b" {1000+}\r\n".join([b"x" * 1000] * 100) + b")\r\n")
    assert b"* BYE [TOOBIG]" in await client.rest()


async def test_a_line_without_an_end_ends_the_session(small):
    client = await small.imap()
    client.send(b"a NOOP " + b"x" * 200_000)
    assert await client.rest() == b"* BAD Line too long.\r\n* BYE Line too long.\r\n"


@pytest.mark.parametrize("cut", [b"a NOOP", b"a APPEND INBOX {10+}\r\nhalf", b"a APPEND INBOX {10+}\r\n0123456789"])
async def test_a_command_cut_short_is_nothing(small, cut):
    client = await small.imap()
    client.send(cut)
    client.writer.write_eof()
    assert await client.rest() == b""
    assert len(small.inbox().view.messages) == 1


async def test_silence_ends_the_session(small, monkeypatch):
    monkeypatch.setattr(maildir, "IMAP_IDLE_S", 0.05)
    client = await small.imap()
    client.send(b"a LOG")
    assert await client.rest() == b"* BYE Disconnected for inactivity.\r\n"


async def test_there_is_an_end_to_nonsense(small):
    client = await small.imap()
    client.send(b"a XYZZY\r\n" * (imap_session.MAX_BAD_COMMANDS + 5))
    said = (await client.rest()).splitlines()
    assert said == [b"a BAD XYZZY: Unknown command."] * imap_session.MAX_BAD_COMMANDS + [
        b"* BYE Too many bad commands."
    ]


async def test_nonsense_is_forgiven_by_sense(small):
    client = await small.imap()
    for _ in range(3):
        for _ in range(imap_session.MAX_BAD_COMMANDS - 1):
            await client.do(b"XYZZY")
        await client.ok(b"NOOP")


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        (b"\xff\xfe\r\n", b"* BAD "),
        (b"a\r\n", b"a BAD "),
        (b"a \r\n", b"a BAD "),
        (b"(\r\n", b"* BAD "),
        (b"a FETCH\r\n", b"a BAD "),
        (b"a SEARCH CHARSET UTF-8 TEXT {1+}\r\n\xff\r\n", b"a BAD "),
        (b"a SEARCH CHARSET utf-16 TEXT {1+}\r\nx\r\n", b"a BAD "),
        (b"a SEARCH CHARSET X-NONE ALL\r\n", b"a NO [BADCHARSET] "),
        (b"a SEARCH " + b"(" * 20_000 + b"\r\n", b"a BAD "),
        (b"a SEARCH " + b"NOT " * 10_000 + b"ALL\r\n", b"a BAD "),
        (b"a FETCH " + b"1" * 60_000 + b" FLAGS\r\n", b"a BAD "),
        (b"a SELECT \xc3\xa9\r\n", b"a BAD "),
        (b'a SELECT "\xc3\xa9"\r\n', b"a BAD "),
        (b"a LOGIN \xff \xff\r\n", b"a BAD "),
        (b"a SELECT {10}\r\n&U,BTFw-&-\r\n", b"+ "),
    ],
)
async def test_octets_that_make_no_sense_are_bad_and_no_more(small, octets, answer):
    client = await small.imap()
    client.send(octets)
    assert (await client.line()).startswith(answer)
    if answer != b"+ ":
        assert await client.ok(b"NOOP") == []


async def test_empty_lines_are_nothing(small):
    client = await small.imap()
    client.send(b"\r\n\n  \r\n")
    assert await client.ok(b"NOOP") == []


async def test_many_overlapping_ranges_are_no_work(small):
    client = await small.imap()
    await client.ok(b"SELECT INBOX")
    ranges = b",".join([b"1:4294967295"] * 4000)
    lines = await asyncio.wait_for(client.ok(b"UID FETCH " + ranges + b" UID"), 2)
    assert lines == [b"* 1 FETCH (UID 1)\r\n"]
    assert await asyncio.wait_for(client.ok(b"SEARCH UID " + ranges), 2) == [b"* SEARCH 1\r\n"]


async def test_the_highest_uid_costs_no_more_than_the_first(small):
    inbox = small.inbox()
    inbox.expunge([1])
    with open(f"{small.path}/dovecot-uidlist", "wb") as file:  # noqa: ASYNC230
        file.write(b"3 V5 N4294967290 Gabc\n")
    client = await small.imap()
    await client.ok(b"APPEND INBOX {5+}\r\nhello")
    await client.ok(b"SELECT INBOX")
    assert await asyncio.wait_for(client.ok(b"UID FETCH 1:* UID"), 2) == [b"* 1 FETCH (UID 4294967290)\r\n"]
    assert await asyncio.wait_for(client.ok(b"UID SEARCH UID 1:*"), 2) == [b"* SEARCH 4294967290\r\n"]
    assert await asyncio.wait_for(client.ok(b"UID STORE 1:* +FLAGS.SILENT (\\Deleted)"), 2) == []
    assert await asyncio.wait_for(client.ok(b"EXPUNGE"), 2) == [b"* 1 EXPUNGE\r\n"]


async def test_a_disk_that_fails_is_a_refusal_and_a_line_in_the_log(small, caplog):
    client = await small.imap()
    Path(small.path).rename(small.path + ".away")
    Path(small.path).write_bytes(b"not a directory")
    assert await client.do(b"SELECT INBOX") == [b"NO [UNAVAILABLE] Mailbox unavailable, try again later.\r\n"]
    assert [record.message for record in caplog.records if record.name == imap_session.__name__] == [
        "mailbox fault: ENOTDIR"
    ]


async def test_a_bug_is_a_refusal_and_a_line_in_the_log(small, monkeypatch, caplog):
    client = await small.imap()
    monkeypatch.setattr(imap_session.Mail, "get_mailbox", _bug)
    assert await client.do(b"STATUS INBOX (MESSAGES)") == [b"NO [SERVERBUG] Internal error.\r\n"]
    assert await client.ok(b"NOOP") == []
    assert [(record.levelno, record.message) for record in caplog.records if record.name == imap_session.__name__] == [
        (logging.ERROR, "command failed: ZeroDivisionError")
    ]


async def _bug(*_, **__):
    raise ZeroDivisionError("a secret")


WORDS = st.sampled_from(
    [
        *b'a INBOX SELECT FETCH UID 1:* * 1 ( ) " \\ FLAGS BODY[ ] HEADER.FIELDS <0.5> SEARCH TEXT OR NOT APPEND'.split(
            b" "
        ),
        *b"STORE +FLAGS COPY LIST % IDLE DONE EXPUNGE & - \xff \0 CREATE ../ RENAME STATUS MESSAGES x LSUB NIL".split(
            b" "
        ),
        *(b" ", b"\r\n", b"\n", b"\r", b"{3}\r\n", b"{3+}\r\n", b"{999999999}\r\n", b"a SELECT INBOX\r\n"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, max_size=60).map(b"".join))
def test_whatever_a_client_says_the_session_ends_in_order(tmp_path_factory, said):
    async def talk():
        house = House(tmp_path_factory.mktemp("fuzz"), poll_s=0.01)
        house.fill(PLAIN)
        client = await house.imap()
        client.send(said)
        client.writer.write_eof()
        answer = await client.rest()
        await house.close()  # raises what the session raised
        assert b"SERVERBUG" not in answer
        assert house.mailboxes._watch._waiting == {}

    asyncio.run(talk())


async def test_a_goodbye_reaches_a_session_that_is_reading_a_literal(small):
    client = await small.imap()
    client.send(b"a APPEND INBOX {10}\r\n")
    await client.line()
    client.ending.set_result(Ending.SHUTDOWN)
    assert await client.rest() == b"BYE shutdown\r\n"
