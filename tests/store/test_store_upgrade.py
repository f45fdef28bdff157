"""Making a store, upgrading it, and refusing every other database."""

import stat
import threading

import pytest
from alembic.operations import Operations

from mailauth.interfaces import StoreUnavailable
from mailauth.store import upgrade as upgrading
from mailauth.store.engine import open_store
from mailauth.store.upgrade import HEAD, SchemaMismatch, StoreExists, create, current, require_current, upgrade


def test_a_new_store_is_current_and_knows_its_keys(database, ring):
    assert current(database.store) == HEAD
    require_current(database.store)
    ((store_id, policy),) = database.run("SELECT store_id, policy FROM site")
    assert len(store_id) == 32
    assert policy == "optional"
    expected = [(key_id, ring.check_value(store_id, key_id)) for key_id in ring.ids]
    assert database.run("SELECT id, check_value FROM server_keys ORDER BY id") == expected


def test_a_store_is_never_made_twice(database, ring):
    before = database.run("SELECT store_id FROM site")
    with pytest.raises(StoreExists):
        create(database.store, ring)
    assert database.run("SELECT store_id FROM site") == before


def test_an_upgrade_of_an_empty_database_and_of_a_current_one(empty_database):
    empty_database.store.driver.create()
    with pytest.raises(SchemaMismatch, match="mailauth db upgrade"):
        require_current(empty_database.store)
    assert upgrade(empty_database.store) == (None, HEAD)
    assert upgrade(empty_database.store) == (HEAD, HEAD)
    require_current(empty_database.store)


@pytest.mark.parametrize(("revision", "advice"), [("0000", "mailauth db upgrade"), ("9999", "install that mailauth")])
def test_tables_of_another_release_are_refused_with_what_to_do(database, revision, advice):
    database.run(f"UPDATE mailauth_version SET version_num = '{revision}'")
    with pytest.raises(SchemaMismatch, match=advice) as refusal:
        require_current(database.store)
    assert revision in str(refusal.value)
    assert HEAD in str(refusal.value)


def test_tables_of_a_newer_release_are_not_upgraded(database):
    database.run("UPDATE mailauth_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="newer"):
        upgrade(database.store)
    assert current(database.store) == "9999"


@pytest.mark.parametrize("table", ["wp_users", "alembic_version"])
def test_a_foreign_database_is_refused_and_left_untouched(empty_database, ring, table):
    empty_database.store.driver.create()
    empty_database.run(f"CREATE TABLE {table} (version_num TEXT)")
    for step in (require_current, upgrade, lambda store: create(store, ring)):
        with pytest.raises(SchemaMismatch, match="not mailauth's"):
            step(empty_database.store)
    tables = [row["name"] for row in _rows(empty_database.store, empty_database.store.driver.list_tables)]
    assert tables == [table]


def test_an_interrupted_upgrade_leaves_nothing_and_can_be_run_again(empty_database, ring, monkeypatch):
    real, made = Operations.create_table, []

    def cut_short(self, name, *columns, **kw):
        made.append(name)
        if name == "app_passwords":
            raise KeyboardInterrupt
        return real(self, name, *columns, **kw)

    monkeypatch.setattr(Operations, "create_table", cut_short)
    with pytest.raises(KeyboardInterrupt):
        create(empty_database.store, ring)
    assert "accounts" in made
    assert current(empty_database.store) is None
    monkeypatch.undo()
    create(empty_database.store, ring)
    require_current(empty_database.store)


def test_a_creation_cut_short_after_the_tables_is_gone_on_with(empty_database, ring):
    empty_database.store.driver.create()
    upgrade(empty_database.store)
    create(empty_database.store, ring)
    assert empty_database.run("SELECT count(*) FROM site") == [(1,)]


def test_two_upgrades_at_once_do_not_disturb_each_other(empty_database):
    empty_database.store.driver.create()
    faults = []
    done = []
    start = threading.Barrier(2)

    def run():
        store = open_store(empty_database.url)
        start.wait()
        try:
            upgrade(store)
        except (StoreUnavailable, SchemaMismatch) as fault:
            faults.append(fault)
        else:
            done.append(current(store))
        store.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (faults, done) == ([], [HEAD, HEAD])
    require_current(empty_database.store)


def test_a_failed_migration_is_store_unavailable_and_rolled_back(empty_database, monkeypatch):
    empty_database.store.driver.create()
    real = Operations.create_table

    def twice(self, name, *columns, **kw):
        made = real(self, name, *columns, **kw)
        if name == "accounts":
            self.execute("CREATE TABLE accounts (id INTEGER)")
        return made

    monkeypatch.setattr(Operations, "create_table", twice)
    with pytest.raises(StoreUnavailable):
        upgrade(empty_database.store)
    assert current(empty_database.store) is None


def test_the_files_are_the_owners_alone_and_the_folder_is_untouched(tmp_path, ring):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    store = open_store(f"sqlite:///{folder / 'mailauth.db'}")
    create(store, ring)
    with store.transaction() as tx:
        tx.write(store.sql.PRUNE_AUDIT, before=0.0, batch=1)
        tx.write(store.sql.ADD_SERVER_KEY, id=99, check_value="x")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"mailauth.db": 0o600, "mailauth.db-wal": 0o600, "mailauth.db-shm": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_store_in_a_folder_that_is_not_there_is_not_made(tmp_path, ring):
    with pytest.raises(StoreUnavailable, match="No such file"):
        create(open_store(f"sqlite:///{tmp_path / 'no' / 'mailauth.db'}"), ring)


def test_head_sorts_as_a_number():
    assert upgrading.HEAD.isdigit()
    assert len(upgrading.HEAD) == 4


def _rows(store, statement):
    with store.reading() as tx:
        return tx.rows(statement)


def test_tables_that_nobody_has_made_are_said_to_be_so(database):
    database.run("UPDATE mailauth_version SET version_num = '0000'")
    with pytest.raises(SchemaMismatch, match="restore a backup"):
        upgrade(database.store)
    assert database.run("SELECT version_num FROM mailauth_version") == [("0000",)]
