"""Wakes those who wait for a folder to change.

Rule: one task and one thread hop a second look at all folders that somebody waits for, however many wait; what this
process changes itself is told at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from mailauth.mailbox.folder import Folder
from mailauth.mailbox.view import FolderGone

POLL_S = 1.0


class Watch:
    """The waiting sessions of one process."""

    def __init__(self, poll_s: float = POLL_S) -> None:
        self._poll_s = poll_s
        self._waiting: dict[Folder, set[asyncio.Future[None]]] = {}
        self._poller: asyncio.Task[None] | None = None

    def next_change(self, folder: Folder) -> asyncio.Future[None]:
        """A future that is done once the folder has changed; cancel it when it is not wanted any more."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(folder, set()).add(future)
        future.add_done_callback(lambda done: self._forget(folder, done))
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        return future

    def changed(self, folder: Folder) -> None:
        """Wake all who wait for this folder."""
        for future in tuple(self._waiting.get(folder, ())):
            if not future.done():
                future.set_result(None)

    def _forget(self, folder: Folder, future: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(folder, set())
        waiting.discard(future)
        if not waiting:
            self._waiting.pop(folder, None)
        if not self._waiting and self._poller is not None:
            self._poller.cancel()
            self._poller = None

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            for folder in await asyncio.to_thread(_stale, tuple(self._waiting)):
                self.changed(folder)


def _stale(folders: Iterable[Folder]) -> list[Folder]:
    return [folder for folder in folders if _is_stale(folder)]


def _is_stale(folder: Folder) -> bool:
    try:
        return folder.stale()
    except (FolderGone, OSError):
        return True  # whoever waits finds out himself
