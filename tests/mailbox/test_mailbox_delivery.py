import errno
import os
import re
import stat
from pathlib import Path

import pytest

from mailauth.mailbox import delivery, messagefile
from mailauth.mailbox.delivery import DeliveryFailed, deliver_file
from mailauth.mailbox.folder import Folder

LOGIN = "alice@example.test"
MESSAGE = b"From: bob@example.test\r\n\r\nhello\r\n"


@pytest.fixture
def maildir(tmp_path):
    return str(tmp_path / "example.test" / "alice")


def _files(maildir):
    return [path for path in Path(maildir).rglob("*") if path.is_file()]


def test_a_message_arrives_in_new_under_its_two_lines(maildir):
    deliver_file(maildir, LOGIN, MESSAGE, "bob@example.test")
    (arrived,) = _files(maildir)
    assert arrived.parent.name == "new"
    assert arrived.read_bytes() == (
        b"Return-Path: <bob@example.test>\r\nDelivered-To: alice@example.test\r\n" + MESSAGE
    )
    assert stat.S_IMODE(arrived.stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in (Path(maildir), Path(maildir).parent)} == {0o700}
    assert messagefile.told_size(arrived.name) == len(arrived.read_bytes())


@pytest.mark.parametrize(
    ("sender", "line"),
    [
        ("", b"<>"),
        ("bob@example.test\r\nX-Forged: yes", b"<bob@example.testX-Forged: yes>"),
        ("bob\n\n<script>\0\x7f", b"<bob<script>>"),
        ("böb@example.test", "<böb@example.test>".encode()),
        ("b\udcffb@example.test", b"<b\xffb@example.test>"),
    ],
)
def test_an_address_brings_no_line_of_its_own(maildir, sender, line):
    deliver_file(maildir, LOGIN, MESSAGE, sender)
    (arrived,) = _files(maildir)
    assert arrived.read_bytes().split(b"\r\n")[0] == b"Return-Path: " + line
    assert arrived.read_bytes().split(b"\r\n")[1] == b"Delivered-To: alice@example.test"


@pytest.mark.parametrize(
    ("content", "stored"),
    [(b"a\nb", b"a\r\nb\r\n"), (b"", b""), (b"\r", b"\r\r\n"), (b"\n.\n", b"\r\n.\r\n"), (b"a\r\n", b"a\r\n")],
)
def test_lines_are_made_whole(maildir, content, stored):
    deliver_file(maildir, LOGIN, content, "")
    (arrived,) = _files(maildir)
    assert arrived.read_bytes().endswith(b"alice@example.test\r\n" + stored)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "quota exceeded"),
        (errno.EACCES, "mailbox may not be written"),
        (errno.EIO, "mailbox cannot be written"),
    ],
)
@pytest.mark.parametrize("step", ["mkdir", "fsync", "rename", "open"])
def test_a_failed_delivery_says_so_without_a_path_and_leaves_nothing(maildir, monkeypatch, number, text, step):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number), "/secret/path")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(DeliveryFailed) as failed:
        deliver_file(maildir, LOGIN, MESSAGE, "bob@example.test")
    assert str(failed.value) == text
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__
    assert _files(maildir) == []


def test_the_message_and_its_name_are_on_disk_before_anybody_is_told(maildir, monkeypatch):
    steps = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor):
        seen = Path(f"/proc/self/fd/{descriptor}")  # Linux tells what a descriptor is
        steps.append(str(seen.readlink()) if seen.exists() else "?")
        real_fsync(descriptor)

    def rename(source, target):
        steps.append("rename")
        real_rename(source, target)

    deliver_file(maildir, LOGIN, MESSAGE, "")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    deliver_file(maildir, LOGIN, MESSAGE, "")
    assert len(steps) == 3
    assert steps[1] == "rename"
    if steps[0] != "?":
        assert re.match(re.escape(f"{maildir}/tmp/"), steps[0])
        assert steps[2] == f"{maildir}/new"


def test_a_delivered_message_is_a_message_of_the_folder(maildir):
    deliver_file(maildir, LOGIN, MESSAGE, "")
    folder = Folder(maildir)
    (stored,) = folder.refresh().messages.values()
    assert stored.recent
    assert folder.read(1).endswith(MESSAGE)


def test_control_characters_are_what_they_are_for_mail():
    assert delivery._CONTROL.sub("", "a\tb\x1fc\x7fd é") == "abcd é"
