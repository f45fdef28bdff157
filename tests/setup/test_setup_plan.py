"""What is shown of a plan: differences, and no secret; and the [[bridge]] that goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from asking import Asking

from mailauth import config
from mailauth.setup.plan import CannotSetUp, File, Table, shared, table_file

TABLE = Table("saslauthd", "unix:/run/mailauth/mux", {"socket_group": "root", "services": ["imap"]})


def test_a_file_is_shown_as_a_difference_and_a_new_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "main.cf"
    assert File(path, "a\nb\n").shown() == f"+++ {path} (mode 0644)\na\nb\n"
    path.write_text("a\nc")
    assert File(path, "a\nb\n").shown().splitlines()[3:] == [" a", "-c", "+b"]


def test_a_secret_is_not_shown_neither_the_new_nor_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("key = an-older-secret\n")
    file = File(path, "key = the-new-secret\n", 0o600, secret="the-new-secret")
    assert file.shown() == f"+++ {path} (mode 0600)\nkey = TOKEN\n"
    assert "the-new-secret" not in repr(file)


def test_the_table_goes_to_the_end_once_and_is_valid(toml: Path, asking: Asking) -> None:
    file = table_file(asking(), TABLE)
    assert file.text.startswith(toml.read_text())
    toml.write_text(file.text)
    (bridge,) = config.load(toml).bridge
    assert (bridge.kind, str(bridge.address), bridge.socket_group) == ("saslauthd", TABLE.address, "root")
    assert table_file(asking(), TABLE).is_there


def test_tcp_is_switched_on_in_so_many_words(toml: Path, asking: Asking) -> None:
    toml.write_text(table_file(asking(), Table("saslauthd", "127.0.0.1:1")).text)
    assert config.load(toml).bridge[0].allow_tcp


def test_the_address_of_another_bridge_is_not_taken(toml: Path, asking: Asking) -> None:
    toml.write_text(table_file(asking(), TABLE).text)
    with pytest.raises(CannotSetUp, match="another \\[\\[bridge\\]\\], saslauthd"):
        table_file(asking(), Table("dovecot-auth", TABLE.address))


def test_a_secret_is_made_once_and_of_two_the_newer_counts(toml: Path, asking: Asking) -> None:
    made = shared(asking(), "x.token")
    assert len(made.text) == 64
    assert made.text not in repr(made)
    (toml.parent / "x.token").write_text("the-token-of-yesterday\nthe-token-of-tomorrow\n")
    there = shared(asking(), "x.token")
    assert there.text == "the-token-of-tomorrow"
    assert there.file.is_there


def test_a_secret_of_the_environment_cannot_be_shared(asking: Asking) -> None:
    with pytest.raises(CannotSetUp, match="name a file instead"):
        shared(asking(), "x.token", "env:TOKEN")
