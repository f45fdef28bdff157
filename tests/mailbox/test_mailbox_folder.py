# What other programs do to a Maildir is done here as they do it.
# ruff: noqa: PTH104, PTH108, PTH116

import itertools
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from mailauth.mailbox import folder as folder_module
from mailauth.mailbox import messagefile, transfer
from mailauth.mailbox.folder import RACY_NS, Folder
from mailauth.mailbox.keywords import KeywordsFull
from mailauth.mailbox.lock import directory_lock
from mailauth.mailbox.messagefile import Size
from mailauth.mailbox.view import FolderGone, MessageGone

MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


@pytest.fixture
def make(tmp_path):
    names = itertools.count()

    def made(*messages: bytes) -> Folder:
        path = str(tmp_path / f"folder{next(names)}")
        messagefile.make_maildir(path)
        folder = Folder(path)
        folder.refresh()
        for message in messages:
            folder.append(message)
        return folder

    return made


def _names(folder, place="cur"):
    return sorted(path.name for path in Path(folder.path, place).iterdir())


def _contents(folder):
    return {uid: folder.read(uid) for uid in folder.view.messages}


def _uniques(folder):
    return {uid: stored.unique for uid, stored in folder.view.messages.items()}


def _age(folder):
    """Let the folder's directories look as if nothing had happened in them for an hour."""
    for place in ("cur", "new"):
        then = os.stat(f"{folder.path}/{place}").st_mtime - 3600
        os.utime(f"{folder.path}/{place}", (then, then))


# ---- looking


def test_deliveries_get_uids_in_the_order_they_came(make):
    folder = make()
    for name in ("1700000009.b", "1700000010.a", "999.z"):
        Path(folder.path, "new", name).write_bytes(MESSAGE)
    view = folder.refresh()
    assert [stored.unique for stored in view.messages.values()] == ["999.z", "1700000009.b", "1700000010.a"]
    assert list(view.messages) == [1, 2, 3]
    assert (view.next_uid, view.recent_count) == (4, 3)


def test_uids_outlive_flags_moves_to_cur_and_restarts(make):
    folder = make(MESSAGE, MESSAGE)
    Path(folder.path, "new", "1.x").write_bytes(MESSAGE)
    before = _uniques_after(folder)
    os.rename(f"{folder.path}/new/1.x", f"{folder.path}/cur/1.x:2,FS")
    assert _uniques_after(folder) == before
    assert _uniques_after(Folder(folder.path)) == before
    assert Folder(folder.path).refresh().uid_validity == folder.view.uid_validity


def _uniques_after(folder):
    folder.refresh()
    return _uniques(folder)


def test_a_uid_is_never_given_twice(make):
    folder = make(MESSAGE, MESSAGE)
    folder.expunge([2])
    assert folder.append(MESSAGE) == 3
    folder.expunge([1, 3])
    again = Folder(folder.path)
    again.refresh()
    assert again.append(MESSAGE) == 4


def test_hidden_files_are_no_messages(make):
    folder = make()
    Path(folder.path, "cur", ".nfs0001").write_bytes(b"")
    assert folder.refresh().messages == {}


def test_the_view_stays_the_same_object_while_nothing_changes(make):
    folder = make(MESSAGE)
    view = folder.refresh()
    folder.scan()
    assert folder.view is view


def test_nothing_is_listed_while_nothing_changes(make, monkeypatch):
    folder = make(MESSAGE)
    _age(folder)
    folder.refresh()
    monkeypatch.setattr(os, "scandir", None)
    assert list(folder.refresh().messages) == [1]


def test_a_change_within_the_same_tick_of_the_clock_is_found_a_little_later(make, monkeypatch):
    folder = make(MESSAGE)
    now = os.stat(f"{folder.path}/cur").st_mtime_ns + 1000
    monkeypatch.setattr(folder_module.time, "time_ns", lambda: now)
    with folder.locked():
        folder.scan()
    times = os.stat(f"{folder.path}/cur")
    Path(folder.path, "cur", "2.x:2,").write_bytes(MESSAGE)
    os.utime(f"{folder.path}/cur", ns=(times.st_atime_ns, times.st_mtime_ns))  # a clock that counts coarsely
    assert len(folder.refresh().messages) == 1
    now += RACY_NS + 1
    assert len(folder.refresh().messages) == 2
    now += RACY_NS + 1
    monkeypatch.setattr(os, "scandir", None)
    folder.refresh()  # and then it is settled


def test_a_file_renamed_while_the_folder_was_listed_is_not_taken_for_removed(make, monkeypatch):
    folder = make(MESSAGE, MESSAGE)
    listings = []

    def missing_one_at_first():
        listings.append(real())
        if len(listings) == 1:
            listings[0].popitem()
        return listings[-1]

    real = folder._listed
    monkeypatch.setattr(folder, "_listed", missing_one_at_first)
    with folder.locked():
        folder.scan()
    assert list(folder.view.messages) == [1, 2]


def test_a_message_in_both_places_is_one_message(make):
    folder = make()
    for place in ("new/1.x", "cur/1.x:2,S"):
        Path(folder.path, place).write_bytes(MESSAGE)
    (stored,) = folder.refresh().messages.values()
    assert stored.file == "cur/1.x:2,S"


def test_a_folder_that_is_not_there_is_gone(tmp_path):
    folder = Folder(str(tmp_path / "nowhere"))
    for use in (folder.refresh, folder.claim, lambda: folder.expunge([1]), folder.stale):
        with pytest.raises(FolderGone):
            use()


def test_names_that_are_not_utf8_are_names_too(make):
    folder = make()
    with open(os.path.join(os.fsencode(folder.path), b"new", b"5.\xff"), "wb") as file:  # noqa: PTH118
        file.write(MESSAGE)
    folder.refresh()
    folder.change_flags([1], lambda flags: flags | {r"\Seen"})
    again = Folder(folder.path)
    assert again.refresh().messages[1].flags == {r"\Seen"}


# ---- content


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"Subject: x\r\n\r\nhello\r\n", b"Subject: x\r\n\r\nhello\r\n"),
        (b"Subject: x\n\nhello\n", b"Subject: x\r\n\r\nhello\r\n"),
        (b"no end", b"no end"),
        (b"", b""),
        (b"a\rb\r\r\n", b"a\rb\r\r\n"),
        (b"\0\xff" * 50_000, b"\0\xff" * 50_000),
    ],
)
@pytest.mark.parametrize("foreign", [True, False])
def test_what_is_read_has_the_size_that_was_told(make, content, wire, foreign):
    folder = make()
    if foreign:
        Path(folder.path, "cur", "1.x:2,").write_bytes(content)
        folder.refresh()
    else:
        folder.append(content)
    assert folder.read(1) == wire
    assert folder.size(1) == Size(len(wire), not wire or wire.endswith(b"\r\n"))
    assert folder.size(1) == folder.size(1)


def test_of_a_large_message_only_the_header_is_read_for_the_header(make):
    folder = make(b"Subject: x\r\n\r\n" + b"x" * 1_000_000 + b"\r\n", b"\r\nbody", b"all header" * 20_000)
    assert folder.read_header(1).startswith(b"Subject: x\r\n\r\n")
    assert len(folder.read_header(1)) <= messagefile.CHUNK_BYTES
    assert folder.read_header(2) == b"\r\nbody"
    assert folder.read_header(3) == b"all header" * 20_000


def test_a_message_is_found_under_its_new_name(make):
    folder = make(MESSAGE)
    (name,) = _names(folder)
    os.rename(f"{folder.path}/cur/{name}", f"{folder.path}/cur/{name}FS")
    assert folder.read(1) == MESSAGE
    os.unlink(f"{folder.path}/cur/{name}FS")
    for use in (folder.read, folder.size, folder.received_s, folder.read_header):
        with pytest.raises(MessageGone):
            use(1)


# ---- changing


def test_an_appended_message_keeps_flags_and_date(make):
    folder = make()
    uid = folder.append(MESSAGE, {r"\Seen", "$Work"}, 1_000_000_000.0)
    again = Folder(folder.path)
    stored = again.refresh().messages[uid]
    assert stored.flags == {r"\Seen", "$Work"}
    assert not stored.recent
    assert again.received_s(uid) == 1_000_000_000.0


def test_an_append_that_fails_leaves_nothing(make, monkeypatch):
    folder = make()
    monkeypatch.setattr(os, "rename", _no_space)
    with pytest.raises(OSError):
        folder.append(MESSAGE)
    monkeypatch.undo()
    with pytest.raises(KeywordsFull):
        folder.append(MESSAGE, {f"k{number}" for number in range(27)})
    assert _names(folder) == _names(folder, "tmp") == []
    assert folder.refresh().messages == {}


def _no_space(*_):
    raise OSError(28, "no space")


def test_flags_are_in_the_name_for_everybody(make):
    folder = make(MESSAGE, MESSAGE)
    folder.change_flags([1, 2, 99], lambda flags: flags | {r"\Answered", "$Junk"})
    folder.change_flags([2], lambda flags: flags - {r"\Answered"})
    assert [name.partition(":")[2] for name in _names(folder)] == ["2,Ra", "2,a"]
    other = Folder(folder.path)
    assert other.refresh().messages[2].flags == {"$Junk"}
    other.change_flags([2], lambda flags: flags | {"$junk", "second"})
    assert folder.refresh().messages[2].flags == {"$Junk", "second"}


def test_flags_of_a_message_in_new_take_it_to_cur(make):
    folder = make()
    Path(folder.path, "new", "1.x").write_bytes(MESSAGE)
    folder.change_flags([1], lambda flags: flags | {r"\Flagged"})
    assert _names(folder) == ["1.x:2,F"]
    assert folder.view.recent_count == 0


def test_letters_of_other_programs_stay(make):
    folder = make()
    Path(folder.path, "cur", "1.x:2,Qz").write_bytes(MESSAGE)
    folder.change_flags([1], lambda flags: flags | {r"\Seen"})
    assert _names(folder) == ["1.x:2,QSz"]


def test_a_rename_by_somebody_else_is_no_obstacle(make):
    folder = make(MESSAGE, MESSAGE)
    folder.refresh()
    first, second = _names(folder)
    os.rename(f"{folder.path}/cur/{first}", f"{folder.path}/cur/{first}F")
    folder._stamp = folder._stamp_now()  # as if it had happened between looking and changing
    folder.change_flags([1], lambda flags: flags | {r"\Seen"})
    assert _names(folder) == [first + "FS", second]
    os.rename(f"{folder.path}/cur/{second}", f"{folder.path}/cur/{second}S")
    folder._stamp = folder._stamp_now()
    assert folder.expunge([2]) == []
    assert _names(folder) == [first + "FS"]


def test_what_is_gone_already_counts_as_removed(make):
    folder = make(MESSAGE, MESSAGE)
    os.unlink(f"{folder.path}/{folder.view.messages[1].file}")
    assert folder.expunge([1, 2, 77]) == []
    assert folder.view.messages == {}


def test_what_cannot_be_removed_is_told(make, monkeypatch):
    folder = make(MESSAGE, MESSAGE)
    real, doomed = os.unlink, folder.view.messages[1].file
    monkeypatch.setattr(os, "unlink", lambda path: _no_space() if path.endswith(doomed) else real(path))
    assert folder.expunge([1, 2]) == [1]
    assert list(folder.view.messages) == [1]


def test_one_only_claims_what_is_new(make):
    folder = make(MESSAGE)
    Path(folder.path, "new", "1.x").write_bytes(MESSAGE)
    other = Folder(folder.path)
    other.refresh()
    assert folder.claim() == [2]
    assert other.claim() == []
    assert _names(folder, "new") == []


# ---- from folder to folder


def test_a_copy_is_the_message_with_flags_date_and_keywords_by_name(make):
    source, target = make(), make()
    source.append(b"none\r\n", {"only here"})
    source.append(MESSAGE, {r"\Seen", "$Junk"}, 1_000_000_000.0)
    source.append(b"no end")
    target.append(MESSAGE, {"other"})
    assert transfer.copy(source, [2, 3, 99], target) == [(2, 2), (3, 3)]
    assert target.view.messages[2].flags == {r"\Seen", "$Junk"}
    assert target.view.messages[2].letters == "Sb"
    assert target.received_s(2) == 1_000_000_000.0
    assert _contents(target) == {1: MESSAGE, 2: MESSAGE, 3: b"no end"}
    source.expunge([1, 2, 3])
    assert Folder(target.path).refresh().messages.keys() == {1, 2, 3}
    assert target.read(3) == b"no end"


def test_a_copy_within_a_folder_is_another_message(make):
    folder = make(MESSAGE)
    assert transfer.copy(folder, [1], folder) == [(1, 2)]
    assert len(set(_uniques(folder).values())) == 2
    assert transfer.move(folder, [1, 2], folder) == [(1, 3), (2, 4)]
    assert _contents(folder) == {3: MESSAGE, 4: MESSAGE}


def test_a_copy_does_without_hard_links(make, monkeypatch):
    source, target = make(MESSAGE), make()
    monkeypatch.setattr(os, "link", _no_links)
    assert transfer.copy(source, [1], target) == [(1, 1)]
    assert target.read(1) == MESSAGE
    assert target.received_s(1) == source.received_s(1)


def _no_links(*_):
    raise OSError(95, "operation not supported")


def test_a_copy_that_fails_half_way_is_no_copy(make, monkeypatch):
    source, target = make(MESSAGE, MESSAGE), make()
    calls = itertools.count()
    real = os.link
    monkeypatch.setattr(os, "link", lambda *paths: real(*paths) if next(calls) == 0 else _no_space())
    monkeypatch.setattr(messagefile, "write_temporary", _no_space)
    with pytest.raises(OSError):
        transfer.copy(source, [1, 2], target)
    assert _names(target) == []
    assert target.refresh().messages == {}


def test_moved_messages_are_in_one_place(make):
    source, target = make(MESSAGE, b"other\r\n"), make(MESSAGE)
    Path(source.path, "new", "9.x").write_bytes(b"third\n")
    assert transfer.move(source, [2, 3], target) == [(2, 2), (3, 3)]
    assert _contents(source) == {1: MESSAGE}
    assert _contents(target) == {1: MESSAGE, 2: b"other\r\n", 3: b"third\r\n"}
    assert target.size(2) == Size(7, True)


def test_a_move_that_fails_half_way_loses_nothing(make, monkeypatch):
    source, target = make(MESSAGE, MESSAGE), make()
    calls = itertools.count()
    real = os.rename
    monkeypatch.setattr(os, "rename", lambda *paths: real(*paths) if next(calls) == 0 else _no_space())
    with pytest.raises(OSError):
        transfer.move(source, [1, 2], target)
    assert (list(source.view.messages), list(target.view.messages)) == ([2], [1])
    assert list(Folder(source.path).refresh().messages) == [2]


def test_a_message_that_left_meanwhile_is_passed_over(make):
    source, target = make(MESSAGE, MESSAGE), make()
    os.unlink(f"{source.path}/{source.view.messages[1].file}")
    source._stamp = source._stamp_now()
    assert transfer.copy(source, [1, 2], target) == [(2, 2)]
    assert transfer.move(source, [1, 2], target) == [(2, 4)]


def test_two_who_move_in_opposite_directions_do_not_wait_for_each_other(make):
    one, other = make(*[MESSAGE] * 20), make(*[MESSAGE] * 20)

    def shuffle(source, target):
        for _ in range(20):
            transfer.move(source, list(source.view.messages)[:1], target)

    threads = [threading.Thread(target=shuffle, args=pair, daemon=True) for pair in ((one, other), (other, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert len(one.refresh().messages) + len(other.refresh().messages) == 40


# ---- several processes


def test_whoever_changes_a_folder_waits_for_the_lock(make):
    folder = make(MESSAGE)
    changes = [
        lambda: folder.append(MESSAGE),
        lambda: Folder(folder.path).append(MESSAGE),
        lambda: folder.change_flags([1], lambda flags: flags | {r"\Seen"}),
        folder.claim,
        lambda: folder.expunge([1]),
        lambda: transfer.copy(folder, [1], folder),
    ]
    for change in changes:
        thread = threading.Thread(target=change)
        with directory_lock(folder.path):  # held by "another process": on a descriptor of its own
            thread.start()
            thread.join(0.1)
            assert thread.is_alive()
        thread.join(10)
        assert not thread.is_alive()


def test_processes_that_append_at_once_share_the_uids(make):
    folder = make()
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    processes = [context.Process(target=_append_many, args=(folder.path, start)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    view = folder.refresh()
    assert list(view.messages) == list(range(1, 61))
    assert _uniques(folder) == _uniques_after(Folder(folder.path))


def _append_many(path, start):
    folder = Folder(path)
    start.wait(60)
    for number in range(20):
        uid = folder.append(b"%d\r\n" % number, {f"k{number % 5}"})
        folder.change_flags([uid], lambda flags: flags | {r"\Seen"})
    assert all(r"\Seen" in stored.flags or stored.flags for stored in folder.refresh().messages.values())
