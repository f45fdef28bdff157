# ruff: noqa: ASYNC240

import asyncio
import os
from pathlib import Path

import pytest

from mailauth.dialogue import Ending
from mailauth.mailbox import maildir, watch

PLAIN = b"Subject: plain\r\n\r\nhello\r\n"
NEVER_S = 3600.0


@pytest.fixture
async def idle(house):
    """A session in IDLE on INBOX, with one message in it."""
    house.fill(PLAIN)
    return await _idling(house)


async def _idling(house):
    client = await house.imap()
    await client.ok(b"SELECT INBOX")
    client.send(b"i IDLE\r\n")
    assert await client.line() == b"+ Idling.\r\n"
    return client


async def test_done_ends_it(idle):
    idle.send(b"done\r\n")
    assert await idle.line() == b"i OK IDLE completed.\r\n"
    assert await idle.ok(b"NOOP") == []


async def test_anything_else_is_bad_and_ends_it_too(idle):
    idle.send(b"x NOOP\r\n")
    assert await idle.line() == b"i BAD Expected DONE.\r\n"
    assert await idle.ok(b"NOOP") == []


async def test_a_delivery_is_told_at_once(house, idle):
    house.mailboxes._watch._poll_s = NEVER_S
    await house.mailboxes.deliver("alice@example.test", PLAIN, "")
    assert await idle.line() == b"* 2 EXISTS\r\n"
    assert await idle.line() == b"* 1 RECENT\r\n"
    assert await idle.line() == b"* 2 FETCH (FLAGS (\\Recent))\r\n"


async def test_what_other_sessions_do_is_told_at_once(house, idle):
    house.mailboxes._watch._poll_s = NEVER_S
    other, pop3 = await house.imap(), await house.pop3()
    await other.ok(b"SELECT INBOX")
    await other.ok(b"STORE 1 +FLAGS.SILENT (\\Flagged)")
    assert await idle.line() == b"* 1 FETCH (FLAGS (\\Flagged))\r\n"
    await other.ok(b"APPEND INBOX {5+}\r\nhello")
    assert await idle.line() == b"* 2 EXISTS\r\n"
    await pop3.do(b"DELE 1")
    await pop3.do(b"QUIT")
    assert await idle.line() == b"* 1 EXPUNGE\r\n"
    await other.ok(b"CREATE A")
    await other.ok(b"COPY 1 INBOX")
    assert await idle.line() == b"* 2 EXISTS\r\n"


async def test_what_other_programs_do_is_told_soon(house, idle):
    Path(house.path, "new", "1.x").write_bytes(PLAIN)
    assert await idle.line() == b"* 2 EXISTS\r\n"
    await idle.lines_until(b"* 2 FETCH")
    (name,) = [path.name for path in Path(house.path, "cur").iterdir() if path.name.startswith("1.x")]
    os.rename(f"{house.path}/cur/{name}", f"{house.path}/cur/{name}S")  # noqa: PTH104
    (line,) = await idle.lines_until(b"* 2 FETCH")
    assert line == b"* 2 FETCH (FLAGS (\\Recent \\Seen))\r\n"
    Path(house.path, "cur", f"{name}S").unlink()
    assert await idle.line() == b"* 2 EXPUNGE\r\n"


async def test_a_change_just_before_is_not_missed(house):
    house.fill(PLAIN)
    house.mailboxes._watch._poll_s = NEVER_S
    client, other = await house.imap(), await house.imap()
    await client.ok(b"SELECT INBOX")
    await other.ok(b"APPEND INBOX {5+}\r\nhello")
    client.send(b"i IDLE\r\n")
    assert await client.line() == b"+ Idling.\r\n"
    assert await client.line() == b"* 2 EXISTS\r\n"


async def test_it_needs_no_selected_mailbox(house):
    client = await house.imap()
    client.send(b"i IDLE\r\n")
    assert await client.line() == b"+ Idling.\r\n"
    client.send(b"DONE\r\n")
    assert await client.line() == b"i OK IDLE completed.\r\n"


async def test_a_goodbye_reaches_it(idle):
    idle.ending.set_result(Ending.REVOKED)
    assert await idle.rest() == b"BYE revoked\r\n"
    await idle.session


async def test_a_folder_that_goes_ends_it(house):
    client, other = await house.imap(), await house.imap()
    await other.ok(b"CREATE A")
    await client.ok(b"SELECT A")
    client.send(b"i IDLE\r\n")
    await client.line()
    await other.ok(b"DELETE A")
    assert await client.rest() == b"* BYE Selected mailbox no longer exists.\r\n"
    await client.session


async def test_a_client_that_leaves_leaves_nothing_behind(house, idle):
    idle.writer.close()
    await idle.session
    await asyncio.sleep(0)
    assert house.mailboxes._watch._waiting == {}
    assert house.mailboxes._watch._poller is None


async def test_silence_has_its_limit_here_too(house, monkeypatch):
    monkeypatch.setattr(maildir, "IMAP_IDLE_S", 0.2)
    house.fill(PLAIN)
    client = await _idling(house)
    assert await client.rest() == b"* BYE Disconnected for inactivity.\r\n"


async def test_one_look_serves_all_who_wait(house, monkeypatch):
    house.fill(PLAIN)
    looks = []
    looked = asyncio.Event()
    loop = asyncio.get_running_loop()
    real = watch._stale

    def counted(folders):
        looks.append(len(folders))
        loop.call_soon_threadsafe(looked.set)
        return real(folders)

    monkeypatch.setattr(watch, "_stale", counted)
    clients = [await _idling(house) for _ in range(5)]
    assert len(house.mailboxes._watch._waiting) == 1
    await asyncio.wait_for(looked.wait(), 10)
    Path(house.path, "new", "1.x").write_bytes(PLAIN)
    for client in clients:
        await client.lines_until(b"* 2 EXISTS")
    assert set(looks) == {1}  # one folder to look at, however many wait for it


async def test_a_fault_of_the_disk_does_not_end_the_watching(house, idle, monkeypatch):
    failures = iter([True])

    def once(folder):
        if next(failures, False):
            raise OSError(5, "input/output error")
        return real(folder)

    real = watch.Folder.stale
    monkeypatch.setattr(watch.Folder, "stale", once)
    await house.mailboxes.deliver("alice@example.test", PLAIN, "")
    lines = await idle.lines_until(b"* 2 EXISTS")
    assert lines[-1] == b"* 2 EXISTS\r\n"


async def test_a_folder_that_is_moved_away_by_somebody_else_ends_it(house):
    client, other = await house.imap(), await house.imap()
    await other.ok(b"CREATE A")
    await client.ok(b"SELECT A")
    client.send(b"i IDLE\r\n")
    await client.line()
    Path(house.path, ".A").rename(Path(house.path, ".B"))
    assert await client.rest() == b"* BYE Selected mailbox no longer exists.\r\n"
