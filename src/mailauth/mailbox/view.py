"""What a folder shows at one moment.

Rule: values only, and they never change: whoever holds a View may read it in any thread, without a lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mailauth.mailbox.keywords import Keywords


class FolderGone(Exception):
    """There is no such folder (any more)."""


class MessageGone(Exception):
    """There is no such message (any more)."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """One message file. file: its path within the folder, `cur/...` or `new/...`; letters: its flags as in the name."""

    uid: int
    unique: str
    file: str
    letters: str
    flags: frozenset[str]

    @property
    def recent(self) -> bool:
        """Whether nobody has taken notice of it yet."""
        return self.file.startswith("new/")


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One folder. messages: by UID, rising; folder_id: stays through a rename; recent_count: still in `new`."""

    uid_validity: int = 0
    next_uid: int = 1
    folder_id: str = ""
    messages: Mapping[int, Stored] = field(default_factory=dict)
    keywords: Keywords = field(default_factory=Keywords)
    recent_count: int = 0
