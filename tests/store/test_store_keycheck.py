"""A store and a key file that do not belong together are told so before anybody logs in."""

import pytest

from keyrings import put_in_use, with_another
from mailauth.keys import Key, KeyRing
from mailauth.store.keycheck import WrongKey, announced, fits, key_for_new, require_key
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
    assert require_key(store, ring).newest == ring.newest


def test_another_key_file_is_refused_with_what_to_do(store):
    with pytest.raises(WrongKey, match="restore the key file"):
        require_key(store, KeyRing([OTHER]))


def test_a_key_file_of_other_keys_altogether_is_refused(store):
    with pytest.raises(WrongKey, match=r"no key 1, which is in use in .*: if `mailauth key rotate` was run on another"):
        require_key(store, KeyRing([SECOND]))


def test_a_key_that_is_not_in_use_yet_makes_nothing(store, ring):
    rotated = with_another(ring)
    found = require_key(store, rotated)
    assert (found.keys, found.newest) == (rotated.keys, 1)
    with store.transaction() as tx:
        assert key_for_new(store, tx, rotated) == 1


def test_a_key_in_use_is_the_one_for_new_ones_and_no_other_takes_its_id(store, ring):
    rotated = put_in_use(store, with_another(ring))
    assert require_key(store, rotated).newest == 2
    with store.transaction() as tx:
        assert key_for_new(store, tx, rotated) == 2
    other = with_another(ring, filling=9)
    with pytest.raises(WrongKey, match="key 2 of the key file is not the one"):
        require_key(store, other)
    with pytest.raises(WrongKey, match="key 2 of the key file is not the one"), store.transaction() as tx:
        key_for_new(store, tx, other)


def test_a_key_file_without_a_key_in_use_is_refused_and_makes_what_all_can_read(store, ring):
    put_in_use(store, with_another(ring))
    with pytest.raises(WrongKey, match=r"no key 2, which is in use .* copy the key file from there"):
        require_key(store, ring)
    with store.transaction() as tx:  # a command that had read its file before
        assert key_for_new(store, tx, ring) == 1
    with pytest.raises(WrongKey, match="key 3"), store.transaction() as tx:
        key_for_new(store, tx, KeyRing([Key(3, "2026-01-03", b"\3" * 32)]))


def test_app_passwords_under_a_key_that_is_not_in_the_file_are_told(database, ring):
    add_row(database, 3)
    with pytest.raises(WrongKey, match=r"no key 3, under which 1 app passwords"):
        require_key(database.store, ring)


def test_a_store_without_keys_is_no_store(database, ring):
    database.run("DELETE FROM server_keys")
    with pytest.raises(WrongKey, match="lost its list of server keys"):
        require_key(database.store, ring)


def test_an_announced_key_is_known_again_and_no_other_taken_for_it(ring):
    rotated = with_another(ring)
    told = announced(rotated, "a store", 2)
    assert fits(rotated, told)
    assert not fits(ring, told)
    assert not fits(with_another(ring, filling=9), told)
    assert not fits(rotated, told | {"store_id": "another store"})


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
