"""Accounts that sources of web passwords bring: on both databases, and none that was removed."""

from __future__ import annotations

import threading

import pytest

from mailauth.accounts import domains, erasure, mailboxes, site
from mailauth.accounts.aliases import add_alias
from mailauth.accounts.changes import DomainChange, PolicyChange
from mailauth.accounts.newcomers import make_account
from mailauth.attempt import Service
from mailauth.interfaces import BadRecord, PolicyLevel
from mailauth.store.passdb import open_passdb
from mailauth.store.rows import SERVICES
from mailauth.verify import policy

ACTOR, NEW, OTHER = "test", "new@example.test", "other@example.test"


@pytest.fixture
async def passdb(store, ring):
    domains.add_domain(store, "example.test", actor=ACTOR)
    passdb = open_passdb(store, ring.ids)
    yield passdb
    await passdb.close()


async def test_a_prospect_is_what_the_account_is_once_it_is_made(store, passdb):
    prospect = await passdb.prospect(NEW)
    assert prospect.id < 0
    assert prospect.id == (await passdb.prospect(NEW)).id != (await passdb.prospect(OTHER)).id
    assert make_account(store, NEW, "ldap")
    made = await passdb.lookup(NEW, ())
    for name in ("login", "domain_id", "enabled", "domain_enabled", "client_logon", "services", "mode_on", "demands"):
        assert getattr(prospect, name) == getattr(made, name), name
    assert (made.web_record, made.web_changed_at) == (prospect.web_record, prospect.web_changed_at) == (None, None)
    assert await passdb.prospect(NEW) is None
    assert not make_account(store, NEW, "ldap")


async def test_the_policy_of_site_and_domain_is_the_prospects(store, passdb):
    domains.set_domain(store, "example.test", DomainChange(policy=PolicyLevel.ENFORCED, pop3=False), actor=ACTOR)
    prospect = await passdb.prospect(NEW)
    assert policy.app_passwords_only(prospect, 1e12)
    assert prospect.services == SERVICES[7] - {Service.POP3}
    change = DomainChange(policy=PolicyLevel.OPTIONAL, enabled=False)
    domains.set_domain(store, "example.test", change, actor=ACTOR)
    prospect = await passdb.prospect(NEW)
    assert not policy.app_passwords_only(prospect, 1e12)
    assert not prospect.domain_enabled
    site.set_site(store, PolicyChange(two_factor=True), actor=ACTOR)
    assert policy.app_passwords_only(await passdb.prospect(NEW), 1e12)


async def test_an_address_that_is_somebodys_or_of_no_domain_of_ours_is_none(store, passdb):
    mailboxes.add_account(store, OTHER, None, actor=ACTOR)
    add_alias(store, OTHER, "alias@example.test", actor=ACTOR)
    for login in (OTHER, "alias@example.test", "new@elsewhere.test"):
        assert await passdb.prospect(login) is None
        assert not make_account(store, login, "ldap")


REMOVALS = {
    "removed": lambda store: mailboxes.remove_account(store, NEW, actor=ACTOR),
    "erased": lambda store: erasure.erase(store, NEW, actor=ACTOR),
    "with its domain": lambda store: (
        domains.remove_domain(store, "example.test", with_accounts=True, actor=ACTOR),
        domains.add_domain(store, "example.test", actor=ACTOR),
    ),
}


@pytest.mark.parametrize("how", REMOVALS)
async def test_what_was_removed_is_not_made_again_until_somebody_adds_it(store, passdb, how):
    assert make_account(store, NEW, "ldap")
    REMOVALS[how](store)
    assert await passdb.prospect(NEW) is None
    assert not make_account(store, NEW, "ldap")
    assert await passdb.prospect(OTHER) is not None
    mailboxes.add_account(store, NEW, None, actor=ACTOR)
    assert (await passdb.lookup(NEW, ())).enabled


async def test_what_was_removed_is_kept_without_its_name(store, passdb, database):
    make_account(store, NEW, "ldap")
    erasure.erase(store, NEW, actor=ACTOR)
    assert NEW not in str(database.run("SELECT * FROM removed_logins"))
    assert database.run("SELECT count(*) FROM removed_logins") == [(1,)]


async def test_two_who_come_at_once_make_one(store, passdb):
    made: list[bool] = []
    threads = [threading.Thread(target=lambda: made.append(make_account(store, NEW, "ldap"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, False, False, True]


async def test_a_site_that_cannot_be_understood_is_no_prospect_and_no_absence(store, passdb, database):
    database.run("UPDATE domains SET policy = 'nonsense'")
    with pytest.raises(BadRecord):
        await passdb.prospect(NEW)


async def test_an_account_left_to_the_sources_has_no_password_and_never_had_one(store, passdb):
    mailboxes.add_account(store, NEW, "{PLAIN}x", actor=ACTOR)
    mailboxes.leave_to_sources(store, NEW, actor=ACTOR)
    account = await passdb.lookup(NEW, ())
    assert (account.web_record, account.web_changed_at) == (None, None)
