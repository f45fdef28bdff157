"""Transactions, faults, and what the texts of faults must not hold."""

import os
import resource
import sqlite3
import sys
import threading
from contextlib import closing, suppress

import pytest

import postgres
from mailauth.interfaces import BadRecord, StoreUnavailable
from mailauth.store.engine import open_store
from mailauth.store.faults import Clash, CommitUnknown

HOSTILE = "x'; DROP TABLE site; --%s%(a)s:b?\"\\ 国 \u202e"


def add_key(store, key_id, value="v"):
    with store.transaction() as tx:
        tx.write(store.sql.ADD_SERVER_KEY, id=key_id, check_value=value)


def keys(database):
    return {key_id for (key_id,) in database.run("SELECT id FROM server_keys")}


def test_a_transaction_is_committed_at_its_end(database):
    add_key(database.store, 70)
    assert 70 in keys(database)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_transaction_that_raises_changes_nothing(database, error):
    store = database.store
    with pytest.raises(error), store.transaction() as tx:
        tx.write(store.sql.ADD_SERVER_KEY, id=70, check_value="v")
        raise error
    assert 70 not in keys(database)
    add_key(store, 71)


def test_a_row_that_is_there_already_is_a_clash(database):
    add_key(database.store, 70)
    with pytest.raises(Clash):
        add_key(database.store, 70)


def test_a_row_whose_owner_is_gone_is_a_clash(store):
    with pytest.raises(Clash), store.transaction() as tx:
        tx.write(store.sql.ADD_ALIAS, address="a@example.test", account_id=12345, created_at=0.0)


def test_a_fault_swallowed_in_the_block_still_fails_it(database):
    store = database.store
    with pytest.raises(Clash), store.transaction() as tx:
        tx.write(store.sql.ADD_SERVER_KEY, id=70, check_value="v")
        with suppress(Clash):
            tx.write(store.sql.ADD_SERVER_KEY, id=70, check_value="v")
    assert 70 not in keys(database)


def test_reading_sees_one_state_and_changes_nothing(database):
    store = database.store
    with store.reading() as tx:
        before = len(tx.rows(store.sql.SERVER_KEYS))
        add_key(store, 70)
        assert len(tx.rows(store.sql.SERVER_KEYS)) == before
    with store.reading() as tx:
        assert len(tx.rows(store.sql.SERVER_KEYS)) == before + 1


def test_values_are_bound_and_never_part_of_the_statement(database):
    store = database.store
    add_key(store, 70, HOSTILE)
    with store.reading() as tx:
        assert {row["check_value"] for row in tx.rows(store.sql.SERVER_KEYS) if row["id"] == 70} == {HOSTILE}
    assert database.run("SELECT count(*) FROM site") == [(1,)]


@pytest.mark.parametrize(
    "values",
    [
        {"id": 1, "check_value": "s3cret-value"},  # there already
        {"id": "s3cret-value", "check_value": "v"},  # of another type
        {"id": 10**30, "check_value": "s3cret-value"},  # too large
        {"id": 80, "check_value": None},  # NULL where there must be a value
        {"id": 80, "check_value": "s3cret-value\udc80"},  # not UTF-8
        {"id": 80, "check_value": object()},  # of no type at all
    ],
)
def test_no_fault_tells_a_value(store, values):
    with pytest.raises((StoreUnavailable, Clash)) as fault, store.transaction() as tx:
        tx.write(store.sql.ADD_SERVER_KEY, **values)
    link = fault.value
    while link is not None:
        assert "s3cret" not in str(link)
        assert "s3cret" not in repr(link)
        link = link.__cause__ or link.__context__


def test_a_password_in_the_url_is_in_no_text():
    store = open_store("postgresql://mailauth:s3cret@127.0.0.1:1/mail?connect_timeout=2")
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1") as fault, store.reading():
        pass
    assert "s3cret" not in f"{fault.value}{fault.value!r}{store!r}"


def test_a_password_may_come_apart_from_the_url():
    store = open_store("postgresql+psycopg://mailauth@db.example/mail", "s3cret")
    assert store.driver.parameters["password"] == "s3cret"
    assert store.driver.parameters["dbname"] == "mail"
    assert "s3cret" not in repr(store)


@pytest.mark.parametrize(
    "url",
    ["mysql://x/y", "mailauth.db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql://a?nonsense=s3cret"],
)
def test_other_urls_are_refused_without_being_quoted(url):
    with pytest.raises(ValueError, match="URL") as refusal:
        open_store(url)
    assert "s3cret" not in str(refusal.value)


def test_a_missing_store_is_a_clear_fault_and_is_not_made(tmp_path):
    store = open_store(f"sqlite:///{tmp_path / 'mailauth.db'}")
    for unit in (store.reading, store.transaction):
        with pytest.raises(StoreUnavailable, match="there is no store"), unit():
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_a_fault(tmp_path):
    path = tmp_path / "mailauth.db"
    path.write_bytes(b"This is no database. " * 500)
    store = open_store(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable, match="not a database"), store.reading() as tx:
        tx.rows(store.sql.SITE)


def test_a_locked_database_is_a_fault_after_a_while(sqlite_database, monkeypatch):
    monkeypatch.setattr("mailauth.store.sqlite.BUSY_TIMEOUT_S", 0.05)
    with closing(sqlite3.connect(sqlite_database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            add_key(sqlite_database.store, 70)
        other.execute("COMMIT")
    add_key(sqlite_database.store, 70)


def test_a_full_disk_is_a_fault_and_nothing_is_changed(sqlite_database):
    store = sqlite_database.store
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(StoreUnavailable), store.transaction() as tx:
        for key_id in range(100, 300):
            tx.write(store.sql.ADD_SERVER_KEY, id=key_id, check_value="v" * 200)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            store._commit(tx._connection)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert keys(sqlite_database) == {1}


def test_an_unclear_end_of_a_commit_is_told_apart(sqlite_database):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    driver = sqlite_database.store.driver
    assert type(driver.fault(error, committing=True)) is CommitUnknown
    assert type(driver.fault(error)) is StoreUnavailable


def test_a_connection_lost_during_commit_is_told_apart(postgres_database):
    store = postgres_database.store
    with pytest.raises(CommitUnknown, match="not known"), store.transaction() as tx:
        tx.write(store.sql.ADD_SERVER_KEY, id=70, check_value="v")
        postgres_database.end_connections()
    add_key(store, 71)


def test_a_connection_lost_before_commit_is_a_plain_fault(postgres_database):
    store = postgres_database.store
    with pytest.raises(StoreUnavailable) as fault, store.transaction() as tx:
        tx.write(store.sql.ADD_SERVER_KEY, id=70, check_value="v")
        postgres_database.end_connections()
        tx.rows(store.sql.SERVER_KEYS)
    assert type(fault.value) is StoreUnavailable
    assert 70 not in keys(postgres_database)


def test_a_connection_that_went_stale_while_idle_is_replaced_unseen(postgres_database):
    store = postgres_database.store
    add_key(store, 70)
    assert store._idle
    postgres_database.end_connections()
    add_key(store, 71)
    assert keys(postgres_database) >= {70, 71}


def test_connections_are_used_again(postgres_database):
    store = postgres_database.store
    pids = set()
    for _ in range(3):
        with store.reading() as tx:
            pids.add(tx.row("SELECT pg_backend_pid() AS pid")["pid"])
    assert len(pids) == 1


def test_a_refused_database_is_a_fault_that_says_why(postgres_server):
    store = open_store(postgres.named(postgres_server, "no_such_database"))
    with pytest.raises(StoreUnavailable, match="no_such_database"), store.reading():
        pass


def test_many_threads_may_write_at_once(database):
    threads = [threading.Thread(target=add_key, args=(database.store, key_id)) for key_id in range(100, 120)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys(database) == {1, *range(100, 120)}


def test_a_text_that_is_not_utf_8_is_a_bad_record(sqlite_database):
    sqlite_database.run("UPDATE server_keys SET check_value = CAST(x'ff41' AS TEXT)")
    with pytest.raises(BadRecord), sqlite_database.store.reading() as tx:
        tx.rows(sqlite_database.store.sql.SERVER_KEYS)


def test_a_store_that_may_only_be_read_can_be_read(database, read_only):
    store = database.store
    with read_only(database):
        with store.reading() as tx:
            assert tx.row(store.sql.SITE) is not None
        with pytest.raises(StoreUnavailable, match=r"(?i)read-?only"):
            add_key(store, 70)
    assert os.geteuid() == os.getuid()


def test_postgresql_without_psycopg_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mailauth.store.postgresql", None)
    with pytest.raises(ValueError, match="pip install"):
        open_store("postgresql://db.example/mail")


def test_a_folder_in_the_stores_place_is_a_fault(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}")
    for step in (store.driver.prepare, store.driver.connect_for_upgrade):
        with pytest.raises(StoreUnavailable):
            step()


def test_an_unreachable_server_cannot_be_upgraded_either():
    driver = open_store("postgresql://127.0.0.1:1/mail").driver
    for step in (driver.connect, driver.connect_for_upgrade):
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
            step()


def test_a_file_system_that_is_gone_is_a_store_that_is_unavailable(tmp_path, monkeypatch):
    class Stale:
        def exists(self):
            raise OSError(116, "Stale file handle")

    store = open_store(f"sqlite:///{tmp_path}/mailauth.db")
    monkeypatch.setattr(store.driver, "path", Stale())
    with pytest.raises(StoreUnavailable, match="Stale file handle"), store.reading():
        pass


# ---- connections of SQLite that are kept


def test_kept_connections_see_what_others_write(sqlite_database):
    store = sqlite_database.store
    kept = store.keeping()
    for number in range(70, 73):
        add_key(store, number)
        with kept.reading() as tx:
            assert tx.row("SELECT count(*) AS keys FROM server_keys") == {"keys": number - 68}
    assert len(kept._idle) == 1
    kept.close()


def test_a_kept_connection_meets_the_file_that_is_there(sqlite_database):
    store = sqlite_database.store
    kept, path = store.keeping(), store.driver.path
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    earlier = path.with_suffix(".earlier")
    earlier.write_bytes(path.read_bytes())
    add_key(kept, 70)
    path.rename(path.with_suffix(".gone"))
    with pytest.raises(StoreUnavailable, match="there is no store"), kept.reading():
        pass
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    earlier.rename(path)
    with kept.reading() as tx:
        assert tx.row("SELECT count(*) AS keys FROM server_keys") == {"keys": 1}
    kept.close()


def test_a_kept_connection_waits_for_a_lock_only_once(sqlite_database, monkeypatch):
    monkeypatch.setattr("mailauth.store.sqlite.BUSY_TIMEOUT_S", 0.2)
    kept = sqlite_database.store.keeping()
    with kept.reading():
        pass
    opened = []
    monkeypatch.setattr(kept.driver, "connect", lambda: opened.append(1))
    with closing(sqlite3.connect(kept.driver.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked by another process"), kept.transaction():
            pass
    assert not opened
    kept.close()
