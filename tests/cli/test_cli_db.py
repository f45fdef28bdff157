"""`mailauth db`, and what every command says of a store that it cannot use."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import postgres
from commandline import Cli, minted
from mailauth.store.upgrade import HEAD, VERSION_TABLE

COMMANDS = [["db", "current"], ["db", "upgrade"], ["account", "list"], ["audit"], ["key", "status"], ["site", "show"]]


def change(site: Path, statement: str) -> None:
    with closing(sqlite3.connect(site / "mailauth.db", isolation_level=None)) as connection:
        connection.execute(statement)


def test_the_tables_of_a_new_store_are_current(mailauth: Cli, site: Path) -> None:
    assert mailauth("db", "current", "--json").json == {
        "store": f"{site}/mailauth.db",
        "tables": HEAD,
        "needed": HEAD,
        "current": True,
    }
    assert mailauth("db", "upgrade").out == f"nothing to do: tables {HEAD}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_store_is_unavailable(mailauth: Cli, site: Path, command: list[str]) -> None:
    (site / "mailauth.db").unlink()
    said = mailauth(*command)
    assert said.code == 69
    assert f"{site}/mailauth.db: there is no store; put it back, or make a new site with `mailauth init`" in said.err
    assert not (site / "mailauth.db").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_no_database_is_unavailable(mailauth: Cli, site: Path, command: list[str]) -> None:
    (site / "mailauth.db").write_bytes(b"certainly no database, " * 100)
    said = mailauth(*command)
    assert said.code == 69
    assert "mailauth.db: file is not a database" in said.err


@pytest.mark.parametrize("command", COMMANDS)
def test_somebody_elses_database_is_left_alone(mailauth: Cli, site: Path, command: list[str]) -> None:
    (site / "mailauth.db").unlink()
    change(site, "CREATE TABLE theirs (id)")
    before = (site / "mailauth.db").read_bytes()
    said = mailauth(*command)
    assert said.code == 78
    assert "holds tables that are not mailauth's, and is left as it is: give mailauth a database of its own" in said.err
    assert (site / "mailauth.db").read_bytes() == before


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != ["db", "current"]])
def test_the_tables_of_a_newer_version_are_left_alone(mailauth: Cli, site: Path, command: list[str]) -> None:
    change(site, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    said = mailauth(*command)
    assert said.code == 78
    assert "has the tables of a newer mailauth (9999" in said.err
    assert mailauth("db", "current", "--json").json["current"] is False


@pytest.mark.parametrize("command", [["account", "list"], ["audit"], ["key", "status"], ["site", "show"]])
def test_the_tables_of_an_older_version_ask_for_an_upgrade(mailauth: Cli, site: Path, command: list[str]) -> None:
    change(site, f"UPDATE {VERSION_TABLE} SET version_num = '0000'")
    said = mailauth(*command)
    assert said.code == 78
    assert "make a backup, then run `mailauth db upgrade`" in said.err
    assert mailauth("db", "current").code == 0


def test_upgrading_an_empty_database_makes_a_store_of_this_key_and_policy(mailauth: Cli, site: Path) -> None:
    (site / "mailauth.db").unlink()
    (site / "mailauth.db").touch(0o600)
    file = site / "mailauth.toml"
    file.write_text(file.read_text().replace('policy = "optional"', 'policy = "observe"'))
    said = mailauth("db", "upgrade")
    assert said.out == f"made a new store in {site}/mailauth.db, tables {HEAD}\n"
    assert mailauth("key", "status").code == 0
    assert mailauth("site", "show", "--json").json["policy"] == "observe"


def test_an_unwritable_place_for_the_store_is_unavailable(mailauth: Cli, site: Path) -> None:
    file = site / "mailauth.toml"
    file.write_text(file.read_text().replace("sqlite:///mailauth.db", "sqlite:///mailauth.keys/mailauth.db"))
    said = mailauth("account", "list")
    assert said.code == 69
    assert "mailauth.keys/mailauth.db" in said.err


@pytest.mark.slow
def test_a_store_in_postgresql_is_made_by_an_upgrade(mailauth: Cli, site: Path, postgres_server: str) -> None:
    file = site / "mailauth.toml"
    with postgres.database(postgres_server) as url:
        file.write_text(file.read_text().replace("sqlite:///mailauth.db", url))
        said = mailauth("account", "list")
        assert said.code == 78
        assert "empty" in said.err
        assert mailauth("db", "upgrade").out.startswith("made a new store in ")
        assert mailauth("account", "add", "alice@example.com", "--no-password").code == 0
        phone = minted(mailauth, "alice@example.com")
        assert mailauth("verify", "alice@example.com", "--service", "imap", stdin=phone).code == 0
        assert mailauth("db", "upgrade").out == f"nothing to do: tables {HEAD}\n"


@pytest.mark.parametrize("command", [["account", "list"], ["db", "current"]])
def test_a_postgresql_that_does_not_answer_is_unavailable(mailauth: Cli, site: Path, command: list[str]) -> None:
    file = site / "mailauth.toml"
    file.write_text(file.read_text().replace("sqlite:///mailauth.db", "postgresql://nobody@127.0.0.1:1/nothing"))
    said = mailauth(*command)
    assert said.code == 69
    assert "PostgreSQL nothing at 127.0.0.1: cannot connect: connection refused; is the server running" in said.err
    assert "Error" not in said.err


def test_the_password_of_postgresql_comes_from_its_file(mailauth: Cli, site: Path) -> None:
    file = site / "mailauth.toml"
    text = file.read_text().replace("sqlite:///mailauth.db", "postgresql://nobody@127.0.0.1:1/nothing")
    file.write_text(text.replace('#password_file = ""', 'password_file = "secret"', 1))
    said = mailauth("account", "list")
    assert said.code == 78
    assert f"[store] password_file: cannot read {site}/secret" in said.err
    (site / "secret").write_text("hush\n")
    said = mailauth("account", "list")
    assert said.code == 69
    assert "hush" not in said.err
