"""`mailauth key status`, and what commands say of a key file that is not the store's."""

from __future__ import annotations

from pathlib import Path

import pytest

from commandline import Cli, minted
from mailauth.keys import KeyRing


def test_each_key_is_told_with_what_was_made_under_it(mailauth: Cli, alice: str) -> None:
    minted(mailauth, alice)
    minted(mailauth, alice)
    mailauth("app-password", "revoke", alice, "--id", "1")
    (key,) = mailauth("key", "status", "--json").json
    assert (key["id"], key["app_passwords"], key["newest"]) == (1, 2, True)
    assert mailauth("key", "status").out.startswith("ID  CREATED")


@pytest.mark.parametrize(
    "command",
    [
        ["key", "status"],
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


def test_a_missing_key_file_is_a_matter_of_configuration(mailauth: Cli, site: Path, alice: str) -> None:
    (site / "mailauth.keys").unlink()
    said = mailauth("app-password", "add", alice, "--label", "x")
    assert said.code == 78
    assert f"key file {site}/mailauth.keys: it is missing; restore it from your backup" in said.err
