"""What is kept for how long, in batches that hold nobody up."""

from itertools import pairwise

import pytest

from mailauth.accounts import apppasswords, domains, mailboxes, site
from mailauth.accounts.changes import AccountChange, DomainChange, PolicyChange
from mailauth.accounts.history import audit, note
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import LoginJudged
from mailauth.interfaces import PolicyLevel
from mailauth.store import upkeep
from mailauth.store.observations import Observations
from mailauth.store.observations import write as write_observations
from mailauth.store.upkeep import DAY_S, Pruning, Retention, mark_reached
from mailauth.verdict import Reason, Reject

ALICE = "alice@example.test"
ROOT = {"actor": "cli:root"}
NOW = 1.8e9


class Plain:
    """A hash scheme that is quick."""

    def hash(self, secret):
        return "plain:" + secret.decode()


def pruned(store, *, now=NOW, retention=None):
    """How many steps it took."""
    return len(list(Pruning(store, retention or Retention()).steps(now)))


def peers(store):
    return [row.peer for row in audit(store) if row.kind == "verify"]


@pytest.mark.parametrize(("retention", "kept"), [(None, ["179", "1"]), (Retention(audit_days=100), ["1"])])
def test_rows_of_the_audit_log_go_with_age(store, retention, kept):
    for age in (181, 179, 1):
        note(store, "verify", actor=str(age), now=NOW - age * DAY_S)
    pruned(store, retention=retention)
    assert [row.actor for row in audit(store)] == kept


def test_tombstones_go_and_live_app_passwords_stay(database, ring):
    store = database.store
    mailboxes.add_account(store, ALICE, None, **ROOT, now=NOW)
    ids = [apppasswords.mint(store, ring, Plain(), ALICE, label=str(n), **ROOT, now=NOW).id for n in range(3)]
    apppasswords.revoke(store, ALICE, ids=ids[:2], **ROOT, now=NOW)
    database.run(f"UPDATE app_passwords SET revoked_at = {NOW - 91 * DAY_S} WHERE id = {ids[0]}")
    database.run(f"UPDATE app_passwords SET revoked_at = {NOW - 89 * DAY_S} WHERE id = {ids[1]}")
    pruned(store)
    assert database.run("SELECT id FROM app_passwords ORDER BY id") == [(ids[1],), (ids[2],)]


@pytest.mark.parametrize(("days", "kept"), [(90, ["89"]), (10, [])])
def test_observations_that_are_not_repeated_go(database, days, kept):
    store = database.store
    mailboxes.add_account(store, ALICE, None, **ROOT, now=NOW)
    seen = Observations()
    for age in (91, 89):
        attempt = Attempt(Credential(ALICE), Service.IMAP, "192.0.2.1", True, str(age))
        refused = LoginJudged(attempt, Reject(Reason.CLIENT_PASSWORDS_ONLY), ALICE, 1, 1.0)
        seen.note(refused, NOW - age * DAY_S)
    with store.transaction() as tx:
        write_observations(store, tx, seen.take(NOW))
    pruned(store, retention=Retention(observation_days=days))
    assert [client for (client,) in database.run("SELECT client FROM observations")] == kept


@pytest.mark.parametrize(("days", "is_coarse"), [(30, [True, False]), (1, [True, True]), (32, [False, False])])
def test_old_addresses_become_networks(database, ring, days, is_coarse):
    store = database.store
    mailboxes.add_account(store, ALICE, None, **ROOT, now=NOW)
    ids = [apppasswords.mint(store, ring, Plain(), ALICE, label=str(n), **ROOT, now=NOW).id for n in range(2)]
    for row_id, age in zip(ids, (31, 29), strict=True):
        at = NOW - age * DAY_S
        note(store, "verify", actor="v", peer="2001:db8:1:2::3", now=at)
        store_use = {"last_used_at": at, "last_used_peer": "203.0.113.77", "last_used_service": "imap"}
        with store.transaction() as tx:
            tx.write(store.sql.NOTE_LAST_USE, row_id=row_id, last_used_client="Mail", **store_use)
    pruned(store, retention=Retention(address_days=days))
    assert peers(store) == ["2001:db8:1::/48" if coarse else "2001:db8:1:2::3" for coarse in is_coarse]
    assert [view.last_used_peer for view in apppasswords.listed(store, ALICE)] == [
        "203.0.113.0/24" if coarse else "203.0.113.77" for coarse in is_coarse
    ]


def test_what_is_no_address_does_not_stay_for_one(store):
    for peer in ("", "a UNIX socket", "192.0.2.1"):
        note(store, "verify", actor="v", peer=peer, now=NOW - 40 * DAY_S)
    pruned(store)
    assert peers(store) == ["", "", "192.0.2.0/24"]


@pytest.mark.parametrize("count", [0, 1, 10, 11, 25])
def test_a_step_is_a_batch_and_others_write_between_two(store, monkeypatch, count):
    monkeypatch.setattr(upkeep, "BATCH_ROWS", 10)
    for age in (200, 40):
        for number in range(count):
            note(store, "verify", actor="v", peer=f"192.0.2.{number}", now=NOW - age * DAY_S)
    left = [len(peers(store))]
    for _ in Pruning(store, Retention()).steps(NOW):
        note(store, "between", actor="somebody else", now=NOW)  # would wait for a transaction that is open
        left.append(len(peers(store)))
    assert all(before - after <= 10 for before, after in pairwise(left))
    assert peers(store) == ["192.0.2.0/24"] * count


def test_rows_of_one_moment_are_all_made_coarse(store, monkeypatch):
    monkeypatch.setattr(upkeep, "BATCH_ROWS", 10)
    for number in range(35):
        note(store, "verify", actor="v", peer=f"192.0.2.{number}", now=NOW - 40 * DAY_S)
    pruned(store)
    assert peers(store) == ["192.0.2.0/24"] * 35


def test_what_has_been_made_coarse_is_not_looked_at_again(store):
    pruning = Pruning(store, Retention())
    note(store, "verify", actor="v", peer="192.0.2.1", now=NOW - 40 * DAY_S)
    list(pruning.steps(NOW))
    note(store, "verify", actor="v", peer="192.0.2.2", now=NOW - 40 * DAY_S)  # behind its back
    list(pruning.steps(NOW + 3600))
    assert peers(store) == ["192.0.2.0/24", "192.0.2.2"]
    list(pruning.steps(NOW - 3600))  # the clock was set back: nothing is sure
    assert peers(store) == ["192.0.2.0/24", "192.0.2.0/24"]


def test_two_processes_prune_together_and_neither_fails(store, monkeypatch):
    monkeypatch.setattr(upkeep, "BATCH_ROWS", 5)
    for number in range(23):
        note(store, "verify", actor="v", peer="192.0.2.1", now=NOW - (200 if number % 2 else 40) * DAY_S)
    for _ in zip(Pruning(store, Retention()).steps(NOW), Pruning(store, Retention()).steps(NOW), strict=False):
        pass
    pruned(store)
    assert peers(store) == ["192.0.2.0/24"] * 12


def test_a_batch_passes_over_rows_that_another_process_deletes(postgres_database, monkeypatch):
    monkeypatch.setattr(upkeep, "BATCH_ROWS", 5)
    store = postgres_database.store
    for _ in range(10):
        note(store, "verify", actor="v", now=NOW - 200 * DAY_S)
    with store.transaction() as other:
        assert other.write(store.sql.PRUNE_AUDIT, before=NOW, batch=5) == 5
        with store.transaction() as tx:
            assert tx.write(store.sql.PRUNE_AUDIT, before=NOW, batch=50) == 5
    assert list(audit(store)) == []


def test_a_start_date_that_has_come_is_on_record_once(store):
    mailboxes.add_account(store, ALICE, None, **ROOT, now=NOW)
    site.set_site(store, PolicyChange(policy=PolicyLevel.ENFORCED, enforce_from=NOW + 5), **ROOT, now=NOW)
    domains.set_domain(store, "example.test", DomainChange(two_factor=True, enforce_from=NOW + 5), **ROOT, now=NOW)
    late = AccountChange(policy=PolicyLevel.ENFORCED, enforce_from=NOW + 50)
    mailboxes.set_account(store, ALICE, late, **ROOT, now=NOW)
    for second in (4, 5, 6, 60):
        mark_reached(store, NOW + second)
    told = [(row.at, row.actor, row.outcome, row.detail) for row in audit(store) if row.kind == "start-reached"]
    assert told == [
        (NOW + 5, "process", "done", "policy: reached its start date in 1 rows of site"),
        (NOW + 5, "process", "done", "two factor: reached its start date in 1 rows of domains"),
        (NOW + 60, "process", "done", "policy: reached its start date in 1 rows of accounts"),
    ]


def test_the_last_use_of_somebody_meanwhile_is_left_alone(store, ring, monkeypatch):
    mailboxes.add_account(store, ALICE, None, **ROOT, now=NOW)
    minted = apppasswords.mint(store, ring, Plain(), ALICE, label="phone", **ROOT, now=NOW)
    used = {"row_id": minted.id, "last_used_service": "imap", "last_used_client": ""}
    with store.transaction() as tx:
        tx.write(store.sql.NOTE_LAST_USE, last_used_at=NOW - 40 * DAY_S, last_used_peer="192.0.2.1", **used)
    with store.reading() as tx:
        (row,) = tx.rows(store.sql.EXACT_LAST_PEERS, start=0.0, before=NOW, batch=10)
    with store.transaction() as tx:
        tx.write(store.sql.NOTE_LAST_USE, last_used_at=NOW, last_used_peer="198.51.100.1", **used)
        tx.write(store.sql.SET_LAST_PEER, row_id=row["row_id"], peer=row["peer"], network="192.0.2.0/24")
    assert apppasswords.listed(store, ALICE)[0].last_used_peer == "198.51.100.1"
