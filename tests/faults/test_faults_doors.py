"""Whatever breaks behind the doors, nobody hears "wrong password" for it; and when it is mended, all is as before.

Clients drop a password that is called wrong: a phone asks its owner for another, who then has none that would work.
"""

from __future__ import annotations

import contextlib
import poplib
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faulty_site import (
    ALICE,
    AWAY_S,
    NOW_S,
    RECOVERS_S,
    SECRETS,
    answers,
    assert_alarmed,
    assert_deferred,
    assert_judged,
    assert_judged_soon,
    assert_silent,
    connected,
    damaged_page,
    locked_out,
    overwritten_by_garbage,
    refused_at_the_door,
    replaced_by_garbage,
    secrets_of,
    serving,
    wait_until,
)

from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from mailauth.hashing.argon2id import Argon2id
from site_of_tests import ACCEPTED, ACTOR, DEFERRED, REFUSED, WAYS, WRONG_PASSWORD_WORDS, Site
from stores_in_trouble import store_away

UNTHROTTLED = "[throttle]\nenabled = false\n"
NO_DELAY = UNTHROTTLED + "[replies]\nrefusal_delay_s = 0\n"


# ---- the store


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("broken", [store_away, replaced_by_garbage, overwritten_by_garbage])
def test_a_store_that_cannot_be_read_defers_everybody(tmp_path, broken, warm):
    site = Site(tmp_path, timeout_s=1.0)
    secrets = secrets_of(site)
    with serving(site, secrets, warm=warm):
        with broken(site):
            assert_deferred(answers(site, secrets))
            assert_alarmed(site, "store-unavailable")
        assert_judged_soon(site, secrets)
        assert_judged(answers(site, secrets))


def test_a_store_put_in_the_place_of_another_is_the_one_that_counts(tmp_path):
    """As a restored backup is: or no revocation made in it would ever reach the doors."""
    site = Site(tmp_path)
    secrets = secrets_of(site)
    with connected(site) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    backup = (tmp_path / "mailauth.db").read_bytes()
    with serving(site, secrets), store_away(site):
        (tmp_path / "mailauth.db").write_bytes(backup)
        apppasswords.revoke(site.store, ALICE, every=True, actor=ACTOR)
        assert site.ask(Service.IMAP, ALICE, secrets["app"]) == REFUSED[Service.IMAP]


def test_a_store_locked_for_good_defers_everybody_within_the_deadline(tmp_path):
    site = Site(tmp_path, timeout_s=0.5)
    secrets = secrets_of(site)
    with serving(site, secrets):
        with locked_out(site):
            began = time.monotonic()
            assert_deferred(answers(site, secrets))
            assert 0.5 <= time.monotonic() - began < NOW_S
            assert_alarmed(site, "store-unavailable")
        assert_judged_soon(site, secrets)


@pytest.mark.parametrize("broken", [store_away, replaced_by_garbage, overwritten_by_garbage])
def test_a_store_away_for_a_moment_is_waited_for(tmp_path, broken):
    """Absorbed: those who asked meanwhile have their answer when it is back, and nobody else hears of it."""
    site = Site(tmp_path, timeout_s=20.0)
    secrets = secrets_of(site)
    with serving(site, secrets), ThreadPoolExecutor(1) as thread:
        with broken(site):
            heard = thread.submit(answers, site, secrets)
            time.sleep(AWAY_S)
            assert not heard.done()
        assert_judged(heard.result())
    assert "verdict=defer" not in site.log


def test_a_store_locked_for_a_moment_is_waited_for(tmp_path):
    site = Site(tmp_path, timeout_s=20.0)
    secrets = secrets_of(site)
    with serving(site, secrets), locked_out(site) as connection:
        began = time.monotonic()
        release = threading.Timer(AWAY_S, connection.close)
        release.start()
        assert_judged(answers(site, secrets))
        assert AWAY_S * 0.9 <= time.monotonic() - began < NOW_S
        release.join()


def test_nobody_is_asked_for_a_password_while_the_store_is_known_to_be_away(tmp_path):
    site = Site(tmp_path, timeout_s=0.5)
    secrets = secrets_of(site)
    app = secrets["app"]
    with serving(site, secrets), site.client(Service.POP3) as greeted, site.client(Service.IMAP) as inside:
        inside.login(ALICE, app)
        with store_away(site):
            wait_until(lambda: all(refused_at_the_door(site, service) for service in Service))
            since = len(site.log)
            with pytest.raises(poplib.error_proto, match=r"-ERR \[SYS/TEMP\] "):
                greeted.user(ALICE)
            assert inside.noop()[0] == "OK"  # who is in stays in
            assert inside.select()[0] == "OK"
            assert not any(refused_at_the_door(site, service) is None for service in Service)
            assert "verdict=" not in site.log[since:]  # nobody was judged
        began = time.monotonic()
        wait_until(lambda: not any(refused_at_the_door(site, service) for service in Service))
        assert time.monotonic() - began < RECOVERS_S
        site.logged("changes of the store are read again")
        assert greeted.user(ALICE).startswith(b"+OK")
        assert greeted.pass_(app).startswith(b"+OK")
        assert inside.noop()[0] == "OK"
        assert_judged(answers(site, secrets))


def test_a_damaged_page_defers_whom_it_concerns_and_nobody_else(tmp_path):
    site = Site(tmp_path, timeout_s=0.5)
    for number in range(60):  # several pages of accounts
        site.add(f"filler-{number:02}@example.test", f"filler {number}")
    secrets = secrets_of(site)
    with contextlib.ExitStack() as stack:
        mend = stack.enter_context(contextlib.ExitStack())
        mend.enter_context(damaged_page(site, ALICE))
        stack.enter_context(serving(site, secrets, warm=False))
        assert_deferred(answers(site, secrets))
        for service in Service:
            assert site.ask(service, "filler-00@example.test", "filler 0").startswith(ACCEPTED[service])
        assert_alarmed(site, "store-unavailable")
        mend.close()
        assert_judged_soon(site, secrets)


def test_who_writes_for_a_long_time_holds_up_no_login(tmp_path):
    site = Site(tmp_path)
    secrets = secrets_of(site)
    with serving(site, secrets), connected(site) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert_judged(answers(site, secrets))
        assert time.monotonic() - began < 2.0
        connection.execute("ROLLBACK")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux")
def test_logins_go_on_while_nothing_can_be_written(tmp_path):
    """As on a full disk: last uses, audit and the log itself have to wait."""
    site = Site(tmp_path)
    secrets = secrets_of(site)
    with serving(site, secrets) as pid:
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        minted = site.mint(ALICE).password  # somebody else still can
        assert_judged(answers(site, secrets | {"app": minted}))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        assert_judged(answers(site, secrets))
        used = lambda: {view.id: view.last_used_at for view in apppasswords.listed(site.store, ALICE)}[2]
        give_up_at = time.monotonic() + 20
        while used() is None:
            assert time.monotonic() < give_up_at, "the last use was not written once it could be"
            time.sleep(0.05)


# ---- one account's record

# name: (table, column, what stands there, the secrets that cannot be judged then, the cause)
RECORDS = {
    "web-hash": ("accounts", "web_record", "$argon2id$v=19$nonsense", ("web", "wrong"), "unreadable-record"),
    "web-scheme": ("accounts", "web_record", "{FUTURE}0123456789", ("web", "wrong"), "unreadable-record"),
    "web-cost": ("accounts", "web_record", "$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHRzYWx0$" + "A" * 43,
                 ("web", "wrong"), "unreadable-record"),
    "web-no-text": ("accounts", "web_record", b"\xff\xfe", SECRETS, "unreadable-record"),
    "policy": ("accounts", "policy", "paranoid", SECRETS, "unreadable-record"),
    "start-date": ("accounts", "enforce_from", "soon", SECRETS, "unreadable-record"),
    "mode": ("accounts", "mode_on", 2, SECRETS, "unreadable-record"),
    "services": ("accounts", "services", 8, SECRETS, "unreadable-record"),
    "key-id": ("app_passwords", "key_id", 99, SECRETS, "unknown-key"),
    "app-hash": ("app_passwords", "record", "nonsense", ("app",), "unreadable-record"),
    "app-services": ("app_passwords", "services", -1, ("app",), "unreadable-record"),
    "app-networks": ("app_passwords", "networks", "somewhere", ("app",), "unreadable-record"),
    "app-expiry": ("app_passwords", "expires_at", "never", ("app",), "unreadable-record"),
    "app-suspended": ("app_passwords", "suspended", 7, ("app",), "unreadable-record"),
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("records"))
    healthy = secrets_of(site, "healthy@example.test")
    with site.serving():
        yield site
        assert_judged(answers(site, healthy, "healthy@example.test"))


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_cannot_be_understood_defers_who_needs_it(served, name):
    table, column, value, deferred, cause = RECORDS[name]
    login = f"{name}@example.test"
    secrets = secrets_of(served, login)
    whose = "id" if table == "accounts" else "account_id"
    update = f"UPDATE {table} SET {column} = ? WHERE {whose} = (SELECT id FROM accounts WHERE login = ?)"
    with connected(served) as connection:
        (old,) = connection.execute(
            f"SELECT {column} FROM {table} WHERE {whose} = (SELECT id FROM accounts WHERE login = ?)", (login,)
        ).fetchone()
        connection.execute(update, (value, login))
        since = len(served.log)
        heard = answers(served, secrets, login)
        assert_deferred({asked: reply for asked, reply in heard.items() if asked[2] in deferred})
        assert_judged({asked: reply for asked, reply in heard.items() if asked[2] not in deferred})
        alarms = len(heard) * len(deferred) // len(secrets)
        log = served.logged(f"cause={cause} ", count=alarms, since=since)
        assert sum(f"cause={cause} " in line and line.endswith(" alarm") for line in log.splitlines()) == alarms
        connection.execute(update, (old, login))
    assert_judged(answers(served, secrets, login))
    assert_silent(served, secrets)
    if isinstance(value, str):
        assert value not in served.log


# ---- hashes


def slow(site: Site, name: str, scheme: Argon2id) -> tuple[str, str]:
    """An account whose app password takes a while to verify."""
    login = site.add(f"{name}@example.test", mode=True)
    minted = apppasswords.mint(site.store, site.ring, scheme, login, label="slow", actor=ACTOR)
    return login, minted.password


def test_a_full_hash_queue_defers_who_finds_no_place(tmp_path):
    """Never-seen right passwords, more at once than the one thread can verify and the queue can hold."""
    cost = "time_cost = 16\nmemory_kib = 40960\nparallelism = 1\n"
    site = Site(tmp_path, sections=f"{NO_DELAY}[hashing]\nthreads = 1\nqueue_limit = 2\n{cost}")
    people = [slow(site, f"slow-{number}", Argon2id(16, 40960, 1)) for number in range(9)]
    doors = [tuple(Service)[number % 3] for number in range(len(people))]
    ways = [tuple(WAYS)[number % 2] for number in range(len(people))]

    def ask_all():
        with ThreadPoolExecutor(len(people)) as threads:
            heard = list(threads.map(lambda door, who, way: site.ask(door, *who, way), doors, people, ways))
        for door, reply in zip(doors, heard, strict=True):
            assert not any(words in reply for words in WRONG_PASSWORD_WORDS), reply
            assert reply.startswith((ACCEPTED[door], DEFERRED[door])), reply
        return sum(reply.startswith(ACCEPTED[door]) for door, reply in zip(doors, heard, strict=True))

    with site.serving():
        assert 0 < ask_all() < len(people)
        give_up_at = time.monotonic() + NOW_S
        while ask_all() < len(people):  # whoever comes again gets in
            assert time.monotonic() < give_up_at
        site.logged("cause=hash-queue-full ")
    assert "alarm" not in site.log  # it mends itself
    for _, password in people:
        assert password not in site.log


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux")
def test_no_memory_for_a_hash_defers(tmp_path):
    site = Site(tmp_path, sections=NO_DELAY)
    hungry, password = slow(site, "hungry", Argon2id(1, 512 * 1024, 1))
    secrets = secrets_of(site)
    with serving(site, secrets) as pid:
        size_bytes = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        limits = resource.prlimit(pid, resource.RLIMIT_AS, (size_bytes + 2**28, resource.RLIM_INFINITY))
        assert_deferred(answers(site, {"app": password}, hungry))
        assert_alarmed(site, "hash-unavailable")
        assert_judged(answers(site, secrets))
        resource.prlimit(pid, resource.RLIMIT_AS, limits)
        assert_judged(answers(site, {"app": password}, hungry))
    assert password not in site.log
