"""One account's folders, opened once and shared by all its sessions in this process.

Rule: the only way from the event loop to the disk. Work goes on in its thread when the client has left, and whatever it
changed is told to everybody who waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from mailauth.mailbox import messagefile
from mailauth.mailbox.folder import Folder
from mailauth.mailbox.layout import Layout, canonical
from mailauth.mailbox.view import FolderGone
from mailauth.mailbox.watch import Watch

P = ParamSpec("P")
T = TypeVar("T")


class Account:
    """The mail of one login. Its Maildir is made on first use."""

    def __init__(self, root: str, watch: Watch) -> None:
        self.layout = Layout(root)
        self.watch = watch
        self._folders: dict[str, Folder] = {}
        self._made = False

    async def folder(self, name: str) -> Folder:
        """The folder of this name, as it is now. Raises BadName, FolderGone, OSError."""
        name = canonical(name)
        await self.make_root()
        folder = self._folders.get(name)
        if folder is None:
            folder = self._folders[name] = Folder(self.layout.path(name))
        try:
            await self.work(folder, Folder.refresh)
        except FolderGone:
            self.forget(name)
            raise
        return folder

    def open_folder(self, name: str) -> Folder | None:
        """The folder, if some session has it open."""
        return self._folders.get(canonical(name))

    def next_change(self, name: str) -> asyncio.Future[None]:
        """A future that is done once this folder has changed; cancel it when it is not wanted any more."""
        folder = self.open_folder(name)
        if folder is not None:
            return self.watch.next_change(folder)
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gone.set_result(None)
        return gone

    def forget(self, name: str) -> None:
        """This folder is gone, or is another one now. Those who wait for it find out."""
        folder = self._folders.pop(name, None)
        if folder is not None:
            self.watch.changed(folder)

    async def make_root(self) -> None:
        """Make the account's Maildir, if it is not there. Raises OSError."""
        if not self._made:
            await asyncio.to_thread(messagefile.make_maildir, self.layout.root)
            self._made = True

    async def work(
        self, folder: Folder, method: Callable[Concatenate[Folder, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call method(folder, ...) in a thread, to its end; wake those who wait if the folder has changed."""
        before = folder.view
        task = asyncio.create_task(asyncio.to_thread(method, folder, *args, **kwargs))
        task.add_done_callback(lambda done: self._worked(folder, before is folder.view, done))
        return await asyncio.shield(task)

    def _worked(self, folder: Folder, unchanged: bool, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # nobody else looks when the client has left
        if not unchanged:
            self.watch.changed(folder)
