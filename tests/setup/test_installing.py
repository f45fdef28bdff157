"""Files put in place: with a copy of what was there, as they were, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailauth.setup.installing import install
from mailauth.setup.plan import CannotSetUp, File


def nothing() -> None:
    """A check that finds nothing."""


def refusing() -> None:
    raise CannotSetUp("not to its taste")


def test_what_was_there_is_kept_beside_it_each_time(tmp_path: Path) -> None:
    path = tmp_path / "main.cf"
    path.write_text("one\n")
    path.chmod(0o640)
    (first,) = install([File(path, "two\n")], nothing)
    (second,) = install([File(path, "three\n")], nothing)
    assert (first.copy, second.copy) == (tmp_path / "main.cf.before-mailauth", tmp_path / "main.cf.before-mailauth-2")
    assert [file.read_text() for file in (first.copy, second.copy, path)] == ["one\n", "two\n", "three\n"]
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o640}


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "main.cf"
    path.write_text("one\n")
    inode = path.stat().st_ino
    assert install([File(path, "one\n")], nothing) == []
    assert path.stat().st_ino == inode
    assert list(tmp_path.iterdir()) == [path]


def test_all_is_as_before_when_the_check_does_not_like_it(tmp_path: Path) -> None:
    there, new = tmp_path / "there", tmp_path / "folder" / "of" / "its" / "own" / "new"
    there.write_text("one\n")
    with pytest.raises(CannotSetUp, match="not to its taste"):
        install([File(there, "two\n"), File(new, "x\n")], refusing)
    assert there.read_text() == "one\n"
    assert list(tmp_path.iterdir()) == [there]


def test_a_secret_is_nobody_elses_from_its_first_moment(tmp_path: Path) -> None:
    like = tmp_path / "keys"
    like.touch()
    if os.geteuid() == 0:
        os.chown(like, 12345, 12346)
    path = tmp_path / "token"
    install([File(path, "x\n", 0o600, like=like)], nothing)
    status = path.stat()
    assert status.st_mode & 0o777 == 0o600
    assert (status.st_uid, status.st_gid) == (like.stat().st_uid, like.stat().st_gid)


def test_a_link_stays_one_and_its_target_is_changed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "main.cf", tmp_path / "main.cf"
    target.write_text("one\n")
    link.symlink_to(target)
    install([File(link, "two\n")], nothing)
    assert link.is_symlink()
    assert target.read_text() == "two\n"
    assert (tmp_path / "real" / "main.cf.before-mailauth").read_text() == "one\n"


def test_what_cannot_be_written_is_told_and_undone(tmp_path: Path) -> None:
    first = tmp_path / "first"
    (tmp_path / "file").touch()
    with pytest.raises(CannotSetUp, match="cannot be read"):
        install([File(first, "x\n"), File(tmp_path / "file" / "second", "x\n")], nothing)
    assert not first.exists()
