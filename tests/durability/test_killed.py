"""kill -9 at any moment of making and revoking app passwords: what the user was told is true afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import postgres
from mailauth.assembly import open_core
from mailauth.attempt import Attempt, Credential, Service
from mailauth.cli.opening import store_of
from mailauth.store.highwater import HighWater
from mailauth.verdict import Accept, Outcome, Principal, Reject
from site_of_tests import Site

LOGINS = tuple(f"user{n}@example.test" for n in range(4))  # each has a process of its own, all on one store
PATIENCE_S = 60.0


@dataclass
class Told:
    """What the users were told. passwords: by id; doomed: about to be revoked when their process was killed."""

    passwords: dict[int, tuple[str, str]] = field(default_factory=dict)
    revoked: set[int] = field(default_factory=set)
    doomed: set[int] = field(default_factory=set)

    def hear(self, login: str, word: str, *rest: str) -> None:
        if word == "minted":
            self.passwords[int(rest[0])] = (login, rest[1])
        elif word == "revoking":
            self.doomed.add(int(rest[0]))
        elif word == "revoked":
            self.doomed.remove(int(rest[0]))
            self.revoked.add(int(rest[0]))


@contextlib.contextmanager
def workers(site: Site) -> Iterator[subprocess.Popen[str]]:
    script = Path(__file__).with_name("told.py")
    command = [sys.executable, str(script), str(site.config)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            yield process
        finally:
            process.stdin.close()


def kill_some(process: subprocess.Popen[str], told: Told) -> None:
    """Let a process work on each account, and kill each after so many lines and a moment, both by chance."""
    process.stdin.write(" ".join(LOGINS) + "\n")
    pids: dict[str, int] = {}
    left = {login: random.randrange(12) for login in LOGINS}
    ended = 0
    while ended < len(LOGINS):
        login, word, *rest = process.stdout.readline().split()
        told.hear(login, word, *rest)
        if word == "pid":
            pids[login] = int(rest[0])
        if word == "ended":
            assert int(rest[0]) == signal.SIGKILL
            ended += 1
        left[login] -= 1
        if left[login] < 0 and login in pids:
            time.sleep(random.random() * 0.005)
            os.kill(pids.pop(login), signal.SIGKILL)


async def judged(site: Site, told: Told) -> dict[int, Outcome]:
    """What becomes of each app password that anybody was told of, in a program that is started now."""
    async with open_core(site.settings, lets_in=False) as core:
        return {
            row_id: await core.verifier.authenticate(
                Attempt(Credential(login, password), Service.IMAP, "192.0.2.1", True)
            )
            for row_id, (login, password) in told.passwords.items()
        }


def check(site: Site, told: Told) -> None:
    outcomes = asyncio.run(judged(site, told))
    for row_id, outcome in outcomes.items():
        if row_id in told.revoked:
            assert isinstance(outcome, Reject), (row_id, outcome)
        elif row_id not in told.doomed:
            assert isinstance(outcome, Accept), (row_id, outcome)
            assert isinstance(outcome.principal, Principal)
            assert outcome.principal.credential_id == row_id
        else:  # either is true: nobody was told anything
            assert isinstance(outcome, Accept | Reject), (row_id, outcome)


def whole_way(site: Site, run, kills: int) -> None:
    for login in LOGINS:
        site.add(login)
    told = Told()
    with workers(site) as process:
        for at in range(kills // len(LOGINS)):
            kill_some(process, told)
            if at % 10 == 0:
                check(site, told)
    check(site, told)
    assert len(told.revoked) > kills / 8
    assert told.passwords.keys() - told.revoked
    numbers = [number for (number,) in run("SELECT number FROM changes ORDER BY number")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert run("SELECT number FROM change_counter") == [(len(numbers),)]
    highwater = HighWater(site.settings.key.file)
    store = store_of(site.settings)
    assert highwater.rise(store)
    store.close()
    (known,) = json.loads(highwater.path.read_bytes())["stores"].values()
    assert (known["number"], known["since"]) == (len(numbers), 0)
    taken = {row_id for _, takes in known["taken"] for row_id in takes["app_passwords"]}
    assert told.revoked <= taken <= told.revoked | told.doomed


@pytest.mark.slow
def test_two_hundred_kills_on_sqlite(tmp_path):
    site = Site(tmp_path)
    run = site_sqlite(site)
    whole_way(site, run, 200)
    assert run("PRAGMA integrity_check") == [("ok",)]
    assert run("PRAGMA foreign_key_check") == []


@pytest.mark.slow
def test_forty_kills_on_postgresql(tmp_path, postgres_server):
    with postgres.database(postgres_server) as url:
        site = Site(tmp_path, url=url.replace("postgres:@", "postgres@"))
        whole_way(site, lambda statement: postgres.run(url, statement), 40)
        site.store.close()


def site_sqlite(site: Site):
    def run(statement: str) -> list[tuple]:
        connection = site.store.driver.open(10)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    return run
