"""The store: reachable, with the tables of this version, of this key file, no older than what is known, with room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mailauth.doctor.case import Case
from mailauth.doctor.finding import Check, Finding, not_checked, ok, problem, warning
from mailauth.interfaces import StoreUnavailable
from mailauth.keys import KeyFileError
from mailauth.store.engine import SQLITE_SCHEME, sqlite_path
from mailauth.store.highwater import StoreBehind, Unreadable, require_not_behind
from mailauth.store.keycheck import WrongKey, keys_of
from mailauth.store.upgrade import HEAD, SchemaMismatch, require_current

MEBIBYTE = 1024 * 1024
FULL_BYTES, SHORT_BYTES = 50 * MEBIBYTE, 1024 * MEBIBYTE


def _examine(case: Case) -> Iterator[Finding]:
    store = case.store
    subject = f"store {store.driver.name}"
    try:
        require_current(store)
    except StoreUnavailable as fault:
        yield problem(subject, str(fault), "start the database, or mend [store] url, and look at its rights")
        return
    except SchemaMismatch as wrong:
        yield problem(subject, str(wrong), "`mailauth db upgrade`, or as it says")
        return
    yield ok(subject, f"reachable, with the tables of this version ({HEAD})")
    yield _key(case)
    yield _standing(case, subject)
    yield _room(case.settings.store.url)


def _key(case: Case) -> Finding:
    subject = f"key file {case.settings.key.file}"
    try:
        ring = keys_of(case.store, case.settings.key.file)
    except (WrongKey, KeyFileError) as wrong:
        return problem(subject, str(wrong), "restore the key file that belongs to this store")
    return ok(subject, f"it belongs to the store; key {ring.newest} makes new app passwords")


def _standing(case: Case, subject: str) -> Finding:
    try:
        require_not_behind(case.store)
    except (StoreBehind, Unreadable) as wrong:
        return problem(subject, str(wrong), "`mailauth db restored`, or as it says")
    return ok(subject, "it is no older than what this machine knows of it")


def _room(url: str) -> Finding:
    if not url.startswith(SQLITE_SCHEME):
        return not_checked("room for the store", "it is on the database's server", "look there: `df`")
    folder = Path(sqlite_path(url)).absolute().parent
    status = os.statvfs(folder)
    free_bytes = status.f_bavail * status.f_frsize
    subject, told = f"room in {folder}", f"{free_bytes // MEBIBYTE} MiB are free"
    if free_bytes < FULL_BYTES or (status.f_files and not status.f_favail):
        return problem(subject, f"{told}: soon nothing can be changed or written down", "make room there")
    if free_bytes < SHORT_BYTES:
        return warning(subject, told, "make room there before it is full")
    return ok(subject, told)


CHECK = Check(30, "the store", _examine)
