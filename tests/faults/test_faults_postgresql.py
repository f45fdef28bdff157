"""Whatever becomes of the PostgreSQL behind a served site: absorbed within the deadline or deferred, and then over."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from faulty_site import (
    ALICE,
    NOW_S,
    RECOVERS_S,
    answers,
    assert_alarmed,
    assert_deferred,
    assert_judged,
    assert_judged_soon,
    assert_silent,
    frozen,
    secrets_of,
)

import postgres
from mailauth.accounts import apppasswords
from site_of_tests import ACTOR, WRONG_PASSWORD_WORDS, Site

pytestmark = pytest.mark.xdist_group("postgresql-faults")  # one server for all of this file

DEADLINE_S = 2.0
LATE_S = 3.0  # a loaded machine may be so late
ROUNDS = 3
KEPT, WRITTEN = "last uses and audit rows are kept in memory", "last uses and audit rows are written again"
OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture(scope="module")
def server():
    """A server that no other test uses."""
    with postgres.started() as server:
        yield server


@pytest.fixture(scope="module")
def served(server, tmp_path_factory):
    """A served site, and the secrets of its account."""
    postgres.run(server.get_uri(), "CREATE DATABASE mailauth")
    url = postgres.named(server.get_uri(), "mailauth").replace("postgres:@", "postgres@")
    site = Site(tmp_path_factory.mktemp("postgresql"), url=url, timeout_s=DEADLINE_S)
    secrets = secrets_of(site)
    with site.serving():
        yield site, secrets
    site.store.close()


@pytest.fixture
def site(served):
    """The site, in order before and after."""
    site, secrets = served
    assert_judged(answers(site, secrets))
    yield site
    assert_judged_soon(site, secrets)
    assert_silent(site, secrets)


@pytest.fixture
def secrets(served):
    return served[1]


@contextlib.contextmanager
def table_locked(site):
    with psycopg.connect(site.url) as connection:
        connection.execute("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")
        yield connection


def test_a_server_that_is_stopped_defers_everybody_until_it_is_started(site, secrets, server):
    server.stop()
    try:
        began = time.monotonic()
        assert_deferred(answers(site, secrets))
        assert DEADLINE_S <= time.monotonic() - began < DEADLINE_S + LATE_S
        assert_alarmed(site, "store-unavailable")
    finally:
        server.ensure_postgres_running()
    began = time.monotonic()
    assert_judged_soon(site, secrets)
    assert time.monotonic() - began < RECOVERS_S


def test_a_server_that_is_restarted_is_not_noticed(site, secrets, server):
    server.stop()
    server.ensure_postgres_running()
    assert_judged(answers(site, secrets))


def test_a_server_that_stands_still_for_a_moment_is_waited_for(site, secrets, server):
    with ThreadPoolExecutor(1) as thread:
        with frozen(server):
            heard = thread.submit(answers, site, secrets)
            with pytest.raises(TimeoutError):
                heard.result(DEADLINE_S / 2)
        assert_judged(heard.result())


def test_a_server_that_stands_still_for_long_defers_everybody_within_the_deadline(site, secrets, server):
    with frozen(server):
        began = time.monotonic()
        assert_deferred(answers(site, secrets))
        assert DEADLINE_S <= time.monotonic() - began < DEADLINE_S + LATE_S


def test_a_table_that_is_locked_defers_everybody_within_the_deadline(site, secrets):
    with table_locked(site):
        began = time.monotonic()
        assert_deferred(answers(site, secrets))
        assert DEADLINE_S <= time.monotonic() - began < DEADLINE_S + LATE_S


def test_a_table_that_is_locked_for_a_moment_is_waited_for(site, secrets):
    with table_locked(site) as connection:
        release = threading.Timer(DEADLINE_S / 2, connection.commit)
        began = time.monotonic()
        release.start()
        assert_judged(answers(site, secrets))
        assert time.monotonic() - began >= DEADLINE_S / 2
        release.join()


def test_connections_that_were_cut_while_idle_are_not_noticed(site, secrets):
    for _ in range(ROUNDS):
        assert postgres.run(site.url, f"SELECT pg_terminate_backend(pid, 5000) {OTHERS}")
        assert_judged(answers(site, secrets))


def test_connections_that_are_cut_at_work_defer_at_worst(site, secrets):
    with table_locked(site) as connection, ThreadPoolExecutor(1) as thread:
        heard = thread.submit(answers, site, secrets)
        give_up_at = time.monotonic() + NOW_S
        waiting = f"SELECT pid {OTHERS} AND wait_event_type = 'Lock'"
        while not connection.execute(waiting).fetchall():
            assert time.monotonic() < give_up_at
        assert postgres.run(site.url, f"SELECT pg_terminate_backend(pid) {OTHERS} AND wait_event_type = 'Lock'")
        connection.commit()
        replies = heard.result()
    for (_, _, name), reply in replies.items():
        assert name == "wrong" or not any(words in reply for words in WRONG_PASSWORD_WORDS), reply


def caught_up(site):
    """How often writing has had to wait so far; nothing waits now."""
    waits = site.log.count(KEPT)
    site.logged(WRITTEN, count=waits)
    return waits


def test_logins_go_on_while_the_database_is_read_only(site, secrets, server):
    """As a primary is whose disk is full; last uses and audit have to wait."""
    waits = caught_up(site)
    postgres.run(site.url, "ALTER DATABASE mailauth SET default_transaction_read_only = on")
    postgres.run(site.url, f"SELECT pg_terminate_backend(pid, 5000) {OTHERS}")
    try:
        assert_judged(answers(site, secrets))
        site.logged(KEPT, count=waits + 1)
        assert_judged(answers(site, secrets))
    finally:
        postgres.run(server.get_uri(), "ALTER DATABASE mailauth RESET ALL")
        postgres.run(site.url, f"SELECT pg_terminate_backend(pid, 5000) {OTHERS}")
    caught_up(site)


def test_a_revocation_counts_at_once_whatever_was_before(site, secrets):
    minted = site.mint(ALICE)
    assert_judged(answers(site, {"app": minted.password}))
    apppasswords.revoke(site.store, ALICE, ids=[minted.id], actor=ACTOR)
    assert_judged(answers(site, {"wrong": minted.password}))
