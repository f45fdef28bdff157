"""The tables of the portal: an upgrade to them, and what is kept for how long."""

import time

import pytest

from mailauth.accounts.changes import PolicyChange
from mailauth.accounts.mailboxes import add_account, list_accounts, remove_account, show_account
from mailauth.accounts.site import set_site
from mailauth.store import upgrade as upgrading
from mailauth.store.upgrade import create, current, require_current, upgrade
from mailauth.store.upkeep import DAY_S, Pruning, Retention

ALICE = "alice@example.test"
ROOT = {"actor": "cli:root"}
NOW = 1.8e9
POLICY = "policy, policy_reached, two_factor, two_factor_reached"


def test_a_store_of_the_release_before_keeps_everything_and_knows_since_when_a_factor_is_demanded(
    empty_database, ring, monkeypatch
):
    store = empty_database.store
    monkeypatch.setattr(upgrading, "HEAD", "0002")
    create(store, ring, now=NOW)
    empty_database.run(
        f"INSERT INTO domains (id, name, enabled, services, created_at, {POLICY}) "
        f"VALUES (1, 'example.test', 1, 7, {NOW}, 'optional', 0, 1, 1)"
    )
    for number, login in enumerate(("b-b@example.test", "ba@example.test", "b_@example.test"), start=1):
        empty_database.run(
            "INSERT INTO accounts (id, domain_id, login, enabled, client_logon, services, mode_on, created_at, "
            f"two_factor_from, {POLICY}) VALUES ({number}, 1, '{login}', 1, 1, 7, 1, {NOW}, {NOW + 5}, "
            "'enforced', 1, 1, 1)"
        )
    empty_database.run(f"UPDATE site SET two_factor = 0, created_at = {NOW}")
    monkeypatch.undo()
    began = time.time()
    assert upgrade(store) == ("0002", upgrading.HEAD)
    require_current(store)
    assert current(store) == upgrading.HEAD
    views = list(list_accounts(store))
    assert [view.login for view in views] == ["b-b@example.test", "b_@example.test", "ba@example.test"]  # by bytes
    assert {(view.role, view.has_second_factor, view.mode) for view in views} == {("user", False, "on")}
    assert empty_database.run("SELECT two_factor_from FROM site") == [(None,)]
    ((since,),) = empty_database.run("SELECT two_factor_from FROM domains")
    assert began - 1 <= since <= time.time() + 1
    assert empty_database.run("SELECT DISTINCT two_factor_from FROM accounts") == [(NOW + 5,)]
    with pytest.raises(Exception, match=r"(?i)unique"):
        empty_database.run(
            f"INSERT INTO accounts SELECT 9, domain_id, login, enabled, client_logon, services, mode_on, web_record, "
            "web_changed_at, policy, enforce_from, policy_reached, two_factor, two_factor_from, two_factor_reached, "
            f"max_app_passwords, {NOW}, role, language, recovery_address, ever_had_factor FROM accounts WHERE id = 1"
        )


def test_a_demand_without_a_date_begins_when_it_is_made(store):
    set_site(store, PolicyChange(two_factor=True), **ROOT, now=NOW)
    set_site(store, PolicyChange(two_factor=True, max_app_passwords=3), **ROOT, now=NOW + 99)
    assert set_site(store, PolicyChange(max_app_passwords=4), **ROOT, now=NOW + 99).two_factor_from == NOW


SESSION = "('{id}', 1, 'in', NULL, {at}, {at}, {ends}, '192.0.2.1', '', 'c', NULL)"
ROWS = {
    "portal_sessions": [SESSION.format(id=n, at=NOW - 9, ends=NOW + end) for n, end in enumerate((-1, 1))],
    "questions": [f"('{n}', '1', 'totp', 'enrol', '{{}}', ' ', {NOW + end})" for n, end in enumerate((-1, 1))],
    "portal_actions": [
        f"('{n}', '1', 1, 'mode-off', '{{}}', {NOW - DAY_S + end}, NULL, NULL, NULL, NULL)"
        for n, end in enumerate((-1, 1))
    ],
    "tallies": [f"('{n}', {NOW - 100}, 1, {NOW + end})" for n, end in enumerate((-1, 1))],
    "devices": [f"('{n}', 1, {NOW - 999}, {NOW - age * DAY_S})" for n, age in enumerate((181, 179))],
    "vouchers": [
        f"('{n}', 1, 'enrolment', {NOW - 99}, 'x', {NOW - age * DAY_S}, NULL)" for n, age in enumerate((8, 6))
    ],
}


def test_what_is_over_goes_and_the_rest_stays(database):
    store = database.store
    add_account(store, ALICE, None, **ROOT, now=NOW)
    for table, rows in ROWS.items():
        for row in rows:
            database.run(f"INSERT INTO {table} VALUES {row}")
    for age in (181, 179):
        database.run(
            "INSERT INTO notices (account_id, at, kind, actor, peer, agent, detail) "
            f"VALUES (1, {NOW - age * DAY_S}, 'mode-on', 'x', '192.0.2.1', '', '{age}')"
        )
    assert len(list(Pruning(store, Retention()).steps(NOW))) > 5
    for table in ROWS:
        key = "subject" if table == "tallies" else "id"
        assert database.run(f"SELECT {key} FROM {table}") == [("1",)], table
    assert database.run("SELECT detail FROM notices") == [("179",)]


def test_addresses_of_the_portal_become_networks_too(database):
    store = database.store
    add_account(store, ALICE, None, **ROOT, now=NOW)
    for number, age in enumerate((31, 29)):
        at = NOW - age * DAY_S
        database.run(
            "INSERT INTO notices (account_id, at, kind, actor, peer, agent, detail) "
            f"VALUES (1, {at}, 'mode-on', 'x', '192.0.2.{age}', '', '')"
        )
        database.run(
            "INSERT INTO factors (account_id, kind, state, parts, key_ids, is_alone, confirmed_at, last_used_at, "
            f"last_used_peer) VALUES (1, 'k{number}', '', '[]', ' 1 ', 1, 1.0, {at}, '192.0.2.{age}')"
        )
        database.run(
            "INSERT INTO api_tokens (digest, account_id, label, scopes, created_at, created_by, last_used_at, "
            f"last_used_peer) VALUES ('d{number}', 1, 'x', 'own:read', 1.0, 'x', {at}, '192.0.2.{age}')"
        )
    list(Pruning(store, Retention()).steps(NOW))
    for select in (
        "SELECT peer FROM notices ORDER BY id",
        "SELECT last_used_peer FROM factors ORDER BY kind",
        "SELECT last_used_peer FROM api_tokens ORDER BY id",
    ):
        assert database.run(select) == [("192.0.2.0/24",), ("192.0.2.29",)], select


def test_what_belongs_to_an_account_goes_with_it(database):
    store = database.store
    add_account(store, ALICE, None, **ROOT, now=NOW)
    for table, rows in ROWS.items():
        for row in rows:
            database.run(f"INSERT INTO {table} VALUES {row}")
    remove_account(store, ALICE, **ROOT)
    for table in set(ROWS) - {"tallies"}:
        assert database.run(f"SELECT * FROM {table}") == [], table
    add_account(store, ALICE, None, **ROOT)
    assert show_account(store, ALICE).role == "user"
