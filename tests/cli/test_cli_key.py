"""`mailauth key`, and what commands say of a key file that is not the store's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from commandline import Cli, minted
from keyrings import process
from mailauth.cli.main import cli
from mailauth.keys import KeyRing


def test_each_key_is_told_with_what_was_made_under_it(mailauth: Cli, alice: str) -> None:
    minted(mailauth, alice)
    minted(mailauth, alice)
    mailauth("app-password", "revoke", alice, "--id", "1")
    (key,) = mailauth("key", "status", "--json").json
    del key["created"]
    assert key == {"id": 1, "in_use": True, "newest": True, "live": 1, "deleted": 1, "factors": 0}
    assert mailauth("key", "status").out.startswith("ID  CREATED")


def test_a_key_is_added_and_the_old_one_removed_when_nothing_needs_it(mailauth: Cli, site: Path, alice: str) -> None:
    old = minted(mailauth, alice)
    path = site / "mailauth.keys"
    said = mailauth("key", "rotate")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"key 2 is in {path}, and makes new app passwords from now on\nback up the key file now")
    minted(mailauth, alice)
    assert [(key["id"], key["live"]) for key in mailauth("key", "status", "--json").json] == [(1, 1), (2, 1)]
    assert mailauth("verify", alice, "--service", "imap", stdin=old).code == 0
    assert [key["live"] for key in mailauth("key", "status", "--json").json] == [1, 1]  # nothing is changed by `verify`

    needed = mailauth("key", "remove", "1")
    assert needed.code == 65
    assert f"key 1 is needed: 1 app passwords (of {alice}) and 0 deleted ones" in needed.err
    assert mailauth("key", "remove", "2").code == 65
    assert mailauth("key", "remove", "7").code == 66
    mailauth("account", "remove", alice)
    removed = mailauth("key", "remove", "1")
    assert removed.out.startswith(f"removed key 1 from {path}; backups of the store made until now need")
    assert KeyRing.load(path).ids == (2,)


def test_a_rotation_tells_programs(mailauth: Cli) -> None:
    told = mailauth("key", "rotate", "--json").json
    moved = {"moved": 0, "stuck": 0, "moved_all": True}
    assert told == {"key_id": 2, "in_use": True, "silent": [], "unable": [], **moved}


def test_who_cannot_use_the_new_key_is_named_with_what_to_do(mailauth: Cli, site: Path) -> None:
    there = site / "there.keys"
    shutil.copy(site / "mailauth.keys", there)
    with process(f"sqlite:///{site / 'mailauth.db'}", there):
        result = CliRunner().invoke(cli, ["key", "rotate"])
        assert result.exit_code == 75
        assert result.stdout == ""
        first, lack, last = result.stderr.splitlines()
        path = site / "mailauth.keys"
        assert first == f"key 2 is in {path}, and not in use yet: everything goes on under the old one"
        assert lack.endswith(f"key file {there}: it has no key 2; copy {path} there, mode 0600")
        assert last == "then run `mailauth key rotate` again"
        told = CliRunner().invoke(cli, ["key", "rotate", "--json"])
        assert told.exit_code == 75
        assert json.loads(told.stdout)["in_use"] is False
        shutil.copy(path, there)
        assert CliRunner().invoke(cli, ["key", "rotate"]).exit_code == 0
    assert KeyRing.load(path).ids == (1, 2)


@pytest.mark.parametrize(
    "command",
    [
        ["key", "status"],
        ["key", "rotate"],
        ["key", "remove", "1"],
        ["app-password", "add", "alice@example.com", "--label", "x"],
        ["verify", "alice@example.com", "--service", "imap"],
    ],
)
def test_a_foreign_key_file_is_a_matter_of_configuration(
    mailauth: Cli, site: Path, alice: str, command: list[str]
) -> None:
    (site / "mailauth.keys").unlink()
    KeyRing.create(site / "mailauth.keys")
    said = mailauth(*command)
    assert said.code == 78
    assert "key 1 of the key file is not the one that" in said.err
    assert "restore the key file that belongs to this store" in said.err
    assert mailauth("app-password", "list", alice, "--json").json == []


def test_a_key_file_that_is_lost_for_good_is_replaced(mailauth: Cli, site: Path, alice: str) -> None:
    path = site / "mailauth.keys"
    minted(mailauth, alice)
    assert mailauth("key", "replace").code == 65
    path.unlink()
    assert "`mailauth key replace --help` says what is left to do" in mailauth("key", "rotate").err
    said = mailauth("key", "replace")
    told = "deleted 1 app passwords and 0 second factors, which needed the lost one"
    assert said.out == f"wrote {path} with key 2; {told}\n"
    assert mailauth("app-password", "list", alice, "--json").json == []
    assert mailauth("verify", alice, "--service", "imap", stdin=minted(mailauth, alice)).code == 0
    assert mailauth("verify", alice, "--service", "imap", stdin="her own secret").code == 0


def test_a_missing_key_file_is_a_matter_of_configuration(mailauth: Cli, site: Path, alice: str) -> None:
    (site / "mailauth.keys").unlink()
    said = mailauth("app-password", "add", alice, "--label", "x")
    assert said.code == 78
    assert f"key file {site}/mailauth.keys: it is missing; restore it from your backup" in said.err
