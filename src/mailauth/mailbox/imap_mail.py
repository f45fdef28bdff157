"""What an IMAP session can do with an account's mail: pymap's session interface over our folders.

Source: pymap.interfaces.session (0.36); RFC 3501 section 6.3 and 6.4, RFC 4315 (UIDPLUS), RFC 6851 (MOVE).
Rule: nothing here blocks. Faults go up as they are; imap_session spells them for the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from pymap.concurrent import Event
from pymap.exceptions import MailboxNotFound, MailboxReadOnly
from pymap.flags import FlagOp, PermanentFlags, SessionFlags
from pymap.interfaces.session import SessionInterface
from pymap.listtree import ListTree
from pymap.mailbox import MailboxSnapshot
from pymap.parsing.message import AppendMessage
from pymap.parsing.response.code import AppendUid, CopyUid
from pymap.parsing.specials import Flag, ObjectId, SearchKey, SequenceSet
from pymap.parsing.specials.flag import Deleted, Recent, Seen
from pymap.selected import SelectedMailbox

from mailauth.mailbox import imap_search, imap_view, transfer
from mailauth.mailbox.account import Account
from mailauth.mailbox.folder import Folder
from mailauth.mailbox.imap_message import Found, Message, currently, flag_names, imap_flags
from mailauth.mailbox.keywords import Keywords
from mailauth.mailbox.layout import DELIMITER, INBOX, Layout, canonical, matches
from mailauth.mailbox.view import FolderGone

SEARCH_BATCH_COUNT = 200
EVERY_UID, EVERY_NUMBER = SequenceSet.all(uid=True), SequenceSet.all()

P = ParamSpec("P")
T = TypeVar("T")
Transfer = Callable[[Folder, Sequence[int], Folder], list[tuple[int, int]]]


class NotRemoved(Exception):
    """Some messages could not be removed; those that could are."""


class Mail(SessionInterface):
    """The mail of one account, as one session sees it."""

    def __init__(self, account: Account) -> None:
        self._account = account

    @property
    def owner(self) -> str:
        return ""  # pymap never asks

    @property
    def filter_set(self) -> None:
        return None

    def close(self) -> None:
        """Nothing is kept open."""

    async def cleanup(self) -> None:
        """Nothing is left behind."""

    # ---- folders

    async def list_mailboxes(
        self, ref_name: str, filter_: str, subscribed: bool = False, selected: SelectedMailbox | None = None
    ) -> tuple[Iterable[tuple[str, str | None, Sequence[bytes]]], SelectedMailbox | None]:
        if not filter_:  # RFC 3501 section 6.3.8: the delimiter is asked for
            return [("", DELIMITER, [b"Noselect"])], await self._synced(selected)
        names = await self._in_layout(Layout.subscribed if subscribed else Layout.names)
        tree = ListTree(DELIMITER).update(INBOX, *names)
        pattern = ref_name + filter_
        found = [
            (entry.name, DELIMITER, entry.attributes)
            for entry in tree.list()
            if matches(pattern, entry.name) and (entry.exists or not subscribed or "%" in filter_)
        ]
        return found, await self._synced(selected)

    async def get_mailbox(
        self, name: str, selected: SelectedMailbox | None = None
    ) -> tuple[MailboxSnapshot, SelectedMailbox | None]:
        folder = await self._account.folder(name)
        return imap_view.snapshot(folder.view), await self._synced(selected)

    async def create_mailbox(
        self, name: str, selected: SelectedMailbox | None = None
    ) -> tuple[ObjectId, SelectedMailbox | None]:
        await self._in_layout(Layout.make, name)
        folder = await self._account.folder(name)
        return imap_view.object_id(folder.view), await self._synced(selected)

    async def delete_mailbox(self, name: str, selected: SelectedMailbox | None = None) -> SelectedMailbox | None:
        await self._in_layout(Layout.remove, name)
        self._account.forget(canonical(name))
        return await self._synced(selected)

    async def rename_mailbox(
        self, before_name: str, after_name: str, selected: SelectedMailbox | None = None
    ) -> SelectedMailbox | None:
        if canonical(before_name) == INBOX:  # RFC 3501 section 6.3.5: its messages move, INBOX stays
            await self._in_layout(Layout.make, after_name)
            inbox, after = await self._account.folder(INBOX), await self._account.folder(after_name)
            await self._transfer(inbox, list(inbox.view.messages), after, transfer.move)
        else:
            for name in await self._in_layout(Layout.rename, before_name, after_name):
                self._account.forget(name)
        return await self._synced(selected)

    async def subscribe(self, name: str, selected: SelectedMailbox | None = None) -> SelectedMailbox | None:
        await self._in_layout(Layout.subscribe, name)
        return await self._synced(selected)

    async def unsubscribe(self, name: str, selected: SelectedMailbox | None = None) -> SelectedMailbox | None:
        await self._in_layout(Layout.unsubscribe, name)
        return await self._synced(selected)

    # ---- messages

    async def append_messages(
        self, name: str, messages: Sequence[AppendMessage], selected: SelectedMailbox | None = None
    ) -> tuple[AppendUid, SelectedMailbox | None]:
        folder = await self._target(name)
        uids = [
            await self._account.work(
                folder,
                Folder.append,
                message.literal,
                flag_names(message.flag_set),
                message.when.timestamp() if message.when is not None else None,
            )
            for message in messages
        ]
        return AppendUid(folder.view.uid_validity, uids), await self._synced(selected)

    async def select_mailbox(self, name: str, readonly: bool = False) -> tuple[MailboxSnapshot, SelectedMailbox]:
        folder = await self._account.folder(name)
        selected = SelectedMailbox(
            imap_view.object_id(folder.view),
            readonly,
            PermanentFlags(imap_view.permanent_flags(folder.view.keywords)),
            SessionFlags({Recent}),
            lookup=name,
        )
        recent_count = folder.view.recent_count
        await self._show(selected, folder)
        return imap_view.snapshot(folder.view, recent_count), selected

    async def check_mailbox(
        self,
        selected: SelectedMailbox,
        *,
        wait_on: Event | None = None,  # noqa: ARG002  IDLE waits by next_change
        housekeeping: bool = False,  # noqa: ARG002
    ) -> SelectedMailbox:
        await self._synced(selected)
        return selected

    def next_change(self, selected: SelectedMailbox) -> asyncio.Future[None]:
        """A future that is done once the selected folder has changed; cancel it when it is not wanted any more."""
        return self._account.next_change(selected.lookup)

    async def fetch_messages(
        self, selected: SelectedMailbox, sequence_set: SequenceSet, set_seen: bool
    ) -> tuple[Found, SelectedMailbox]:
        folder = await self._folder(selected)
        wanted = selected.messages.get_all(sequence_set)
        if set_seen:
            unseen = [message.uid for _, message in wanted if Seen not in message.permanent_flags]
            await self._account.work(folder, Folder.change_flags, unseen, lambda flags: flags | {r"\Seen"})
        return currently(folder, wanted), await self._show(selected, folder)

    async def search_mailbox(
        self, selected: SelectedMailbox, keys: frozenset[SearchKey]
    ) -> tuple[Found, SelectedMailbox]:
        folder = await self._folder(selected)
        matches_all = imap_search.criterion(keys, selected)
        wanted = selected.messages.get_all(EVERY_NUMBER)
        found: Found = []
        for start in range(0, len(wanted), SEARCH_BATCH_COUNT):
            batch = wanted[start : start + SEARCH_BATCH_COUNT]
            found += await asyncio.to_thread(imap_search.matching, folder, batch, selected.session_flags, matches_all)
        return found, await self._show(selected, folder)

    async def expunge_mailbox(self, selected: SelectedMailbox, uid_set: SequenceSet | None = None) -> SelectedMailbox:
        folder = await self._writable(selected)
        uids = [
            message.uid
            for _, message in currently(folder, selected.messages.get_all(uid_set or EVERY_UID))
            if Deleted in message.permanent_flags
        ]
        failed = await self._account.work(folder, Folder.expunge, uids)
        await self._show(selected, folder)
        if failed:
            raise NotRemoved
        return selected

    async def copy_messages(
        self, selected: SelectedMailbox, sequence_set: SequenceSet, mailbox: str
    ) -> tuple[CopyUid | None, SelectedMailbox]:
        folder, target = await self._folder(selected), await self._target(mailbox)
        uids = [uid for _, uid in selected.messages.get_uids(sequence_set)]
        pairs = await self._transfer(folder, uids, target, transfer.copy)
        return imap_view.copy_uid(target, pairs), await self._show(selected, folder)

    async def move_messages(
        self, selected: SelectedMailbox, sequence_set: SequenceSet, mailbox: str
    ) -> tuple[CopyUid | None, SelectedMailbox]:
        folder, target = await self._writable(selected), await self._target(mailbox)
        uids = [uid for _, uid in selected.messages.get_uids(sequence_set)]
        pairs = await self._transfer(folder, uids, target, transfer.move)
        return imap_view.copy_uid(target, pairs), await self._show(selected, folder)

    async def update_flags(
        self,
        selected: SelectedMailbox,
        sequence_set: SequenceSet,
        flag_set: frozenset[Flag],
        mode: FlagOp = FlagOp.REPLACE,
    ) -> tuple[Found, SelectedMailbox]:
        folder = await self._writable(selected)
        wanted = selected.messages.get_all(sequence_set)
        change = imap_view.flag_change(mode, flag_names(flag_set))
        await self._account.work(folder, Folder.change_flags, [message.uid for _, message in wanted], change)
        return currently(folder, wanted), await self._show(selected, folder)

    def storable(self, selected: SelectedMailbox, flag_set: frozenset[Flag]) -> frozenset[Flag]:
        """Of these flags those that can be stored, keywords in the spelling they have here."""
        folder = self._account.open_folder(selected.lookup)
        keywords = folder.view.keywords if folder is not None else Keywords()
        return imap_flags(frozenset(map(keywords.canonical, flag_names(selected.permanent_flags & flag_set))))

    # ---- the selected folder

    async def _folder(self, selected: SelectedMailbox) -> Folder:
        folder = await self._account.folder(selected.lookup)
        if imap_view.object_id(folder.view) != selected.mailbox_id:  # another folder by now, or one that numbers anew
            raise FolderGone
        return folder

    async def _writable(self, selected: SelectedMailbox) -> Folder:
        if selected.readonly:
            raise MailboxReadOnly
        return await self._folder(selected)

    async def _target(self, name: str) -> Folder:
        try:
            return await self._account.folder(name)
        except FolderGone:
            raise MailboxNotFound(name, try_create=True) from None

    async def _synced(self, selected: SelectedMailbox | None) -> SelectedMailbox | None:
        """What the client has not been told yet about its selected folder is added to `selected`."""
        if selected is None:
            return None
        try:
            return await self._show(selected, await self._folder(selected))
        except FolderGone:
            selected.set_deleted()  # becomes a BYE: there is no other way to say it
            return selected

    async def _show(self, selected: SelectedMailbox, folder: Folder) -> SelectedMailbox:
        if folder.view.recent_count and not selected.readonly:
            for uid in await self._account.work(folder, Folder.claim):
                selected.session_flags.add_recent(uid)
        before, now = selected.mod_sequence or {}, folder.view.messages
        if now is before:
            selected.add_updates((), ())  # what could not be told before may be told now
            return selected
        changed = [Message(folder, stored) for uid, stored in now.items() if before.get(uid) is not stored]
        # A new message's flags are asked for by the client; volunteered, thousands of them would hold the loop.
        selected._silenced_flags.update(message.flags_key for message in changed if message.uid not in before)
        selected.add_updates(changed, before.keys() - now.keys())
        selected.mod_sequence = now
        return selected

    async def _transfer(
        self, source: Folder, uids: Sequence[int], target: Folder, method: Transfer
    ) -> list[tuple[int, int]]:
        pairs = await self._account.work(source, method, uids, target)
        self._account.watch.changed(target)
        return pairs

    async def _in_layout(self, method: Callable[Concatenate[Layout, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        await self._account.make_root()
        return await asyncio.to_thread(method, self._account.layout, *args, **kwargs)
