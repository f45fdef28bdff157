"""`mailauth db restored` and `app-password confirm`, as commands."""

from __future__ import annotations

import json

import pytest
from backups import configured

from commandline import run
from mailauth.accounts import apppasswords, mailboxes
from mailauth.accounts.changes import AccountChange
from mailauth.hashing.argon2id import Argon2id
from mailauth.store.highwater import HighWater

ALICE, BOB = "alice@example.test", "bob@example.test"
BY = {"actor": "test"}
QUICK = Argon2id(1, 8, 1)


@pytest.fixture
def mailauth(database, key_file, tmp_path, monkeypatch):
    config = configured(tmp_path, database.url.replace("postgres:@", "postgres@"), key_file)
    monkeypatch.setenv("MAILAUTH_CONFIG", str(config))
    return run


@pytest.fixture
def restored(mailauth, store, ring, highwater, backup):
    """A store that was put back to when Alice and Bob had two app passwords each."""
    for login in (ALICE, BOB):
        mailboxes.add_account(store, login, QUICK.hash(b"a web password"), **BY)
        for label in ("Phone", "Tablet"):
            apppasswords.mint(store, ring, QUICK, login, label=label, **BY)
    restore = backup()
    apppasswords.revoke(store, ALICE, ids=[1], **BY)
    mailboxes.set_web_password(store, BOB, QUICK.hash(b"another"), True, **BY)
    mailboxes.set_account(store, BOB, AccountChange(pop3=False), **BY)
    store.close()
    restore()
    return mailauth


def test_what_it_did_is_said_in_plain_words(restored):
    said = restored("db", "restored")
    assert said.code == 0
    assert said.out.splitlines() == [
        "the backup is at change 6; changes up to 9 had been made",
        f"account changed again: {BOB}: pop3: on -> off",
        f"web password unset: {BOB}: it had been changed, and the one in the backup is unset; a new one must be set",
        f"app password revoked again: {ALICE}: 1 Phone",
        "app passwords suspended until their owners confirm them: 3",
        "`mailauth app-password confirm ADDRESS --all`, or --id N, does that; revoke what is not wanted",
    ]
    assert said.err == ""
    said = restored("db", "restored")
    assert said.code == 0
    assert said.out.startswith("nothing to do: the store is not behind what ")


def test_it_is_said_as_json_too(restored):
    assert restored("db", "restored", "--json").json == {
        "restored": True,
        "backup_at_change": 6,
        "known_to_change": 9,
        "all_known": True,
        "done_again": [
            {"kind": "account-changed-again", "about": BOB, "detail": "pop3: on -> off"},
            {
                "kind": "web-password-unset",
                "about": BOB,
                "detail": "it had been changed, and the one in the backup is unset; a new one must be set",
            },
            {"kind": "app-password-revoked-again", "about": ALICE, "detail": "1 Phone"},
        ],
        "suspended": 3,
        "sessions_ended": 0,
        "no_answer_from": [],
    }
    assert restored("db", "restored", "--json").json == {"restored": False, "sessions_ended": 0, "no_answer_from": []}


def test_all_are_kept_where_everything_is_known(restored):
    said = restored("db", "restored", "--keep")
    assert "suspended" not in said.out
    assert [row["suspended"] for row in restored("app-password", "list", BOB, "--json").json] == [False, False]


def test_none_is_kept_where_not_everything_is_known(restored, key_file):
    path = HighWater(key_file).path
    told = json.loads(path.read_bytes())
    (level,) = told["stores"].values()
    level["since"], level["taken"] = 8, level["taken"][2:]
    path.write_text(json.dumps(told))
    said = restored("db", "restored", "--keep")
    assert "app passwords suspended until their owners confirm them, --keep or not: 4" in said.out
    assert said.err == "note: not everything that was revoked after the backup is known here any more\n"


def test_a_file_that_cannot_be_understood_is_a_fault_of_the_configuration(restored, key_file):
    HighWater(key_file).path.write_text("{")
    for command in (["db", "restored"], ["app-password", "revoke", ALICE, "--all"]):
        said = restored(*command)
        assert said.code == 78
        assert "cannot be understood" in said.err


def test_another_key_file_is_not_taken(restored, key_file):
    key_file.write_text("1 2026-01-01T00:00:00+00:00 " + "A" * 43 + "=\n")
    said = restored("db", "restored")
    assert said.code == 78
    assert "is not the one that" in said.err


def test_they_are_confirmed_one_by_one_or_all(restored):
    restored("db", "restored")
    said = restored("app-password", "confirm", BOB, "--id", "3")
    assert (said.code, said.out) == (0, "confirmed app password 3: Phone\n")
    assert [row["suspended"] for row in restored("app-password", "list", BOB, "--json").json] == [False, True]
    assert restored("app-password", "confirm", BOB, "--all", "--json").json == {
        "confirmed": [{"id": 4, "label": "Tablet"}]
    }
    assert restored("app-password", "confirm", BOB, "--all").out == "there was none to confirm\n"
    assert restored("app-password", "confirm", ALICE, "--id", "1").code == 66
    for options in ([], ["--all", "--id", "2"]):
        assert restored("app-password", "confirm", ALICE, *options).code == 64


def test_every_other_command_that_changes_something_names_the_way_out(restored):
    for command in (
        ["account", "add", "carol@example.test", "--no-password"],
        ["account", "set", ALICE, "--mode", "on"],
        ["account", "remove", ALICE],
        ["account", "alias-add", ALICE, "a@example.test"],
        ["domain", "add", "new.test"],
        ["site", "set", "--policy", "observe"],
        ["app-password", "add", ALICE, "--label", "New"],
        ["app-password", "rename", ALICE, "--id", "1", "--label", "New"],
        ["app-password", "revoke", ALICE, "--id", "2"],
        ["app-password", "confirm", ALICE, "--all"],
    ):
        said = restored(*command)
        assert (said.code, said.out) == (78, ""), command
        assert "run `mailauth db restored`" in said.err
