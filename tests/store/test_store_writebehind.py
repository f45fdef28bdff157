"""What the thread behind the logins writes, and what it does when it cannot."""

import logging
import threading
import time

import pytest

from mailauth.accounts import apppasswords, domains, mailboxes, site
from mailauth.accounts.changes import AccountChange, DomainChange, PolicyChange
from mailauth.accounts.history import audit, note
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import Events, LoginJudged
from mailauth.interfaces import PolicyLevel, StoreUnavailable
from mailauth.store import upkeep
from mailauth.store.writebehind import WriteBehind
from mailauth.verdict import Accept, Principal, Reason, Reject

ALICE = "alice@example.test"
ROOT = {"actor": "cli:root"}
NOW = 1.8e9


class Plain:
    """A hash scheme that is quick."""

    def hash(self, secret):
        return "plain:" + secret.decode()


@pytest.fixture
def app_password(store, ring):
    mailboxes.add_account(store, ALICE, None, **ROOT, now=NOW)
    return apppasswords.mint(store, ring, Plain(), ALICE, label="phone", **ROOT, now=NOW)


def accepted(app_password, client="Mail"):
    attempt = Attempt(Credential(ALICE, app_password.password), Service.IMAP, "192.0.2.1", True, client)
    return LoginJudged(attempt, Accept(Principal(1, ALICE, app_password.id)), ALICE, 1, 2.0)


def unknown(login):
    return LoginJudged(
        Attempt(Credential(login), Service.POP3, "192.0.2.9", True), Reject(Reason.UNKNOWN_LOGIN), login, None, 1.0
    )


def logins(store):
    return [row for row in audit(store) if row.kind == "login"]


def test_logins_are_written_by_the_end(store, app_password):
    events = Events()
    behind = WriteBehind(store, clock=lambda: NOW)
    events.subscribe(behind)
    for _ in range(3):
        events.emit(accepted(app_password))
    assert behind.close()
    (row,) = logins(store)
    assert (row.login, row.count, row.outcome, row.label, row.at) == (ALICE, 3, "accept", "phone", NOW)
    (shown,) = apppasswords.listed(store, ALICE)
    used = (shown.last_used_at, shown.last_used_peer, shown.last_used_service, shown.last_used_client)
    assert used == (NOW, "192.0.2.1", "imap", "Mail")


def test_what_is_told_again_much_later_has_a_row_of_that_time(store, app_password):
    """The machine slept, the store was slow, or the clock was set, while it waited to be written down."""
    now = [NOW]
    behind = WriteBehind(store, clock=lambda: now[0])
    again = accepted(app_password)
    for now[0] in (NOW, NOW + 0.5, NOW + 3000, NOW + 3000.5, NOW - 100):
        behind(again)
    assert behind.close()
    assert sorted((row.at, row.count) for row in logins(store)) == [(NOW - 100, 1), (NOW, 2), (NOW + 3000, 2)]


def test_logins_are_written_soon_without_an_end(store, app_password, monkeypatch):
    monkeypatch.setattr("mailauth.store.writebehind.INTERVAL_S", 0.01)
    written = threading.Event()
    real = WriteBehind._write_batch
    monkeypatch.setattr(WriteBehind, "_write_batch", lambda self, batch: (real(self, batch), written.set()))
    behind = WriteBehind(store, clock=lambda: NOW)
    behind(accepted(app_password))
    assert written.wait(10)
    assert len(logins(store)) == 1
    behind.close()


def test_an_older_use_never_takes_the_place_of_a_newer(store, app_password):
    for at in (NOW + 100, NOW):
        behind = WriteBehind(store, clock=lambda at=at: at)
        behind(accepted(app_password))
        behind.close()
    (shown,) = apppasswords.listed(store, ALICE)
    assert shown.last_used_at == NOW + 100


def test_of_unknown_names_only_domains_of_ours_are_written(store, app_password, monkeypatch):
    ready = threading.Event()
    monkeypatch.setattr(WriteBehind, "_each_hour", lambda self: ready.set())  # comes after the domains were read
    behind = WriteBehind(store, clock=lambda: NOW)
    assert ready.wait(10)
    for login in ("mallory@example.test", "hunter2@elsewhere.test"):
        behind(unknown(login))
    behind.close()
    assert {(row.login, row.detail) for row in logins(store)} == {
        ("(unknown)@example.test", "unknown-login"),
        ("(unknown)", "unknown-login"),
    }


def test_an_outage_keeps_the_batch_is_logged_once_and_ends(database, app_password, monkeypatch, caplog):
    monkeypatch.setattr("mailauth.store.writebehind.INTERVAL_S", 0.01)
    monkeypatch.setattr("mailauth.store.writebehind.INTERVAL_WHILE_DOWN_S", 0.01)
    caplog.set_level(logging.WARNING)
    failures, down, real = [], threading.Event(), WriteBehind._write_batch
    failed_often = threading.Event()
    down.set()

    def write(self, batch):
        if down.is_set():
            failures.append(batch)
            if len(failures) >= 5:
                failed_often.set()
            raise StoreUnavailable("the disk is full")
        real(self, batch)

    monkeypatch.setattr(WriteBehind, "_write_batch", write)
    behind = WriteBehind(database.store, clock=lambda: NOW)
    behind(accepted(app_password))
    assert failed_often.wait(10)
    behind(accepted(app_password))
    down.clear()
    assert behind.close()
    (row,) = logins(database.store)
    assert row.count == 2
    assert [record.getMessage() for record in caplog.records] == [
        "last uses and audit rows are kept in memory until the store takes them: the disk is full alarm",
        "last uses and audit rows are written again",
    ]


def test_a_store_that_may_only_be_read_costs_no_login(database, app_password, read_only, caplog):
    with read_only(database):
        behind = WriteBehind(database.store, clock=lambda: NOW)
        behind(accepted(app_password))
        assert not behind.close()
    assert "kept in memory" in caplog.text
    assert logins(database.store) == []


def test_an_app_password_that_is_gone_meanwhile_is_no_fault(store, app_password):
    behind = WriteBehind(store, clock=lambda: NOW)
    behind(accepted(app_password))
    mailboxes.remove_account(store, ALICE, **ROOT)
    assert behind.close()
    assert [row.login for row in logins(store)] == [ALICE]


def test_start_dates_that_have_come_are_written_down_at_the_start(store, app_password):
    site.set_site(store, PolicyChange(policy=PolicyLevel.ENFORCED, enforce_from=NOW + 5), **ROOT, now=NOW)
    domains.set_domain(store, "example.test", DomainChange(two_factor=True, enforce_from=NOW + 5), **ROOT, now=NOW)
    late = AccountChange(policy=PolicyLevel.ENFORCED, two_factor=True, enforce_from=NOW + 50)
    mailboxes.set_account(store, ALICE, late, **ROOT, now=NOW)
    WriteBehind(store, clock=lambda: NOW + 4).close()
    assert mailboxes.show_account(store, ALICE, now=NOW).why == "stored"
    WriteBehind(store, clock=lambda: NOW + 5).close()
    shown = mailboxes.show_account(store, ALICE, now=NOW - 1000)  # the clock was set back
    assert (shown.effective_mode, shown.why, shown.effective_policy) == ("on", "enforced by site", "enforced")
    with store.reading() as tx:
        row = tx.row(store.sql.ACCOUNT, login=ALICE)
    assert [row[f"{level}policy_reached"] for level in ("site_", "domain_", "")] == [1, 0, 0]
    assert [row[f"{level}two_factor_reached"] for level in ("site_", "domain_", "")] == [0, 1, 0]


def test_old_rows_are_deleted_a_batch_at_a_time_while_logins_go_on(store, app_password, monkeypatch):
    monkeypatch.setattr("mailauth.store.writebehind.INTERVAL_S", 0.01)
    monkeypatch.setattr(upkeep, "BATCH_ROWS", 2)
    for age in (181, 179):
        for _ in range(5):
            note(store, "verify", actor=f"{age} days ago", peer="192.0.2.1", now=NOW - age * upkeep.DAY_S)
    behind = WriteBehind(store, upkeep.Retention(audit_days=180, address_days=30), clock=lambda: NOW)
    behind(accepted(app_password))
    give_up_at = time.monotonic() + 30
    while {(row.actor, row.peer) for row in audit(store) if row.kind == "verify"} != {("179 days ago", "192.0.2.0/24")}:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    assert behind.close()
    assert len(logins(store)) == 1


def test_upkeep_that_cannot_be_done_is_an_alarm_and_costs_no_row(store, app_password, monkeypatch, caplog):
    monkeypatch.setattr("mailauth.store.writebehind.INTERVAL_S", 0.01)
    monkeypatch.setattr("mailauth.store.writebehind.MINUTE_S", 0.01)
    caplog.set_level(logging.WARNING)
    broken, often, tries = threading.Event(), threading.Event(), []
    broken.set()

    def marked(store, now):
        tries.append(now)
        if len(tries) >= 3:
            often.set()
        if broken.is_set():
            raise StoreUnavailable("locked by another process")

    monkeypatch.setattr("mailauth.store.writebehind.mark_reached", marked)
    behind = WriteBehind(store, clock=lambda: NOW)
    behind(accepted(app_password))
    assert often.wait(30)
    broken.clear()
    give_up_at = time.monotonic() + 30
    while len(caplog.records) < 2:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    assert behind.close()
    assert len(logins(store)) == 1
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "upkeep of the store is put off: locked by another process alarm"),
        ("WARNING", "upkeep of the store goes on"),
    ]


def test_a_step_of_pruning_that_fails_ends_it_until_the_next_hour(store, monkeypatch, caplog):
    monkeypatch.setattr("mailauth.store.writebehind.INTERVAL_S", 0.01)
    monkeypatch.setattr("mailauth.store.writebehind.HOUR_S", 0.05)
    begun, again = [], threading.Event()

    def steps(self, now):
        yield
        begun.append(now)
        if len(begun) > 1:
            again.set()
        raise StoreUnavailable("gone")

    monkeypatch.setattr(upkeep.Pruning, "steps", steps)
    behind = WriteBehind(store, clock=lambda: NOW)
    assert again.wait(30)
    assert behind.close()  # it is no loss of rows
    assert "what is too old cannot be deleted, and is tried again in an hour: gone alarm" in caplog.text


def test_a_bug_in_one_write_does_not_end_the_thread(store, app_password, monkeypatch, caplog):
    monkeypatch.setattr("mailauth.store.writebehind.INTERVAL_S", 0.01)
    monkeypatch.setattr("mailauth.store.writebehind.INTERVAL_WHILE_DOWN_S", 0.01)
    real, failed = WriteBehind._write_batch, threading.Event()

    def write(self, batch):
        if not failed.is_set():
            failed.set()
            raise RuntimeError("s3cret inside")
        real(self, batch)

    monkeypatch.setattr(WriteBehind, "_write_batch", write)
    behind = WriteBehind(store, clock=lambda: NOW)
    behind(accepted(app_password))
    assert failed.wait(10)
    assert behind.close()
    assert len(logins(store)) == 1
    assert "RuntimeError at" in caplog.text
    assert "s3cret" not in caplog.text
