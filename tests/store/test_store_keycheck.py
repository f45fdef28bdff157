"""A store and a key file that do not belong together are told so before anybody logs in."""

import pytest

from mailauth.keys import Key, KeyRing
from mailauth.store.keycheck import WrongKey, record_keys, require_key
from mailauth.store.upgrade import upgrade

OTHER = Key(1, "2026-01-01", b"\1" * 32)
SECOND = Key(2, "2026-01-02", b"\2" * 32)


def add_row(database, key_id):
    """An app password of an account, both reduced to what is looked at."""
    policy = "'optional', 0, 0, 0"
    columns = "policy, policy_reached, two_factor, two_factor_reached"
    database.run(
        f"INSERT INTO domains (id, name, enabled, services, created_at, {columns}) VALUES (1, 'x', 1, 7, 0, {policy})"
    )
    database.run(
        "INSERT INTO accounts (id, domain_id, login, enabled, client_logon, services, mode_on, created_at, "
        f"{columns}) VALUES (1, 1, 'a@x', 1, 1, 7, 0, 0, {policy})"
    )
    database.run(
        "INSERT INTO app_passwords (account_id, key_id, selector, record, label, services, networks, suspended, "
        f"created_at, created_by, revoked_at) VALUES (1, {key_id}, 5, 'r', 'l', 7, '', 0, 0, 'x', 9)"
    )


def test_the_key_file_that_the_store_was_made_with_is_accepted(store, ring):
    require_key(store, ring)


def test_another_key_file_is_refused_with_what_to_do(store):
    with pytest.raises(WrongKey, match="restore the key file"):
        require_key(store, KeyRing([OTHER]))


def test_a_key_file_of_other_keys_altogether_is_refused(store):
    with pytest.raises(WrongKey, match="key 2"):
        require_key(store, KeyRing([SECOND]))


def test_a_rotated_key_file_is_accepted(store, ring):
    require_key(store, KeyRing([*ring.keys, SECOND]))


def test_app_passwords_under_a_key_that_is_not_in_the_file_are_told(database, ring):
    add_row(database, 3)
    with pytest.raises(WrongKey, match="no key 3, under which 1 app passwords"):
        require_key(database.store, ring)


def test_a_key_is_written_down_once_and_no_other_takes_its_id(database, ring):
    rotated = KeyRing([*ring.keys, SECOND])
    for _ in range(2):
        with database.store.transaction() as tx:
            record_keys(database.store, tx, rotated)
    assert database.run("SELECT id FROM server_keys ORDER BY id") == [(1,), (2,)]
    with pytest.raises(WrongKey, match="key 2"), database.store.transaction() as tx:
        record_keys(database.store, tx, KeyRing([*ring.keys, Key(2, "2026-01-03", b"\3" * 32)]))


def test_a_store_without_its_site_is_told_from_a_wrong_key(empty_database, ring):
    empty_database.store.driver.create()
    upgrade(empty_database.store)
    with pytest.raises(WrongKey, match="mailauth init"):
        require_key(empty_database.store, ring)


def test_no_text_tells_a_check_value_or_a_secret(database, ring):
    ((store_id,),) = database.run("SELECT store_id FROM site")
    with pytest.raises(WrongKey) as refusal:
        require_key(database.store, KeyRing([OTHER]))
    for secret in (store_id, ring.check_value(store_id, 1), KeyRing([OTHER]).check_value(store_id, 1)):
        assert secret not in str(refusal.value)
