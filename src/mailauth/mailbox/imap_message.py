"""One message as pymap sees it: a UID, flags, and whether it is still there.

Rule: content is not pymap's business: FETCH and SEARCH read it themselves, in threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from pymap.flags import SessionFlags
from pymap.interfaces.message import CachedMessage, FlagsKey, LoadedMessageInterface, MessageInterface
from pymap.parsing.specials import FetchRequirement, Flag, ObjectId

from mailauth.mailbox.folder import Folder
from mailauth.mailbox.keywords import LETTER_OF_FLAG
from mailauth.mailbox.view import Stored

NO_ID = ObjectId(None)
LAST_SECOND = 253_402_300_799.0  # of the year 9999: a date of IMAP has four digits for it


@lru_cache(maxsize=1024)
def imap_flags(names: frozenset[str]) -> frozenset[Flag]:
    """Our names of flags as pymap's flags."""
    return frozenset(Flag(name.encode("utf-8", "replace")) for name in names)


def flag_names(flags: Iterable[Flag]) -> frozenset[str]:
    """pymap's flags as our names, without system flags that can be stored nowhere (`\\Recent`, inventions)."""
    names = (bytes(flag).decode("ascii", "replace") for flag in flags)
    return frozenset(name for name in names if not name.startswith("\\") or name.lower() in LETTER_OF_FLAG)


class Message(CachedMessage, MessageInterface):
    """A message in one folder. expunged: it is gone, but the client has not been told yet."""

    __slots__ = ("_expunged", "_flags_key", "folder", "stored")

    def __init__(self, folder: Folder, stored: Stored, expunged: bool = False) -> None:
        self.folder = folder
        self.stored = stored
        self._expunged = expunged
        self._flags_key = (stored.uid, imap_flags(stored.flags))

    @property
    def uid(self) -> int:
        return self.stored.uid

    @property
    def expunged(self) -> bool:
        return self._expunged

    @property
    def internal_date(self) -> datetime:
        """When the message came. Blocks. Raises MessageGone."""
        received_s = self.folder.received_s(self.stored.uid)
        return datetime.fromtimestamp(min(max(received_s, 0.0), LAST_SECOND), UTC)

    @property
    def permanent_flags(self) -> frozenset[Flag]:
        return self._flags_key[1]

    @property
    def email_id(self) -> ObjectId:
        return NO_ID

    @property
    def thread_id(self) -> ObjectId:
        return NO_ID

    @property
    def flags_key(self) -> FlagsKey:
        return self._flags_key

    def get_flags(self, session_flags: SessionFlags) -> frozenset[Flag]:
        return self._flags_key[1] | session_flags.get(self.stored.uid)

    async def load_content(self, requirement: FetchRequirement) -> LoadedMessageInterface:
        raise NotImplementedError("pymap never asks for content here")


Cached = Sequence[tuple[int, CachedMessage]]
Found = list[tuple[int, Message]]


def currently(folder: Folder, wanted: Cached) -> Found:
    """The messages as they are now, or as ones that are gone."""
    now = folder.view.messages
    found: Found = []
    for number, known in wanted:
        stored = now.get(known.uid)
        if stored is not None:
            found.append((number, Message(folder, stored)))
        elif isinstance(known, Message):
            found.append((number, Message(folder, known.stored, expunged=True)))
    return found
