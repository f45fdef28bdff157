"""After a backup was restored: what had been taken away since is taken away again, and nothing is given back."""

from __future__ import annotations

import itertools
import json

import pytest

from mailauth.accounts import aliases, apppasswords, domains, mailboxes, site
from mailauth.accounts.changes import AccountChange, DomainChange, PolicyChange
from mailauth.accounts.history import audit
from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.restored import OF_ACCOUNT, _narrowed, take_away_again
from mailauth.hashing.argon2id import Argon2id
from mailauth.interfaces import PolicyLevel, StoreUnavailable
from mailauth.store import changes
from mailauth.store.changes import Effect
from mailauth.store.engine import Transaction
from mailauth.store.upgrade import NO_POLICY

ALICE, BOB, CAROL, DAVE = [f"{name}@example.test" for name in ("alice", "bob", "carol", "dave")]
BY = {"actor": "cli:root"}
QUICK = Argon2id(1, 8, 1)
NOW = 1.8e9


@pytest.fixture
def site_of_four(store, ring, highwater):
    """Four accounts with two app passwords each (1 and 2 are Alice's, 3 and 4 Bob's ...) and two domains."""
    for login in (ALICE, BOB, CAROL, DAVE):
        mailboxes.add_account(store, login, QUICK.hash(b"her web password"), **BY)
        for label in ("Phone", "Tablet"):
            apppasswords.mint(store, ring, QUICK, login, label=label, **BY)
    domains.add_domain(store, "other.test", **BY)
    domains.add_domain(store, "third.test", **BY)
    aliases.add_alias(store, ALICE, "a@example.test", **BY)
    aliases.add_alias(store, ALICE, "b@example.test", **BY)
    aliases.add_alias(store, ALICE, "c@example.test", **BY)
    return store


def again(store, *, keep=False, effect=None):
    return take_away_again(store, store.highwater, keep=keep, **BY, now=NOW, effect=effect)


def live(store, login):
    return {view.id: view.suspended for view in apppasswords.listed(store, login)}


def told(done):
    return [(one.kind, one.about, one.detail) for one in done.redone]


def test_nothing_is_done_where_nothing_is_behind(site_of_four, database):
    store = site_of_four
    before = changes.newest(store), store.highwater.path.read_bytes(), list(audit(store))
    effect = Effect()
    assert again(store, effect=effect) is None
    assert effect.number is None
    assert (changes.newest(store), store.highwater.path.read_bytes(), list(audit(store))) == before
    assert live(store, ALICE) == {1: False, 2: False}
    store.highwater.path.unlink()
    assert again(store) is None


def test_revoked_ones_are_revoked_again_and_the_others_wait_for_their_owner(site_of_four, ring, backup):
    store = site_of_four
    restore = backup()
    at = changes.newest(store)
    apppasswords.revoke(store, ALICE, ids=[1], **BY)
    new = apppasswords.mint(store, ring, QUICK, ALICE, label="New", **BY)
    apppasswords.revoke(store, ALICE, ids=[new.id], **BY)  # unknown to the backup
    store.close()
    restore()
    assert live(store, ALICE) == {1: False, 2: False}
    effect = Effect()
    done = again(store, effect=effect)
    assert (done.number, done.known, done.is_complete, done.suspended) == (at, at + 3, True, 7)
    assert told(done) == [("app-password-revoked-again", ALICE, "1 Phone")]
    assert live(store, ALICE) == {2: True}
    assert live(store, BOB) == {3: True, 4: True}
    assert changes.newest(store) == effect.number > at + 3
    kinds = [(row.kind, row.login, row.credential_id, row.actor) for row in audit(store, since=NOW)]
    assert kinds == [
        ("app-password-revoked-again", ALICE, 1, "cli:root"),
        *[("app-password-suspended", login, n, "cli:root") for login, n in suspended_ids()],
        ("store-restored", None, None, "cli:root"),
    ]
    assert again(store) is None
    mailboxes.set_account(store, ALICE, AccountChange(mode=True), **BY)  # and it takes changes again
    (store_of_file,) = json.loads(store.highwater.path.read_bytes())["stores"].values()
    assert store_of_file["number"] == changes.newest(store)
    assert store_of_file["since"] == 0  # the numbers left out are no gap


def suspended_ids():
    return [(ALICE, 2), (BOB, 3), (BOB, 4), (CAROL, 5), (CAROL, 6), (DAVE, 7), (DAVE, 8)]


def test_the_tombstone_of_one_revoked_again_is_young(site_of_four, database, backup):
    store = site_of_four
    restore = backup()
    apppasswords.revoke(store, ALICE, ids=[1], **BY)
    store.close()
    restore()
    again(store)
    assert database.run("SELECT id, revoked_at FROM app_passwords WHERE revoked_at IS NOT NULL") == [(1, NOW)]


def test_accounts_are_as_narrow_again_as_they_had_become(site_of_four, backup):
    store = site_of_four
    restore = backup()
    mailboxes.set_account(store, ALICE, AccountChange(enabled=False, imap=False), **BY)
    mailboxes.set_account(store, BOB, AccountChange(client_logon=False, mode=True, pop3=False), **BY)
    mailboxes.set_account(store, BOB, AccountChange(pop3=True), **BY)  # given back before the restore
    mailboxes.set_account(store, CAROL, AccountChange(policy=PolicyLevel.ENFORCED, max_app_passwords=2), **BY)
    mailboxes.set_web_password(store, DAVE, QUICK.hash(b"another"), True, **BY)
    store.close()
    restore()
    done = again(store, keep=True)
    assert told(done) == [
        ("account-changed-again", ALICE, "imap: on -> off; enabled: on -> off"),
        ("account-changed-again", BOB, "client_logon: on -> off; mode_on: off -> on"),
        ("account-changed-again", CAROL, "policy: optional -> enforced; max_app_passwords: as above -> 2"),
        ("web-password-unset", DAVE, "it had been changed, and the one in the backup is unset; a new one must be set"),
    ]
    alice, bob, carol, dave = [mailboxes.show_account(store, login) for login in (ALICE, BOB, CAROL, DAVE)]
    assert (alice.enabled, alice.imap, alice.pop3) == (False, False, True)
    assert (bob.client_logon, bob.mode, bob.pop3) == (False, "on", True)
    assert (carol.effective_mode, carol.max_app_passwords) == ("on", 2)
    assert (dave.has_web_password, dave.web_changed_at) == (False, NOW)
    assert alice.has_web_password
    rows = [row for row in audit(store, since=NOW) if row.kind != "store-restored"]
    assert [(row.kind, row.login, row.detail) for row in rows] == told(done)


def test_the_web_password_takes_its_app_passwords_along(site_of_four, backup):
    store = site_of_four
    restore = backup()
    mailboxes.set_web_password(store, DAVE, QUICK.hash(b"another"), False, **BY)
    store.close()
    restore()
    done = again(store)
    assert [kind for kind, _, _ in told(done)] == ["web-password-unset", *["app-password-revoked-again"] * 2]
    assert live(store, DAVE) == {}


def test_removed_accounts_and_domains_are_disabled_and_not_removed(site_of_four, ring, backup):
    store = site_of_four
    restore = backup()
    mailboxes.remove_account(store, ALICE, **BY)
    mailboxes.add_account(store, ALICE, QUICK.hash(b"a new Alice"), **BY)  # another person, whom the backup has not met
    mailboxes.set_account(store, ALICE, AccountChange(enabled=True, mode=True), **BY)
    mailboxes.remove_account(store, BOB, **BY)
    domains.remove_domain(store, "other.test", **BY)
    store.close()
    restore()
    mailboxes_before = mailboxes.show_account(store, BOB).app_passwords
    done = again(store)
    only = "it had been removed, and is only disabled now, since its mail may be wanted"
    assert told(done) == [
        ("domain-removed-again", "other.test", f"enabled: on -> off; {only}"),
        ("account-removed-again", ALICE, f"enabled: on -> off; mode_on: off -> on; {only}"),
        ("account-removed-again", BOB, f"enabled: on -> off; {only}"),
    ]
    assert not mailboxes.show_account(store, ALICE).enabled
    assert mailboxes.show_account(store, BOB).app_passwords == mailboxes_before
    assert not domains.show_domain(store, "other.test").enabled
    assert mailboxes.show_account(store, CAROL).enabled


def test_domains_and_site_are_as_strict_again(site_of_four, backup):
    store = site_of_four
    restore = backup()
    site.set_site(store, PolicyChange(policy=PolicyLevel.OBSERVE, two_factor=True, enforce_from=NOW + 9), **BY)
    domains.set_domain(store, "example.test", DomainChange(smtp=False, policy=PolicyLevel.ENFORCED), **BY)
    domains.set_domain(store, "other.test", DomainChange(enabled=False), **BY)
    domains.set_domain(store, "other.test", DomainChange(enabled=True), **BY)
    domains.set_domain(store, "third.test", DomainChange(max_app_passwords=50), **BY)
    store.close()
    restore()
    done = again(store)
    assert told(done) == [
        (
            "site-changed-again",
            "the site",
            "policy: optional -> observe; two_factor: off -> on; two_factor_from: at once -> 2027-01-15T08:00:09Z",
        ),
        ("domain-changed-again", "example.test", "policy: optional -> enforced; smtp: on -> off"),
    ]
    shown = domains.show_domain(store, "example.test")
    assert (shown.policy, shown.smtp, shown.imap) == ("enforced", False, True)
    assert domains.show_domain(store, "third.test").max_app_passwords is None
    assert (site.show_site(store).policy, site.show_site(store).two_factor) == ("observe", True)
    details = [row.detail for row in audit(store, since=NOW) if row.kind == "domain-changed-again"]
    assert details == ["example.test: policy: optional -> enforced; smtp: on -> off"]


def test_aliases_are_taken_away_again_from_whom_they_had_been(site_of_four, backup):
    store = site_of_four
    restore = backup()
    aliases.remove_alias(store, "a@example.test", **BY)
    aliases.remove_alias(store, "b@example.test", **BY)
    aliases.add_alias(store, BOB, "b@example.test", **BY)
    aliases.remove_alias(store, "c@example.test", **BY)
    aliases.add_alias(store, ALICE, "c@example.test", **BY)
    store.close()
    restore()
    done = again(store)
    gone = [("alias-removed-again", ALICE, f"{name}@example.test") for name in "ab"]
    assert told(done) == gone
    assert mailboxes.show_account(store, ALICE).aliases == ("c@example.test",)


def test_what_the_backup_does_not_know_is_left_alone(site_of_four, backup):
    store = site_of_four
    mailboxes.set_account(store, BOB, AccountChange(enabled=False), **BY)
    mailboxes.set_web_password(store, CAROL, QUICK.hash(b"another"), True, **BY)
    restore = backup()
    mailboxes.add_account(store, "new@newer.test", None, **BY)
    mailboxes.set_account(store, "new@newer.test", AccountChange(enabled=False), **BY)
    domains.set_domain(store, "newer.test", DomainChange(enabled=False), **BY)
    aliases.add_alias(store, BOB, "new@example.test", **BY)
    aliases.remove_alias(store, "new@example.test", **BY)
    mailboxes.set_account(store, BOB, AccountChange(enabled=True), **BY)
    mailboxes.set_account(store, BOB, AccountChange(enabled=False), **BY)  # as it is in the backup
    store.close()
    restore()
    done = again(store, keep=True)
    assert (done.redone, done.suspended) == ((), 0)
    assert mailboxes.show_account(store, CAROL).has_web_password


def test_an_account_that_had_no_web_password_has_none_to_unset(store, highwater, backup):
    mailboxes.add_account(store, ALICE, None, **BY)
    restore = backup()
    mailboxes.set_web_password(store, ALICE, QUICK.hash(b"her first"), True, **BY)
    store.close()
    restore()
    assert again(store).redone == ()
    assert not mailboxes.show_account(store, ALICE).has_web_password


def test_no_id_is_given_twice(site_of_four, ring, database, backup):
    store = site_of_four
    restore = backup()
    minted = apppasswords.mint(store, ring, QUICK, ALICE, label="New", **BY)
    mailboxes.add_account(store, "new@newer.test", None, **BY)
    ((account_id,),) = database.run("SELECT max(id) FROM accounts")
    ((domain_id,),) = database.run("SELECT max(id) FROM domains")
    store.close()
    restore()
    again(store)
    assert apppasswords.mint(store, ring, QUICK, ALICE, label="Newer", **BY).id == minted.id + 1
    mailboxes.add_account(store, "new@newest.test", None, **BY)
    assert database.run("SELECT max(id) FROM accounts") == [(account_id + 1,)]
    assert database.run("SELECT max(id) FROM domains") == [(domain_id + 1,)]


def test_ids_are_raised_in_tables_that_never_had_a_row(store, ring, database, highwater, backup):
    restore = backup()
    mailboxes.add_account(store, ALICE, None, **BY)
    apppasswords.mint(store, ring, QUICK, ALICE, label="New", **BY)
    store.close()
    restore()
    again(store)
    mailboxes.add_account(store, ALICE, None, **BY)
    assert apppasswords.mint(store, ring, QUICK, ALICE, label="New", **BY).id == 2
    assert database.run("SELECT id FROM accounts") == database.run("SELECT id FROM domains") == [(2,)]


def test_all_may_be_kept_if_it_is_known_of_each_whether_it_was_revoked(site_of_four, backup):
    store = site_of_four
    restore = backup()
    apppasswords.revoke(store, ALICE, ids=[1], **BY)
    store.close()
    restore()
    done = again(store, keep=True)
    assert (done.is_complete, done.suspended) == (True, 0)
    assert live(store, ALICE) == {2: False}


def test_none_is_kept_if_it_is_not_known_of_each(site_of_four, database, backup):
    store = site_of_four
    restore = backup()
    apppasswords.revoke(store, ALICE, ids=[1], **BY)
    apppasswords.revoke(store, BOB, ids=[3], **BY)
    store.highwater.path.unlink()
    database.run("DELETE FROM changes WHERE number < (SELECT number FROM change_counter)")
    store.highwater.rise(store)
    store.close()
    restore()
    done = again(store, keep=True)
    assert (done.is_complete, done.suspended) == (False, 7)
    assert told(done) == [("app-password-revoked-again", BOB, "3 Phone")]
    assert live(store, ALICE) == {1: True, 2: True}


def test_what_was_suspended_is_not_set_free_by_restoring_once_more(site_of_four, backup):
    store = site_of_four
    restore = backup()
    apppasswords.revoke(store, ALICE, ids=[1], **BY)
    for keep in (False, True):
        store.close()
        restore()
        done = again(store, keep=keep)
        assert (done.is_complete, done.suspended) == (True, 7)
        assert live(store, ALICE) == {2: True}


def test_an_owner_confirms_what_is_still_wanted(site_of_four, backup):
    store = site_of_four
    restore = backup()
    apppasswords.revoke(store, DAVE, ids=[8], **BY)
    store.close()
    restore()
    again(store)
    with pytest.raises(NoSuch):
        apppasswords.confirm(store, ALICE, ids=[1, 3], **BY)
    assert live(store, ALICE) == {1: True, 2: True}
    before = changes.newest(store)
    assert apppasswords.confirm(store, ALICE, ids=[2], **BY) == [apppasswords.Confirmed(2, "Tablet")]
    assert live(store, ALICE) == {1: True, 2: False}
    assert changes.newest(store) == before + 1
    assert apppasswords.confirm(store, ALICE, ids=[2], **BY) == []
    assert changes.newest(store) == before + 1
    assert [one.id for one in apppasswords.confirm(store, ALICE, every=True, **BY)] == [1]
    assert live(store, ALICE) == {1: False, 2: False}
    assert live(store, DAVE) == {7: True}
    with pytest.raises(NoSuch):
        apppasswords.confirm(store, DAVE, ids=[8], **BY)
    confirmed = [row for row in audit(store, ALICE) if row.kind == "app-password-confirmed"]
    assert [(row.credential_id, row.label) for row in confirmed] == [(2, "Tablet"), (1, "Phone")]
    with pytest.raises(ValueError, match="say ids or every"):
        apppasswords.confirm(store, ALICE, **BY)


def test_interrupted_anywhere_it_may_be_run_again(site_of_four, ring, backup, monkeypatch):
    store = site_of_four
    restore = backup()
    apppasswords.revoke(store, ALICE, ids=[1], **BY)
    mailboxes.set_account(store, BOB, AccountChange(enabled=False), **BY)
    mailboxes.remove_account(store, CAROL, **BY)
    site.set_site(store, PolicyChange(policy=PolicyLevel.OBSERVE), **BY)
    apppasswords.mint(store, ring, QUICK, ALICE, label="New", **BY)
    store.close()
    restore()
    at, known = changes.newest(store), store.highwater.path.read_bytes()
    run, steps = Transaction._run, 0

    def interrupted(self, call):
        nonlocal steps
        steps -= 1
        if steps < 0:
            raise StoreUnavailable("cut")
        return run(self, call)

    monkeypatch.setattr(Transaction, "_run", interrupted)
    for allowed in itertools.count():
        steps = allowed
        try:
            done = again(store)
        except StoreUnavailable:
            steps = 10**6
            assert changes.newest(store) == at
            assert live(store, ALICE) == {1: False, 2: False}
            assert store.highwater.path.read_bytes() == known
        else:
            break
    assert allowed > 20
    steps = 10**6
    assert [kind for kind, _, _ in told(done)] == [
        *("site-changed-again", "account-changed-again", "account-removed-again", "app-password-revoked-again"),
    ]
    assert live(store, ALICE) == {2: True}
    assert again(store) is None


VALUES = NO_POLICY | {"services": 7, "enabled": 1, "client_logon": 1, "mode_on": 0}


@pytest.mark.parametrize(
    ("before", "final", "changed"),
    [
        ({}, {}, {}),
        ({"services": 6}, {"services": 5}, {"services": 4}),
        ({"enabled": 0}, {"enabled": 1}, {}),
        ({"client_logon": 0, "mode_on": 1}, {"client_logon": 1, "mode_on": 0}, {}),
        ({"policy": "enforced"}, {"policy": "observe"}, {}),
        ({"policy": "observe"}, {"policy": "optional"}, {}),
        ({"policy": "optional"}, {"policy": "observe"}, {"policy": "observe"}),
        (
            {"policy": "observe"},
            {"policy": "enforced", "enforce_from": 5.0},
            {"policy": "enforced", "enforce_from": 5.0},
        ),
        ({"policy": "enforced"}, {"enforce_from": 5.0}, {}),
        ({"policy": "enforced", "enforce_from": 9.0}, {"enforce_from": 5.0}, {"enforce_from": 5.0}),
        ({"policy": "enforced", "enforce_from": 5.0}, {"enforce_from": 9.0}, {}),
        ({"policy": "enforced", "enforce_from": 5.0}, {"enforce_from": None}, {"enforce_from": None}),
        ({"policy": "enforced", "enforce_from": 9.0}, {"policy_reached": 1}, {"policy_reached": 1}),
        ({"policy": "enforced", "enforce_from": 9.0, "policy_reached": 1}, {"enforce_from": 5.0}, {}),
        ({}, {"two_factor": 1, "two_factor_from": 5.0}, {"two_factor": 1, "two_factor_from": 5.0}),
        ({"two_factor": 1}, {"two_factor": 0}, {}),
        ({"two_factor": 1, "two_factor_from": 9.0}, {"two_factor_from": 5.0}, {"two_factor_from": 5.0}),
        ({"max_app_passwords": 5}, {"max_app_passwords": 3}, {"max_app_passwords": 3}),
        ({"max_app_passwords": 5}, {"max_app_passwords": 7}, {}),
        ({"max_app_passwords": 5}, {"max_app_passwords": None}, {}),
        ({}, {"max_app_passwords": 9}, {"max_app_passwords": 9}),
        ({}, {"max_app_passwords": 11}, {}),
    ],
)
def test_only_what_is_stricter_is_taken_over(before, final, changed):
    row = VALUES | before
    assert set(row) == set(OF_ACCOUNT)
    assert _narrowed(row, final) == row | changed
