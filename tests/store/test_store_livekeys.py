"""The keys of a running process: asked by logins, told by rotations, and put right where they are found wanting."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from keyrings import put_in_use, with_another
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import LoginJudged
from mailauth.interfaces import StoreUnavailable
from mailauth.keys import KeyFileError, KeyRing
from mailauth.store import livekeys
from mailauth.store.keycheck import KEY_ADDED, KEY_IN_USE, KEY_REMOVED, WrongKey, announced, keys_of
from mailauth.store.livekeys import LiveKeys
from mailauth.store.upgrade import create
from mailauth.verdict import Accept, Cause, Defer, Outcome, Principal, Reason, Reject

ATTEMPT = Attempt(Credential("a@example.test"), Service.IMAP, "192.0.2.1", True)
WANTING = Defer(Cause.KEY)


def judged(outcome: Outcome) -> LoginJudged:
    return LoginJudged(ATTEMPT, outcome, "a@example.test", 1, 0.1)


class House:
    """A store, a key file, and the keys of a process; `used`: what lookups were told to ask by."""

    def __init__(self, store, path):
        self.store, self.path, self.used = store, path, []
        self.keys = LiveKeys(store, path, keys_of(store, path), self.used.append)

    def told(self, kind, ring=None, key_id=2):
        ring = ring or KeyRing.load(self.path)
        with self.store.reading() as tx:
            store_id = tx.row(self.store.sql.SITE)["store_id"]
        answer = self.keys.orders[kind](json.dumps(announced(ring, store_id, key_id)))
        return json.loads(answer.report)["lack"] if answer and answer.report else None


@pytest.fixture
def house(empty_database, tmp_path):
    path = tmp_path / "mailauth.key"
    create(empty_database.store, KeyRing.create(path))
    return House(empty_database.store, path)


def test_a_key_is_read_when_it_is_announced_and_used_when_that_is_said(house):
    KeyRing.rotate(house.path)
    assert house.told(KEY_ADDED) is None
    assert (house.used, house.keys.newest) == ([(1, 2)], 1)
    assert house.keys.selectors("a", "b") == KeyRing.load(house.path).selectors("a", "b")
    assert house.told(KEY_IN_USE) is None
    assert house.keys.newest == 2
    house.told(KEY_REMOVED, key_id=1)
    assert (house.used[-1], house.keys.newest) == ((2,), 2)


def test_what_is_said_twice_or_late_changes_nothing_more(house):
    KeyRing.rotate(house.path)
    third = KeyRing.rotate(house.path)
    for kind, key_id in ((KEY_ADDED, 3), (KEY_IN_USE, 3), (KEY_IN_USE, 2), (KEY_ADDED, 2), (KEY_ADDED, 3)):
        assert house.told(kind, key_id=key_id) is None
    assert (house.keys.newest, house.used[-1]) == (3, third.ids)
    for key_id in (3, 9):  # the newest is never given up
        house.told(KEY_REMOVED, third.using(3), key_id=3) if key_id == 3 else None
    assert house.keys.newest == 3


def test_a_key_in_use_that_cannot_be_read_is_an_alarm(house, caplog):
    assert "it has no key 2" in house.told(KEY_IN_USE, with_another(KeyRing.load(house.path)))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().endswith("it has no key 2 alarm")
    assert house.keys.newest == 1
    assert house.used == []


def test_what_was_rotated_before_a_process_hears_of_changes_is_made_up_for(house):
    put_in_use(house.store, KeyRing.rotate(house.path))
    house.keys.look_again()
    assert (house.used, house.keys.newest) == ([(1, 2)], 2)


def test_a_process_whose_key_file_is_old_does_not_start(house):
    put_in_use(house.store, with_another(KeyRing.load(house.path)))
    with pytest.raises(WrongKey, match="no key 2"):
        house.keys.look_again()
    house.path.unlink()
    with pytest.raises(KeyFileError, match="it is missing"):
        house.keys.look_again()


def test_a_rotation_between_reading_the_file_and_the_store_is_no_fault(house, monkeypatch):
    load = KeyRing.load

    def slow(path):
        ring = load(path)
        if ring.ids == (1,):
            monkeypatch.setattr(KeyRing, "load", load)
            put_in_use(house.store, KeyRing.rotate(path))
        return ring

    monkeypatch.setattr(KeyRing, "load", slow)
    assert (keys_of(house.store, house.path).ids, keys_of(house.store, house.path).newest) == ((1, 2), 2)


async def settled(house):
    """The file has been looked at."""
    assert house.keys._mending is not None
    await asyncio.wait_for(house.keys._mending, 30)


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(livekeys, "AGAIN_S", 0.0)


async def test_a_login_that_misses_a_key_has_the_file_read_again(house, at_once, caplog):
    put_in_use(house.store, KeyRing.rotate(house.path))
    house.keys(judged(WANTING))
    house.keys(judged(WANTING))
    await settled(house)
    assert (house.used, house.keys.newest) == ([(1, 2)], 2)
    assert [record.getMessage() for record in caplog.records] == [f"server keys read again from {house.path}: 1, 2"]


@pytest.mark.parametrize(
    "outcome", [Accept(Principal(1, "a", 2)), Reject(Reason.WRONG_PASSWORD), Defer(Cause.STORE), Defer(Cause.RECORD)]
)
async def test_other_outcomes_do_not(house, outcome):
    house.keys(judged(outcome))
    assert house.keys._mending is None


async def test_a_file_that_does_not_help_is_said_and_looked_at_again_later(house, at_once, caplog):
    ring = with_another(KeyRing.load(house.path))
    put_in_use(house.store, ring)
    house.keys(judged(WANTING))
    await settled(house)
    assert "no key 2" in caplog.records[0].getMessage()
    assert (house.used, house.keys.newest) == ([], 1)
    KeyRing.rotate(house.path)  # another key 2: what was made under the right one would look wrong
    house.keys(judged(WANTING))
    await settled(house)
    assert "key 2 of the key file is not the one" in caplog.records[1].getMessage()
    assert house.used == []


async def test_what_was_told_meanwhile_is_not_undone(house, at_once, monkeypatch):
    put_in_use(house.store, KeyRing.rotate(house.path))
    read = house.keys._read

    def slow():
        found = read()
        third = KeyRing.rotate(house.path)
        loop.call_soon_threadsafe(house.told, KEY_ADDED, third, 3)
        return found

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(house.keys, "_read", slow)
    house.keys(judged(WANTING))
    await settled(house)
    assert house.used == [(1, 2, 3)]


async def test_a_store_that_cannot_be_read_then_is_only_said(house, at_once, monkeypatch, caplog):
    def fails():
        raise StoreUnavailable("the store is gone")

    monkeypatch.setattr(house.keys, "_read", fails)
    house.keys(judged(WANTING))
    await settled(house)
    assert caplog.records[0].getMessage() == "server keys: the store is gone"


async def test_looking_ends_with_the_process(house, monkeypatch):
    house.keys.close()
    house.keys(judged(WANTING))
    task = house.keys._mending
    house.keys.close()
    with pytest.raises(asyncio.CancelledError):
        await task
