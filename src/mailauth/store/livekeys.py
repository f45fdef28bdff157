"""The server keys of a running process, as key file and store have them by and by.

Rule: they are replaced as a whole, between two logins, by what has been checked against the store; so a login meets
either all the old ones or all the new ones, and never a key that makes right app passwords look wrong.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mailauth.events import LoginJudged
from mailauth.interfaces import Answer, BadRecord, Selectors, StoreUnavailable
from mailauth.keys import KeyFileError, KeyRing
from mailauth.store.engine import Store
from mailauth.store.keycheck import KEY_ADDED, KEY_IN_USE, KEY_REMOVED, WrongKey, fits, keys_of
from mailauth.verdict import Cause, Defer

AGAIN_S = 5.0  # between two looks at the key file because a login met a key that is not here

log = logging.getLogger(__name__)


class LiveKeys:
    """interfaces.Keys for the verifier. use: told the ids whenever they change. Belongs to one event loop."""

    def __init__(self, store: Store, path: Path, ring: KeyRing, use: Callable[[Sequence[int]], None]) -> None:
        self._store = store
        self._path = path
        self._ring = ring
        self._use = use
        self._mending: asyncio.Task[None] | None = None
        self.orders: dict[str, Callable[[str], Answer | None]] = {
            KEY_ADDED: self._added,
            KEY_IN_USE: self._in_use,
            KEY_REMOVED: self._removed,
        }

    @property
    def newest(self) -> int:
        """See interfaces.Keys."""
        return self._ring.newest

    def selectors(self, login: str, cleaned: str) -> Selectors:
        """See interfaces.Keys."""
        return self._ring.selectors(login, cleaned)

    def ring(self) -> KeyRing:
        """The keys as they are now. From any thread."""
        return self._ring

    def look_again(self) -> None:
        """Make up for what was changed before this process was told of changes. Blocks; to be called before it serves.

        Raises KeyFileError, WrongKey, StoreUnavailable.
        """
        self._take(self._read())

    def __call__(self, event: LoginJudged) -> None:
        """A listener of logins: one that met a key which is not here has the key file looked at again."""
        outcome = event.outcome
        if type(outcome) is Defer and outcome.cause is Cause.KEY and self._mending is None:
            self._mending = asyncio.get_running_loop().create_task(self._mend())

    def close(self) -> None:
        """Look no more."""
        if self._mending is not None:
            self._mending.cancel()

    # ---- what is told by other processes

    def _added(self, takes: str) -> Answer:
        return self._answer(self._lack(json.loads(takes)))

    def _in_use(self, takes: str) -> Answer:
        told = json.loads(takes)
        lack = self._lack(told)
        if lack:
            log.error("logins with new app passwords will be deferred here: %s alarm", lack)
        else:
            self._take(self._ring.using(max(self.newest, told["key"])))
        return self._answer(lack)

    def _removed(self, takes: str) -> None:
        key_id = json.loads(takes)["key"]
        if key_id in self._ring.ids and key_id < self.newest:
            self._take(self._ring.without(key_id))

    def _lack(self, told: Mapping[str, Any]) -> str:
        """Why this process cannot use the key it was told of; "": it can, from now on."""
        if fits(self._ring, told):
            return ""
        try:
            ring = KeyRing.load(self._path)
        except KeyFileError as fault:
            return str(fault)
        if not fits(ring, told):
            kind = "another" if told["key"] in ring.ids else "no"
            return f"key file {self._path}: it has {kind} key {told['key']}"
        if not {key for key in self._ring.keys if key.id <= self.newest} <= set(ring.keys):
            return f"key file {self._path}: it lacks keys that are in use"
        self._take(ring.using(self.newest))
        return ""

    def _answer(self, lack: str) -> Answer:
        process = f"process {os.getpid()} at {socket.gethostname()}"
        return Answer(report=json.dumps({"process": process, "lack": lack}) if lack else "")

    # ---- the key file

    def _take(self, ring: KeyRing) -> None:
        self._use(ring.ids)
        self._ring = ring

    def _read(self) -> KeyRing:
        return keys_of(self._store, self._path)

    async def _mend(self) -> None:
        standing = self._ring
        try:
            try:
                found = await asyncio.to_thread(self._read)
            except (KeyFileError, WrongKey, StoreUnavailable, BadRecord) as fault:
                log.error("server keys: %s", fault)
            else:
                self._take_found(found, standing)
            await asyncio.sleep(AGAIN_S)
        finally:
            self._mending = None

    def _take_found(self, found: KeyRing, standing: KeyRing) -> None:
        if self._ring is standing:  # otherwise what was read may be older
            self._take(found)
            log.warning("server keys read again from %s: %s", self._path, ", ".join(map(str, self._ring.ids)))
