"""A server key is rotated and the old one removed while two processes serve: nobody is kept out, nobody is logged out.

Each process has a key file of its own, as on two hosts.
"""

from __future__ import annotations

import copy
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

import postgres
from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from mailauth.keys import KeyRing
from site_of_tests import ACCEPTED, ACTOR, DOORS, Site, free_ports, said

ALICE, BOB = "alice@example.test", "bob@example.test"
PATIENCE_S = 30.0


@pytest.fixture(params=["sqlite", "postgresql"])
def sites(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    """Two hosts' worth of one site: other ports, another key file, the same store."""
    if request.param == "sqlite":
        yield _sites(tmp_path, "")
        return
    with postgres.database(request.getfixturevalue("postgres_server")) as url:
        both = _sites(tmp_path, url)
        yield both
        both[0].store.close()


def _sites(folder: Path, url: str) -> tuple[Site, Site]:
    (folder / "here").mkdir()
    here = Site(folder / "here", url=url)
    there = copy.copy(here)
    there.folder = folder / "there"
    there.folder.mkdir()
    there.ports = dict(zip(DOORS, free_ports(len(DOORS)), strict=True))
    for name in ("mailauth.key", "server.pem", "server.key", "ca.pem"):
        shutil.copy(here.folder / name, there.folder)
    there.config.write_text(there._toml())
    return here, there


class Hammer:
    """Somebody who logs in all the time, here and there; `refused`: what was not let in."""

    def __init__(self, sites: tuple[Site, Site], password: str) -> None:
        self.refused: list[bytes] = []
        self.count = 0
        self._sites, self._password = sites, password
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        while not self._over.is_set():
            for site in self._sites:
                answer = site.ask(Service.IMAP, ALICE, self._password)
                self.count += 1
                if not answer.startswith(ACCEPTED[Service.IMAP]):
                    self.refused.append(answer)


def added(site: Site, login: str, label: str) -> str:
    """An app password that a command has made."""
    made = site.run("app-password", "add", login, "--label", label)
    assert made.returncode == 0, made.stderr
    return made.stdout.splitlines()[-1]


def under_each(site: Site) -> dict[int, tuple[int, int]]:
    rows = json.loads(site.run("key", "status", "--json").stdout)
    return {row["id"]: (row["live"], row["deleted"]) for row in rows}


def settled(site: Site, expected: dict[int, tuple[int, int]]) -> None:
    """The counts come to be these."""
    give_up_at = time.monotonic() + PATIENCE_S
    while (found := under_each(site)) != expected:
        assert time.monotonic() < give_up_at, found
        time.sleep(0.05)


def assert_all_get_in(sites: tuple[Site, Site], passwords: dict[str, str]) -> None:
    for site in sites:
        for service in Service:
            for login, password in passwords.items():
                assert site.ask(service, login.partition("/")[0], password).startswith(ACCEPTED[service])


def test_a_key_comes_and_another_goes_and_nobody_notices(sites: tuple[Site, Site]) -> None:
    here, there = sites
    here.add(ALICE)
    here.add(BOB)
    gone = here.mint(BOB, label="gone")
    passwords = {f"{ALICE}/old": here.mint(ALICE).password, BOB: here.mint(BOB, label="old").password}
    apppasswords.revoke(here.store, BOB, ids=[gone.id], actor=ACTOR)
    with here.serving(), there.serving(), Hammer(sites, passwords[f"{ALICE}/old"]) as hammer:
        sessions = [site.imap() for site in sites]
        for session in sessions:
            assert said(session, BOB, passwords[BOB]).startswith(b"OK")

        halfway = here.run("key", "rotate")  # the key file there does not have it yet
        assert halfway.returncode == 75, halfway.stderr
        assert f"{there.folder}/mailauth.key: it has no key 2; copy {here.folder}/mailauth.key there" in halfway.stderr
        passwords[f"{ALICE}/meanwhile"] = added(here, ALICE, "meanwhile")
        assert_all_get_in(sites, passwords)
        assert under_each(here) == {1: (3, 1), 2: (0, 0)}

        shutil.copy(here.folder / "mailauth.key", there.folder)
        done = here.run("key", "rotate")
        assert (done.returncode, done.stderr) == (0, "")
        passwords[f"{ALICE}/new"] = added(there, ALICE, "new")
        assert_all_get_in(sites, passwords)
        settled(here, {1: (0, 1), 2: (4, 0)})  # what was used has moved; what is deleted stays
        assert not here.ask(Service.IMAP, BOB, gone.password).startswith(b"OK")

        needed = here.run("key", "remove", "1")
        assert needed.returncode == 65
        assert "0 app passwords and 1 deleted ones" in needed.stderr
        _forget_deleted(here)
        assert here.run("key", "remove", "1").returncode == 0
        assert_all_get_in(sites, passwords)
        for session in sessions:
            assert session.noop()[0] == "OK"
            session.logout()
    assert hammer.count > 10
    assert hammer.refused == []
    for site in sites:
        assert "verdict=defer" not in site.log
        assert "alarm" not in site.log
    assert [KeyRing.load(site.folder / "mailauth.key").ids for site in sites] == [(2,), (1, 2)]
    with here.serving(), there.serving():  # the file there may keep what nothing needs
        assert_all_get_in(sites, passwords)


def _forget_deleted(site: Site) -> None:
    """As ninety days later."""
    with site.store.transaction() as tx:
        tx.write(site.store.sql.PRUNE_TOMBSTONES, before=time.time() + 1, batch=100)


def test_a_host_that_was_forgotten_does_not_start_and_says_why(sites: tuple[Site, Site]) -> None:
    here, there = sites
    assert here.run("key", "rotate").returncode == 0  # while nobody serves there
    started = there.run("serve")
    assert started.returncode == 78
    assert "the key file has no key 2, which is in use" in started.stderr
    assert "if `mailauth key rotate` was run on another host, copy the key file from there" in started.stderr
