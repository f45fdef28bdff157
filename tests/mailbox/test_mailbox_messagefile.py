import io
import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailauth.mailbox import messagefile
from mailauth.mailbox.messagefile import Name, Size

LINES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b".", b"\0", b"\xff"]), max_size=40).map(b"".join)


@pytest.fixture
def maildir(tmp_path):
    path = tmp_path / "a" / "b"
    messagefile.make_maildir(str(path))
    return str(path)


@pytest.mark.parametrize(
    ("name", "taken_apart"),
    [
        ("1.x:2,FS", Name("1.x", "FS")),
        ("1.x:2,", Name("1.x", "")),
        ("1.x", Name("1.x", "")),
        ("1.x:1,S", Name("1.x", "")),
        ("1.x,S=5:2,Sab,other", Name("1.x,S=5", "Sab")),
    ],
)
def test_a_name_comes_apart_at_the_colon(name, taken_apart):
    assert messagefile.parse_name(name) == taken_apart


def test_no_two_names_are_the_same_and_none_needs_escaping():
    names = {messagefile.mint_unique(b"x\r\n") for _ in range(1000)}
    assert len(names) == 1000
    assert not any(set("/: ") & set(name) for name in names)
    assert all(abs(int(name.partition(".")[0]) - time.time()) < 60 for name in names)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"a\r\n", 3), (b"a\r\nb", None), (b"a\n", None), (b"a\nb\r\n", None), (b"", None), (b"a\rb\r\n", 5)],
)
def test_a_name_tells_the_size_of_wire_form_in_whole_lines_only(content, told):
    unique = messagefile.mint_unique(content)
    assert messagefile.told_size(unique) == told
    assert messagefile.told_size(messagefile.mint_copy(unique)) == told


@pytest.mark.parametrize("unique", ["1.x,S=5,W=6", "1.x,S=5", "1.x,W=5", "1.x,S=,W="])
def test_other_sizes_in_names_are_not_believed(unique):
    assert messagefile.told_size(unique) is None


@given(LINES)
def test_wire_form_is_the_same_lines_with_their_ends_whole(content):
    wired = messagefile.to_wire_form(content)
    assert wired.replace(b"\r\n", b"\n") == content.replace(b"\r\n", b"\n")
    assert messagefile.is_wire_form(wired)
    assert messagefile.to_wire_form(wired) == wired


@given(LINES, st.integers(1, 7))
def test_wire_form_does_not_depend_on_where_a_file_is_cut(content, chunk_bytes):
    file = _Chunked(content, chunk_bytes)
    assert b"".join(messagefile.wire_chunks(file, "foreign")) == messagefile.to_wire_form(content)
    size = messagefile.measure(_Chunked(content, chunk_bytes), "foreign")
    wired = messagefile.to_wire_form(content)
    assert size == Size(len(wired), whole_lines=not wired or wired.endswith(b"\r\n"))


class _Chunked(io.BytesIO):
    """Reads no more at once than it was told."""

    def __init__(self, content: bytes, chunk_bytes: int) -> None:
        super().__init__(content)
        self._chunk_bytes = chunk_bytes

    def read(self, size=-1):
        return super().read(self._chunk_bytes)


def test_a_maildir_and_all_above_it_is_for_us_alone(tmp_path):
    old = os.umask(0)
    try:
        messagefile.make_maildir(str(tmp_path / "x" / "y"))
    finally:
        os.umask(old)
    made = [tmp_path / "x", *(tmp_path / "x" / "y").rglob("*"), tmp_path / "x" / "y"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}
    messagefile.make_maildir(str(tmp_path / "x" / "y"))


def test_a_message_goes_through_tmp_and_arrives_with_its_date(maildir):
    temporary = messagefile.write_temporary(maildir, "u", b"content", 1_000_000_000.5)
    messagefile.move_for_good(temporary, f"{maildir}/new/u")
    arrived = Path(maildir, "new", "u")
    assert arrived.read_bytes() == b"content"
    assert stat.S_IMODE(arrived.stat().st_mode) == 0o600
    assert arrived.stat().st_mtime == 1_000_000_000.5
    assert not list(Path(maildir, "tmp").iterdir())


@pytest.mark.parametrize("step", ["fsync", "rename", "utime"])
def test_a_fault_at_any_step_leaves_nothing_behind(maildir, monkeypatch, step):
    def fail(*_):
        raise OSError(28, "no space")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError):
        messagefile.move_for_good(messagefile.write_temporary(maildir, "u", b"content", 1.0), f"{maildir}/new/u")
    assert not [path for path in Path(maildir).rglob("*") if path.is_file()]


def test_a_message_that_may_not_survive_a_crash_is_not_left_there(maildir, monkeypatch):
    temporary = messagefile.write_temporary(maildir, "u", b"content")
    monkeypatch.setattr(messagefile, "sync_directory", _broken)
    with pytest.raises(OSError):
        messagefile.move_for_good(temporary, f"{maildir}/new/u")
    assert not [path for path in Path(maildir).rglob("*") if path.is_file()]


def _broken(_):
    raise OSError(5, "input/output error")


def test_nothing_is_ever_written_over_or_through_a_link(maildir, tmp_path):
    messagefile.write_temporary(maildir, "u", b"first")
    with pytest.raises(FileExistsError):
        messagefile.write_temporary(maildir, "u", b"second")
    Path(maildir, "tmp", "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        messagefile.write_temporary(maildir, "link", b"x")
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_system_that_cannot_sync_directories_is_good_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(22, "invalid argument")))
    messagefile.sync_directory(str(tmp_path))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "input/output error")))
    with pytest.raises(OSError):
        messagefile.sync_directory(str(tmp_path))


def test_only_what_was_abandoned_long_ago_is_swept(maildir):
    old, young = Path(maildir, "tmp", "old"), Path(maildir, "tmp", "young")
    for path in (old, young):
        path.write_bytes(b"")
    os.utime(old, (1, 1))
    Path(maildir, "tmp", "directory").mkdir()
    messagefile.sweep_temporary(maildir)
    assert sorted(path.name for path in Path(maildir, "tmp").iterdir()) == ["directory", "young"]
    messagefile.sweep_temporary(maildir + "/nowhere")
