"""What is put in is what comes out, octet for octet, at every door."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mailbox_house import LOGIN, House

PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b".", b"..", b"\r\n.\r\n", b"\n.\n", b"\r\n\r\n"),
        *(b"a", b"Subject: x\r\n", b"\0", b"\xff\xfe", b"x" * 1500),
    ]
)
CONTENTS = st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=25).map(b"".join))
SETTINGS = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
TRACE = b"Return-Path: <bob@example.test>\r\nDelivered-To: alice@example.test\r\n"


def _wired(content):
    """The same lines with CRLF ends, said in another way than the code says it."""
    wired = bytearray()
    for octet in content:
        if octet == ord("\n") and not wired.endswith(b"\r"):
            wired += b"\r"
        wired.append(octet)
    return bytes(wired)


async def _seen_by_imap(house):
    """Each message's content and the size that was told."""
    client = await house.imap()
    lines = await client.ok(b"SELECT INBOX")
    count = next(int(line.split()[1]) for line in lines if line.endswith(b"EXISTS\r\n"))
    found = []
    for number in range(1, count + 1):
        size = (await client.ok(b"FETCH %d RFC822.SIZE" % number))[0].split()[-1].strip(b")")
        content = await client.fetched(number, b"BODY.PEEK[]")
        assert (
            await client.fetched(number, b"BODY.PEEK[HEADER]") + await client.fetched(number, b"BODY.PEEK[TEXT]")
            == content
        )
        found.append((content, int(size)))
    return found


async def _seen_by_pop3(house):
    client = await house.pop3()
    _, listed = await client.multiline(b"LIST")
    found = []
    for line in listed.splitlines():
        number, size = map(int, line.split())
        found.append(((await client.multiline(b"RETR %d" % number))[1], size))
    assert await client.do(b"STAT") == b"+OK %d %d\r\n" % (len(found), sum(size for _, size in found))
    return found


def _run(tmp_path_factory, put):
    """Put one message in; what IMAP and POP3 then show."""

    async def run():
        house = House(tmp_path_factory.mktemp("mail"))
        await put(house)
        (imap,), (pop3,) = await _seen_by_imap(house), await _seen_by_pop3(house)
        await house.close()
        return imap, pop3

    return asyncio.run(run())


@SETTINGS
@given(CONTENTS)
@example(b"")
@example(b".")
@example(b"no end")
@example(b"\r\n.\r\nQUIT\r\n")
@example(b"a\n.\nb\r.\rc\r\r\n.")
@example(b"\r")
@example(b"x" * 100_000)
@example(b"x" * 65_535 + b"\r\n.\r\n")
def test_what_is_delivered_is_what_both_doors_show(tmp_path_factory, content):
    (by_imap, imap_size), (by_pop3, pop3_size) = _run(
        tmp_path_factory, lambda house: house.mailboxes.deliver(LOGIN, content, "bob@example.test")
    )
    stored = TRACE + _wired(content)
    assert by_imap == by_pop3 == stored + b"\r\n" * (not stored.endswith(b"\r\n"))
    assert imap_size == pop3_size == len(by_imap)


@SETTINGS
@given(CONTENTS.filter(bool))
@example(b".")
@example(b"no end")
@example(b"\n.\n")
@example(b"x" * 65_535 + b"\n.\n")
def test_what_is_appended_is_what_both_doors_show(tmp_path_factory, content):
    async def append(house):
        client = await house.imap()
        await client.ok(b"APPEND INBOX {%d+}\r\n%b" % (len(content), content))

    (by_imap, imap_size), (by_pop3, pop3_size) = _run(tmp_path_factory, append)
    assert by_imap == _wired(content)
    assert imap_size == len(by_imap)
    assert by_pop3 == by_imap + b"\r\n" * (not by_imap.endswith(b"\r\n"))  # POP3 has no other way to end
    assert pop3_size == len(by_pop3)


@SETTINGS
@given(CONTENTS)
@example(b"x" * 65_535 + b"\r\n\n.")
def test_what_other_programs_leave_is_what_both_doors_show(tmp_path_factory, content):
    async def leave(house):
        house.fill(content, place="new")
        (path,) = Path(house.path, "new").iterdir()  # noqa: ASYNC240
        path.rename(path.with_name("1700000000.foreign"))

    (by_imap, imap_size), (by_pop3, pop3_size) = _run(tmp_path_factory, leave)
    assert by_imap == _wired(content)
    assert imap_size == len(by_imap)
    assert by_pop3 == by_imap + b"\r\n" * (by_imap != b"" and not by_imap.endswith(b"\r\n"))
    assert pop3_size == len(by_pop3)


@pytest.mark.slow
def test_a_message_of_thirty_megabytes_comes_through_whole(tmp_path_factory):
    content = b"Subject: large\r\n\r\n" + (b"." + b"y" * 997 + b"\r\n") * 30_000
    (by_imap, imap_size), (by_pop3, pop3_size) = _run(
        tmp_path_factory, lambda house: house.mailboxes.deliver(LOGIN, content, "bob@example.test")
    )
    assert by_imap == by_pop3 == TRACE + content
    assert imap_size == pop3_size == len(TRACE + content)
