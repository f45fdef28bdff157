"""A connection lost during COMMIT: it is found out whether the change was made, or said that nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

import cutting
import pytest
from backups import configured

from commandline import Said, run
from mailauth.accounts import apppasswords, mailboxes, unit
from mailauth.hashing.argon2id import Argon2id
from mailauth.interfaces import StoreUnavailable
from mailauth.store import changes
from mailauth.store.engine import open_store
from mailauth.store.faults import CommitUnknown

ALICE = "alice@example.test"
BY = {"actor": "test"}
QUICK = Argon2id(1, 8, 1)


@pytest.fixture
def way(postgres_database) -> Iterator[cutting.Way]:
    """A way to a database in which Alice has an account."""
    mailboxes.add_account(postgres_database.store, ALICE, None, **BY)
    with cutting.way(postgres_database.url) as opened:
        yield opened


@pytest.fixture
def store(way):
    """The store, on that way."""
    store = open_store(way.url)
    yield store
    store.close()


@pytest.mark.parametrize("cut", [cutting.AFTER, cutting.ANSWERED])
def test_what_the_server_had_heard_is_found_to_be_done(store, way, ring, postgres_database, cut):
    way.cut = cut
    minted = apppasswords.mint(store, ring, QUICK, ALICE, label="Phone", **BY)
    assert way.cuts == 1
    assert postgres_database.run("SELECT id FROM app_passwords") == [(minted.id,)]
    way.cut = cut
    assert apppasswords.revoke(store, ALICE, every=True, **BY) == [apppasswords.Revoked(minted.id, "Phone")]
    assert way.cuts == 2
    assert postgres_database.run("SELECT revoked_at IS NULL FROM app_passwords") == [(False,)]
    assert changes.newest(postgres_database.store) == 3  # once each


def test_what_the_server_had_not_heard_is_found_not_to_be_done(store, way, ring, postgres_database):
    way.cut = cutting.BEFORE
    with pytest.raises(StoreUnavailable, match="looked up meanwhile: nothing was changed") as fault:
        apppasswords.mint(store, ring, QUICK, ALICE, label="Phone", **BY)
    assert not isinstance(fault.value, CommitUnknown)
    assert postgres_database.run("SELECT id FROM app_passwords") == []
    assert apppasswords.mint(store, ring, QUICK, ALICE, label="Phone", **BY)
    way.cut = cutting.BEFORE
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        apppasswords.revoke(store, ALICE, every=True, **BY)
    assert len(apppasswords.listed(store, ALICE)) == 1


def test_a_backend_that_was_ended_before_its_commit_has_not_done_it(store, way, ring, postgres_database):
    def end_once() -> None:
        way.before_commit = lambda: None
        postgres_database.end_connections()

    way.before_commit = end_once
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        apppasswords.mint(store, ring, QUICK, ALICE, label="Phone", **BY)
    assert apppasswords.listed(store, ALICE) == []


@pytest.mark.parametrize(("cut", "count"), [(cutting.BEFORE, 0), (cutting.ANSWERED, 1)])
def test_nobody_knows_while_the_server_stays_away(store, way, ring, postgres_database, monkeypatch, cut, count):
    monkeypatch.setattr(unit, "FIND_OUT_S", 0.3)
    way.cut, way.stays_cut = cut, True
    with pytest.raises(CommitUnknown, match="not known whether the change was made"):
        apppasswords.mint(store, ring, QUICK, ALICE, label="Phone", **BY)
    assert postgres_database.run("SELECT count(*) FROM app_passwords") == [(count,)]


def test_a_server_that_comes_back_soon_is_asked_then(store, way, ring, monkeypatch):
    way.cut, way.stays_cut = cutting.ANSWERED, True
    tried = []

    def come_back(_: float) -> None:
        tried.append(way.stays_cut)
        way.stays_cut = False

    monkeypatch.setattr(unit.time, "sleep", come_back)
    minted = apppasswords.mint(store, ring, QUICK, ALICE, label="Phone", **BY)
    assert tried == [True]
    assert [view.id for view in apppasswords.listed(store, ALICE)] == [minted.id]


def test_one_that_only_reads_has_nothing_to_find_out(store, way, postgres_database):
    with pytest.raises(StoreUnavailable) as fault, store.reading():
        postgres_database.end_connections()
    assert not isinstance(fault.value, CommitUnknown)


# ---- the commands


@pytest.fixture
def mailauth(way, key_file, tmp_path, monkeypatch):
    """Run a command on a configuration whose store is on that way."""
    config = configured(tmp_path, way.url, key_file)
    monkeypatch.setenv("MAILAUTH_CONFIG", str(config))
    monkeypatch.setattr(unit, "FIND_OUT_S", 0.3)
    return run


def add(mailauth) -> Said:
    return mailauth("app-password", "add", ALICE, "--label", "Phone")


def ids(mailauth) -> list[int]:
    return [row["id"] for row in mailauth("app-password", "list", ALICE, "--json").json]


def test_the_command_goes_on_when_the_change_was_made(mailauth, way):
    way.cut = cutting.ANSWERED
    said = add(mailauth)
    assert said.code == 0
    assert mailauth("verify", ALICE, "--service", "imap", stdin=said.out.splitlines()[-1]).code == 0
    way.cut = cutting.ANSWERED
    said = mailauth("app-password", "revoke", ALICE, "--all")
    assert (said.code, said.out.splitlines()[0]) == (0, "revoked app password 1: Phone")
    assert ids(mailauth) == []
    assert way.cuts == 2


def test_the_command_prints_no_app_password_that_is_not_there(mailauth, way):
    way.cut = cutting.BEFORE
    said = add(mailauth)
    assert (said.code, said.out) == (69, "")
    assert "nothing was changed" in said.err
    assert ids(mailauth) == []


@pytest.mark.parametrize("cut", [cutting.BEFORE, cutting.ANSWERED])
def test_the_command_says_that_it_does_not_know(mailauth, way, cut):
    assert add(mailauth).code == 0
    for words in (["add", ALICE, "--label", "Phone"], ["revoke", ALICE, "--all"]):
        way.cut, way.stays_cut, way.cuts = cut, True, 0
        said = mailauth("app-password", *words)
        assert (said.code, said.out) == (69, "")
        assert "not known whether the change was made" in said.err
        way.stays_cut = False
    assert mailauth("app-password", "list", ALICE).code == 0
