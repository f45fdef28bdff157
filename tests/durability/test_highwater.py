"""The high-water file: what it holds, who may raise it, and that nothing stops for want of it."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import threading
from pathlib import Path

import pytest

from mailauth.accounts import aliases, apppasswords, domains, mailboxes, sessions, site
from mailauth.accounts.changes import AccountChange, DomainChange, PolicyChange
from mailauth.hashing.argon2id import Argon2id
from mailauth.interfaces import PolicyLevel, StoreUnavailable
from mailauth.store import changes
from mailauth.store import highwater as module
from mailauth.store.engine import open_store
from mailauth.store.highwater import HighWater, Level, StoreBehind, Unreadable
from mailauth.store.upgrade import create

ALICE = "alice@example.test"
BY = {"actor": "test"}
QUICK = Argon2id(1, 8, 1)


def told(highwater: HighWater) -> dict:
    (store,) = json.loads(highwater.path.read_bytes())["stores"].values()
    return store


def test_every_change_is_noted_with_what_it_took_away(store, ring, highwater):
    mailboxes.add_account(store, ALICE, None, **BY)
    minted = apppasswords.mint(store, ring, QUICK, ALICE, label="Phone", **BY)
    apppasswords.rename(store, ALICE, minted.id, "Old phone", **BY)
    mailboxes.set_account(store, ALICE, AccountChange(imap=False, mode=True), **BY)
    apppasswords.revoke(store, ALICE, every=True, **BY)
    domains.set_domain(store, "example.test", DomainChange(enabled=False), **BY)
    site.set_site(store, PolicyChange(policy=PolicyLevel.OBSERVE), **BY)
    aliases.add_alias(store, ALICE, "a@example.test", **BY)
    aliases.remove_alias(store, "a@example.test", **BY)
    mailboxes.set_web_password(store, ALICE, "a record", True, **BY)
    mailboxes.remove_account(store, ALICE, **BY)
    sessions.live_sessions(store, actor="test")
    assert told(highwater) == {
        "number": changes.newest(store),
        "since": 0,
        "ids": {"domains": 1, "accounts": 1, "app_passwords": 1},
        "taken": [
            [4, {"login": ALICE, "set": {"services": 6, "mode_on": 1}}],
            [5, {"login": ALICE, "app_passwords": [1]}],
            [6, {"domain": "example.test", "set": {"enabled": 0}}],
            [7, {"set": {"policy": "observe"}}],
            [8, {"login": ALICE, "alias_added": "a@example.test"}],
            [9, {"login": ALICE, "alias": "a@example.test"}],
            [10, {"login": ALICE, "web_password": True}],
            [11, {"login": ALICE, "removed": True}],
        ],
    }


def test_every_change_has_a_number(store, ring, highwater):
    """So that each can be found again when the connection was lost during its COMMIT, and is missed in a backup."""
    domains.add_domain(store, "example.test", **BY)
    mailboxes.add_account(store, ALICE, None, **BY)
    minted = apppasswords.mint(store, ring, QUICK, ALICE, label="Phone", **BY)
    for change in (
        lambda: domains.add_domain(store, "other.test", **BY),
        lambda: aliases.add_alias(store, ALICE, "a@example.test", **BY),
        lambda: apppasswords.rename(store, ALICE, minted.id, "Old phone", **BY),
        lambda: domains.remove_domain(store, "other.test", **BY),
    ):
        before = changes.newest(store)
        change()
        assert changes.newest(store) == before + 1
        assert told(highwater)["number"] == before + 1
    assert told(highwater)["ids"]["domains"] == 2  # also of one that is gone


def test_it_holds_no_secret_and_nothing_made_from_one(store, database, ring, highwater):
    mailboxes.add_account(store, ALICE, QUICK.hash(b"her web password"), **BY)
    minted = apppasswords.mint(store, ring, QUICK, ALICE, label="A label that is nobody's business", **BY)
    mailboxes.set_web_password(store, ALICE, QUICK.hash(b"another one"), False, **BY)
    text = highwater.path.read_text()
    for hidden in (minted.password, "argon2", "label", "web password", "another one"):
        assert hidden not in text.replace("web_password", "")
    assert highwater.path.stat().st_mode & 0o777 == 0o600
    assert not highwater.path.with_name(highwater.path.name + ".new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_it_belongs_to_whom_the_key_file_belongs(store, highwater, key_file):
    os.chown(key_file, 65534, 65534)
    mailboxes.add_account(store, ALICE, None, **BY)
    found = highwater.path.stat()
    assert (found.st_uid, found.st_gid) == (65534, 65534)


def test_what_a_crash_left_is_gone_on_with(store, highwater):
    draft = highwater.path.with_name(highwater.path.name + ".new")
    draft.write_text('{"half a li' * 1000)
    mailboxes.add_account(store, ALICE, None, **BY)
    assert told(highwater)["number"] == 1
    assert not draft.exists()


def test_it_is_never_lowered_by_a_store_that_is_behind(store, highwater, backup):
    restore = backup()
    mailboxes.add_account(store, ALICE, None, **BY)
    before = highwater.path.read_bytes()
    store.close()
    restore()
    assert highwater.rise(store)
    assert highwater.path.read_bytes() == before


def test_a_store_that_is_behind_takes_no_change(store, highwater, backup):
    mailboxes.add_account(store, ALICE, None, **BY)
    restore = backup()
    for on in (False, True, False):
        mailboxes.set_account(store, ALICE, AccountChange(enabled=on), **BY)
    store.close()
    restore()
    with pytest.raises(StoreBehind, match=re.escape("is at change 1, 3 behind what")) as refused:
        mailboxes.set_account(store, ALICE, AccountChange(mode=True), **BY)
    assert "run `mailauth db restored`" in str(refused.value)
    assert mailboxes.show_account(store, ALICE).mode == "off"
    assert changes.newest(store) == 1


def test_a_new_store_under_the_same_key_is_none_of_its_business(store, highwater, ring, tmp_path):
    mailboxes.add_account(store, ALICE, None, **BY)
    other = open_store(f"sqlite:///{tmp_path / 'other.db'}")
    create(other, ring)
    other.highwater = highwater
    domains.add_domain(other, "other.test", **BY)
    known = json.loads(highwater.path.read_bytes())["stores"]
    assert [one["number"] for one in known.values()] == [1, 1]  # and the first one's is kept


def test_a_missing_one_is_made_of_what_the_store_still_knows(store, highwater):
    for name in ("a.test", "b.test"):
        domains.add_domain(store, name, **BY)
        domains.set_domain(store, name, DomainChange(enabled=False), **BY)
    highwater.path.unlink()
    assert highwater.rise(store)
    assert (told(highwater)["since"], [number for number, _ in told(highwater)["taken"]]) == (0, [2, 4])


@pytest.mark.parametrize(("pruned", "since", "taken"), [(2, 2, [4]), (3, 3, [4]), (4, 4, [])])
def test_what_the_store_does_not_know_any_more_is_missing(store, database, highwater, pruned, since, taken):
    for name in ("a.test", "b.test"):
        domains.add_domain(store, name, **BY)
        domains.set_domain(store, name, DomainChange(enabled=False), **BY)
    highwater.path.unlink()
    database.run(f"DELETE FROM changes WHERE number <= {pruned}")
    assert highwater.rise(store)
    assert told(highwater)["number"] == 4
    assert (told(highwater)["since"], [number for number, _ in told(highwater)["taken"]]) == (since, taken)


def test_it_is_bounded_and_says_from_where_on_it_is_complete(store, highwater, monkeypatch):
    monkeypatch.setattr(module, "MOST_TAKEN", 3)
    domains.add_domain(store, "a.test", **BY)
    for on in (False, True, False, True, False):
        domains.set_domain(store, "a.test", DomainChange(enabled=on), **BY)
    assert (told(highwater)["since"], [number for number, _ in told(highwater)["taken"]]) == (3, [4, 5, 6])


def test_more_than_a_page_of_changes_is_read(store, highwater, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 2)
    highwater, store.highwater = store.highwater, None
    domains.add_domain(store, "a.test", **BY)
    for on in (False, True, False, True):
        domains.set_domain(store, "a.test", DomainChange(enabled=on), **BY)
    assert highwater.rise(store)
    assert [number for number, _ in told(highwater)["taken"]] == [2, 3, 4, 5]


def test_many_raise_it_at_once_and_none_lowers_it(database, key_file):
    """Each with a store and a file of its own, as processes have them."""
    domains.add_domain(database.store, "a.test", **BY)
    seen: list[int] = []
    faults: list[BaseException] = []

    def change(name: str) -> None:
        store = open_store(database.url)
        store.highwater = HighWater(key_file)
        try:
            for _ in range(10):
                mailboxes.add_account(store, name, None, **BY)
                seen.append(told(store.highwater)["number"])
                mailboxes.remove_account(store, name, **BY)
        except BaseException as fault:  # noqa: BLE001  told below
            faults.append(fault)
        finally:
            store.close()

    threads = [threading.Thread(target=change, args=[f"user{n}@a.test"]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    highwater = HighWater(key_file)
    assert told(highwater)["number"] == changes.newest(database.store) == 81
    assert told(highwater)["since"] == 0
    assert [takes["login"] for _, takes in told(highwater)["taken"]].count("user1@a.test") == 10
    assert told(highwater)["ids"]["accounts"] == 40


def test_one_that_cannot_be_written_is_warned_of_once_and_stops_nothing(store, tmp_path, caplog):
    folder = tmp_path / "away"
    store.highwater = HighWater(folder / "mailauth.keys")
    with caplog.at_level(logging.WARNING):
        domains.add_domain(store, "a.test", **BY)
        domains.set_domain(store, "a.test", DomainChange(enabled=False), **BY)
    (warning,) = caplog.messages
    assert warning == (
        f"{folder}/mailauth.keys.highwater is not up to date: No such file or directory; "
        "a restored backup may not be seen to be one"
    )
    folder.mkdir()
    domains.set_domain(store, "a.test", DomainChange(enabled=True), **BY)
    assert [number for number, _ in told(store.highwater)["taken"]] == [2, 3]  # and nothing is lost by it
    assert len(caplog.messages) == 1


def test_somebody_who_does_not_let_go_of_it_is_not_waited_for_for_ever(store, highwater, caplog, monkeypatch):
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    with highwater._locked_draft(), caplog.at_level(logging.WARNING):
        domains.add_domain(store, "a.test", **BY)
    assert "another process does not let go of it" in caplog.text
    domains.add_domain(store, "b.test", **BY)
    assert told(highwater)["number"] == 2


def test_what_waited_for_a_draft_that_became_the_file_begins_again(highwater, monkeypatch):
    """Otherwise it would write into the file itself."""
    with highwater._locked_draft() as first:
        ino = os.fstat(first.fileno()).st_ino
        highwater._draft.replace(highwater.path)
    with highwater._locked_draft() as second:
        assert os.fstat(second.fileno()).st_ino != ino
        assert stat.S_IMODE(os.fstat(second.fileno()).st_mode) == 0o600


@pytest.mark.parametrize(
    "contents",
    [
        *("", "no JSON", "[]", "{}", '{"version": 2, "stores": {}}', '{"version": 1}', '{"version": 1, "stores": [1]}'),
        *('{"version": 1, "stores": {"x": {"number": "many"}}}', '{"version": 1, "stores": {"x": {"number": 1}}}'),
    ],
)
def test_one_that_cannot_be_understood_lets_nothing_be_changed(store, highwater, contents, caplog):
    """Whether the store is an old one cannot be told then; and what is there is left for somebody to look at."""
    highwater.path.write_text(contents)
    with pytest.raises(Unreadable, match="remove it: it is made anew"):
        domains.add_domain(store, "a.test", **BY)
    assert changes.newest(store) == 0
    assert not highwater.rise(store)
    assert highwater.path.read_text() == contents
    highwater.path.unlink()
    domains.add_domain(store, "a.test", **BY)


def test_one_that_cannot_be_read_lets_nothing_be_changed(store, highwater):
    highwater.path.mkdir()
    with pytest.raises(Unreadable, match="Is a directory; make it readable for this user"):
        domains.add_domain(store, "a.test", **BY)


def test_it_is_read_anew_only_when_it_is_another(store, highwater, monkeypatch):
    domains.add_domain(store, "a.test", **BY)
    read: list[Path] = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or whole(path))
    for _ in range(3):
        with store.reading() as tx:
            highwater.require(store, tx)
    assert len(read) == 1
    other = HighWater(highwater.path.with_name("mailauth.keys"))
    store.highwater = other
    domains.add_domain(store, "b.test", **BY)
    with store.reading() as tx:
        assert highwater.standing(store, tx) == (Level(2, 0, {"domains": 2, "accounts": 0, "app_passwords": 0}), 2)


def test_a_store_without_its_first_rows_is_a_fault(store, database, highwater, caplog):
    domains.add_domain(store, "a.test", **BY)
    database.run("DELETE FROM site")
    with pytest.raises(StoreUnavailable, match="has lost its first rows"):
        domains.add_domain(store, "b.test", **BY)
    assert highwater.rise(store)
    assert told(highwater)["number"] == 1
    assert not caplog.messages
