"""After a backup was restored: nothing of the portal that was taken away opens anything again."""

from __future__ import annotations

import pytest

from mailauth.accounts import factorcare, mailboxes, tokens
from mailauth.accounts.changes import AccountChange
from mailauth.accounts.finding import locked_account_row
from mailauth.accounts.history import audit
from mailauth.accounts.portalsessions import Stage
from mailauth.accounts.restored import take_away_again
from mailauth.accounts.roleholders import set_role
from mailauth.accounts.roles import Role
from mailauth.accounts.unit import changing
from mailauth.accounts.vouchers import Kind, issue
from mailauth.accounts.webpassword import reset_login
from portal_people import ALICE, NOW, ROOT, means_of, person


def again(store, *, keep):
    return take_away_again(store, store.highwater, keep=keep, **ROOT, now=NOW + 1000)


@pytest.fixture
def means(store, ring, highwater):
    return means_of(store, ring)


@pytest.fixture
def alice(means):
    alice = person(means)
    alice.begin()
    alice.enrol_totp()
    set_role(means.store, ALICE, Role.SITE_ADMIN, **ROOT)
    alice.sign_in()
    return alice


@pytest.mark.parametrize("keep", [True, False])
def test_sessions_codes_roles_and_removed_factors_stay_gone(means, store, alice, backup, keep):
    issued = [tokens.add(store, ALICE, label=label, scopes=["own:read"], **ROOT, now=NOW) for label in "ab"]
    code = factorcare.enrolment_code(store, ALICE, **ROOT, now=NOW)
    assert code.code
    restore = backup()
    tokens.revoke(store, issued[0].id, **ROOT)
    assert factorcare.reset_factors(store, ALICE, **ROOT) == ["totp"]
    set_role(store, ALICE, Role.USER, **ROOT)
    store.close()
    restore()
    assert mailboxes.show_account(store, ALICE).role == "site-admin"
    done = again(store, keep=keep)
    assert {(one.kind, one.detail) for one in done.redone} >= {
        ("factor-removed-again", "totp"),
        ("role-changed-again", "site-admin -> user"),
    }
    view = mailboxes.show_account(store, ALICE)
    assert (view.role, view.has_second_factor, view.mode) == ("user", False, "on")
    assert alice.stage is None
    assert factorcare.listed(store, ALICE) == []
    assert [view.label for view in tokens.listed(store, ALICE)] == (["b"] if keep else [])
    kinds = [row.kind for row in audit(store, ALICE)]
    assert {"factor-removed-again", "role-changed-again", "api-token-revoked"} <= set(kinds)
    assert again(store, keep=keep) is None


def test_a_role_and_a_factor_that_were_given_since_are_not_given_again(means, store, backup):
    bob = person(means, "bob@example.test")
    restore = backup()
    bob.begin()
    bob.enrol_totp()
    set_role(store, bob.login, Role.SITE_ADMIN, **ROOT)
    store.close()
    restore()
    again(store, keep=True)
    view = mailboxes.show_account(store, bob.login)
    assert (view.role, view.has_second_factor) == ("user", False)
    assert view.mode == "on"  # that only closes something
    bob.now += 2000
    assert bob.begin().stage is Stage.IN


def test_a_reset_link_of_the_backup_is_of_no_use(means, store, backup, alice):
    with changing(store, "cli:root", NOW) as unit:
        code = issue(unit, locked_account_row(unit, ALICE), Kind.PASSWORD_RESET).code
    restore = backup()
    mailboxes.set_account(store, ALICE, AccountChange(imap=False), **ROOT)
    store.close()
    restore()
    assert reset_login(store, code, now=NOW) == ALICE
    again(store, keep=True)
    assert reset_login(store, code, now=NOW) is None
