# ruff: noqa: ASYNC240

import asyncio
import os
import poplib
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailauth.dialogue import Ending
from mailauth.mailbox import pop3, wire

FIRST = b"Subject: one\r\n\r\nbody\r\n"
SECOND = b"Subject: two\r\n\r\n.dot\r\n..\r\n.\r\nlast\r\n"


@pytest.fixture
async def client(house):
    house.fill(FIRST, SECOND)
    return await house.pop3()


async def test_the_maildrop_is_counted_in_octets_of_the_wire(client):
    assert await client.do(b"STAT") == b"+OK 2 %d\r\n" % (len(FIRST) + len(SECOND))
    assert (await client.multiline(b"LIST"))[1] == b"1 %d\r\n2 %d\r\n" % (len(FIRST), len(SECOND))
    assert await client.do(b"LIST 2") == b"+OK 2 %d\r\n" % len(SECOND)


async def test_a_message_comes_as_it_is(client):
    assert await client.multiline(b"RETR 1") == (b"+OK %d octets\r\n" % len(FIRST), FIRST)
    assert (await client.multiline(b"retr 2"))[1] == SECOND


async def test_dots_are_doubled_on_the_wire(client):
    client.send(b"RETR 2\r\nQUIT\r\n")
    assert (await client.rest()).endswith(b"\r\n..dot\r\n...\r\n..\r\nlast\r\n.\r\n+OK Bye.\r\n")


@pytest.mark.parametrize(
    ("count", "part"),
    [
        (0, b"Subject: two\r\n\r\n"),
        (1, b"Subject: two\r\n\r\n.dot\r\n"),
        (3, b"Subject: two\r\n\r\n.dot\r\n..\r\n.\r\n"),
        (4, SECOND),
        (999_999_999, SECOND),
    ],
)
async def test_top_is_the_header_and_so_many_lines(client, count, part):
    assert (await client.multiline(b"TOP 2 %d" % count))[1] == part


async def test_capabilities_are_those_after_login(client):
    _, lines = await client.multiline(b"CAPA")
    assert lines == b"TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\n"


async def test_nothing_is_removed_before_quit(house, client):
    assert (await client.do(b"DELE 1")).startswith(b"+OK")
    assert len(house.inbox().view.messages) == 2
    assert await client.do(b"STAT") == b"+OK 1 %d\r\n" % len(SECOND)
    assert (await client.multiline(b"LIST"))[1] == b"2 %d\r\n" % len(SECOND)
    for command in (b"DELE 1", b"RETR 1", b"LIST 1", b"UIDL 1", b"TOP 1 0"):
        assert (await client.do(command)).startswith(b"-ERR")
    assert (await client.do(b"QUIT")).startswith(b"+OK")
    await client.session
    (left,) = house.inbox().view.messages
    assert house.inbox().read(left) == SECOND


async def test_a_connection_that_is_lost_removes_nothing(house, client):
    await client.do(b"DELE 1")
    client.writer.close()
    await client.session
    assert len(house.inbox().view.messages) == 2


async def test_a_session_that_is_ended_removes_nothing(house, client):
    await client.do(b"DELE 1")
    client.ending.set_result(Ending.REVOKED)
    assert await client.rest() == b"BYE revoked\r\n"
    await client.session
    assert len(house.inbox().view.messages) == 2


async def test_rset_takes_every_mark_back(house, client):
    await client.do(b"DELE 1")
    await client.do(b"DELE 2")
    assert (await client.do(b"RSET")).startswith(b"+OK")
    assert (await client.do(b"STAT")).startswith(b"+OK 2 ")
    await client.do(b"QUIT")
    assert len(house.inbox().view.messages) == 2


async def test_a_failed_removal_is_told_at_quit(house, client, monkeypatch):
    await client.do(b"DELE 2")
    monkeypatch.setattr(os, "unlink", _denied)
    assert (await client.do(b"QUIT")).startswith(b"-ERR [SYS/TEMP] Some deleted messages were not removed.")
    await client.session
    assert len(house.inbox().view.messages) == 2


def _denied(*_):
    raise PermissionError(13, "permission denied")


async def test_a_mailbox_that_went_away_is_told_at_quit(house, client):
    await client.do(b"DELE 2")
    Path(house.path).rename(house.path + ".away")
    assert (await client.do(b"QUIT")).startswith(b"-ERR [SYS/TEMP] Some deleted messages were not removed.")


async def test_unique_ids_outlive_flags_sessions_and_restarts(house, client):
    _, before = await client.multiline(b"UIDL")
    await client.do(b"QUIT")
    inbox = house.inbox()
    inbox.change_flags([1, 2], lambda flags: flags | {r"\Seen", "$Junk"})
    Path(house.path, "dovecot-uidlist").unlink()  # even a folder that has lost its UIDs
    again = await house.pop3()
    _, after = await again.multiline(b"UIDL")
    assert sorted(line.split()[1] for line in before.splitlines()) == sorted(
        line.split()[1] for line in after.splitlines()
    )
    identifier = (await again.do(b"UIDL 1")).split()[2]
    assert 1 <= len(identifier) <= 70
    assert all(0x21 <= octet <= 0x7E for octet in identifier)


async def test_the_maildrop_is_what_it_was_when_the_session_entered(house, client):
    await client.do(b"NOOP")
    await house.mailboxes.deliver("alice@example.test", FIRST, "")
    assert (await client.do(b"STAT")).startswith(b"+OK 2 ")
    assert (await (await house.pop3()).do(b"STAT")).startswith(b"+OK 3 ")


async def test_what_imap_does_meanwhile_is_no_obstacle(house, client):
    await client.do(b"NOOP")
    imap = await house.imap()
    await imap.ok(b"SELECT INBOX")
    await imap.ok(b"STORE 1 +FLAGS (\\Flagged \\Deleted)")
    assert (await client.multiline(b"RETR 1"))[1] == FIRST
    await imap.ok(b"EXPUNGE")
    assert await client.do(b"RETR 1") == b"-ERR The message is gone: another session removed it.\r\n"
    await client.do(b"DELE 1")
    await client.do(b"DELE 2")
    assert (await client.do(b"QUIT")).startswith(b"+OK")
    assert (await imap.do(b"NOOP"))[0] == b"* 1 EXPUNGE\r\n"


async def test_reading_marks_nothing(house):
    house.fill(FIRST, place="new")
    client = await house.pop3()
    await client.multiline(b"RETR 1")
    await client.do(b"QUIT")
    (stored,) = house.inbox().view.messages.values()
    assert stored.recent
    assert stored.flags == frozenset()


async def test_a_folder_that_numbers_anew_serves_no_other_message(house, client):
    await client.do(b"NOOP")
    Path(house.path, "dovecot-uidlist").unlink()
    for path in Path(house.path, "cur").iterdir():
        path.unlink()
    house.fill(b"Subject: another\r\n\r\n")
    house.mailboxes._account("alice@example.test").open_folder("INBOX").refresh()
    assert (await client.do(b"RETR 1")).startswith(b"-ERR")
    await client.do(b"DELE 1")
    assert (await client.do(b"QUIT")).startswith(b"+OK")
    assert len(house.inbox().view.messages) == 1


@pytest.mark.parametrize(
    "command",
    [
        b"",
        b"XYZZY",
        b"USER alice",
        b"PASS secret",
        b"AUTH PLAIN",
        b"STLS",
        b"APOP a b",
        b"RETR",
        b"RETR 0",
        b"RETR 3",
        b"RETR -1",
        b"RETR +1",
        b"RETR 1 2",
        b"RETR one",
        b"RETR \xd9\xa1",
        b"RETR " + b"1" * 100,
        b"TOP 1",
        b"TOP 1 -1",
        b"TOP 3 1",
        b"DELE",
        b"LIST 9",
        b"LIST 1 1",
        b"UIDL x",
        b"STAT 1",
        b"NOOP now",
        b"QUIT 1",
        b"\xff\0",
        b"NOOP" + b" " * 255,
    ],
)
async def test_what_makes_no_sense_is_an_error_and_no_more(client, command):
    assert (await client.do(command)).startswith(b"-ERR ")
    assert (await client.do(b"NOOP")).startswith(b"+OK")


async def test_there_is_an_end_to_nonsense(client):
    client.send(b"XYZZY\r\n" * (pop3.MAX_BAD_COMMANDS + 5))
    said = await client.rest()
    assert said == b"-ERR Unknown command.\r\n" * pop3.MAX_BAD_COMMANDS
    await client.session


async def test_a_line_without_an_end_ends_the_session(client):
    client.send(b"x" * 100_000)
    assert await client.rest() == b"-ERR Line too long.\r\n"


async def test_commands_may_come_all_at_once(client):
    client.send(b"NOOP\nSTAT\r\nDELE 1\r\nQUIT\r\nNOOP\r\n")
    assert (await client.rest()).count(b"+OK") == 4


async def test_silence_ends_the_session_without_a_word(house, client, monkeypatch):
    await client.do(b"DELE 1")
    monkeypatch.setattr(pop3, "IDLE_S", 0.05)
    other = await house.pop3()
    assert await other.rest() == b""
    assert len(house.inbox().view.messages) == 2


async def test_a_mailbox_that_cannot_be_opened_is_a_temporary_fault(house):
    Path(house.path).parent.mkdir(parents=True)
    Path(house.path).write_bytes(b"not a directory")
    client = await house.pop3()
    client.send(b"STAT\r\n")
    assert await client.rest() == b"-ERR [SYS/TEMP] Mailbox unavailable, try again later.\r\n"


async def test_a_file_that_cannot_be_read_is_a_temporary_fault(client, monkeypatch):
    await client.do(b"NOOP")
    monkeypatch.setattr("mailauth.mailbox.folder.Folder.open", _denied)
    assert (await client.do(b"RETR 1")).startswith(b"-ERR [SYS/TEMP]")


async def test_a_file_that_breaks_half_way_is_not_passed_off_as_whole(client, monkeypatch):
    def broken(*_):
        yield b"x" * 100_000
        raise OSError(5, "input/output error")

    monkeypatch.setattr(pop3.messagefile, "wire_chunks", broken)
    client.send(b"RETR 1\r\n")
    assert not (await client.rest()).endswith(b"\r\n.\r\n")


async def test_a_large_message_is_never_whole_in_memory(house, monkeypatch):
    house.fill(b"Subject: large\r\n\r\n" + (b"x" * 998 + b"\r\n") * 10_000)
    client = await house.pop3()
    largest = 0
    real = wire.Wire.flush

    async def flush(self):
        nonlocal largest
        largest = max(largest, len(self._pending))
        await real(self)

    monkeypatch.setattr(wire.Wire, "flush", flush)
    _, content = await client.multiline(b"RETR 1")
    assert len(content) > 9_000_000
    assert largest < 4 * wire.CHUNK_BYTES


LINES = st.lists(st.sampled_from([b"\r\n", b".", b"..", b"a", b"\r", b"\xff"]), max_size=30).map(b"".join)


@given(LINES, st.integers(1, 5), st.integers(0, 4))
def test_top_and_stuffing_do_not_depend_on_where_a_file_is_cut(content, chunk_bytes, line_count):
    def chunks():
        return iter([content[at : at + chunk_bytes] for at in range(0, len(content), chunk_bytes)])

    stuffed = b"".join(pop3._stuffed(chunks()))
    assert _unstuffed(stuffed) == content + b"\r\n" * (content != b"" and not content.endswith(b"\n"))
    header, blank, body = content.partition(b"\r\n\r\n")
    if content.startswith(b"\r\n"):
        header, blank, body = b"", b"\r\n", content[2:]
    wanted = header + blank + b"".join(line + b"\r\n" for line in body.split(b"\r\n")[:line_count])
    assert b"".join(pop3._head(chunks(), line_count)) == content[: len(wanted)]


def _unstuffed(stuffed):
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in stuffed.split(b"\r\n")[:-1])


async def test_poplib_is_served(house):
    house.fill(FIRST, SECOND)
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    writer.write(b"+OK\r\n")
    found = {}

    class Client(poplib.POP3):
        def _create_socket(self, timeout):
            return theirs

    def talk():
        client = Client("unused")
        found["stat"], found["first"] = client.stat(), client.retr(1)[1]
        found["second"], found["top"] = client.retr(2)[1], client.top(2, 1)[1]
        client.dele(1)
        client.quit()

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    ending = asyncio.get_running_loop().create_future()
    from mailauth.verdict import Principal  # noqa: PLC0415

    await house.mailboxes.serve_pop3(Principal(1, "alice@example.test", 7), reader, writer, ending, lambda _: b"")
    writer.close()
    await asyncio.to_thread(thread.join, 10)
    assert found == {
        "stat": (2, len(FIRST + SECOND)),
        "first": FIRST.splitlines(),
        "second": SECOND.splitlines(),
        "top": [b"Subject: two", b"", b".dot"],
    }
    assert len(house.inbox().view.messages) == 1
