import os
from datetime import UTC, datetime

import pytest

from mailauth.mailbox import imap_search

OLD = datetime(2024, 2, 1, 23, 30, tzinfo=UTC).timestamp()
LETTERS = (
    # 1
    (
        b"From: Bob <bob@example.test>\r\nTo: alice@example.test\r\nSubject: Hello World\r\n"
        b"Date: Wed, 31 Jan 2024 23:59:00 -0500\r\n\r\nA plain letter.\r\n"
    ),
    # 2
    (
        b"From: =?utf-8?b?5p2O5Zub?= <li@example.test>\r\nCc: bob@example.test\r\n"
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= aus =?gb18030?b?sbG+qQ==?=\r\nX-Empty:\r\n"
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
        b"--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n5L2g5aW9\r\n"
        b"--x\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"caf=E9 =\r\nau lait\r\n"
        b"--x\r\nContent-Type: application/octet-stream\r\n\r\nunseen treasure\r\n--x--\r\n"
    ),
    # 3
    (
        b"Subject: \xc3\xa9t\xc3\xa9 =?nonsense?q?x?= =?utf-8?b?!!?=\r\nDate: Fri, 99 Feb 2024 25:00 +9999\r\n"
        b"Content-Type: text/plain; charset=no-such\r\nContent-Transfer-Encoding: base64\r\n\r\n\xff!not base64\r\n"
    ),
)


@pytest.fixture
async def client(house):
    inbox = house.fill()
    for letter in LETTERS:
        inbox.append(letter, received_s=OLD)
    house.fill(b"", place="new")  # 4, today's
    client = await house.imap()
    await client.ok(b"SELECT INBOX")
    await client.ok(b"STORE 1 FLAGS (\\Seen \\Answered $Junk)")
    await client.ok(b"STORE 2 FLAGS (\\Flagged \\Draft \\Deleted)")
    return client


@pytest.mark.parametrize(
    ("keys", "numbers"),
    [
        ("ALL", "1 2 3 4"),
        ("1,3:*", "1 3 4"),
        ("UID 2:3", "2 3"),
        ("UID 99:*", "4"),
        ("99", ""),
        ("SEEN", "1"),
        ("UNSEEN", "2 3 4"),
        ("ANSWERED", "1"),
        ("UNANSWERED", "2 3 4"),
        ("FLAGGED", "2"),
        ("UNFLAGGED", "1 3 4"),
        ("DRAFT", "2"),
        ("UNDRAFT", "1 3 4"),
        ("DELETED", "2"),
        ("UNDELETED", "1 3 4"),
        ("RECENT", "4"),
        ("OLD", "1 2 3"),
        ("NEW", "4"),
        ("KEYWORD $junk", "1"),
        ("UNKEYWORD $Junk", "2 3 4"),
        ("NOT SEEN", "2 3 4"),
        ("NOT NOT SEEN", None),
        ("OR SEEN FLAGGED", "1 2"),
        ("OR (SEEN ANSWERED) (FLAGGED SEEN)", "1"),
        ("(UNSEEN UNFLAGGED)", "3 4"),
        ("UNSEEN 2:3 NOT FLAGGED", "3"),
        ("LARGER 300", "2"),
        ("SMALLER 1", "4"),
        ("BEFORE 02-Feb-2024", "1 2 3"),
        ("BEFORE 1-Feb-2024", ""),
        ("ON 1-Feb-2024", "1 2 3"),
        ("SINCE 01-Feb-2024", "1 2 3 4"),
        ("SINCE 02-Feb-2024", "4"),
        ("SENTON 31-Jan-2024", "1"),
        ("SENTBEFORE 1-Feb-2024", "1"),
        ("SENTSINCE 1-Jan-2024", "1"),
        ("NOT SENTSINCE 1-Jan-2024", "2 3 4"),
        ("SUBJECT hello", "1"),
        ('SUBJECT "LO WOR"', "1"),
        ("SUBJECT GRÜSSE", "2"),
        ("SUBJECT 北京", "2"),
        ("SUBJECT été", "3"),
        ("FROM 李四", "2"),
        ("FROM bob", "1"),
        ("TO alice", "1"),
        ("CC bob", "2"),
        ("BCC bob", ""),
        ("HEADER Cc example", "2"),
        ('HEADER X-Empty ""', "2"),
        ('HEADER X-Nothing ""', ""),
        ("BODY letter", "1"),
        ("BODY 你好", "2"),
        ("BODY CAFÉ", "2"),
        ("BODY café_au_lait", "2"),
        ("BODY treasure", ""),
        ("BODY Bob", ""),
        ("BODY base64", "3"),
        ("TEXT Bob", "1 2"),
        ("TEXT plain", "1 3"),
        ("UNSEEN TEXT bob", "2"),
    ],
)
async def test_keys_mean_what_the_rfc_says(client, keys, numbers):
    octets = b" ".join(_literal(word) for word in keys.split(" ")) if not keys.isascii() else keys.encode()
    answer = await client.do(b"SEARCH CHARSET UTF-8 " + octets)
    if numbers is None:
        assert answer[-1].startswith(b"BAD ")  # pymap takes one NOT
    else:
        assert answer[0].split()[2:] == numbers.encode().split()


def _literal(word):
    octets = word.replace("_", " ").encode()
    return octets if word.isascii() else b"{%d+}\r\n%b" % (len(octets), octets)


async def test_uids_are_told_when_uids_are_asked_for(client):
    await client.ok(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
    await client.ok(b"UID EXPUNGE 1")
    assert await client.ok(b"UID SEARCH UNFLAGGED") == [b"* SEARCH 3 4\r\n"]
    assert await client.ok(b"SEARCH UNFLAGGED") == [b"* SEARCH 2 3\r\n"]


async def test_a_message_that_vanishes_is_not_found(client, house):
    inbox = house.inbox()
    os.unlink(f"{house.path}/{inbox.view.messages[1].file}")  # noqa: PTH108
    assert (await client.ok(b"SEARCH BODY a"))[0].split()[2:] == [b"2", b"3"]


def test_a_field_is_decoded_as_far_as_that_goes():
    assert imap_search.decoded(b"=?utf-8?q?a_b?= c") == "a b c"
    assert imap_search.decoded(b"=?no-such?q?a?=") == "=?no-such?q?a?="
    assert imap_search.decoded(b"\xff=?") == "\ufffd=?"
