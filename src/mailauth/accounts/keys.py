"""Server keys: adding one, counting what stands under each, removing one that nothing needs.

A new key is in the key file first. Every running process is told to read it; when all have, it gets its row in the
store, and only then is anything made under it. So no process ever meets anything under a key that it has not. What is
sealed moves to the new key at once, app passwords when they are used next.
Rule: no secret gets into the store; a key goes out of use before it goes out of the file.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.interfaces import StoreUnavailable
from mailauth.keys import KeyFileError, KeyRing
from mailauth.store.changes import Effect
from mailauth.store.engine import Store
from mailauth.store.faults import CommitUnknown
from mailauth.store.keycheck import KEY_ADDED, KEY_IN_USE, KEY_REMOVED, announced, keys_of, site_keys
from mailauth.store.resealing import Resealing, sealed_under_each
from mailauth.store.upkeep import DAY_S, TOMBSTONE_S

MAX_ANNOUNCEMENTS = 5  # each time other processes have been started meanwhile
NAMED = 5  # accounts, where more of them would not help
TOMBSTONE_DAYS = round(TOMBSTONE_S / DAY_S)


@dataclass(frozen=True, slots=True)
class KeyView:
    """One key of the key file.

    created: ISO 8601. in_use: all processes have read it. newest: new things are made under it. live, deleted: how many
    app passwords stand under it; factors: how many second factors.
    """

    id: int
    created: str
    in_use: bool
    newest: bool
    live: int
    deleted: int
    factors: int


@dataclass(frozen=True, slots=True)
class Replaced:
    """What came of writing a new key file: the key's id, and how much was deleted that needed the lost one."""

    key_id: int
    app_passwords: int
    factors: int


@dataclass(slots=True)
class Rotation:
    """What came of adding a key. in_use: new things are made under it. moved: how much that was sealed is under it.

    silent: processes that did not answer; unable: what others lack to use it. stuck: how much cannot be opened.
    moved_all: False: the store was lost meanwhile; a serving process goes on within the hour.
    """

    key_id: int
    in_use: bool = False
    moved: int = 0
    stuck: int = 0
    moved_all: bool = False
    silent: list[str] = field(default_factory=list)
    unable: list[str] = field(default_factory=list)


def listed(store: Store, ring: KeyRing) -> list[KeyView]:
    """All keys of the file, oldest first. Raises WrongKey, StoreUnavailable."""
    with looking(store) as unit:
        _, in_use = site_keys(store, unit.tx, ring)
        under, factors = _under_each(unit), sealed_under_each(store, unit.tx)
    return [
        KeyView(
            *(key.id, key.created, key.id in in_use, key.id == max(in_use)),
            *under.get(key.id, (0, 0)),
            factors.get(key.id, 0),
        )
        for key in ring.keys
    ]


def rotate(store: Store, path: Path, *, actor: str, now: float | None = None) -> Rotation:
    """Add a key, or go on with one that was added and is not in use yet.

    path: the key file. May be repeated after any interruption. Raises KeyFileError, WrongKey, StoreUnavailable.
    """
    ring = keys_of(store, path)
    pending = [key_id for key_id in ring.ids if key_id > ring.newest]
    ring = KeyRing.load(path) if pending else KeyRing.rotate(path)
    rotation = Rotation(ring.newest)
    for _ in range(MAX_ANNOUNCEMENTS):
        effect = Effect()
        with changing(store, actor, now, effect) as unit:
            unit.touch(KEY_ADDED, **_announcement(unit, ring))
        rotation.silent, rotation.unable = effect.silent, _lacking(effect)
        if effect.silent or rotation.unable:
            break
        heard, effect = set(effect.answers), Effect()
        with changing(store, actor, now, effect) as unit:
            rotation.silent = _put_in_use(unit, ring, heard)
        if not rotation.silent:
            done = Rotation(ring.newest, True, silent=effect.silent, unable=_lacking(effect))
            _move_sealed(store, ring, done)
            return done
    return rotation


def remove(store: Store, path: Path, key_id: int, *, actor: str, now: float | None = None) -> None:
    """Take a key out of use and out of the file, if nothing was made under it that is still there.

    What is sealed under it is moved first. Raises NoSuch, Refused, KeyFileError, WrongKey, StoreUnavailable.
    """
    ring = keys_of(store, path)
    Resealing(store, lambda: ring).run()
    with changing(store, actor, now, Effect()) as unit:
        _, in_use = site_keys(store, unit.tx, ring)
        if key_id not in ring.ids:
            raise NoSuch(f"the key file has no key {key_id}; `mailauth key status` shows those there are")
        if key_id == max(in_use):
            raise Refused(f"key {key_id} makes new app passwords: run `mailauth key rotate` first")
        if key_id > max(in_use):
            raise Refused(f"key {key_id} is not in use yet: run `mailauth key rotate` again, which puts it in use")
        unit.tx.write(unit.sql.REMOVE_SERVER_KEY, row_id=key_id)  # from here on nothing is made under it or moved to it
        _refuse_if_needed(unit, key_id)
        unit.record(KEY_REMOVED, detail=f"key {key_id}")
        unit.touch(KEY_REMOVED, key=key_id)
    KeyRing.remove(path, key_id)


def replace_lost(store: Store, path: Path, *, actor: str, now: float | None = None) -> Replaced:
    """Write a new key file where there is none any more, and delete what nobody can recognise or open now: all app
    passwords, and the second factors that are sealed. Raises Refused, KeyFileError, StoreUnavailable.
    """
    with looking(store) as unit:
        site = unit.tx.row(unit.sql.SITE)
        ids = [row["id"] for row in unit.tx.rows(unit.sql.SERVER_KEYS)]
        ids += [*_under_each(unit), *sealed_under_each(store, unit.tx)]
    if site is None:
        raise Refused(f"{store.driver.name} was not made to its end: run `mailauth init` again")
    key_id = max(ids, default=0) + 1
    try:
        ring = KeyRing.create(path, key_id)
    except FileExistsError:
        raise Refused(f"key file {path} is there; only where it is lost a new one is written") from None
    except OSError as fault:
        raise KeyFileError(f"key file {path}: it cannot be written: {fault.strerror}") from None
    try:
        with changing(store, actor, now, Effect()) as unit:
            count = unit.tx.write(unit.sql.DROP_APP_PASSWORDS)
            factors = _drop_sealed(unit)
            unit.tx.write(unit.sql.DROP_SERVER_KEYS)
            unit.tx.write(unit.sql.ADD_SERVER_KEY, id=key_id, check_value=ring.check_value(site["store_id"], key_id))
            gone = f"{count} app passwords and {factors} second factors deleted"
            unit.record("key-lost", detail=f"key {key_id} in place of all others; {gone}")
            unit.touch("key-lost")
    except CommitUnknown:
        raise
    except BaseException:
        path.unlink()
        raise
    return Replaced(key_id, count, factors)


def _move_sealed(store: Store, ring: KeyRing, rotation: Rotation) -> None:
    resealing = Resealing(store, lambda: ring)
    try:
        resealing.run()
        rotation.moved_all = not resealing.stuck
    except StoreUnavailable:  # the key is in use: that is not undone by it
        pass
    rotation.moved, rotation.stuck = resealing.moved, resealing.stuck


def _drop_sealed(unit: Unit) -> int:
    """How many factors those were. Keys that open nothing but themselves (webauthn) stay."""
    sql = unit.sql.DROP_SEALED
    unit.tx.write(sql["questions"])
    unit.tx.write(sql["claims"])
    return unit.tx.write(sql["factors"])


def _put_in_use(unit: Unit, ring: KeyRing, heard: set[str]) -> list[str]:
    """Have new app passwords made under the newest key, unless there are processes that have not heard of it: those."""
    unit.tx.row(unit.sql.LOCK_SITE)  # another rotation may end now
    told = _announcement(unit, ring)
    rows = [row for row in unit.tx.rows(unit.sql.PROCESSES) if row["applied"] >= 0]  # others were given up
    unheard = [row for row in rows if row["id"] not in heard]
    if unheard:
        return [f"process {row['pid']} at {row['host'].partition('/')[0]}" for row in unheard]
    if ring.newest not in site_keys(unit.store, unit.tx, ring)[1]:
        unit.tx.write(unit.sql.ADD_SERVER_KEY, id=ring.newest, check_value=told["check_value"])
        unit.record(KEY_ADDED, detail=f"key {ring.newest} makes new app passwords from now on")
    unit.touch(KEY_IN_USE, **told)
    return []


def _announcement(unit: Unit, ring: KeyRing) -> dict[str, Any]:
    store_id, _ = site_keys(unit.store, unit.tx, ring)
    return announced(ring, store_id, ring.newest)


def _lacking(effect: Effect) -> list[str]:
    """What processes say they lack to use the key, each with its name."""
    told = [json.loads(answer.report) for answer in effect.answers.values() if answer.report]
    return sorted([f"{row['process']}: {row['lack']}" for row in told])


def _under_each(unit: Unit) -> dict[int, tuple[int, int]]:
    """How many app passwords stand under each key, live and deleted."""
    rows = unit.tx.rows(unit.sql.KEYS_IN_USE)
    return {row["key_id"]: (row["app_passwords"] - row["deleted"], row["deleted"]) for row in rows}


def _refuse_if_needed(unit: Unit, key_id: int) -> None:
    factors = sealed_under_each(unit.store, unit.tx).get(key_id, 0)
    if factors:
        raise Refused(
            f"key {key_id} is needed: {factors} second factors stand under it, which could not be moved just now: run "
            "this again; if they still cannot, the log of `mailauth serve` says why, and `mailauth factor reset` helps"
        )
    row = unit.tx.row(unit.sql.QUESTIONS_UNDER_KEY, pattern=f"% {key_id} %", now=unit.now)
    if row is not None and row["count"]:
        raise Refused(
            f"key {key_id} is needed for {row['count']} questions that somebody is about to answer on the portal: run "
            f"this again in {math.ceil((row['last_at'] - unit.now) / 60)} minutes"
        )
    live, deleted = _under_each(unit).get(key_id, (0, 0))
    if not live and not deleted:
        return
    holders = [row["login"] for row in unit.tx.rows(unit.sql.KEY_HOLDERS, key_id=key_id, page=NAMED + 1)]
    of = f" (of {', '.join(holders[:NAMED])}{', and others' * (len(holders) > NAMED)})" if holders else ""
    raise Refused(
        f"key {key_id} is needed: {live} app passwords{of} and {deleted} deleted ones stand under it. Live ones move "
        f"to the newest key when they are used next, or can be revoked; deleted ones go after {TOMBSTONE_DAYS} days"
    )
