"""One Maildir folder: what is in it, and every change to it.

Source: the Maildir page (cr.yp.to/proto/maildir.html), RFC 3501 section 2.3.
Rule: all of this blocks and belongs in a thread. Our own processes change a folder one at a time, under a lock file;
what anybody else delivers, renames or removes is found by looking.
"""

# Paths are plain strings here: a folder of thousands is listed, renamed and unlinked message by message.
# ruff: noqa: PTH104, PTH108, PTH116

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import BinaryIO

from mailauth.mailbox import messagefile
from mailauth.mailbox.lock import directory_lock
from mailauth.mailbox.messagefile import Size
from mailauth.mailbox.records import Records, Stamp
from mailauth.mailbox.view import FolderGone, MessageGone, Stored, View

RACY_NS = 1_000_000_000  # two changes this near may carry one and the same time of change (HFS+ and ext3 count seconds)

_ARRIVAL = re.compile(r"([0-9]{1,18})\.(?:M([0-9]{1,9})P[0-9]+(?:Q([0-9]{1,18}))?)?")

Uids = Iterable[int]
FlagChange = Callable[[frozenset[str]], Collection[str]]


class Folder:
    """One folder, shared by all who have it open in this process.

    view: as it was at the last look. Every method may raise FolderGone, and OSError when the disk fails.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.view = View()
        self.records = Records(path)
        self._lock = threading.Lock()
        self._stamp: Stamp = ()
        self._scanned_ns = 0
        self._sizes: dict[str, Size] = {}

    # ---- looking

    def stale(self) -> bool:
        """Whether the view may be older than the disk. Costs four stats."""
        stamp = self._stamp_now()
        if stamp != self._stamp:
            return True
        racy = max(stamp[:2]) + RACY_NS >= self._scanned_ns
        return racy and time.time_ns() > self._scanned_ns + RACY_NS

    def refresh(self) -> View:
        """The folder as it is now; lists it only when something has changed."""
        if self.stale():
            with self.locked():
                self.refreshed()
        return self.view

    def open(self, uid: int) -> tuple[Stored, BinaryIO]:
        """The message's file. Raises MessageGone."""
        for look_again in (True, False):
            stored = self.view.messages.get(uid)
            if stored is None:
                break
            with suppress(FileNotFoundError):
                return stored, open(f"{self.path}/{stored.file}", "rb")
            if look_again:  # its flags have changed, and with them its name
                with self.locked():
                    self.scan()
        raise MessageGone

    def read(self, uid: int) -> bytes:
        """The whole message in wire form. Raises MessageGone."""
        stored, file = self.open(uid)
        with file:
            content = file.read()
        return content if messagefile.told_size(stored.unique) is not None else messagefile.to_wire_form(content)

    def read_header(self, uid: int) -> bytes:
        """The message in wire form, at least as far as its header goes. Raises MessageGone."""
        stored, file = self.open(uid)
        content = bytearray()
        with file:
            for chunk in messagefile.wire_chunks(file, stored.unique):
                seen = max(0, len(content) - 3)
                content += chunk
                if content.find(b"\r\n\r\n", seen) >= 0 or content.startswith(b"\r\n"):
                    break
        return bytes(content)

    def size(self, uid: int) -> Size:
        """The message's size in wire form; the file is read, once, if its name does not tell. Raises MessageGone."""
        stored = self.view.messages.get(uid)
        if stored is None:
            raise MessageGone
        told = messagefile.told_size(stored.unique)
        if told is not None:
            return Size(told, whole_lines=True)
        return self._sizes.get(stored.unique) or self._measure(uid)

    def received_s(self, uid: int) -> float:
        """When the message came, in epoch seconds: the time of change of its file. Raises MessageGone."""
        _, file = self.open(uid)
        with file:
            return os.fstat(file.fileno()).st_mtime

    def _measure(self, uid: int) -> Size:
        stored, file = self.open(uid)
        with file:
            size = self._sizes[stored.unique] = messagefile.measure(file, stored.unique)
        return size

    # ---- changing

    def claim(self) -> list[int]:
        """Move what is in `new` to `cur`; the UIDs of what this call has moved."""
        with self.locked():
            fresh = [stored.uid for stored in self.refreshed().messages.values() if stored.recent]
            self._rename(fresh, lambda flags: flags)
            return [uid for uid in fresh if uid in self.view.messages]

    def change_flags(self, uids: Uids, change: FlagChange) -> None:
        """Give each message the flags change(its flags); those that are gone are passed over. Raises KeywordsFull."""
        with self.locked():
            self.refreshed()
            self._rename(uids, change)

    def append(self, content: bytes, flags: Iterable[str] = (), received_s: float | None = None) -> int:
        """Store a message, down to the disk, and return its UID. content: is brought into wire form.

        Raises KeywordsFull. On failure nothing is left.
        """
        wired = messagefile.to_wire_form(content)
        unique = messagefile.mint_unique(wired)
        temporary = messagefile.write_temporary(self.path, unique, wired, received_s)
        try:
            with self.locked():
                self.refreshed()
                letters = self.records.letters(flags)
                stored = self.named(self.records.number([unique])[0], unique, letters)
                messagefile.move_for_good(temporary, f"{self.path}/{stored.file}")
                self.show({**self.view.messages, stored.uid: stored})
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        return stored.uid

    def expunge(self, uids: Uids) -> list[int]:
        """Remove messages; returns the UIDs of those that could not be removed. What is gone already is removed."""
        with self.locked():
            self.refreshed()
            failed = self._unlink(uids)
            if failed:  # renamed under our hands, most likely
                self.scan()
                failed = self._unlink(failed)
        return failed

    def _unlink(self, uids: Uids) -> list[int]:
        kept, failed = dict(self.view.messages), []
        for uid in uids:
            stored = kept.get(uid)
            if stored is None:
                continue
            try:
                os.unlink(f"{self.path}/{stored.file}")
            except OSError:
                failed.append(uid)
            else:
                del kept[uid]
        self.show(kept)
        return failed

    def _rename(self, uids: Uids, change: FlagChange, again: bool = True) -> None:
        messages, lost = dict(self.view.messages), []
        try:
            for uid in uids:
                old = messages.get(uid)
                if old is None:
                    continue
                letters = self.records.letters(change(old.flags), old.letters)
                if letters == old.letters and not old.recent:
                    continue
                new = self.named(uid, old.unique, letters)
                try:
                    os.rename(f"{self.path}/{old.file}", f"{self.path}/{new.file}")
                except FileNotFoundError:
                    lost.append(uid)
                else:
                    messages[uid] = new
        finally:
            self.show(messages)
        if lost:
            self.scan()
            if again:
                self._rename(lost, change, again=False)

    # ---- for those who hold the lock

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other thread and process of ours from changing the folder."""
        with self._lock, directory_lock(self.path):
            yield

    def refreshed(self) -> View:
        """As refresh, for one who holds the lock."""
        if self.stale():
            self.scan()
        return self.view

    def scan(self) -> None:
        """List the folder, give new messages their UIDs, and show the result."""
        if not self._stamp:
            messagefile.sweep_temporary(self.path)
        scanned_ns = time.time_ns()
        stamp = self._stamp_now()  # before the listing: what changes meanwhile makes this stamp an old one
        keywords_before = self.records.keywords
        self.records.load()
        found = self._listed()
        if any(stored.unique not in found for stored in self.view.messages.values()):
            found = self._listed() | found  # a file that is renamed during a listing may be missing from it
        uids = self.records.listed.uids
        self.records.number(sorted((unique for unique in found if unique not in uids), key=_by_arrival))
        self.records.forget_all_but(found)
        self.show(self._built(found, self.view.messages if self.records.keywords is keywords_before else {}))
        self._stamp = (*stamp[:2], *self._stamp[2:])
        self._scanned_ns = scanned_ns

    def show(self, messages: dict[int, Stored]) -> None:
        """Make this the view, unless it is the same. messages: what a listing would now find, by UID, rising."""
        listed, before = self.records.listed, self.view
        self._stamp = self._stamp_now()
        same = len(messages) == len(before.messages) and all(
            before.messages.get(uid) is stored for uid, stored in messages.items()
        )
        known = (before.uid_validity, before.next_uid, before.keywords)
        if same and known == (listed.validity, listed.next_uid, self.records.keywords):
            return
        recent_count = sum(stored.recent for stored in messages.values())
        self.view = View(
            listed.validity, listed.next_uid, listed.folder_id, messages, self.records.keywords, recent_count
        )

    def named(self, uid: int, unique: str, letters: str) -> Stored:
        """The message that has, or is to have, this name in `cur`."""
        return Stored(uid, unique, f"cur/{unique}:2,{letters}", letters, self.records.keywords.flags(letters))

    def _built(self, found: Mapping[str, str], known: Mapping[int, Stored]) -> dict[int, Stored]:
        uids = self.records.listed.uids
        messages: dict[int, Stored] = {}
        for uid, unique in sorted((uids[unique], unique) for unique in found):
            file, before = found[unique], known.get(uid)
            if before is not None and before.file == file:
                messages[uid] = before
            else:
                letters = messagefile.parse_name(file).letters
                messages[uid] = Stored(uid, unique, file, letters, self.records.keywords.flags(letters))
        return messages

    def _listed(self) -> dict[str, str]:
        """File by unique name. `new` is listed first: what moves to `cur` meanwhile is seen twice rather than never."""
        found: dict[str, str] = {}
        for place in ("new", "cur"):
            with os.scandir(f"{self.path}/{place}") as entries:
                names = [entry.name for entry in entries]
            found |= {messagefile.parse_name(name).unique: f"{place}/{name}" for name in names if name[0] != "."}
        return found

    def _stamp_now(self) -> Stamp:
        try:
            cur, new = os.stat(f"{self.path}/cur").st_mtime_ns, os.stat(f"{self.path}/new").st_mtime_ns
        except FileNotFoundError:
            raise FolderGone from None
        return cur, new, *self.records.stamp()


def _by_arrival(unique: str) -> tuple[int, int, int, str]:
    """Names begin with the second of delivery; most go on with the microsecond, ours with a count too."""
    match = _ARRIVAL.match(unique)
    second, microsecond, count = (int(number or 0) for number in match.groups()) if match else (0, 0, 0)
    return second, microsecond, count, unique
