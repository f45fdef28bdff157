# ruff: noqa: ASYNC240, PTH104

import asyncio
import os
import shutil
import time
from pathlib import Path

import pytest

from mailauth.verdict import Principal

COUNT = 500
pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("mbsync") is None, reason="mbsync is not installed"),
]

SETTINGS = """
IMAPAccount test
Host 127.0.0.1
Port {port}
User unused
Pass unused
SSLType None

IMAPStore far
Account test

MaildirStore near
Path {near}/
Inbox {near}/INBOX
SubFolders Verbatim

Channel test
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
Sync All
SyncState *
"""


@pytest.fixture
async def sync(house, tmp_path):
    """Runs mbsync against a server that has let it in already (PREAUTH); returns the seconds it took."""

    async def serve(reader, writer):
        writer.write(b"* PREAUTH [CAPABILITY %b] ready\r\n" % b" ".join(house.mailboxes.imap_capabilities))
        ending = asyncio.get_running_loop().create_future()
        try:
            principal = Principal(1, "alice@example.test", None)
            await house.mailboxes.serve_imap(principal, reader, writer, ending, lambda _: b"")
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    near = tmp_path / "near"
    near.mkdir()
    settings = tmp_path / "mbsyncrc"
    settings.write_text(SETTINGS.format(port=server.sockets[0].getsockname()[1], near=near))

    async def run():
        before = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            "mbsync", "-c", str(settings), "-a", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await asyncio.wait_for(process.communicate(), 120)
        assert process.returncode == 0, said.decode()
        return time.monotonic() - before

    yield run
    server.close()
    await server.wait_closed()


def _letters(folder):
    """How many messages have which flags."""
    found: dict[str, int] = {}
    for path in [*Path(folder, "cur").iterdir(), *Path(folder, "new").iterdir()]:
        letters = path.name.partition(":2,")[2]
        found[letters] = found.get(letters, 0) + 1
    return found


async def test_flags_go_both_ways_over_five_hundred_messages(house, sync, tmp_path):
    inbox = house.fill()
    for number in range(COUNT):
        content = b"Message-ID: <%d@example.test>\r\nSubject: %d\r\n\r\nbody %d\r\n" % (number, number, number)
        inbox.append(content, {r"\Seen"} if number % 2 else ())
    near = tmp_path / "near" / "INBOX"
    first_s = await sync()
    assert _letters(near) == {"": COUNT // 2, "S": COUNT // 2}

    for number, path in enumerate(sorted(Path(near, "cur").iterdir())):  # flags set by the mail program here
        if number % 5 == 0:
            base, _, letters = path.name.partition(":2,")
            os.rename(path, path.with_name(f"{base}:2,{''.join(sorted({*letters, *'FPR'}))}"))
    inbox.change_flags(range(1, 101), lambda flags: flags | {r"\Draft"})  # and by another client there
    inbox.expunge(range(401, 411))
    (near / "new" / "1700000000.local").write_bytes(b"Message-ID: <local@example.test>\nSubject: local\n\nunix lines\n")
    second_s = await sync()
    third_s = await sync()
    there = house.inbox()
    assert _letters(near) == _letters(house.path)
    assert sum(_letters(near).values()) == COUNT - 10 + 1
    assert there.read(max(there.view.messages)).endswith(b"\r\n\r\nunix lines\r\n")
    assert any(letters.startswith("D") for letters in _letters(near))
    assert any("FPR" in letters for letters in _letters(near))
    assert max(first_s, second_s, third_s) < 30  # they take a second each, most of it mbsync's own waiting


async def test_folders_go_both_ways(house, sync, tmp_path):
    folders = house.fill() and house.mailboxes._account("alice@example.test").layout
    folders.make("Archive/2024")
    folders.make("Entwürfe")
    near = tmp_path / "near"
    for name in ("cur", "new", "tmp"):
        (near / "Local" / name).mkdir(parents=True)
    (near / "Local" / "new" / "1700000000.x").write_bytes(b"Message-ID: <x@example.test>\n\nx\n")
    await sync()
    assert (near / "Archive" / "2024" / "cur").is_dir()
    assert (near / "Entw&APw-rfe" / "cur").is_dir()
    assert folders.names() == ["Archive/2024", "Entwürfe", "Local"]
    assert sum(_letters(folders.path("Local")).values()) == 1
