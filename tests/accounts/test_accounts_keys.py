"""Rotating and removing server keys while others serve: nobody is ever kept out by it, and nothing is lost."""

from __future__ import annotations

import base64
import shutil
import threading
import time
from pathlib import Path

import pytest

from keyrings import PATIENCE_S, process, put_in_use, with_another
from mailauth.accounts import apppasswords, keys
from mailauth.accounts.history import audit
from mailauth.accounts.keys import KeyView, Replaced, listed, remove, replace_lost, rotate
from mailauth.accounts.mailboxes import add_account
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.interfaces import StoreUnavailable
from mailauth.keys import KeyFileError, KeyRing
from mailauth.store.faults import CommitUnknown
from mailauth.store.keycheck import WrongKey, require_key
from mailauth.store.passdb import open_passdb

ALICE = "alice@example.test"
ROOT = {"actor": "cli:root"}


class Plain:
    """A hash scheme that is quick."""

    def hash(self, secret):
        return "plain:" + secret.decode()


@pytest.fixture
def path(tmp_path, ring):
    """A key file of the store's key."""
    place = tmp_path / "here.key"
    KeyRing.create(place)
    (key,) = ring.keys
    lines = place.read_text().splitlines()
    place.write_text("\n".join([*lines[:-1], f"1 {key.created} {base64.b64encode(key.secret).decode()}"]) + "\n")
    return place


@pytest.fixture
def alice(store):
    add_account(store, ALICE, None, **ROOT)
    return ALICE


def minted(store, path, label="phone"):
    return apppasswords.mint(store, KeyRing.load(path), Plain(), ALICE, label=label, **ROOT)


def copied(path: Path) -> Path:
    """The key file of another host."""
    return Path(shutil.copy(path, path.with_name("there.key")))


def kinds(store):
    return [(row.kind, row.detail) for row in audit(store) if row.kind.startswith("key-")]


def test_without_anybody_serving_a_key_is_in_use_at_once(store, path, alice):
    old = minted(store, path)
    done = rotate(store, path, **ROOT)
    assert (done.key_id, done.in_use, done.silent, done.unable) == (2, True, [], [])
    new = minted(store, path)
    first, second = listed(store, KeyRing.load(path))
    assert first == KeyView(1, first.created, True, False, 1, 0, 0)
    assert second == KeyView(2, second.created, True, True, 1, 0, 0)
    assert kinds(store) == [("key-added", "key 2 makes new app passwords from now on")]
    assert old.id != new.id


def test_those_who_serve_read_it_before_anything_is_made_under_it(database, path, alice):
    old = minted(database.store, path)
    with process(database.url, path) as one, process(database.url, path) as other:
        done = rotate(database.store, path, **ROOT)
        assert (done.in_use, done.silent, done.unable) == (True, [], [])
        new = minted(database.store, path)
        for serving in (one, other):
            assert serving.keys.newest == 2
            assert serving.hits(alice, old.password) == [(old.id, 1)]
            assert serving.hits(alice, new.password) == [(new.id, 2)]


def test_where_the_key_file_was_not_copied_nothing_is_made_that_could_not_be_read_there(database, path, alice):
    store, there = database.store, copied(path)
    with process(database.url, path) as here, process(database.url, there) as far:
        for _ in range(2):  # however often it is tried
            done = rotate(store, path, **ROOT)
            assert (done.key_id, done.in_use, done.silent) == (2, False, [])
            (lack,) = done.unable
            assert lack.endswith(f": key file {there}: it has no key 2")
            assert lack.startswith("process ")
        held = minted(store, path)
        for serving in (here, far):
            assert serving.keys.newest == 1
            assert serving.hits(alice, held.password) == [(held.id, 1)]
        assert [(view.id, view.in_use, view.newest) for view in listed(store, KeyRing.load(path))] == [
            (1, True, True),
            (2, False, False),
        ]
        shutil.copy(path, there)
        done = rotate(store, path, **ROOT)
        assert (done.key_id, done.in_use, done.unable) == (2, True, [])
        new = minted(store, path)
        assert [serving.hits(alice, new.password) for serving in (here, far)] == [[(new.id, 2)]] * 2
    assert KeyRing.load(path).ids == (1, 2)


@pytest.mark.parametrize(
    ("broken", "lack"),
    [
        (lambda there, path: there.unlink(), "it is missing"),
        (lambda there, path: there.chmod(0o640), "others may use it"),
        (lambda there, path: there.write_text("rubbish"), "line 1 is no key"),
        (lambda there, path: KeyRing.rotate(there), "it has another key 2"),
        (lambda there, path: there.write_text(path.read_text().rpartition("1 ")[0]), "it is no key file"),
    ],
)
def test_what_a_process_lacks_is_said(sqlite_database, path, broken, lack):
    there = copied(path)
    with process(sqlite_database.url, there) as far:
        broken(there, path)
        done = rotate(sqlite_database.store, path, **ROOT)
        assert not done.in_use
        (said,) = done.unable
        assert lack in said
        assert far.keys.newest == 1


def test_a_process_with_a_file_that_has_lost_a_key_in_use_keeps_its_own(sqlite_database, path):
    there = copied(path)
    with process(sqlite_database.url, there) as far:
        KeyRing.rotate(path)
        there.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("1 ")))
        done = rotate(sqlite_database.store, path, **ROOT)
        assert not done.in_use
        assert done.unable[0].endswith("it lacks keys that are in use")
        assert far.keys.selectors("a", "b")[0][0] == 1


def test_a_process_that_does_not_answer_is_named_and_nothing_is_made_meanwhile(database, path, alice):
    store = database.store
    with store.transaction() as tx:
        tx.write(store.sql.ADD_PROCESS, id="x", host="mx2/boot", pid=7, started_at=0.0, applied=0)
    done = rotate(store, path, **ROOT)
    assert (done.in_use, done.silent, done.unable) == (False, ["process 7 at mx2"], [])
    minted(store, path)
    assert [view.live for view in listed(store, KeyRing.load(path))] == [1, 0]
    assert rotate(store, path, **ROOT).in_use  # it is not among those that let clients in any more


def test_a_process_that_was_started_meanwhile_is_asked_too(database, path, monkeypatch):
    lacking, started, there = keys._lacking, [], copied(path)
    with process(database.url, path):

        def start(effect):
            if not started:  # with the old key file, and too late to have heard of the new key
                started.append(process(database.url, there))
                started.append(started[0].__enter__())
            return lacking(effect)

        monkeypatch.setattr(keys, "_lacking", start)
        done = rotate(database.store, path, **ROOT)
        assert not done.in_use
        assert "it has no key 2" in done.unable[0]
        assert started[1].keys.newest == 1
        started[0].__exit__(None, None, None)
        assert rotate(database.store, path, **ROOT).in_use


def test_processes_that_come_without_end_are_not_waited_for(sqlite_database, path, monkeypatch):
    store = sqlite_database.store
    count = iter(range(100))

    def joined(effect):
        with store.transaction() as tx:
            number = tx.row(store.sql.CHANGE_NUMBER)["number"] + 1  # it has heard of the next change, and says nothing
            values = {"id": f"x{next(count)}", "host": "mx2/boot", "pid": 7}
            tx.write(store.sql.ADD_PROCESS, started_at=0.0, applied=number, **values)
        return []

    monkeypatch.setattr(keys, "_lacking", joined)
    done = rotate(store, path, **ROOT)
    assert not done.in_use
    assert set(done.silent) == {"process 7 at mx2"}


def test_an_interrupted_rotation_is_gone_on_with(store, path):
    KeyRing.rotate(path)  # and then the power failed
    done = rotate(store, path, **ROOT)
    assert (done.key_id, done.in_use) == (2, True)
    assert KeyRing.load(path).ids == (1, 2)
    assert rotate(store, path, **ROOT).key_id == 3


def test_two_rotations_at_once_add_one_key_or_two_and_lose_none(database, path):
    outcomes = []

    def one():
        try:
            outcomes.append(rotate(database.store, path, **ROOT).in_use)
        except KeyFileError as fault:
            assert "another command is changing it" in str(fault)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert outcomes
    assert all(outcomes)
    ring = KeyRing.load(path)
    assert require_key(database.store, ring).newest == ring.newest
    assert all(view.in_use for view in listed(database.store, ring) if view.newest)


def test_a_key_of_another_store_is_not_rotated(store, tmp_path):
    foreign = tmp_path / "foreign.key"
    KeyRing.create(foreign)
    with pytest.raises(WrongKey):
        rotate(store, foreign, **ROOT)
    with pytest.raises(WrongKey):
        remove(store, foreign, 1, **ROOT)
    assert KeyRing.load(foreign).ids == (1,)


def test_a_key_file_that_cannot_be_written_changes_nothing(store, path, monkeypatch):
    def full(draft, ring):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("mailauth.keys._write_new", full)
    with pytest.raises(KeyFileError, match="cannot be changed: Read-only file system"):
        rotate(store, path, **ROOT)
    assert [view.id for view in listed(store, KeyRing.load(path))] == [1]
    assert kinds(store) == []


# ---- removing


def test_a_key_that_nothing_needs_is_removed_everywhere(database, path, alice):
    store = database.store
    with process(database.url, path) as serving:
        rotate(store, path, **ROOT)
        new = minted(store, path)
        remove(store, path, 1, **ROOT)
        assert KeyRing.load(path).ids == (2,)
        assert [pair[0] for pair in serving.keys.selectors(alice, new.password)] == [2]
        assert serving.hits(alice, new.password) == [(new.id, 2)]
    assert require_key(store, KeyRing.load(path)).newest == 2
    assert kinds(store) == [("key-added", "key 2 makes new app passwords from now on"), ("key-removed", "key 1")]
    assert database.run("SELECT id FROM server_keys") == [(2,)]


def test_a_key_that_something_needs_stays_with_what_to_do(store, path, alice):
    old = minted(store, path)
    rotate(store, path, **ROOT)
    with pytest.raises(Refused, match=rf"key 1 is needed: 1 app passwords \(of {ALICE}\) and 0 deleted ones"):
        remove(store, path, 1, **ROOT)
    apppasswords.revoke(store, alice, ids=[old.id], **ROOT)
    with pytest.raises(Refused, match=r"0 app passwords and 1 deleted ones stand under it.* go after 90 days"):
        remove(store, path, 1, **ROOT)
    assert [(view.id, view.in_use, view.live, view.deleted) for view in listed(store, KeyRing.load(path))] == [
        (1, True, 0, 1),
        (2, True, 0, 0),
    ]


def test_many_who_need_it_are_not_all_named(store, path):
    for number in range(7):
        login = f"user{number}@example.test"
        add_account(store, login, None, **ROOT)
        for label in ("a", "b"):
            apppasswords.mint(store, KeyRing.load(path), Plain(), login, label=label, **ROOT)
    rotate(store, path, **ROOT)
    with pytest.raises(Refused, match=r"14 app passwords \(of user0@.*, user4@example.test, and others\)"):
        remove(store, path, 1, **ROOT)


def test_the_key_that_is_used_and_one_that_will_be_are_not_removed(store, path):
    with pytest.raises(Refused, match="key 1 makes new app passwords"):
        remove(store, path, 1, **ROOT)
    KeyRing.rotate(path)
    with pytest.raises(Refused, match="key 2 is not in use yet"):
        remove(store, path, 2, **ROOT)
    with pytest.raises(NoSuch, match="no key 3"):
        remove(store, path, 3, **ROOT)
    assert KeyRing.load(path).ids == (1, 2)


def test_a_removal_that_was_interrupted_is_done_again(store, path, monkeypatch):
    rotate(store, path, **ROOT)
    real = KeyRing.remove

    def fails(place, key_id):
        raise KeyFileError("full")

    monkeypatch.setattr(KeyRing, "remove", fails)
    with pytest.raises(KeyFileError):
        remove(store, path, 1, **ROOT)
    assert [(view.id, view.in_use) for view in listed(store, KeyRing.load(path))] == [(1, False), (2, True)]
    monkeypatch.setattr(KeyRing, "remove", real)
    remove(store, path, 1, **ROOT)
    assert KeyRing.load(path).ids == (2,)


def test_a_key_is_not_removed_under_an_app_password_that_is_being_made(database, path, alice, monkeypatch):
    """By a command that read the key file before the rotation."""
    store, old = database.store, KeyRing.load(path)
    rotate(store, path, **ROOT)
    insert, reached, go_on, outcome = apppasswords._insert, threading.Event(), threading.Event(), []

    def paused(unit, login, values):
        reached.set()
        assert go_on.wait(PATIENCE_S)
        return insert(unit, login, values)

    def removed():
        try:
            outcome.append(remove(store, path, 1, **ROOT))
        except Refused as refused:
            outcome.append(str(refused))

    monkeypatch.setattr(apppasswords, "_insert", paused)
    minting = threading.Thread(target=lambda: apppasswords.mint(store, old, Plain(), alice, label="x", **ROOT))
    removing = threading.Thread(target=removed)
    minting.start()
    assert reached.wait(PATIENCE_S)
    removing.start()
    _wait_until_it_waits(database, removing)
    go_on.set()
    minting.join(PATIENCE_S)
    removing.join(PATIENCE_S)
    assert "1 app passwords" in outcome[0]
    assert database.run("SELECT key_id FROM app_passwords") == [(1,)]
    assert KeyRing.load(path).ids == (1, 2)


def _wait_until_it_waits(database, thread):
    """For a lock, which PostgreSQL tells; SQLite has one writer at a time anyway."""
    give_up_at = time.monotonic() + PATIENCE_S
    while database.url.startswith("postgresql") and thread.is_alive():
        assert time.monotonic() < give_up_at
        if database.run(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ):
            return
        time.sleep(0.01)


async def test_nothing_is_moved_to_a_key_that_was_removed(database, ring, path, alice):
    store = database.store
    held = minted(store, path)
    put_in_use(store, with_another(with_another(ring)))
    passdb = open_passdb(store, [1, 2, 3])
    await passdb.reselect(held.id, 1, 2, 7)
    await passdb.close()
    assert database.run("SELECT key_id FROM app_passwords") == [(1,)]


# ---- a key file that is lost


def test_without_its_key_file_a_site_goes_on_and_its_app_passwords_are_gone(database, path, alice):
    store = database.store
    for label in ("phone", "tablet"):
        gone = minted(store, path, label)
    apppasswords.revoke(store, alice, ids=[gone.id], **ROOT)
    rotate(store, path, **ROOT)
    with process(database.url, path) as serving:
        path.unlink()
        assert replace_lost(store, path, **ROOT) == Replaced(3, 2, 0)
        assert KeyRing.load(path).ids == (3,)
        serving.keys.look_again()
        new = minted(store, path)
        assert serving.hits(alice, new.password) == [(new.id, 3)]
        assert serving.hits(alice, gone.password) == []
    assert kinds(store)[-1] == (
        "key-lost",
        "key 3 in place of all others; 2 app passwords and 0 second factors deleted",
    )
    assert database.run("SELECT id FROM server_keys") == [(3,)]


def test_a_key_file_that_is_there_is_not_replaced(store, path, alice):
    minted(store, path)
    with pytest.raises(Refused, match="is there; only where it is lost"):
        replace_lost(store, path, **ROOT)
    assert KeyRing.load(path).ids == (1,)
    assert [view.live for view in listed(store, KeyRing.load(path))] == [1]


@pytest.mark.parametrize("fault", [StoreUnavailable("down"), CommitUnknown("lost")])
def test_a_new_key_file_that_the_store_does_not_take_is_not_left(database, path, alice, monkeypatch, fault):
    minted(database.store, path)
    path.unlink()

    def fails(*_, **__):
        raise fault

    with monkeypatch.context() as during:
        during.setattr("mailauth.accounts.unit.Unit.record", fails)
        with pytest.raises(type(fault)):
            replace_lost(database.store, path, **ROOT)
    assert path.exists() is isinstance(fault, CommitUnknown)  # nobody can say whether the store has it
    path.unlink(missing_ok=True)
    with pytest.raises(KeyFileError, match="No such file or directory"):
        replace_lost(database.store, path / "below", **ROOT)
    assert database.run("SELECT count(*) FROM app_passwords") == [(1,)]


def test_a_store_that_was_not_made_to_its_end_gets_no_key(database, path):
    database.run("DELETE FROM site")
    path.unlink()
    with pytest.raises(Refused, match="not made to its end"):
        replace_lost(database.store, path, **ROOT)
    assert not path.exists()
