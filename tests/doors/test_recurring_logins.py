"""Logins that come again, over a real store: each row that a verdict stands on is read, whatever is remembered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

import postgres
from bridge_clients import FAIL, OK, DovecotHost
from keyrings import put_in_use, with_another
from mailauth.accounts import apppasswords, domains, mailboxes
from mailauth.accounts import site as sites
from mailauth.accounts.changes import AccountChange, DomainChange, PolicyChange
from mailauth.assembly import Core, open_core
from mailauth.attempt import Attempt, Credential, Service
from mailauth.interfaces import PolicyLevel
from mailauth.verdict import Accept, Cause, Defer, Outcome, Principal, Reason, Reject
from site_of_tests import ACCEPTED, ACTOR, Site

ALICE = "alice@example.test"
QUESTION = b"a question"
BY = {"actor": ACTOR}
PATIENCE_S = 30.0


class Remembering:
    """A process that judges, in which Alice's phone has logged in twice."""

    def __init__(self, site: Site, core: Core) -> None:
        self.site, self.core = site, core
        self.store = site.store
        self.phone = site.mint(ALICE, label="phone")
        credential = Credential(ALICE, self.phone.password)
        self.attempt = Attempt(credential, Service.IMAP, "127.0.0.1", tls=True, client="a phone", question=QUESTION)
        assert core.recurring is not None
        self.recurring = core.recurring

    async def from_the_beginning(self) -> Outcome:
        return await self.core.verifier.authenticate(self.attempt)

    async def twice(self) -> None:
        for _ in range(2):
            assert await self.from_the_beginning() == Accept(Principal(1, ALICE, self.phone.id))
        assert QUESTION in self.recurring.questions

    def again(self) -> Outcome | None:
        known = self.recurring.judge(QUESTION)
        return None if known is None else known.accept

    def sql(self, statement: str) -> None:
        with self.store.transaction() as tx:
            tx._connection.execute(statement)


@pytest.fixture
async def phone(tmp_path) -> AsyncIterator[Remembering]:
    site = Site(tmp_path)
    site.add(ALICE, "correct horse")
    async with open_core(site.settings) as core:
        remembering = Remembering(site, core)
        await remembering.twice()
        assert remembering.again() is not None
        yield remembering


def account(**changes) -> Callable[[Remembering], object]:
    return lambda phone: mailboxes.set_account(phone.store, ALICE, AccountChange(**changes), **BY)


def domain(**changes) -> Callable[[Remembering], object]:
    return lambda phone: domains.set_domain(phone.store, "example.test", DomainChange(**changes), **BY)


def row(statement: str) -> Callable[[Remembering], object]:
    return lambda phone: phone.sql(statement)


def revoked(phone: Remembering) -> None:
    apppasswords.revoke(phone.store, ALICE, ids=[phone.phone.id], **BY)


def moved(phone: Remembering) -> None:
    domains.add_domain(phone.store, "example.org", **BY)
    phone.sql("UPDATE accounts SET domain_id = (SELECT id FROM domains WHERE name = 'example.org')")


STILL = "accepted"
CHANGES = {
    "revoked": (revoked, Reason.REVOKED),
    "disabled": (account(enabled=False), Reason.DISABLED),
    "no-client-logon": (account(client_logon=False), Reason.CLIENT_LOGON_OFF),
    "service-off": (account(imap=False), Reason.SERVICE_OFF),
    "other-service-off": (account(smtp=False), STILL),
    "mode-on": (account(mode=True), STILL),
    "domain-disabled": (domain(enabled=False), Reason.DOMAIN_DISABLED),
    "domain-service-off": (domain(imap=False), Reason.SERVICE_OFF),
    "domain-policy": (domain(policy=PolicyLevel.ENFORCED), STILL),
    "site-policy": (
        lambda phone: sites.set_site(phone.store, PolicyChange(policy=PolicyLevel.OBSERVE), **BY),
        STILL,
    ),
    "another-web-password": (
        lambda phone: mailboxes.set_web_password(phone.store, ALICE, "plain:another", keep_app_passwords=True, **BY),
        STILL,
    ),
    "removed": (lambda phone: mailboxes.remove_account(phone.store, ALICE, **BY), Reason.UNKNOWN_LOGIN),
    "moved": (moved, STILL),
    "suspended": (row("UPDATE app_passwords SET suspended = 1"), Reason.SUSPENDED),
    "expired": (row("UPDATE app_passwords SET expires_at = 7"), Reason.EXPIRED),
    "expires-later": (row("UPDATE app_passwords SET expires_at = 99999999999"), STILL),
    "scope": (row("UPDATE app_passwords SET services = 4"), Reason.OTHER_SERVICE),
    "network": (row("UPDATE app_passwords SET networks = '192.0.2.0/24'"), Reason.OTHER_NETWORK),
    "another-hash": (row("UPDATE app_passwords SET record = 'no hash'"), Cause.RECORD),
    "no-flag": (row("UPDATE accounts SET enabled = 2"), Cause.RECORD),
    "no-site": (row("DELETE FROM site"), Cause.RECORD),
    "another-key": (row("UPDATE app_passwords SET key_id = 77"), Cause.KEY),
    "another-selector": (row("UPDATE app_passwords SET selector = selector + 1"), Reason.CLIENT_PASSWORDS_ONLY),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_was_changed_is_judged_from_the_beginning_from_the_next_login_on(phone, change):
    make, comes_to = CHANGES[change]
    if comes_to is Reason.CLIENT_PASSWORDS_ONLY:
        account(mode=True)(phone)
        await phone.twice()
    make(phone)
    assert phone.again() is None
    outcome = await phone.from_the_beginning()
    match outcome:
        case Accept():
            assert comes_to == STILL
            await phone.twice()
            assert phone.again() == outcome
        case Reject(reason):
            assert reason is comes_to
            assert phone.again() is None
        case Defer(cause):
            assert cause is comes_to
            assert phone.again() is None


async def test_what_changes_nothing_of_the_account_is_compared_all_the_same(phone):
    phone.site.add("bob@example.test")
    mailboxes.set_account(phone.store, "bob@example.test", AccountChange(enabled=False), **BY)
    phone.site.mint(ALICE, label="laptop")
    assert phone.again() == Accept(Principal(1, ALICE, phone.phone.id))


async def test_an_app_password_under_an_unknown_key_makes_none_unknown_that_is_known(phone):
    """It may be what somebody shows whose password is found under none of ours: nobody can say then."""
    laptop = phone.site.mint(ALICE, label="laptop")
    phone.sql(f"UPDATE app_passwords SET key_id = 77 WHERE id = {laptop.id}")
    assert phone.again() == Accept(Principal(1, ALICE, phone.phone.id))
    phone.attempt = replace(phone.attempt, credential=Credential(ALICE, laptop.password), question=b"")
    match await phone.from_the_beginning():
        case Defer(cause):
            assert cause is Cause.KEY
        case outcome:
            pytest.fail(str(outcome))


async def test_reads_that_are_made_together_are_one_state_here_too(phone):
    phone.core.passdb.together()
    assert phone.again() is not None
    revoked(phone)
    assert phone.again() is not None
    phone.core.passdb.apart()
    assert phone.again() is None


async def test_a_key_that_comes_into_use_has_what_is_remembered_judged_anew(phone):
    ring = with_another(phone.site.ring)
    put_in_use(phone.store, ring)
    phone.core.keys._take(ring)
    assert phone.again() is None
    assert await phone.from_the_beginning() == Accept(Principal(1, ALICE, phone.phone.id))
    async with asyncio.timeout(PATIENCE_S):  # it moves to the new key behind that login
        while QUESTION not in phone.recurring.questions:
            assert isinstance(await phone.from_the_beginning(), Accept)
            await asyncio.sleep(0.01)
    assert phone.again() is not None


async def test_a_store_that_was_moved_away_is_not_read_on(phone, tmp_path):
    (tmp_path / "mailauth.db").rename(tmp_path / "elsewhere.db")
    assert phone.again() is None
    (tmp_path / "elsewhere.db").rename(tmp_path / "mailauth.db")
    await phone.twice()
    assert phone.again() is not None


async def test_a_fault_is_left_to_who_judges_from_the_beginning(phone):
    """It knows how to wait, and what to say."""
    reader = phone.core.passdb._reader._reader
    reader._cursor.close()
    assert phone.again() is None
    await phone.twice()
    assert phone.again() is not None


async def test_each_of_them_is_in_the_audit_log_and_in_last_uses(tmp_path):
    site = Site(tmp_path)
    site.add(ALICE)
    began = time.time()
    async with open_core(site.settings) as core:
        phone = Remembering(site, core)
        await phone.twice()
        for _ in range(7):
            assert phone.again() is not None
    with site.store.transaction() as tx:
        told = "SELECT sum(count), max(client), max(detail) FROM audit WHERE kind = 'login' AND outcome = 'accept'"
        assert tuple(tx._connection.execute(told).fetchone().values()) == (9, "a phone", "app-password")
    (view,) = apppasswords.listed(site.store, ALICE)
    assert view.last_used_at is not None
    assert began <= view.last_used_at <= time.time()


async def test_where_the_server_of_the_store_is_waited_for_nothing_is_remembered(postgres_server, tmp_path):
    with postgres.database(postgres_server) as url:
        site = Site(tmp_path, url=url.replace("postgres:@", "postgres@"))
        site.add(ALICE)
        async with open_core(site.settings) as core:
            assert core.recurring is None
        site.store.close()


def test_a_connection_that_asks_the_same_again_and_again_hears_of_each_change(tmp_path):
    site = Site(
        tmp_path,
        "[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\n"
        '[[bridge]]\nkind = "dovecot-auth"\naddress = "unix:auth"\n',
    )
    site.add(ALICE)
    phone, laptop = (site.mint(ALICE, label=label).password for label in ("phone", "laptop"))
    with site.serving():
        host = DovecotHost(tmp_path / "auth")
        try:
            for _ in range(3):
                assert [host.ask(ALICE, phone) for _ in range(4)] == [OK] * 4
                site.change(ALICE, enabled=False)
                assert [host.ask(ALICE, phone) for _ in range(2)] == [FAIL] * 2
                site.change(ALICE, enabled=True)
            assert [host.ask(ALICE, laptop) for _ in range(4)] == [OK] * 4
            apppasswords.revoke(site.store, ALICE, label="phone", **BY)
            assert [host.ask(ALICE, phone) for _ in range(3)] == [FAIL] * 3
            asked = [host.send(ALICE, password) for password in [laptop, phone, laptop, laptop, phone, laptop]]
            heard = dict(host.hear() for _ in asked)
            assert [heard[number] for number in asked] == [OK, FAIL, OK, OK, FAIL, OK]
        finally:
            host.close()


def test_at_our_own_doors_too_each_login_hears_of_each_change(tmp_path):
    site = Site(tmp_path)
    site.add(ALICE)
    phone = site.mint(ALICE, label="phone").password

    def log_in(service: Service) -> bool:
        return site.ask(service, ALICE, phone).startswith(ACCEPTED[service])

    with site.serving():
        for _ in range(2):
            assert [log_in(service) for service in Service for _ in range(4)] == [True] * 12
            site.change(ALICE, pop3=False)
            assert [log_in(service) for service in Service] == [service is not Service.POP3 for service in Service]
            site.change(ALICE, pop3=True)
        apppasswords.revoke(site.store, ALICE, label="phone", **BY)
        assert [log_in(service) for service in Service for _ in range(2)] == [False] * 6
