"""PostgreSQL is stopped, stands still, is restarted under load or may only be read, with the deadline that is the
default: who has shown a password waits, who has not is refused at the greeting, who is in stays in."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from faulty_site import (
    ALICE,
    RECOVERS_S,
    answers,
    assert_deferred,
    assert_judged,
    assert_judged_soon,
    frozen,
    is_deferred,
    refused_at_the_door,
    said_to,
    secrets_of,
    serving,
    wait_until,
)

import postgres
from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from mailauth.store.changes import Effect
from mailauth.store.engine import open_store
from site_of_tests import ACCEPTED, ACTOR, REFUSED, Site

pytestmark = pytest.mark.xdist_group("postgresql-ladder")  # one server for all of this file

STANDS_STILL_S = 5.0
LOAD = 6  # clients that log in as fast as they can
OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mailauth'"
READERS, KEPT, WATCH = 4, 4, 1  # connections of one serve process, at most


@pytest.fixture(scope="module")
def server():
    """A server that no other test uses."""
    with postgres.started() as server:
        yield server


@pytest.fixture(scope="module")
def served(server, tmp_path_factory):
    postgres.run(server.get_uri(), "CREATE DATABASE mailauth")
    url = postgres.named(server.get_uri(), "mailauth").replace("postgres:@", "postgres@")
    site = Site(tmp_path_factory.mktemp("ladder"), url=url, timeout_s=20.0)
    secrets = secrets_of(site)
    with serving(site, secrets):
        yield site, secrets
    site.store.close()


@pytest.fixture
def site(served):
    """The site, in order before and after, and with no more connections than before."""
    site, secrets = served
    assert_judged_soon(site, secrets)
    yield site
    assert_judged_soon(site, secrets)
    site.store.close()  # its connections are not counted
    assert postgres.run(site.url, OURS)[0][0] <= READERS + KEPT + WATCH


@pytest.fixture
def secrets(served):
    return served[1]


@contextlib.contextmanager
def stopped(server):
    server.stop()
    try:
        yield
    finally:
        server.ensure_postgres_running()


@contextlib.contextmanager
def inside(site, password):
    """A client that is in already, and stays in."""
    with site.client(Service.IMAP) as client:
        client.login(ALICE, password)
        yield client
        assert client.noop()[0] == "OK"


def test_a_server_that_stands_still_for_five_seconds_costs_nobody_a_login(site, secrets, server):
    with inside(site, secrets["app"]), ThreadPoolExecutor(1) as thread:
        with frozen(server):
            heard = thread.submit(answers, site, secrets)
            time.sleep(STANDS_STILL_S)
            assert not heard.done()
        replies = heard.result()
    for (service, way, name), reply in replies.items():
        if name != "wrong":
            assert reply.startswith(ACCEPTED[service]), (service, way, name, reply)


@pytest.mark.parametrize("fault", [stopped, frozen])
def test_nobody_is_asked_for_a_password_while_the_server_is_known_to_be_away(site, secrets, server, fault):
    with inside(site, secrets["app"]) as client:
        with fault(server):
            wait_until(lambda: all(refused_at_the_door(site, service) for service in Service))
            assert_deferred(answers(site, secrets))
            assert client.noop()[0] == "OK"
        began = time.monotonic()
        wait_until(lambda: not any(refused_at_the_door(site, service) for service in Service))
        assert_judged(answers(site, secrets))
        assert time.monotonic() - began < RECOVERS_S


def test_a_restart_under_load_refuses_nobody(site, secrets, server):
    """Restarts are over within seconds: nobody who logs in meanwhile notices more than the wait."""
    over = threading.Event()
    heard: Counter[str] = Counter()

    def log_in_again_and_again(number: int) -> None:
        service = tuple(Service)[number % 3]
        while not over.is_set():
            reply = said_to(site, service, ALICE, secrets["app"])
            assert reply.startswith(ACCEPTED[service]) or is_deferred(service, reply), reply
            heard["in" if reply.startswith(ACCEPTED[service]) else "later"] += 1

    with ThreadPoolExecutor(LOAD) as threads:
        clients = [threads.submit(log_in_again_and_again, number) for number in range(LOAD)]
        for _ in range(3):
            before = heard["in"]
            wait_until(lambda before=before: heard["in"] >= before + LOAD)
            with stopped(server):
                pass
        before = heard["in"]
        wait_until(lambda: heard["in"] >= before + LOAD)
        over.set()
        for client in clients:
            client.result()
    assert heard["later"] <= heard["in"] / 10


@contextlib.contextmanager
def read_only(site, server):
    """As a primary is whose disk is full; those who are told otherwise can still write."""
    postgres.run(site.url, "ALTER DATABASE mailauth SET default_transaction_read_only = on")
    cut_off(site)
    try:
        yield
    finally:
        postgres.run(server.get_uri(), "ALTER DATABASE mailauth RESET ALL")
        cut_off(site)


def cut_off(site):
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    postgres.run(site.url, f"SELECT pg_terminate_backend(pid, 5000) {others}")


def test_a_revocation_by_who_can_write_counts_while_the_server_can_only_read(site, secrets, server):
    """The process cannot say that it has applied it: so it is waited for until it lets nobody in by what was before.

    From then on the next revocation would not wait for it: so logins may be deferred there until it can say so again.
    """
    minted = site.mint(ALICE, label="lost")
    site.store.close()
    writer = open_store(site.url + "&options=-c%20default_transaction_read_only%3Doff")
    with read_only(site, server):
        assert_judged_soon(site, secrets)
        with site.client(Service.IMAP) as lost, inside(site, secrets["app"]):
            lost.login(ALICE, minted.password)
            effect = Effect()
            apppasswords.revoke(writer, ALICE, ids=[minted.id], actor=ACTOR, effect=effect)
            assert len(effect.silent) == 1
            for service in Service:
                reply = said_to(site, service, ALICE, minted.password)
                assert reply == REFUSED[service] or is_deferred(service, reply), reply
            assert b"* BYE " in lost.readline()
    writer.close()
    assert_judged_soon(site, secrets | {"wrong": minted.password})
    assert site.log.count("this process cannot say so") < 5  # told, not every half second


@pytest.mark.parametrize("fault", [stopped, frozen])
def test_a_revocation_during_an_outage_says_that_it_was_none(site, secrets, server, fault):
    minted = site.mint(ALICE, label="lost")
    arguments = ("app-password", "revoke", ALICE, "--id", str(minted.id))
    with fault(server):
        said = site.run(*arguments)
    assert said.returncode == 69, said
    assert "revoked app password" not in said.stdout
    assert "cannot connect: " in said.stderr
    assert_judged_soon(site, secrets | {"app": minted.password})
    assert site.run(*arguments).returncode == 0
    for service in Service:
        assert site.ask(service, ALICE, minted.password) == REFUSED[service]


def test_a_start_without_a_server_says_why_in_one_sentence(site, server):
    with stopped(server):
        said = subprocess.run(
            [sys.executable, "-m", "mailauth", "serve", "--config", site.config],
            capture_output=True,
            text=True,
            check=False,
        )
    assert said.returncode == 69
    (line,) = said.stderr.splitlines()
    assert line.startswith("mailauth: PostgreSQL mailauth at ")
    assert ": cannot connect: " in line
    assert line.endswith("; is the server running, and does [store] url name it?")
    assert "Error" not in line
