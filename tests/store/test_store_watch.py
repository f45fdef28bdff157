"""Waiting for changes: what wakes the wait, in each kind of store, and what becomes of a lost one."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from mailauth.interfaces import StoreUnavailable
from mailauth.store import changes
from mailauth.store.changes import Touch
from mailauth.store.engine import Store, Watch
from mailauth.store.watch_sqlite import LOOK_S

FOR_EVER_S = 3600.0
PATIENCE_S = 60.0


def change(store: Store) -> None:
    with store.transaction() as tx:
        changes.number_changes(store, tx, [Touch("any")], changes.new_token(), 0.0)


def settled(watch: Watch) -> Watch:
    """After the looks that a new connection takes at once."""
    watch.wait(LOOK_S)
    watch.wait(LOOK_S)
    return watch


def waiting(threads: ThreadPoolExecutor, watch: Watch) -> Future[bool]:
    return threads.submit(watch.wait, FOR_EVER_S)


def test_a_change_wakes_whoever_waits(store: Store) -> None:
    with closing(store.driver.watch()) as watch, ThreadPoolExecutor() as threads:
        settled(watch)
        for _ in range(3):
            woken = waiting(threads, watch)
            change(store)
            assert woken.result(PATIENCE_S)


def test_a_change_before_the_wait_wakes_it_too(store: Store) -> None:
    """What was committed since the last look is not waited for in vain."""
    with closing(store.driver.watch()) as watch, ThreadPoolExecutor() as threads:
        settled(watch)
        change(store)
        assert waiting(threads, watch).result(PATIENCE_S)


def test_the_first_wait_comes_back_soon_since_something_may_have_been_missed(store: Store) -> None:
    with closing(store.driver.watch()) as watch, ThreadPoolExecutor() as threads:
        assert waiting(threads, watch).result(PATIENCE_S)


def test_without_a_change_the_wait_ends_by_itself(store: Store) -> None:
    with closing(store.driver.watch()) as watch:
        settled(watch)
        began = time.monotonic()
        assert not watch.wait(0.1)
        assert time.monotonic() - began >= 0.09


def test_a_watch_may_be_closed_and_used_again(store: Store) -> None:
    with closing(store.driver.watch()) as watch, ThreadPoolExecutor() as threads:
        settled(watch)
        watch.close()
        watch.close()
        assert waiting(threads, watch).result(PATIENCE_S)


def test_a_file_in_the_place_of_the_store_is_looked_at(sqlite_database: Any) -> None:
    """As a restored backup comes: by a rename."""
    store = sqlite_database.store
    with closing(store.driver.watch()) as watch, ThreadPoolExecutor() as threads:
        settled(watch)
        sqlite_database.run("PRAGMA wal_checkpoint(TRUNCATE)")
        copy = shutil.copy(sqlite_database.path, sqlite_database.path.with_suffix(".copy"))
        woken = waiting(threads, watch)
        copy.rename(sqlite_database.path)
        assert woken.result(PATIENCE_S)
        settled(watch)
        woken = waiting(threads, watch)
        change(store)
        assert woken.result(PATIENCE_S)


def test_a_store_that_is_gone_wakes_whoever_waits(sqlite_database: Any) -> None:
    """Who reads then says what is wrong."""
    with closing(sqlite_database.store.driver.watch()) as watch, ThreadPoolExecutor() as threads:
        settled(watch)
        woken = waiting(threads, watch)
        sqlite_database.path.unlink()
        assert woken.result(PATIENCE_S)


def test_a_connection_that_is_ended_is_a_fault_and_then_another_is_made(postgres_database: Any) -> None:
    with closing(postgres_database.store.driver.watch()) as watch, ThreadPoolExecutor() as threads:
        settled(watch)
        woken = waiting(threads, watch)
        postgres_database.end_connections()
        with pytest.raises(StoreUnavailable):
            woken.result(PATIENCE_S)
        assert waiting(threads, watch).result(PATIENCE_S)  # at once: something may have been missed
        woken = waiting(threads, watch)
        change(postgres_database.store)
        assert woken.result(PATIENCE_S)
