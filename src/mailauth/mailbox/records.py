"""What a folder remembers beside its messages: UIDs and keyword names, in two small files.

Rule: read again when the files have changed; written under the folder's lock only.
"""

# Paths are plain strings here: a folder of thousands is listed, renamed and unlinked message by message.
# ruff: noqa: PTH116

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence

from mailauth.mailbox import keywords, uidlist
from mailauth.mailbox.keywords import Keywords
from mailauth.mailbox.uidlist import UidList

DEAD_LINES_COUNT = 1000  # lines of expunged messages that a UID list may carry before it is written anew

Stamp = tuple[int, ...]


class Records:
    """The UID list and the keywords of one folder. All of it blocks."""

    def __init__(self, path: str) -> None:
        self._list_path = f"{path}/{uidlist.FILE_NAME}"
        self._keywords_path = f"{path}/{keywords.FILE_NAME}"
        self._list_stamp: Stamp = ()
        self._keywords_stamp: Stamp = ()
        self.listed = UidList(0, 1, "")
        self.keywords = Keywords()

    def stamp(self) -> Stamp:
        """What differs when one of the files has changed."""
        return *_file_stamp(self._list_path), *_file_stamp(self._keywords_path)

    def load(self) -> None:
        """Read what has changed; a folder without a UID list gets one."""
        stamp = _file_stamp(self._list_path)
        if stamp != self._list_stamp:
            self.listed = uidlist.read(self._list_path) or uidlist.fresh()
            self._list_stamp = stamp
            if stamp == NO_FILE or self.listed.torn or not self.listed.uids:
                self._rewrite()
        stamp = _file_stamp(self._keywords_path)
        if stamp != self._keywords_stamp:
            self.keywords = _read_keywords(self._keywords_path)
            self._keywords_stamp = stamp

    def number(self, uniques: Sequence[str]) -> range:
        """Give these new messages their UIDs, in order."""
        first = self.listed.next_uid
        if uniques:
            uidlist.append(self._list_path, uniques, self.listed)
            self._list_stamp = _file_stamp(self._list_path)
        return range(first, self.listed.next_uid)

    def forget_all_but(self, uniques: Collection[str]) -> None:
        """Drop the lines of messages that are gone, once they are many."""
        uids = self.listed.uids
        if len(uids) > 2 * len(uniques) + DEAD_LINES_COUNT:
            self.listed.uids = {unique: uid for unique, uid in uids.items() if unique in uniques}
            self._rewrite()

    def letters(self, flags: Iterable[str], old: str = "") -> str:
        """The letters for these flags, as Keywords.letters; new keywords are written down. Raises KeywordsFull."""
        flags = tuple(flags)
        grown = self.keywords.with_new(flags)
        if grown is not self.keywords:
            uidlist.replace_file(self._keywords_path, keywords.render(grown))
            self.keywords = grown
            self._keywords_stamp = _file_stamp(self._keywords_path)
        return grown.letters(flags, old)

    def _rewrite(self) -> None:
        uidlist.rewrite(self._list_path, self.listed)
        self._list_stamp = _file_stamp(self._list_path)


NO_FILE: Stamp = (0, 0, 0)


def _file_stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return NO_FILE
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read_keywords(path: str) -> Keywords:
    try:
        with open(path, "rb") as file:
            return keywords.parse(file.read())
    except FileNotFoundError:
        return Keywords()
