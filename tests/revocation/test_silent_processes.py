"""Processes that stand still, are killed, or lose the store while something is taken away."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from served_pair import BYE, PATIENCE_S, WEB, Pair, Twin, eventually, url_of

import postgres
from mailauth.attempt import Service
from site_of_tests import Site

ALICE = "alice@example.test"
QUICKLY_S = 30.0


@contextmanager
def serving(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """`mailauth serve`, however it ends."""
    with (
        site._log_file.open("a") as log,
        subprocess.Popen([sys.executable, "-m", "mailauth", "serve", "--config", site.config], stderr=log) as process,
    ):
        try:
            site.logged("listening ", count=len(site.ports), process=process)
            yield process
        finally:
            process.kill()


class Served(Pair):
    """A pair whose processes may be stopped and killed, with a session in each by an app password of Alice's."""

    def __init__(self, one: Site, two: Twin, processes: list[subprocess.Popen[bytes]]) -> None:
        super().__init__(one, two)
        self.handles = processes
        self.account(ALICE)
        self.phone = one.mint(ALICE, label="phone")
        self.laptop = one.mint(ALICE, label="laptop")
        one.mint(ALICE, label="tablet")

    def registered(self) -> set[int]:
        """The ids of the processes that are waited for."""
        with self.site.store.reading() as tx:
            return {row["pid"] for row in tx.rows(self.site.store.sql.PROCESSES) if row["applied"] >= 0}

    def all_registered(self) -> bool:
        return self.registered() == {process.pid for process in self.handles if process.poll() is None}

    @contextmanager
    def stopped(self, number: int) -> Iterator[None]:
        """This process stands still, and has no lock of the store."""
        process = self.handles[number]
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            if not self._is_locked():
                break
            process.send_signal(signal.SIGCONT)
            assert time.monotonic() < give_up_at
            time.sleep(0.01)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def _is_locked(self) -> bool:
        if self.site.url.startswith("postgresql"):
            with psycopg.connect(self.site.url) as connection:
                query = (
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
                )
                row = connection.execute(query).fetchone()
                return row is None or row[0] > 0
        path = self.site.url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
            return False


@pytest.fixture(params=["sqlite", "postgresql"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    with url_of(request.param, request) as url, served_at(tmp_path, url) as served:
        yield served


@contextmanager
def served_at(folder: Path, url: str) -> Iterator[Served]:
    one = Site(folder, url=url, tls_off=True, timeout_s=2.0)
    two = Twin(one)
    with ExitStack() as stack:
        stack.callback(one.store.close)
        yield Served(one, two, [stack.enter_context(serving(site)) for site in (one, two)])


def test_a_process_that_stands_still_is_named_and_lets_nobody_in_when_it_goes_on(served: Served) -> None:
    stands, goes = (served.opened(number, "imap in IDLE", ALICE, served.phone.password) for number in (1, 0))
    stays = served.opened(1, "smtp", ALICE, served.laptop.password)
    with served.stopped(1):
        said = served.run("app-password", "revoke", ALICE, "--label", "phone")
        assert said.code == 0
        assert "ended 1 open session" in said.out
        assert f"process {served.handles[1].pid} at {socket.gethostname()} did not answer" in said.err
        assert goes.goodbye() == BYE[Service.IMAP]
        assert served.registered() == {served.handles[0].pid}
        again = served.run("app-password", "revoke", ALICE, "--label", "tablet")  # it is not waited for any more
        assert f"process {served.handles[1].pid} at {socket.gethostname()} did not answer" in again.err
        assert "no session was open" not in again.out  # nobody knows
        told = served.run("sessions", "--json")
        assert told.json == []
        assert f"process {served.handles[1].pid} at" in told.err
        assert "its sessions are not shown" in told.err
        late = socket.create_connection(("localhost", served.port(1, Service.IMAP)), PATIENCE_S)
        late.sendall(b"a LOGIN %b %b\r\n" % (ALICE.encode(), served.phone.password.encode()))
    assert stands.goodbye() == BYE[Service.IMAP]
    heard = b""
    while b"\r\na " not in heard:
        heard += (data := late.recv(4096))
        assert data
    assert b"\r\na NO [AUTHENTICATIONFAILED]" in heard
    late.close()
    assert stays.goes_on()
    assert served.lets_in(1, Service.IMAP, ALICE, served.laptop.password)
    eventually(served.all_registered)
    told = served.run("sessions", "--json")
    assert [row["label"] for row in told.json] == ["laptop"]
    at_last = served.run("app-password", "revoke", ALICE, "--label", "laptop")
    assert (told.err, at_last.code, at_last.err) == ("", 0, "")
    assert "ended 1 open session" in at_last.out
    assert stays.goodbye() == BYE[Service.SMTP]


def test_a_process_that_was_killed_is_not_waited_for(served: Served) -> None:
    client = served.opened(0, "imap", ALICE, served.phone.password)
    served.handles[1].kill()
    served.handles[1].wait(PATIENCE_S)
    said = served.run("app-password", "revoke", ALICE, "--label", "phone")
    assert (said.code, said.err) == (0, "")
    assert "ended 1 open session" in said.out
    assert client.goodbye() == BYE[Service.IMAP]
    assert served.registered() == {served.handles[0].pid}


def test_a_store_that_cannot_be_reached_means_that_nothing_was_revoked(tmp_path: Path) -> None:
    with served_at(tmp_path, "") as served:
        client = served.opened(0, "imap", ALICE, served.phone.password)
        away = tmp_path / "away.db"
        store = tmp_path / "mailauth.db"
        with closing(sqlite3.connect(store)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.rename(away)
        said = served.run("app-password", "revoke", ALICE, "--label", "phone")
        assert said.code == 69
        assert said.out == ""
        assert "nothing was revoked" in said.err
        away.rename(store)
        eventually(lambda: served.lets_in(0, Service.IMAP, ALICE, served.phone.password))
        assert client.goes_on()
        assert "ended 1 open session" in served.run("app-password", "revoke", ALICE, "--label", "phone").out
        assert client.goodbye() == BYE[Service.IMAP]


# ---- PostgreSQL


def test_a_listener_that_is_cut_off_hears_of_everything_all_the_same(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The connection on which notifications come, or all of them, right before something is revoked."""
    with url_of("postgresql", request) as url, served_at(tmp_path, url) as served:
        for which in ("query LIKE 'LISTEN%'", "true"):
            for label in ("phone", "laptop"):
                password = served.site.mint(ALICE, label=label).password
                client = served.opened(1, "imap in IDLE", ALICE, password)
                cut = postgres.run(
                    served.site.url,
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() "
                    f"AND pid <> pg_backend_pid() AND {which}",
                )
                assert len(cut) >= 2
                served.site.store.close()
                began = time.monotonic()
                said = served.run("app-password", "revoke", ALICE, "--label", label)
                assert (said.code, said.err) == (0, ""), said.err
                assert client.goodbye() == BYE[Service.IMAP]
                assert time.monotonic() - began < QUICKLY_S
                assert not served.lets_in(1, Service.IMAP, ALICE, password)


def test_a_server_that_is_started_again_finds_everybody_back(tmp_path: Path) -> None:
    with postgres.started() as server:
        postgres.run(server.get_uri(), "CREATE DATABASE mailauth")
        url = postgres.named(server.get_uri(), "mailauth").replace("postgres:@", "postgres@")
        with served_at(tmp_path, url) as served:
            clients: list[Any] = [served.opened(n, "pop3", ALICE, served.phone.password) for n in served.numbers]
            server.stop()
            try:
                said = served.run("app-password", "revoke", ALICE, "--label", "phone")
                assert said.code == 69
                assert "nothing was revoked" in said.err
            finally:
                server.ensure_postgres_running()
            served.site.store.close()
            eventually(served.all_registered)
            eventually(lambda: served.lets_in(0, Service.IMAP, ALICE, WEB))
            said = served.run("app-password", "revoke", ALICE, "--label", "phone")
            assert (said.code, said.err) == (0, ""), said.err
            assert "ended 2 open sessions" in said.out
            for client in clients:
                assert client.goodbye() == BYE[Service.POP3]
