"""A folder in pymap's words.

Rule: values into values; nothing here waits or reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from pymap.flags import FlagOp
from pymap.mailbox import MailboxSnapshot
from pymap.parsing.response.code import CopyUid
from pymap.parsing.specials import Flag, ObjectId
from pymap.parsing.specials.flag import Recent, Wildcard

from mailauth.mailbox.folder import FlagChange, Folder
from mailauth.mailbox.imap_message import imap_flags
from mailauth.mailbox.keywords import FLAG_OF_LETTER, Keywords
from mailauth.mailbox.view import View


class Snapshot(MailboxSnapshot):
    """A mailbox for SELECT and STATUS."""

    __slots__ = ()

    @property
    def flags(self) -> frozenset[Flag]:
        """`\\*` is a permission and no flag (RFC 3501 section 7.2.6)."""
        return (self.permanent_flags | self.session_flags) - {Wildcard}


def snapshot(view: View, recent_count: int | None = None) -> Snapshot:
    """The folder for SELECT and STATUS. recent_count: if it was another before this session claimed."""
    unseen = [number for number, stored in enumerate(view.messages.values(), 1) if r"\Seen" not in stored.flags]
    return Snapshot(
        object_id(view),
        False,
        view.uid_validity,
        permanent_flags(view.keywords),
        frozenset({Recent}),
        len(view.messages),
        view.recent_count if recent_count is None else recent_count,
        len(unseen),
        unseen[0] if unseen else None,
        view.next_uid,
    )


def object_id(view: View) -> ObjectId:
    """Of the folder under its UID validity: when either differs, nothing the client knows holds."""
    return ObjectId(b"F%b-%d" % (view.folder_id.encode("ascii"), view.uid_validity))


def permanent_flags(keywords: Keywords) -> frozenset[Flag]:
    """The flags that can be stored, and `\\*` while another keyword can be (RFC 3501 section 7.1)."""
    flags = imap_flags(frozenset((*FLAG_OF_LETTER.values(), *filter(None, keywords.names))))
    return flags if keywords.full else flags | {Wildcard}


def flag_change(mode: FlagOp, operand: frozenset[str]) -> FlagChange:
    """What STORE does to a message's flags."""
    if mode is FlagOp.ADD:
        return lambda flags: flags | operand
    if mode is FlagOp.DELETE:
        return lambda flags: flags - operand
    return lambda _: operand


def copy_uid(target: Folder, pairs: Sequence[tuple[int, int]]) -> CopyUid | None:
    """COPYUID, RFC 4315; None: nothing was copied."""
    return CopyUid(target.view.uid_validity, pairs) if pairs else None
