"""The folders of one account: which there are, and making, removing, renaming them.

Source: Maildir++ (a directory `.Name.Child` for each folder; the account's own Maildir is INBOX), RFC 3501 section 5.1.
Rule: blocks; belongs in a thread. A name becomes one directory entry that begins with a dot and holds no slash, or is
refused: no name leads anywhere else. A dot within a name is written as modified UTF-7 writes what it must not show.
"""

# Paths are plain strings here, as in what they are handed to.
# ruff: noqa: PTH104, PTH112

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable

from mailauth.mailbox import messagefile, mutf7
from mailauth.mailbox.lock import directory_lock
from mailauth.mailbox.uidlist import replace_file

INBOX = "INBOX"
DELIMITER = "/"
MAX_ENTRY_BYTES = 255  # NAME_MAX of every file system in use
MAX_DEPTH = 20
MAX_PATTERN_CHARACTERS = 1000
SUBSCRIPTIONS = "subscriptions"
_DOT = "&AC4-"  # U+002E in modified UTF-7, which would show it as it is


class BadName(ValueError):
    """No folder can have this name. The text may be shown to the client."""


class FolderExists(Exception):
    """There is a folder of this name already."""


class NoFolder(Exception):
    """There is no folder of this name."""


def canonical(name: str) -> str:
    """The name as we keep it: one trailing delimiter off (it announces children), INBOX in capitals. Raises BadName."""
    parts = name.removesuffix(DELIMITER).split(DELIMITER)
    if parts[0].upper() == INBOX:
        parts[0] = INBOX
    if not all(parts):
        raise BadName("Empty folder name.")
    if {".", ".."} & set(parts):  # harmless here, not on the disk of every client that keeps a copy
        raise BadName("Folder name not allowed.")
    if len(parts) > MAX_DEPTH:
        raise BadName("Folder name too deep.")
    if not all(part.isprintable() for part in parts):
        raise BadName("Folder name not printable.")
    return DELIMITER.join(parts)


def entry(name: str) -> str:
    """The directory entry of a folder below INBOX. Raises BadName."""
    parts = canonical(name).split(DELIMITER)
    made = "".join("." + mutf7.encode(part).decode("ascii").replace(".", _DOT) for part in parts)
    if len(made) > MAX_ENTRY_BYTES:
        raise BadName("Folder name too long.")
    return made


def name_of(made: str) -> str | None:
    """The folder that has this directory entry; None: it is no folder of ours."""
    try:
        parts = [mutf7.decode(part.replace(_DOT, ".").encode("ascii")) for part in made.removeprefix(".").split(".")]
        name = DELIMITER.join(parts)
        return name if entry(name) == made else None
    except ValueError:  # BadName and UnicodeError are such
        return None


def matches(pattern: str, name: str) -> bool:
    """Whether LIST's pattern names this folder: `*` is anything, `%` anything but the delimiter (RFC 3501, 6.3.8).

    A bit for each place in the pattern, all moved at once: no pattern is slow.
    """
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return False
    if pattern[: len(INBOX)].upper() == INBOX:
        pattern = INBOX + pattern[len(INBOX) :]
    pattern = re.sub(r"[*%]+", lambda run: "*" if "*" in run[0] else "%", pattern)
    bits: dict[str, int] = {}
    for place, character in enumerate(pattern):
        bits[character] = bits.get(character, 0) | 1 << place
    star, percent = bits.pop("*", 0), bits.pop("%", 0)
    here = 1
    for character in name:
        here |= (here & (star | percent)) << 1
        stay = star if character == DELIMITER else star | percent
        here = (here & bits.get(character, 0)) << 1 | here & stay
    here |= (here & (star | percent)) << 1
    return bool(here >> len(pattern) & 1)


class Layout:
    """The folders of the account whose Maildir is at `root`, which must be there. Every method may raise OSError."""

    def __init__(self, root: str) -> None:
        self.root = root

    def path(self, name: str) -> str:
        """Where this folder is, or would be. Raises BadName."""
        return self.root if canonical(name) == INBOX else f"{self.root}/{entry(name)}"

    def names(self) -> list[str]:
        """All folders but INBOX, in order."""
        with os.scandir(self.root) as entries:
            found = [name_of(entry.name) for entry in entries if entry.name[0] == "."]
        return sorted(name for name in found if name and name != INBOX and os.path.isdir(f"{self.path(name)}/cur"))

    def make(self, name: str) -> None:
        """Make a folder. Raises BadName, FolderExists."""
        path = self.path(name)
        with directory_lock(self.root):
            if os.path.isdir(f"{path}/cur"):
                raise FolderExists
            messagefile.make_maildir(path)
            with open(f"{path}/maildirfolder", "ab"):
                pass  # Maildir++: "this is a folder, not an account"

    def remove(self, name: str) -> None:
        """Remove a folder with its messages; its children stay. Raises BadName, NoFolder."""
        doomed = f"{self.root}/{messagefile.TEMPORARY}/{secrets.token_hex(8)}"
        self._rename(self.path(name), doomed)  # gone in one step, however long the removal takes
        shutil.rmtree(doomed, ignore_errors=True)

    def rename(self, before: str, after: str) -> list[str]:
        """Rename a folder and its children; returns the old names. Raises BadName, NoFolder, FolderExists."""
        before, after = canonical(before), canonical(after)
        if after.startswith(before + DELIMITER):
            raise BadName("A folder cannot become its own child.")
        with directory_lock(self.root):
            names = [name for name in self.names() if name == before or name.startswith(before + DELIMITER)]
            if not names:
                raise NoFolder
            renames = [(self.path(name), self.path(after + name[len(before) :])) for name in names]
            if any(os.path.lexists(target) for _, target in renames):
                raise FolderExists
            for source, target in renames:
                self._rename(source, target)
        return names

    def _rename(self, source: str, target: str) -> None:
        if source == self.root:
            raise BadName("INBOX stays.")
        try:
            os.rename(source, target)
        except FileNotFoundError:
            raise NoFolder from None
        messagefile.sync_directory(self.root)

    def subscribed(self) -> list[str]:
        """The names in the file `subscriptions`, whether or not there are such folders (RFC 3501 section 6.3.9)."""
        try:
            with open(f"{self.root}/{SUBSCRIPTIONS}", encoding="utf-8", errors="replace") as file:
                return sorted({name for line in file if (name := name_of("." + line.rstrip("\n"))) is not None})
        except FileNotFoundError:
            return []

    def subscribe(self, name: str) -> None:
        """Add a name to the subscriptions. Raises BadName."""
        with directory_lock(self.root):
            self._write_subscriptions({*self.subscribed(), canonical(name)})

    def unsubscribe(self, name: str) -> None:
        """Take a name out of the subscriptions, if it is there. Raises BadName."""
        with directory_lock(self.root):
            self._write_subscriptions({*self.subscribed()} - {canonical(name)})

    def _write_subscriptions(self, names: Iterable[str]) -> None:
        lines = sorted(entry(name).removeprefix(".") for name in names)
        replace_file(f"{self.root}/{SUBSCRIPTIONS}", "".join(f"{line}\n" for line in lines).encode("ascii"))
