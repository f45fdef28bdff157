"""What is known of a store outside it, in a file beside the key file: so that a restored backup is seen to be one.

The file is JSON: by store id the `number` of the newest change, the highest `ids` given in each table, and what was
`taken` away ([number, what], oldest first), of which everything behind change `since` is there.
Rule: written when a change is committed, by whoever made it and by every process that applies it; only ever raised, and
replaced whole. It holds no secret and nothing made from one. That it cannot be written is a warning and stops nobody.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from mailauth.interfaces import BadRecord, StoreUnavailable
from mailauth.store.changes import PAGE
from mailauth.store.engine import Store, Transaction

VERSION = 1
ABOUT = "What mailauth knows of its store outside it. Keep it beside the key file; do not restore it with the store."
TABLES = ("domains", "accounts", "app_passwords")
MOST_TAKEN = 5000  # some 400 KB
RESTORED = "store-restored"  # the kind of change that may leave numbers out before it
WHOSE = {"login", "domain"}
TAKING = {"app_passwords", "web_password", "set", "removed", "alias", "alias_added", "suspended"} | {
    *("factors", "role", "api_tokens"),
}  # see Unit.touch
WAIT_S = 2.0  # for somebody else to have written
RISE_S = 1.0  # between two writes of a process that serves
PAUSE_S = 0.005

log = logging.getLogger(__name__)


class StoreBehind(Exception):
    """The store knows less than this machine: an older backup was put in its place. The text says what to do."""


class Unreadable(Exception):
    """The high-water file is there and cannot be understood. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Level:
    """What is known of one store. number: of its newest change, 0: none is known. ids: the highest given, by table.

    taken: the number of a change, and its Change.takes; oldest first, and everything from behind change `since`.
    """

    number: int = 0
    since: int = 0
    ids: Mapping[str, int] = field(default_factory=dict)
    taken: tuple[tuple[int, Mapping[str, Any]], ...] = ()


class HighWater:
    """The high-water file of one key file. May be used by any thread."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self.path = key_file.with_name(key_file.name + ".highwater")
        self._draft = key_file.with_name(key_file.name + ".highwater.new")
        self._is_failing = False
        self._seen: tuple[tuple[int, ...], dict[str, Level]] = ((), {})

    def standing(self, store: Store, tx: Transaction) -> tuple[Level, int]:
        """What is known of this store, and the number of the newest change in it.

        To be asked first in its transaction: the store must not be seen as it was before the file was read.
        Raises Unreadable.
        """
        known = self._read()
        row = tx.row(store.sql.STANDING)
        if row is None or row["store_id"] is None:
            raise StoreUnavailable(f"{store.driver.name} has lost its first rows: restore a backup of it")
        return known.get(row["store_id"], Level()), row["number"]

    def require(self, store: Store, tx: Transaction) -> None:
        """Raise StoreBehind if the store is older than what is known of it, or Unreadable. To be asked first."""
        level, number = self.standing(store, tx)
        if number < level.number:
            raise StoreBehind(
                f"{store.driver.name} is at change {number}, {level.number - number} behind what {self.path} knows: "
                "an older backup seems to have been restored; run `mailauth db restored`, which revokes again what was "
                "revoked since"
            )

    def rise(self, store: Store) -> bool:
        """Bring the file up to date with what is committed in the store; False: it cannot be now, as was logged."""
        try:
            known = self._read()
            found = _news(store, known)
            if found is not None:
                self._raise(*found)
        except (OSError, Unreadable, StoreUnavailable, BadRecord, ValueError) as fault:  # ValueError: no JSON
            if not self._is_failing:
                told = f"{fault.strerror}" if isinstance(fault, OSError) else str(fault)
                log.warning("%s is not up to date: %s; a restored backup may not be seen to be one", self.path, told)
            self._is_failing = True
            return False
        self._is_failing = False
        return True

    def _raise(self, store_id: str, news: Level) -> None:
        with self._locked_draft() as draft:
            known = self._read()
            level = known.get(store_id, Level())
            if level.number >= news.number:  # somebody else was quicker
                self._draft.unlink()
                return
            draft.truncate()
            draft.write(_told(known | {store_id: _merged(level, news)}))
            draft.flush()
            os.fsync(draft.fileno())
            self._draft.replace(self.path)
            _sync_folder(self.path.parent)

    @contextmanager
    def _locked_draft(self) -> Iterator[BinaryIO]:
        """The file that takes the other's place. It is its own lock: who waits for it and gets it when it has
        become the other begins again. A crash leaves one that the next writer goes on with."""
        give_up_at = time.monotonic() + WAIT_S
        while True:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(self._draft, flags, 0o600), "wb") as draft:
                if _is_locked(draft, self._draft):
                    self._give_to_owner(draft)
                    yield draft
                    return
            if time.monotonic() >= give_up_at:
                raise TimeoutError(0, "another process does not let go of it")
            time.sleep(PAUSE_S)

    def _give_to_owner(self, draft: BinaryIO) -> None:
        """An administrator's command must not lock the server's user out: the file is the key file's owner's."""
        os.fchmod(draft.fileno(), 0o600)
        if os.geteuid() == 0 and self._key_file.exists():
            owner = self._key_file.stat()
            os.fchown(draft.fileno(), owner.st_uid, owner.st_gid)

    def _read(self) -> dict[str, Level]:
        """By store id. Raises Unreadable."""
        try:
            found = self.path.stat()
            version = (found.st_ino, found.st_mtime_ns, found.st_size)
            seen, known = self._seen
            if version != seen:
                known = _understood(self.path.read_bytes())
                self._seen = version, known
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Unreadable(f"{self.path}: {error.strerror}; make it readable for this user") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Unreadable(
                f"{self.path} cannot be understood (written by a newer mailauth, or damaged); if no backup of the "
                "store was restored since, remove it: it is made anew"
            ) from None
        return known


class Rising:
    """Keeps the file up to date in a process that serves, in a thread of its own: a slow disk must not hold that up."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noted = -1
        self._at = 0.0
        self._thread: threading.Thread | None = None

    def note(self, number: int) -> None:
        """This change was applied. Of many in a row few are noted, and the last in the end."""
        now = time.monotonic()
        if number == self._noted or now < self._at or (self._thread is not None and self._thread.is_alive()):
            return
        self._at = now + RISE_S
        self._thread = threading.Thread(target=self._rise, args=[number], name="mailauth-highwater", daemon=True)
        self._thread.start()

    def close(self, number: int) -> None:
        """Note this last one. May wait for a slow disk."""
        if self._thread is not None:
            self._thread.join(WAIT_S)
        if number != self._noted:
            self._rise(number)

    def _rise(self, number: int) -> None:
        if self._store.highwater is None or self._store.highwater.rise(self._store):
            self._noted = number


def require_not_behind(store: Store) -> None:
    """Raise StoreBehind or Unreadable where nothing may begin on this store; StoreUnavailable."""
    if store.highwater is not None:
        with store.reading() as tx:
            store.highwater.require(store, tx)


def _news(store: Store, known: Mapping[str, Level]) -> tuple[str, Level] | None:
    """The store's id, and what it knows beyond what is known; None: nothing."""
    with store.reading() as tx:
        row = tx.row(store.sql.STANDING)
        if row is None or row["store_id"] is None:
            return None
        level = known.get(row["store_id"], Level())
        if row["number"] <= level.number:
            return None
        ids = {given["name"]: given["id"] for given in tx.rows(store.driver.given_ids) if given["name"] in TABLES}
        number, since, taken = level.number, level.since, list[tuple[int, Mapping[str, Any]]]()
        while page := tx.rows(store.sql.CHANGES_AFTER, after=number, page=PAGE):
            for change in page:
                if change["number"] != number + 1 and change["kind"] != RESTORED:
                    since = change["number"] - 1  # those between are not kept any more
                number = change["number"]
                takes = json.loads(change["takes"] or "{}")
                if takes.keys() & TAKING:
                    taken.append((number, {key: takes[key] for key in takes if key in WHOSE | TAKING}))
        if number < row["number"]:
            since = row["number"]
    return row["store_id"], Level(row["number"], since, ids, tuple(taken))


def _merged(level: Level, news: Level) -> Level:
    taken = level.taken + tuple([entry for entry in news.taken if entry[0] > level.number])
    since = max(level.since, news.since)
    if len(taken) > MOST_TAKEN:
        since = max(since, taken[-MOST_TAKEN - 1][0])
        taken = taken[-MOST_TAKEN:]
    ids = {table: max(level.ids.get(table, 0), news.ids.get(table, 0)) for table in TABLES}
    return Level(news.number, since, ids, taken)


def _told(known: Mapping[str, Level]) -> bytes:
    stores = {
        store_id: {"number": level.number, "since": level.since, "ids": level.ids, "taken": level.taken}
        for store_id, level in known.items()
    }
    return json.dumps({"about": ABOUT, "version": VERSION, "stores": stores}).encode() + b"\n"


def _understood(contents: bytes) -> dict[str, Level]:
    """Raises ValueError, KeyError, TypeError or AttributeError for what this version does not write."""
    told = json.loads(contents)
    if told["version"] != VERSION:
        raise ValueError("another version")
    return {
        store_id: Level(
            *(int(one["number"]), int(one["since"])),
            {table: int(number) for table, number in one["ids"].items()},
            tuple([(int(number), dict(takes)) for number, takes in one["taken"]]),
        )
        for store_id, one in told["stores"].items()
    }


def _is_locked(draft: BinaryIO, path: Path) -> bool:
    """Whether the draft is ours now, and still the draft."""
    try:
        fcntl.flock(draft.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(draft.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _sync_folder(folder: Path) -> None:
    """Make the file's name as durable as its contents."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
