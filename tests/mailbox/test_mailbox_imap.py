# ruff: noqa: ASYNC240

import asyncio
import imaplib
import os
import re
import socket
import threading
from pathlib import Path

import pytest

from mailauth.dialogue import Ending
from mailauth.mailbox import messagefile
from mailauth.mailbox.folder import Folder
from mailauth.mailbox.maildir import IMAP_CAPABILITIES
from mailauth.verdict import Principal

MESSAGE = (
    b"From: Bob <bob@example.test>\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nX-Long: one\r\n two\r\n"
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nfirst\r\n--x\r\n"
    b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nwithin\r\n--x--\r\n"
)
PLAIN = b"Subject: plain\r\n\r\nhello\r\n"


@pytest.fixture
async def client(house):
    house.fill(MESSAGE, PLAIN)
    client = await house.imap()
    await client.ok(b"SELECT INBOX")
    return client


# ---- what is said first


async def test_nothing_is_said_before_the_first_command(house):
    client = await house.imap()
    client.send(b"a NOOP\r\n")
    assert await client.line() == b"a OK NOOP completed.\r\n"


async def test_capabilities_are_those_announced_at_login(house):
    client = await house.imap()
    (line,) = await client.ok(b"CAPABILITY")
    assert line.split() == [b"*", b"CAPABILITY", *house.mailboxes.imap_capabilities]
    assert set(IMAP_CAPABILITIES) < set(line.split())


async def test_select_says_what_a_client_must_know(client, house):
    uid_validity = house.inbox().view.uid_validity
    folder_id = house.inbox().view.folder_id.encode()
    assert await client.do(b"SELECT inbox") == [
        b"* OK [PERMANENTFLAGS (\\* \\Answered \\Deleted \\Draft \\Flagged \\Seen $Forwarded)] Flags permitted.\r\n",
        b"* FLAGS (\\Answered \\Deleted \\Draft \\Flagged \\Recent \\Seen $Forwarded)\r\n",
        b"* 2 EXISTS\r\n",
        b"* 0 RECENT\r\n",
        b"* OK [UIDNEXT 3] Predicted next UID.\r\n",
        b"* OK [UIDVALIDITY %d] UIDs valid.\r\n" % uid_validity,
        b"* OK [UNSEEN 1] First unseen message.\r\n",
        b"* OK [MAILBOXID (F%b-%d)] Object ID.\r\n" % (folder_id, uid_validity),
        b"OK [READ-WRITE] Selected mailbox.\r\n",
    ]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"NAMESPACE", [b'* NAMESPACE (("" "/")) NIL NIL\r\n', b"OK NAMESPACE completed.\r\n"]),
        (b"ENABLE CONDSTORE X-OTHER", [b"* ENABLED\r\n", b"OK ENABLE completed.\r\n"]),
        (b'ID ("name" "x")', [b"* ID NIL\r\n", b"OK ID completed.\r\n"]),
        (b"ID NIL", [b"* ID NIL\r\n", b"OK ID completed.\r\n"]),
        (b'LIST "" ""', [b'* LIST (\\Noselect) "/" ""\r\n', b"OK LIST completed.\r\n"]),
        (b'LIST "" %', [b'* LIST (\\HasNoChildren) "/" INBOX\r\n', b"OK LIST completed.\r\n"]),
        (b"CHECK", [b"OK CHECK completed.\r\n"]),
        (b"NOOP", [b"OK NOOP completed.\r\n"]),
        (b"UNSELECT", [b"OK UNSELECT completed.\r\n"]),
        (b"LOGOUT", [b"* BYE Logging out.\r\n", b"OK Logout successful.\r\n"]),
        (b"LOGIN a b", [b"BAD LOGIN: Already authenticated.\r\n"]),
        (b"STARTTLS", [b"BAD STARTTLS: Already authenticated.\r\n"]),
        (b"AUTHENTICATE PLAIN", [b"BAD AUTHENTICATE: Already authenticated.\r\n"]),
        (b"COMPRESS DEFLATE", [b"BAD COMPRESS: Unknown command.\r\n"]),
        (b"ENABLE", [b"BAD ENABLE: Invalid arguments.\r\n"]),
        (b"FETCH 1 EMAILID", [b"NO [CANNOT] FETCH EMAILID is not supported.\r\n"]),
        (b'FETCH 1 BODY[HEADER.FIELDS ("a b")]', [b"NO [CANNOT] No field has such a name.\r\n"]),
        (b"FETCH 1 BINARY[1]", [b"NO [CANNOT] FETCH BINARY is not supported.\r\n"]),
        (b"SEARCH EMAILID x", [b"NO [CANNOT] SEARCH EMAILID not supported.\r\n"]),
    ],
)
async def test_small_commands(client, command, answer):
    assert await client.do(command) == answer


async def test_commands_for_a_selected_mailbox_need_one(house):
    client = await house.imap()
    for command in (b"FETCH 1 FLAGS", b"UNSELECT", b"CLOSE", b"EXPUNGE", b"UID SEARCH ALL"):
        (answer,) = await client.do(command)
        assert answer.startswith(b"BAD ")


# ---- FETCH


@pytest.mark.parametrize(
    ("item", "octets"),
    [
        (b"BODY.PEEK[]", MESSAGE),
        (b"RFC822", MESSAGE),
        (b"BODY.PEEK[HEADER]", MESSAGE[: MESSAGE.index(b"\r\n\r\n") + 4]),
        (b"RFC822.HEADER", MESSAGE[: MESSAGE.index(b"\r\n\r\n") + 4]),
        (b"BODY.PEEK[TEXT]", MESSAGE[MESSAGE.index(b"\r\n\r\n") + 4 :]),
        (b"RFC822.TEXT", MESSAGE[MESSAGE.index(b"\r\n\r\n") + 4 :]),
        (b"BODY.PEEK[HEADER.FIELDS (x-long nothing)]", b"X-Long: one\r\n two\r\n\r\n"),
        (
            b'BODY.PEEK[HEADER.FIELDS.NOT ("From" Subject Content-Type)]',
            b"X-Long: one\r\n two\r\n\r\n",
        ),
        (b'BODY.PEEK[HEADER.FIELDS ("X-Long")]', b"X-Long: one\r\n two\r\n\r\n"),
        (b"BODY.PEEK[HEADER.FIELDS ({6+}\r\nX-Long)]", b"X-Long: one\r\n two\r\n\r\n"),
        (b"BODY.PEEK[1]", b"first"),
        (b"BODY.PEEK[1.MIME]", b"\r\n"),
        (b"BODY.PEEK[2.MIME]", b"Content-Type: message/rfc822\r\n\r\n"),
        (b"BODY.PEEK[2.HEADER]", b"Subject: inner\r\n\r\n"),
        (b"BODY.PEEK[2.HEADER.FIELDS (SUBJECT)]", b"Subject: inner\r\n\r\n"),
        (b"BODY.PEEK[2.TEXT]", b"within"),
        (b"BODY.PEEK[2.1]", b"within"),
        (b"BODY.PEEK[]<0.4>", b"From"),
        (b"BODY.PEEK[]<6.3>", b"Bob"),
        (b"BODY.PEEK[1]<2.100>", b"rst"),
        (b"BODY.PEEK[1]<100.5>", b""),
    ],
)
async def test_every_section_is_what_it_says(client, item, octets):
    assert await client.fetched(1, item) == octets


@pytest.mark.parametrize("item", [b"BODY.PEEK[3]", b"BODY.PEEK[1.HEADER]", b"BODY.PEEK[1.TEXT]", b"BODY.PEEK[1.1]"])
async def test_a_part_that_is_not_there_is_nil(client, item):
    (line,) = await client.ok(b"FETCH 1 " + item)
    assert line.endswith(b" NIL)\r\n")


async def test_what_a_client_asks_first(client):
    (line,) = await client.ok(b"UID FETCH 2 (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE)")
    assert re.fullmatch(
        rb"\* 2 FETCH \(UID 2 FLAGS \(\) INTERNALDATE \"[ \d]\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d \+0000\" "
        rb"RFC822\.SIZE 25 ENVELOPE \(NIL \"plain\"( NIL){8}\) "
        rb"BODY \(\"text\" \"plain\" \(\"charset\" \"us-ascii\"\) NIL NIL \"7bit\" 7 1\) "
        rb"BODYSTRUCTURE \(\"text\" \"plain\" \(\"charset\" \"us-ascii\"\) NIL NIL \"7bit\" 7 1( NIL){4}\)\)\r\n",
        line,
    )


async def test_the_name_of_a_section_comes_back_in_one_spelling(client):
    (line,) = await client.ok(b'FETCH 2 BODY.PEEK[HEADER.FIELDS ("To" subject)]<0.100>')
    assert line.startswith(b"* 2 FETCH (BODY[HEADER.FIELDS (SUBJECT TO)]<0> {18}\r\n")


async def test_macros_are_known(client):
    for macro, items in (
        (b"FAST", b"FLAGS INTERNALDATE RFC822.SIZE"),
        (b"ALL", b"FLAGS INTERNALDATE RFC822.SIZE ENVELOPE"),
        (b"FULL", b"FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY"),
    ):
        (line,) = await client.ok(b"FETCH 2 " + macro)
        assert [word for word in items.split() if word not in line] == []


@pytest.mark.parametrize(
    ("numbers", "found"),
    [(b"1:*", 2), (b"*", 1), (b"2:1", 2), (b"1,1,1:2", 2), (b"5", 0), (b"5:9", 0), (b"2:4294967295", 1), (b"*:1", 2)],
)
async def test_sets_of_numbers(client, numbers, found):
    assert len(await client.ok(b"FETCH " + numbers + b" UID")) == found
    # A range that ends in * holds the last message, however high it begins (RFC 3501 section 6.4.8).
    assert len(await client.ok(b"UID FETCH " + numbers + b" UID")) == found


async def test_uid_ranges_reach_the_last_message(client):
    assert len(await client.ok(b"UID FETCH 559:* FLAGS")) == 1


async def test_reading_marks_as_seen_unless_it_is_a_peek(client):
    await client.ok(b"FETCH 1 (BODY.PEEK[] RFC822.HEADER ENVELOPE)")
    assert await client.ok(b"FETCH 1 FLAGS") == [b"* 1 FETCH (FLAGS ())\r\n"]
    *_, flags = await client.ok(b"FETCH 1 BODY[TEXT]")
    assert flags == b"* 1 FETCH (FLAGS (\\Seen))\r\n"
    await client.ok(b"EXAMINE INBOX")
    await client.ok(b"FETCH 2 BODY[]")
    assert await client.ok(b"FETCH 2 FLAGS") == [b"* 2 FETCH (FLAGS ())\r\n"]


async def test_a_large_message_is_read_once_however_small_the_pieces(house, monkeypatch):
    content = b"Subject: large\r\n\r\n" + b"".join(b"%09d\r\n" % number for number in range(100_000))
    house.fill(content)
    client = await house.imap()
    await client.ok(b"SELECT INBOX")
    reads = []
    read = Folder.read
    monkeypatch.setattr(Folder, "read", lambda self, uid: reads.append(uid) or read(self, uid))
    pieces = [await client.fetched(1, b"BODY.PEEK[]<%d.300000>" % start) for start in range(0, len(content), 300_000)]
    assert b"".join(pieces) == content
    assert len(reads) == 1
    await client.ok(b"FETCH 1 BODY.PEEK[]<0.10>")
    assert len(reads) == 2  # the last piece let it go
    await client.ok(b"NOOP")
    await client.ok(b"FETCH 1 BODY.PEEK[]<0.10>")
    assert len(reads) == 3  # so does any other command


async def test_large_and_small_messages_come_whole_and_in_order(house):
    contents = [b"Subject: %d\r\n\r\n" % n + b"x" * (90_000 * (n % 3)) + b"\r\n" for n in range(12)]
    house.fill(*contents)
    client = await house.imap()
    await client.ok(b"SELECT INBOX")
    lines = await client.ok(b"FETCH 1:* BODY.PEEK[]")
    assert lines == [
        b"* %d FETCH (BODY[] {%d}\r\n%b)\r\n" % (number, len(content), content)
        for number, content in enumerate(contents, 1)
    ]


async def test_content_of_a_message_that_is_gone_is_not_made_up(client, house):
    other = await house.imap()
    await other.ok(b"SELECT INBOX")
    await other.ok(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
    await other.ok(b"EXPUNGE")
    *lines, tagged = await client.do(b"FETCH 1:2 (UID BODY.PEEK[TEXT])")
    assert lines == [b"* 2 FETCH (UID 2 BODY[TEXT] {7}\r\nhello\r\n)\r\n"]
    assert tagged == b"NO [EXPUNGEISSUED] FETCH completed.\r\n"
    assert await client.ok(b"NOOP") == [b"* 1 EXPUNGE\r\n"]


async def test_a_disk_that_fails_is_told(client, monkeypatch):
    def broken(*_):
        raise OSError(5, "input/output error")

    monkeypatch.setattr("mailauth.mailbox.folder.Folder.read", broken)
    *_, tagged = await client.do(b"FETCH 1 BODY.PEEK[]")
    assert tagged == b"NO [UNAVAILABLE] FETCH completed.\r\n"


# ---- STORE, EXPUNGE, COPY, MOVE


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (b"+FLAGS (\\Seen $Junk)", b"(\\Flagged \\Seen $Junk old)"),
        (b"-FLAGS (\\Flagged)", b"(old)"),
        (b"-FLAGS OLD", b"(\\Flagged)"),
        (b"FLAGS (new)", b"(new)"),
        (b"FLAGS ()", b"()"),
        (b"+FLAGS (\\Recent \\Invented)", b"(\\Flagged old)"),
        (b"+flags (\\seen \\SEEN)", b"(\\Flagged \\Seen old)"),
    ],
)
async def test_flags_are_stored_for_good(client, house, command, flags):
    await client.ok(b"STORE 1 FLAGS (\\Flagged old)")
    answer = await client.ok(b"STORE 1 " + command)
    assert [sorted(_flags(line)) for line in answer] == [sorted(flags.strip(b"()").split())]
    other = await house.imap()
    await other.ok(b"SELECT INBOX")
    (line,) = await other.ok(b"FETCH 1 FLAGS")
    assert sorted(_flags(line)) == sorted(flags.strip(b"()").split())


def _flags(line):
    return re.search(rb"FLAGS \((.*?)\)", line)[1].split()


async def test_a_silent_store_is_silent_and_others_are_told(client, house):
    other = await house.imap()
    await other.ok(b"SELECT INBOX")
    assert await client.ok(b"UID STORE 1:2 +FLAGS.SILENT (\\Answered $MDNSent)") == []
    assert await other.ok(b"NOOP") == [
        b"* 1 FETCH (FLAGS (\\Answered $MDNSent))\r\n",
        b"* 2 FETCH (FLAGS (\\Answered $MDNSent))\r\n",
    ]
    assert await other.ok(b"UID STORE 2 -FLAGS (\\Answered)") == [b"* 2 FETCH (FLAGS ($MDNSent) UID 2)\r\n"]


async def test_the_keyword_that_finds_no_room_is_refused(client):
    await client.ok(b"STORE 1 +FLAGS (%b)" % b" ".join(b"k%d" % number for number in range(26)))
    assert (await client.do(b"STORE 2 +FLAGS (onemore)"))[-1].startswith(b"NO [LIMIT] ")
    assert await client.ok(b"FETCH 2 FLAGS") == [b"* 2 FETCH (FLAGS ())\r\n"]
    permanent, *_ = await client.ok(b"SELECT INBOX")
    assert b"\\*" not in permanent


async def test_expunge_removes_what_is_marked_and_no_more(client, house):
    await client.ok(b"APPEND INBOX (\\Deleted) {5+}\r\nthird")
    await client.ok(b"STORE 1 +FLAGS (\\Deleted)")
    assert await client.ok(b"UID EXPUNGE 2:3") == [b"* 3 EXPUNGE\r\n"]
    assert await client.ok(b"EXPUNGE") == [b"* 1 EXPUNGE\r\n"]
    assert [house.inbox().read(uid) for uid in house.inbox().view.messages] == [PLAIN]


async def test_close_removes_and_unselect_and_examine_do_not(client, house):
    await client.ok(b"STORE 1 +FLAGS (\\Deleted)")
    await client.ok(b"UNSELECT")
    await client.ok(b"EXAMINE INBOX")
    assert (await client.do(b"EXPUNGE"))[-1].startswith(b"NO [READ-ONLY]")
    assert (await client.do(b"STORE 1 +FLAGS (\\Seen)"))[-1].startswith(b"NO [READ-ONLY]")
    await client.ok(b"CLOSE")
    assert len(house.inbox().view.messages) == 2
    await client.ok(b"SELECT INBOX")
    assert await client.ok(b"CLOSE") == []
    assert len(house.inbox().view.messages) == 1


async def test_what_could_not_be_removed_is_told(client, monkeypatch):
    await client.ok(b"STORE 1:2 +FLAGS.SILENT (\\Deleted)")
    monkeypatch.setattr(os, "unlink", _denied)
    assert (await client.do(b"EXPUNGE"))[-1] == b"NO [UNAVAILABLE] Some messages were not removed.\r\n"
    monkeypatch.undo()
    assert len(await client.ok(b"FETCH 1:* UID")) == 2


def _denied(*_):
    raise PermissionError(13, "permission denied")


async def test_copies_and_moves_tell_the_new_uids(client, house):
    assert (await client.do(b"COPY 1 Archive"))[-1].startswith(b"NO [TRYCREATE] ")
    assert (await client.do(b"UID MOVE 1 Archive"))[-1].startswith(b"NO [TRYCREATE] ")
    await client.ok(b"CREATE Archive")
    await client.ok(b"STORE 2 +FLAGS.SILENT (\\Seen $Junk)")
    (copied,) = await client.do(b"UID COPY 1:2 Archive")
    assert re.fullmatch(rb"OK \[COPYUID \d+ 1:2 1:2\] UID COPY completed\.\r\n", copied)
    moved, expunged = await client.ok(b"MOVE 2 Archive")
    assert re.fullmatch(rb"\* OK \[COPYUID \d+ 2 3\] Moved\.\r\n", moved)
    assert expunged == b"* 2 EXPUNGE\r\n"
    await client.ok(b"SELECT Archive")
    lines = await client.ok(b"FETCH 1:* (FLAGS RFC822.SIZE)")
    assert lines == [
        b"* 1 FETCH (FLAGS () RFC822.SIZE %d)\r\n" % len(MESSAGE),
        b"* 2 FETCH (FLAGS (\\Seen $Junk) RFC822.SIZE %d)\r\n" % len(PLAIN),
        b"* 3 FETCH (FLAGS (\\Seen $Junk) RFC822.SIZE %d)\r\n" % len(PLAIN),
    ]
    await client.ok(b"EXAMINE Archive")
    assert (await client.do(b"MOVE 1 INBOX"))[-1].startswith(b"NO [READ-ONLY]")


# ---- APPEND


async def test_an_appended_message_is_there_with_flags_and_date(client):
    answer = await client.do(b'APPEND INBOX (\\Seen $Junk) "01-Feb-2024 10:00:00 +0200" {%d+}\r\n%b' % (25, PLAIN))
    assert re.fullmatch(rb"OK \[APPENDUID \d+ 3\] APPEND completed\.\r\n", answer[-1])
    assert answer[0] == b"* 3 EXISTS\r\n"
    assert await client.ok(b"FETCH 3 (FLAGS INTERNALDATE RFC822.SIZE)") == [
        b'* 3 FETCH (FLAGS (\\Seen $Junk) INTERNALDATE " 1-Feb-2024 08:00:00 +0000" RFC822.SIZE 25)\r\n'
    ]
    assert await client.fetched(3, b"BODY.PEEK[]") == PLAIN


async def test_literals_are_asked_for_when_the_client_waits(client):
    client.send(b"a APPEND {5}\r\n")
    assert await client.line() == b"+ Ready.\r\n"
    client.send(b"INBOX {25}\r\n")
    assert await client.line() == b"+ Ready.\r\n"
    client.send(PLAIN + b"\r\n")
    assert (await client.lines_until(b"a "))[-1].startswith(b"a OK [APPENDUID ")
    assert await client.fetched(3, b"BODY.PEEK[]") == PLAIN


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"APPEND Nowhere {5+}\r\nhello", b"NO [TRYCREATE] "),
        (b"APPEND INBOX {0+}\r\n", b"NO "),
        (b"APPEND INBOX {5+}\r\nhello {5+}\r\nworld", b"NO [CANNOT] "),
        (b"APPEND INBOX (\\Seen {5+}\r\nhello", b"BAD "),
        (b'APPEND INBOX "yesterday" {5+}\r\nhello', b"BAD "),
        (b"APPEND INBOX", b"BAD "),
        (b"APPEND INBOX hello", b"BAD "),
        (b'APPEND "&x" {5+}\r\nhello', b"BAD "),
    ],
)
async def test_an_append_that_cannot_be_stores_nothing(client, house, command, answer):
    assert (await client.do(command))[-1].startswith(answer)
    assert len(house.inbox().view.messages) == 2


async def test_a_full_disk_is_told_and_the_session_goes_on(client, monkeypatch):
    def full(*_):
        raise OSError(28, "no space left")

    monkeypatch.setattr(messagefile, "write_temporary", full)
    assert (await client.do(b"APPEND INBOX {5+}\r\nhello"))[-1] == b"NO [OVERQUOTA] No space left.\r\n"
    assert await client.ok(b"NOOP") == []


# ---- folders


async def test_folders_come_and_go(client):
    for name in (b"Sent", b"A/B/C", b'"A b"', b"&U,BTFw-/x"):
        await client.ok(b"CREATE " + name)
    assert await client.ok(b'LIST "" *') == [
        b'* LIST (\\HasNoChildren) "/" INBOX\r\n',
        b'* LIST (\\HasNoChildren) "/" "A b"\r\n',
        b'* LIST (\\Noselect \\HasChildren) "/" A\r\n',
        b'* LIST (\\Noselect \\HasChildren) "/" A/B\r\n',
        b'* LIST (\\HasNoChildren) "/" A/B/C\r\n',
        b'* LIST (\\HasNoChildren) "/" Sent\r\n',
        b'* LIST (\\Noselect \\HasChildren) "/" &U,BTFw-\r\n',
        b'* LIST (\\HasNoChildren) "/" &U,BTFw-/x\r\n',
    ]
    assert await client.ok(b'LIST A/ "%"') == [b'* LIST (\\Noselect \\HasChildren) "/" A/B\r\n']
    await client.ok(b"RENAME A/B D")
    await client.ok(b"DELETE D/C")
    assert [line.split()[-1] for line in await client.ok(b'LIST "" %')] == [b"INBOX", b'b"', b"Sent", b"&U,BTFw-"]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"CREATE Sent", b"NO [ALREADYEXISTS] Mailbox already exists.\r\n"),
        (b"CREATE INBOX", b"NO Cannot create INBOX.\r\n"),
        (b"CREATE inbox/", b"NO [ALREADYEXISTS] Mailbox already exists.\r\n"),
        (b"RENAME Sent inbox", b"NO Cannot rename to INBOX.\r\n"),
        (b"RENAME Nowhere There", b"NO [NONEXISTENT] Mailbox does not exist.\r\n"),
        (b"RENAME Sent Other", b"NO [ALREADYEXISTS] Mailbox already exists.\r\n"),
        (b"RENAME Sent Sent/x", b"NO [CANNOT] A folder cannot become its own child.\r\n"),
        (b"DELETE INBOX", b"NO Cannot delete INBOX.\r\n"),
        (b"DELETE Nowhere", b"NO [NONEXISTENT] Mailbox does not exist.\r\n"),
        (b"SELECT Nowhere", b"NO [NONEXISTENT] Mailbox does not exist.\r\n"),
        (b"STATUS Nowhere (MESSAGES)", b"NO [NONEXISTENT] Mailbox does not exist.\r\n"),
        (b"SUBSCRIBE /", b"NO [CANNOT] Empty folder name.\r\n"),
        (b"CREATE ../x", b"NO [CANNOT] Folder name not allowed.\r\n"),
        (b"SELECT ../../bob", b"NO [CANNOT] Folder name not allowed.\r\n"),
        (b"SELECT /etc", b"NO [CANNOT] Empty folder name.\r\n"),
        (b"CREATE &AC4ALg-", b"BAD Not understood.\r\n"),  # .. in base64, where it must not be
        (b"CREATE a&AC8-b", b"BAD Not understood.\r\n"),  # and a slash
        (b"CREATE &AAA-", b"NO [CANNOT] Folder name not printable.\r\n"),
        (b"CREATE {3+}\r\na\0b", b"BAD Not understood.\r\n"),
        (b'CREATE "\xc3\xa9"', b"BAD Not understood.\r\n"),
        (b'SELECT "&x"', b"BAD Not understood.\r\n"),  # pymap's own decoder never comes back from this
        (b'LIST "" "&x"', b"BAD Not understood.\r\n"),
        (b"CREATE " + b"x" * 300, b"NO [CANNOT] Folder name too long.\r\n"),
        (b"COPY 1 ../x", b"NO [CANNOT] Folder name not allowed.\r\n"),
        (b"APPEND ../x {1+}\r\nx", b"NO [CANNOT] Folder name not allowed.\r\n"),
    ],
)
async def test_folders_that_cannot_be(client, house, command, answer):
    await client.ok(b"CREATE Sent")
    await client.ok(b"CREATE Other")
    before = _everything(house)
    assert (await client.do(command))[-1] == answer
    assert _everything(house) == before


def _everything(house):
    return sorted(str(path) for path in Path(house.path).parent.parent.rglob("*") if path.name != "mailauth.lock")


async def test_a_tilde_is_a_letter_like_any_other(client, house):
    await client.ok(b"CREATE ~root/x")
    assert Path(house.path, ".~root.x", "cur").is_dir()


async def test_status_tells_without_selecting(client):
    await client.ok(b"STORE 1 +FLAGS.SILENT (\\Seen)")
    (line,) = await client.ok(b"STATUS INBOX (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN)")
    assert re.fullmatch(rb"\* STATUS INBOX \(MESSAGES 2 RECENT 0 UIDNEXT 3 UIDVALIDITY \d+ UNSEEN 1\)\r\n", line)


async def test_subscriptions_are_kept(client, house):
    await client.ok(b"CREATE A/B")
    await client.ok(b"SUBSCRIBE A/B")
    await client.ok(b"SUBSCRIBE Never")
    await client.ok(b"UNSUBSCRIBE Never")
    other = await house.imap()
    assert await other.ok(b'LSUB "" *') == [
        b'* LSUB (\\HasNoChildren) "/" INBOX\r\n',
        b'* LSUB (\\HasNoChildren) "/" A/B\r\n',
    ]
    assert b'* LSUB (\\Noselect \\HasChildren) "/" A\r\n' in await other.ok(b'LSUB "" %')


async def test_to_rename_inbox_is_to_move_its_messages(client):
    assert b"* 2 EXPUNGE\r\n" in await client.ok(b"RENAME INBOX Old/Mail")
    assert await client.ok(b"STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 0)\r\n"]
    assert await client.ok(b"STATUS Old/Mail (MESSAGES)") == [b"* STATUS Old/Mail (MESSAGES 2)\r\n"]


@pytest.mark.parametrize("command", [b"DELETE A", b"RENAME A B"])
async def test_who_has_a_folder_selected_that_goes_is_told_by_a_bye(client, house, command):
    await client.ok(b"CREATE A")
    await client.ok(b"SELECT A")
    other = await house.imap()
    await other.ok(command)
    assert (await client.do(b"NOOP"))[0] == b"* BYE Selected mailbox no longer exists.\r\n"
    await client.session


async def test_a_folder_of_the_same_name_is_not_the_same_folder(client, house):
    await client.ok(b"CREATE A")
    await client.ok(b"APPEND A {5+}\r\nfirst")
    await client.ok(b"SELECT A")
    other = await house.imap()
    await other.ok(b"DELETE A")
    await other.ok(b"CREATE A")
    await other.ok(b"APPEND A {6+}\r\nsecond")
    assert (await client.do(b"FETCH 1 BODY.PEEK[]"))[-1].startswith(b"NO [NONEXISTENT]")
    assert (await client.do(b"NOOP"))[0].startswith(b"* BYE ")


async def test_a_folder_that_numbers_anew_is_not_the_same_folder(client, house):
    Path(house.path, "dovecot-uidlist").unlink()
    assert (await client.do(b"NOOP"))[0].startswith(b"* BYE ")


# ---- several sessions


async def test_sessions_see_each_others_changes(client, house):
    other = await house.imap()
    await other.ok(b"SELECT INBOX")
    await client.ok(b"APPEND INBOX {5+}\r\nthird")
    assert await other.ok(b"NOOP") == [b"* 3 EXISTS\r\n"]
    await client.ok(b"STORE 1 +FLAGS.SILENT (\\Flagged)")
    await client.ok(b"STORE 2 +FLAGS.SILENT (\\Deleted)")
    await client.ok(b"EXPUNGE")
    assert await other.ok(b"FETCH 1 UID") == [b"* 1 FETCH (UID 1)\r\n", b"* 1 FETCH (FLAGS (\\Flagged))\r\n"]
    assert await other.ok(b"NOOP") == [b"* 2 EXPUNGE\r\n"]


async def test_new_mail_is_recent_for_one_session(client, house):
    other = await house.imap()
    await other.ok(b"EXAMINE INBOX")
    await house.mailboxes.deliver("alice@example.test", PLAIN, "")
    assert (await other.ok(b"NOOP"))[0] == b"* 3 EXISTS\r\n"
    assert await client.ok(b"NOOP") == [
        b"* 3 EXISTS\r\n",
        b"* 1 RECENT\r\n",
        b"* 3 FETCH (FLAGS (\\Recent))\r\n",
    ]
    third = await house.imap()
    assert b"* 0 RECENT\r\n" in await third.ok(b"SELECT INBOX")


async def test_a_maildir_of_somebody_else_is_served_as_it_is(house):
    house.fill(b"Subject: x\n\nunix lines\n", place="new")
    Path(house.path, "cur", "1000000000.other:2,RSa").write_bytes(b"Subject: y\r\n\r\nno end")
    Path(house.path, "dovecot-keywords").write_bytes(b"0 $Label1\n")
    Path(house.path, "dovecot-uidlist").write_bytes(b"3 V1234 N500 Gabc\n77 P12 :1000000000.other:2,S\n")
    client = await house.imap()
    answer = await client.ok(b"SELECT INBOX")
    assert b"* OK [UIDVALIDITY 1234] UIDs valid.\r\n" in answer
    assert b"* 1 RECENT\r\n" in answer
    lines = await client.ok(b"FETCH 1:* (UID FLAGS RFC822.SIZE BODY.PEEK[TEXT])")
    assert lines == [
        b"* 1 FETCH (UID 77 FLAGS (\\Answered \\Seen $Label1) RFC822.SIZE 20 BODY[TEXT] {6}\r\nno end)\r\n",
        b"* 2 FETCH (UID 500 FLAGS (\\Recent) RFC822.SIZE 26 BODY[TEXT] {12}\r\nunix lines\r\n)\r\n",
    ]


# ---- the end


async def test_a_session_is_ended_with_a_goodbye(client):
    client.ending.set_result(Ending.SHUTDOWN)
    assert await client.rest() == b"BYE shutdown\r\n"
    await client.session


async def test_imaplib_is_served(house):
    house.fill(MESSAGE)
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    writer.write(b"* PREAUTH [CAPABILITY %b] ready\r\n" % b" ".join(house.mailboxes.imap_capabilities))
    found = {}

    class Client(imaplib.IMAP4):
        def _create_socket(self, timeout):
            return theirs

    def talk():
        client = Client("unused")
        found["select"] = client.select("INBOX")[0]
        found["fetch"] = client.fetch("1", "(BODY.PEEK[])")[1][0][1]
        found["append"] = client.append("INBOX", r"(\Seen)", None, PLAIN)[0]
        found["search"] = client.search(None, "SEEN")
        found["status"] = client.status("INBOX", "(MESSAGES)")[1]
        found["logout"] = client.logout()[0]

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    ending = asyncio.get_running_loop().create_future()
    await house.mailboxes.serve_imap(Principal(1, "alice@example.test", 7), reader, writer, ending, lambda _: b"")
    writer.close()
    await asyncio.to_thread(thread.join, 10)
    assert found == {
        "select": "OK",
        "fetch": MESSAGE,
        "append": "OK",
        "search": ("OK", [b"2"]),
        "status": [b"INBOX (MESSAGES 2)"],
        "logout": "BYE",
    }
