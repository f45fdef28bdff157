"""Messages from one folder to another of the same account.

Source: RFC 3501 section 6.4.7 (COPY), RFC 6851 (MOVE).
Rule: blocks; belongs in a thread. The UIDs are given first: one that is never used costs nothing.
"""

# Paths are plain strings here: a folder of thousands is listed, renamed and unlinked message by message.
# ruff: noqa: PTH104, PTH108

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from mailauth.mailbox import messagefile
from mailauth.mailbox.folder import Folder
from mailauth.mailbox.view import Stored

Pairs = list[tuple[Stored, Stored]]


def copy(source: Folder, uids: Sequence[int], target: Folder) -> list[tuple[int, int]]:
    """Copy messages; returns pairs of old and new UID. All or nothing, but for messages that are gone.

    Raises KeywordsFull, FolderGone, OSError.
    """
    with _both_locked(source, target):
        done: Pairs = []
        try:
            for old, new in _planned(source, uids, target):
                with suppress(FileNotFoundError):
                    _link(source, old, target, new)
                    done.append((old, new))
            messagefile.sync_directory(f"{target.path}/cur")
        except BaseException:
            for _, new in done:
                with suppress(OSError):
                    os.unlink(f"{target.path}/{new.file}")
            raise
        _take_in(target, done)
        return [(old.uid, new.uid) for old, new in done]


def move(source: Folder, uids: Sequence[int], target: Folder) -> list[tuple[int, int]]:
    """Move messages; returns pairs of old and new UID. What could be moved before a fault stays moved.

    Raises KeywordsFull, FolderGone, OSError.
    """
    with _both_locked(source, target):
        done: Pairs = []
        try:
            for old, new in _planned(source, uids, target):
                with suppress(FileNotFoundError):
                    os.rename(f"{source.path}/{old.file}", f"{target.path}/{new.file}")
                    done.append((old, new))
        finally:
            _take_in(target, done)
            moved = {old.uid for old, _ in done}
            source.show({uid: stored for uid, stored in source.view.messages.items() if uid not in moved})
        messagefile.sync_directory(f"{target.path}/cur")
        return [(old.uid, new.uid) for old, new in done]


@contextmanager
def _both_locked(one: Folder, other: Folder) -> Iterator[None]:
    with ExitStack() as stack:
        for folder in sorted({one, other}, key=lambda folder: folder.path):  # everybody in the same order: no deadlock
            stack.enter_context(folder.locked())
        yield


def _planned(source: Folder, uids: Sequence[int], target: Folder) -> Pairs:
    messages = source.refreshed().messages
    target.refreshed()
    wanted = [stored for uid in uids if (stored := messages.get(uid))]
    letters = [target.records.letters(stored.flags) for stored in wanted]
    uniques = [messagefile.mint_copy(stored.unique) for stored in wanted]
    named = map(target.named, target.records.number(uniques), uniques, letters)
    return list(zip(wanted, named, strict=True))


def _link(source: Folder, old: Stored, target: Folder, new: Stored) -> None:
    """A second name for the same file: a message never changes, so nothing need be copied."""
    try:
        os.link(f"{source.path}/{old.file}", f"{target.path}/{new.file}")
    except FileNotFoundError:
        raise
    except OSError:  # no hard links here, or one too many
        with open(f"{source.path}/{old.file}", "rb") as file:
            received_s = os.fstat(file.fileno()).st_mtime
            temporary = messagefile.write_temporary(target.path, new.unique, file.read(), received_s)
        messagefile.move_for_good(temporary, f"{target.path}/{new.file}")


def _take_in(target: Folder, done: Pairs) -> None:
    target.show({**target.view.messages, **{new.uid: new for _, new in done}})
