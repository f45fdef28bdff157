"""The thread that brings a process up to date with the store's changes, in order, and says how far it is.

Rule: "register, then read". A login looks at the mark before it reads an account; what this thread hands over moves
the mark before this process says that it has applied it. A process that cannot read the changes, or finds that it is
not waited for any more, lets nobody in after changes.LEASE_S: then no revocation has to wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

from mailauth.interfaces import Answer, BadRecord, Change, StoreUnavailable
from mailauth.logs import whereabouts
from mailauth.store import changes
from mailauth.store.engine import Store, Transaction, Watch
from mailauth.store.faults import Clash
from mailauth.store.highwater import Rising

LOOK_S = 0.5  # also when nothing was heard: a notification may be lost with its connection
LISTEN_S = 0.1  # in a row, before it is looked whether this process is to end
AGAIN_S = 0.2  # after a fault
CLOSE_S = 5.0

log = logging.getLogger(__name__)

Apply = Callable[[Sequence[Change]], Coroutine[Any, Any, Mapping[int, Answer]]]


class WentBack(Exception):
    """The store knows less than this process: it is not the same any more."""


class LoopEnded(Exception):
    """There is nobody left to apply a change."""


class Applier:
    """One process's place among those that let clients in.

    apply: runs in `loop`; has acted on the changes when it returns. read: told, from the thread, the monotonic time at
    which everything up to now was read and applied. Raises StoreUnavailable if the store cannot be written now.
    """

    def __init__(
        self, store: Store, apply: Apply, read: Callable[[float], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._store = store
        self._apply = apply
        self._read = read
        self._loop = loop
        self._id = secrets.token_hex(8)
        began = time.monotonic()
        self._applied = changes.newest(store)
        self._unsaid: dict[int, Answer] = {}  # applied, and the store has not been told
        self._went_back = False
        self._rising = Rising(store)
        self._is_down = self._is_mute = False
        self._stopping = threading.Event()
        with store.transaction() as tx:
            self._register(tx)
        read(began)
        self._thread = threading.Thread(target=self._run, name="mailauth-changes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave: nobody is let in any more. Blocks a little; not to be called in the event loop's thread."""
        self._stopping.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        watch: Watch | None = None
        while not self._stopping.is_set():
            try:
                watch = watch or self._store.driver.watch()
                self._wait(watch)
                while self._look() and not self._stopping.is_set():
                    pass
                self._rising.note(self._applied)
                if self._is_down:
                    log.warning("changes of the store are read again")
                self._is_down = False
            except LoopEnded:
                break
            except (StoreUnavailable, BadRecord, WentBack) as fault:
                self._say_down(str(fault))
            except Exception as bug:  # noqa: BLE001  whatever it is, this thread must go on
                self._say_down(whereabouts(bug))
        if watch is not None:
            watch.close()
        self._leave()

    def _wait(self, watch: Watch) -> None:
        give_up_at = time.monotonic() + LOOK_S
        while not watch.wait(LISTEN_S) and time.monotonic() < give_up_at and not self._stopping.is_set():
            pass

    def _look(self) -> bool:
        """Read what is new, have it applied, and say so. True: look again at once."""
        began = time.monotonic()
        with self._store.reading() as tx:
            row = tx.row(self._store.sql.POLL, process_id=self._id)
            head = -1 if row is None else row["number"]
            new = changes.after(self._store, tx, self._applied, head)
        if row is None or head < self._applied:
            self._is_down &= self._went_back  # whatever else was said before, this is said too
            self._went_back = True
            self._read(began - changes.LEASE_S)  # at once: what logins read now is not what was
            raise WentBack(
                f"{self._store.driver.name} is at change {head}, and was at {self._applied} before: was a backup put "
                "in its place? Stop this process, run `mailauth db restored`, and start it again; until then every "
                "login is deferred"
            )
        if self._went_back:
            new = [Change(head, changes.MISSED)]
        if new:
            self._unsaid.update(self._act_on(new))
            self._applied, self._went_back = new[-1].number, False
        is_known = row["applied"] == self._applied or self._is_known(row["applied"])
        is_all = self._applied == head
        if not is_known:  # a change may have passed without waiting for this process: what it reads from now on counts
            self._read(began - changes.LEASE_S)
        elif is_all:
            self._read(began)
        return not (self._is_mute or (is_known and is_all))

    def _act_on(self, new: Sequence[Change]) -> Mapping[int, Answer]:
        acting = self._apply(new)
        try:
            outcome = asyncio.run_coroutine_threadsafe(acting, self._loop)
        except RuntimeError:  # it is closed
            acting.close()
            raise LoopEnded from None
        try:
            return outcome.result()
        except CancelledError:
            raise LoopEnded from None

    def _is_known(self, said: int | None) -> bool:
        """Say how far this process is. False: it was not, or not any more, among those that are waited for.

        said: what it said before, as it was read just now. While nothing can be said, whoever changes something waits
        its time out, and logins go on here until that one has given up.
        """
        if said is not None and said < 0:  # given up
            said = None
        unsaid = {number: answer for number, answer in self._unsaid.items() if said is None or number > said}
        try:
            with self._store.transaction() as tx:
                for number, answer in unsaid.items():
                    values = {"number": number, "process_id": self._id}
                    tx.write(self._store.sql.ADD_ANSWER, ended=answer.ended, report=answer.report, **values)
                is_known = tx.write(self._store.sql.SET_APPLIED, row_id=self._id, applied=self._applied) > 0
                if not is_known:
                    tx.write(self._store.sql.REMOVE_PROCESS, row_id=self._id)
                    self._register(tx)
        except (StoreUnavailable, Clash) as fault:
            if not self._is_mute:
                log.warning("changes are applied here, but this process cannot say so: %s", fault)
            if isinstance(fault, Clash):  # the answers were said, when nobody could know whether they were
                self._unsaid.clear()
            self._is_mute = True
            return said is not None
        self._unsaid.clear()
        self._is_mute = False
        return is_known

    def _register(self, tx: Transaction) -> None:
        values = {"id": self._id, "host": changes.this_host(), "pid": os.getpid()}
        tx.write(self._store.sql.ADD_PROCESS, started_at=time.time(), applied=self._applied, **values)

    def _leave(self) -> None:
        self._read(time.monotonic() - changes.LEASE_S)
        self._rising.close(self._applied)
        try:
            with self._store.transaction() as tx:
                tx.write(self._store.sql.REMOVE_PROCESS, row_id=self._id)
        except (StoreUnavailable, Clash) as fault:  # the next change will wait for it a little
            log.warning("this process could not take its leave from the store: %s", fault)

    def _say_down(self, why: str) -> None:
        if not self._is_down:
            log.error("changes of the store cannot be read; logins are deferred until they can: %s alarm", why)
        self._is_down = True
        self._stopping.wait(AGAIN_S)
