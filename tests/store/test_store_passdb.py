"""Lookups on both databases: what is found, what is not understood, and that nothing else is ever None."""

import asyncio
import sqlite3
import time
from contextlib import asynccontextmanager, closing, suppress

import pytest
import uvloop

from keyrings import put_in_use, with_another
from mailauth.accounts import aliases, apppasswords, domains, mailboxes, site
from mailauth.accounts.changes import AccountChange, DomainChange, PolicyChange
from mailauth.attempt import Service
from mailauth.begun import begun
from mailauth.interfaces import BadRecord, Demand, PolicyLevel, StoreUnavailable, UnknownKey
from mailauth.keys import Key, KeyRing
from mailauth.store import rows
from mailauth.store.engine import open_store
from mailauth.store.passdb import open_passdb
from mailauth.store.postgresql import CONNECT_AGAIN_S
from mailauth.store.upgrade import create

ALICE = "alice@example.test"
NO_DEMAND = Demand(PolicyLevel.OPTIONAL, None, False, False, None, False)
ROOT = {"actor": "cli:root"}


class Plain:
    """A hash scheme that is quick."""

    def hash(self, secret):
        return "plain:" + secret.decode()


@pytest.fixture
def alice(store):
    mailboxes.add_account(store, ALICE, "plain:web", **ROOT)
    return ALICE


@asynccontextmanager
async def opened(store, ring, **settings):
    passdb = open_passdb(store, ring.ids, **settings)
    try:
        yield passdb
    finally:
        await passdb.close()


def minted(store, ring, **terms):
    new = apppasswords.mint(store, ring, Plain(), ALICE, **{"label": "phone", **terms}, **ROOT)
    return new, ring.selectors(ALICE, new.password)


async def test_reads_that_are_made_together_see_one_state_and_those_after_them_the_newest(store, ring, alice):
    async with opened(store, ring) as passdb:
        passdb.together()
        before = await passdb.lookup(alice, ())
        is_one_state = store.driver.dialect == "sqlite"  # a read of PostgreSQL waits, and so stands alone
        mailboxes.set_account(store, ALICE, AccountChange(enabled=False), **ROOT)
        assert (await passdb.lookup(alice, ())).enabled is is_one_state
        passdb.apart()
        assert (await passdb.lookup(alice, ())) == before._replace(enabled=False)
        mailboxes.set_account(store, ALICE, AccountChange(enabled=True), **ROOT)
        assert (await passdb.lookup(alice, ())) == before  # each read by itself from now on, not the first alone
        passdb.apart()  # nothing was together
        passdb.together()
        passdb.apart()  # nothing was read
        mailboxes.set_account(store, ALICE, AccountChange(enabled=False), **ROOT)
        assert (await passdb.lookup(alice, ())) == before._replace(enabled=False)


async def test_how_an_account_was_read_is_known_of_that_one_alone(store, ring, alice):
    """While a hash is computed for one, others are read: their rows must not stand for the first one's."""
    (_, phones), (_, laptops) = minted(store, ring), minted(store, ring, label="laptop")
    async with opened(store, ring) as passdb:
        first = await passdb.lookup(alice, phones)
        assert (passdb.reading(first) is not None) is passdb.reads_at_once
        second = await passdb.lookup(alice, laptops)
        assert passdb.reading(first) is None
        assert (passdb.reading(second) is not None) is passdb.reads_at_once
        assert await passdb.lookup("nobody@example.test", ()) is None
        assert passdb.reading(second) is None
        again = await passdb.lookup(alice, phones)
        assert again == first
        assert passdb.reading(first) is None
        passdb.use_keys(ring.ids)
        assert passdb.reading(again) is None
        assert passdb.reading(await passdb.lookup(alice, ())) is None  # by no app password


STANDINGS = {
    "usual": "SELECT 1",
    "domain": f"UPDATE domains SET enforce_from = {1e10 / 3}, policy = 'observe'",
    "site": "UPDATE site SET two_factor_from = 1e300, two_factor = 1, max_app_passwords = 3",
    "account": "UPDATE accounts SET services = 3, policy = 'enforced', web_changed_at = NULL",
    "terms": "UPDATE app_passwords SET expires_at = 1e11, services = 5, networks = '192.0.2.0/24 2001:db8::/32'",
    "both": "UPDATE app_passwords SET suspended = 1; UPDATE domains SET enabled = 0",
}


@pytest.mark.parametrize("standing", STANDINGS)
async def test_what_was_read_once_is_known_again_until_it_is_changed(database, ring, alice, standing):
    _, selectors = minted(database.store, ring)
    for statement in STANDINGS[standing].split(";"):
        database.run(statement)
    async with opened(database.store, ring) as passdb:
        reading = passdb.reading(await passdb.lookup(alice, selectors))
        if not passdb.reads_at_once:
            assert reading is None
            return
        passdb.together()
        assert reading.is_unchanged()
        database.run("UPDATE accounts SET mode_on = 1 - mode_on")
        assert reading.is_unchanged()  # a stretch of one state goes on
        passdb.apart()
        assert not reading.is_unchanged()


async def test_what_is_not_found_by_its_number_is_never_known_again(database, ring, alice):
    """As in a damaged file, where an index has what its table has not: no rows are not as good as no rows."""
    new, selectors = minted(database.store, ring)
    async with opened(database.store, ring) as passdb:
        if passdb.reads_at_once:
            account = await passdb.lookup(alice, selectors)
            database.run(f"DELETE FROM app_passwords WHERE id = {new.id}")
            reading = passdb.reading(account)
            assert not reading.is_unchanged()
            assert not reading.is_unchanged()


async def test_a_fault_of_one_read_ends_what_is_made_together(store, ring, alice):
    async with opened(store, ring, deadline_s=1.0) as passdb:
        passdb.together()
        await passdb.lookup(alice, ())
        with pytest.raises(StoreUnavailable):
            await passdb._reader._reader.rows("SELECT no_such_column FROM accounts", {})
        mailboxes.set_account(store, ALICE, AccountChange(enabled=False), **ROOT)
        assert (await passdb.lookup(alice, ())).enabled is False
        passdb.apart()


async def test_a_lookup_begun_outside_of_any_task(store, ring, alice):
    loop = asyncio.get_running_loop()
    async with opened(store, ring) as passdb:
        found = loop.create_future()

        async def look():
            found.set_result(await passdb.lookup(alice, ()))

        loop.call_soon(begun, look(), loop)
        assert (await found).login == alice


async def test_an_account_without_app_passwords(store, ring, alice):
    async with opened(store, ring) as passdb:
        account = await passdb.lookup(alice, ring.selectors(alice, "abcdefghjkmnpqrs"))
    assert account.login == alice
    assert (account.enabled, account.domain_enabled, account.client_logon, account.mode_on) == (True, True, True, False)
    assert account.services == frozenset(Service)
    assert account.demands == (NO_DEMAND, NO_DEMAND, NO_DEMAND)
    assert account.web_record == "plain:web"
    assert account.hits == ()


async def test_no_row_is_none(store, ring, alice):
    async with opened(store, ring) as passdb:
        assert await passdb.lookup("bob@example.test", ring.selectors(alice, "abcdefghjkmnpqrs")) is None
        assert await passdb.lookup("", ()) is None


async def test_the_app_password_with_the_selector_is_found_and_no_other(store, ring, alice):
    new, selectors = minted(
        store, ring, services=[Service.IMAP, Service.SMTP], networks=["192.0.2.7/24", "2001:db8::/32"], expires_at=4e9
    )
    minted(store, ring)
    async with opened(store, ring) as passdb:
        (hit,) = (await passdb.lookup(alice, selectors)).hits
        assert (await passdb.lookup(alice, ())).hits == ()
    assert hit.id == new.id
    assert hit.record == f"plain:{new.password}"
    assert hit.services == {Service.IMAP, Service.SMTP}
    assert hit.networks == ("192.0.2.0/24", "2001:db8::/32")
    assert hit.expires_at == 4e9
    assert (hit.suspended, hit.revoked) == (False, False)


async def test_a_tombstone_is_found_with_its_record(store, ring, alice):
    new, selectors = minted(store, ring)
    apppasswords.revoke(store, alice, ids=[new.id], **ROOT)
    async with opened(store, ring) as passdb:
        (hit,) = (await passdb.lookup(alice, selectors)).hits
    assert hit.revoked
    assert hit.record == f"plain:{new.password}"


@pytest.mark.parametrize("key_count", [1, 2, 3, 5, 17, 64])
async def test_hits_under_several_keys_come_oldest_first(store, ring, alice, key_count):
    full = KeyRing([*ring.keys, *[Key(n, "2026-01-01", bytes([n]) * 32) for n in range(2, key_count + 1)]])
    rows = []
    for count in sorted({1, min(2, key_count), key_count}):
        some = KeyRing(full.keys[:count])
        rows.append(minted(store, some if count == 1 else put_in_use(store, some)))
    wanted = [(keyed[0].id, keyed[1][-1]) for keyed in rows]
    async with opened(store, full) as passdb:
        account = await passdb.lookup(alice, [selector for _, selector in reversed(wanted)])
        assert [hit.id for hit in account.hits] == [row_id for row_id, _ in wanted]


async def test_keys_are_replaced_between_two_lookups_and_under_one(store, ring, alice):
    old, old_selectors = minted(store, ring)
    rotated = with_another(ring)
    async with opened(store, ring) as passdb:
        before = passdb.lookup(alice, old_selectors)
        begun = asyncio.create_task(passdb.lookup(alice, old_selectors))
        await asyncio.sleep(0)  # it has asked, on PostgreSQL it still waits
        passdb.use_keys(rotated.ids)
        new, new_selectors = minted(store, put_in_use(store, rotated))
        late = (await asyncio.gather(begun, return_exceptions=True))[0]  # it was asked without the new key's selector
        found = [await before, await passdb.lookup(alice, rotated.selectors(alice, old.password))]
        found += [] if isinstance(late, UnknownKey) else [late]
        (hit,) = (await passdb.lookup(alice, new_selectors)).hits
    assert [[(hit.id, hit.key_id) for hit in account.hits] for account in found] == [[(old.id, 1)]] * len(found)
    assert (hit.id, hit.key_id) == (new.id, 2)


async def test_an_app_password_is_put_under_another_key_and_stays_what_it_is(database, ring, alice):
    new, _ = minted(database.store, ring)
    rotated = put_in_use(database.store, with_another(ring))
    (_, (_, selector)) = rotated.selectors(alice, new.password)
    async with opened(database.store, rotated) as passdb:
        (before,) = (await passdb.lookup(alice, rotated.selectors(alice, new.password))).hits
        await passdb.reselect(new.id, 1, 2, selector)
        (after,) = (await passdb.lookup(alice, [(2, selector)])).hits
        assert after == before._replace(key_id=2)
        await passdb.reselect(new.id, 1, 2, selector ^ 1)  # moved meanwhile
    assert database.run("SELECT key_id, selector FROM app_passwords") == [(2, selector)]


async def test_what_may_not_move_stays(database, ring, alice):
    new, ((_, selector),) = minted(database.store, ring)
    async with opened(database.store, ring) as passdb:
        await passdb.reselect(new.id, 1, 2, 7)  # a key that is not in use, or no more
        put_in_use(database.store, with_another(ring))
        other, _ = minted(database.store, with_another(ring))
        ((taken,),) = database.run(f"SELECT selector FROM app_passwords WHERE id = {other.id}")
        await passdb.reselect(new.id, 1, 2, taken)  # another has that place
        apppasswords.revoke(database.store, alice, ids=[new.id], **ROOT)
        await passdb.reselect(new.id, 1, 2, taken ^ 1)
    rows = database.run("SELECT key_id, selector FROM app_passwords ORDER BY id")
    assert rows == [(1, selector), (2, taken)]


async def test_a_move_that_cannot_be_written_is_told(database, ring, alice, read_only):
    new, _ = minted(database.store, ring)
    put_in_use(database.store, with_another(ring))
    async with opened(database.store, ring) as passdb:
        with read_only(database), pytest.raises(StoreUnavailable):
            await passdb.reselect(new.id, 1, 2, 7)


async def test_more_keys_than_a_lookup_takes_are_refused_at_the_start(store):
    with pytest.raises(ValueError, match="65 keys"):
        open_passdb(store, range(1, 66))
    with pytest.raises(ValueError, match="0 keys"):
        open_passdb(store, [])


@pytest.mark.parametrize("revoked", [False, True])
@pytest.mark.parametrize("key_id", [1, 5, 9])  # below, between and above those of the key file
async def test_a_row_under_an_unknown_key_is_a_fault_and_never_a_miss(database, ring, alice, key_id, revoked):
    store = database.store
    new, selectors = minted(store, ring)
    if revoked:
        apppasswords.revoke(store, alice, ids=[new.id], **ROOT)
    database.run(f"UPDATE app_passwords SET key_id = {key_id}")
    passdb = open_passdb(store, [8, 2])
    for presented in ((), ((8, 17),), ((2, selectors[0][1]), (8, 17))):
        with pytest.raises(UnknownKey):
            await passdb.lookup(alice, presented)
    assert await passdb.lookup("bob@example.test", ()) is None
    await passdb.close()


async def test_demands_and_switches_of_all_levels(store, ring, alice):
    site.set_site(store, PolicyChange(policy=PolicyLevel.ENFORCED, enforce_from=4e9), **ROOT)
    domain = DomainChange(policy=PolicyLevel.OBSERVE, two_factor=True, pop3=False, enabled=False)
    domains.set_domain(store, "example.test", domain, **ROOT, now=1e9)
    account = AccountChange(mode=True, client_logon=False, enabled=False, smtp=False)
    mailboxes.set_account(store, alice, account, **ROOT)
    async with opened(store, ring) as passdb:
        found = await passdb.lookup(alice, ())
    assert found.demands == (
        Demand(PolicyLevel.ENFORCED, 4e9, False, False, None, False),
        Demand(PolicyLevel.OBSERVE, None, False, True, 1e9, True),
        NO_DEMAND,
    )
    assert found.services == {Service.IMAP}
    standing = (found.enabled, found.domain_enabled, found.client_logon, found.mode_on)
    assert standing == (False, False, False, True)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE site SET policy = 'strict'",
        "UPDATE domains SET policy = ''",
        "UPDATE accounts SET two_factor = 2",
        "UPDATE accounts SET mode_on = -1",
        "UPDATE accounts SET enabled = 3",
        "UPDATE accounts SET services = 8",
        "UPDATE domains SET services = -1",
        "UPDATE accounts SET enforce_from = 9e999",
        "UPDATE app_passwords SET services = -1",
        "UPDATE app_passwords SET services = 8",
        "UPDATE app_passwords SET suspended = 2",
        "UPDATE app_passwords SET record = ''",
        "UPDATE app_passwords SET record = ''",
        "UPDATE app_passwords SET expires_at = 9e999",
        "DELETE FROM site",
    ],
)
async def test_what_no_version_writes_is_a_bad_record(database, ring, alice, damage):
    _, selectors = minted(database.store, ring)
    database.run(damage.replace("9e999", "'infinity'") if "postgresql" in database.url else damage)
    async with opened(database.store, ring) as passdb:
        with pytest.raises(BadRecord) as fault:
            await passdb.lookup(alice, selectors)
    assert "plain:" not in str(fault.value)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE accounts SET web_record = x'00ff'",
        "UPDATE app_passwords SET record = x'00ff'",
        "UPDATE app_passwords SET networks = x'37'",
        "UPDATE accounts SET enabled = 'yes'",
        "UPDATE accounts SET services = 'x'",
        "UPDATE accounts SET enforce_from = 'soon'",
        "UPDATE accounts SET domain_id = 4711",
        "UPDATE accounts SET web_record = CAST(x'ff41' AS TEXT)",
    ],
)
async def test_values_of_another_type_are_a_bad_record(sqlite_database, ring, damage):
    store = sqlite_database.store
    mailboxes.add_account(store, ALICE, "plain:web", **ROOT)
    _, selectors = minted(store, ring)
    sqlite_database.run(damage)
    async with opened(store, ring) as passdb:
        with pytest.raises(BadRecord):
            await passdb.lookup(ALICE, selectors)


async def test_what_is_remembered_of_rows_is_bounded(database, ring, alice, monkeypatch):
    monkeypatch.setattr(rows, "MAX_REMEMBERED", 4)
    async with opened(database.store, ring) as passdb:
        for start in range(20):
            database.run(f"UPDATE accounts SET enforce_from = {start}")
            assert (await passdb.lookup(alice, ())).demands[2].enforce_from == start
    assert len(rows._standings) <= 4


@pytest.mark.parametrize("login", ["' OR 1=1 --", "%(login)s", "a\u202eb@x", "%s", ":login", "?", "甲@例子.test"])
async def test_hostile_names_are_bound(store, ring, alice, login):
    async with opened(store, ring) as passdb:
        assert await passdb.lookup(login, ()) is None
        assert await passdb.canonical(login) is None
        assert await passdb.recipient(login) is None
        assert not await passdb.may_send_as(1, login)
        assert not await passdb.is_local_domain(login)


async def test_aliases_recipients_and_senders(store, ring, alice):
    mailboxes.add_account(store, "bob@example.test", None, **ROOT)
    aliases.add_alias(store, alice, "a@example.test", **ROOT)
    async with opened(store, ring) as passdb:
        account = await passdb.lookup(alice, ())
        assert await passdb.canonical("a@example.test") == alice
        assert await passdb.canonical(alice) is None
        assert await passdb.recipient("A@Example.TEST") == alice
        assert await passdb.recipient("ALICE@example.test") == alice
        assert await passdb.recipient("nobody@example.test") is None
        assert await passdb.recipient("no address") is None
        for address, own in (
            (alice, True),
            ("A@Example.test", True),
            ("bob@example.test", False),
            ("x@example.test", False),
            ("", False),
        ):
            assert await passdb.may_send_as(account.id, address) is own
        for domain, local in (("Example.Test", True), ("example.org", False), ("..", False)):
            assert await passdb.is_local_domain(domain) is local


async def test_the_newest_login_from_there_that_is_on_record(store, ring, alice):
    async with opened(store, ring) as passdb:
        account = await passdb.lookup(alice, ())
        there = (account, Service.SMTP, "192.0.2.1")
        assert await passdb.let_in(*there, 0.0) is None

        def note(number, at, **changes):
            row = {"fold": f"x:{number}", "at": at, "actor": "client", "kind": "login", "count": 1, "client": ""}
            row |= {"login": alice, "account_id": account.id, "service": "smtp", "peer": "192.0.2.1"}
            row |= {"credential_id": 7, "outcome": "accept", "detail": "app-password", **changes}
            with store.transaction() as tx:
                tx.write_each(store.sql.COUNT_LOGINS, [row])

        note(1, 100.0)
        note(2, 200.0, credential_id=None)
        others = [{"service": "imap"}, {"peer": "192.0.2.2"}, {"outcome": "reject"}, {"kind": "verify"}]
        for number, changes in enumerate([*others, {"account_id": 99}, {"login": "bob@example.test"}], start=3):
            note(number, 300.0, **changes)
        assert await passdb.let_in(*there, 0.0) == (200.0, None)
        assert await passdb.let_in(*there, 200.0) == (200.0, None)
        assert await passdb.let_in(*there, 200.5) is None
        note(20, 400.0, credential_id=8)
        assert await passdb.let_in(*there, 0.0) == (400.0, 8)


async def test_from_where_an_app_password_was_let_in_as_long_as_all_of_it_is_on_record(store, ring, alice):
    new, _ = minted(store, ring)
    other, _ = minted(store, ring, label="laptop")
    numbers = iter(range(100))

    def note(peer, **changes):
        row = {"fold": f"x:{next(numbers)}", "at": time.time(), "actor": "client", "kind": "login", "count": 1}
        row |= {"login": alice, "account_id": 1, "service": "imap", "peer": peer, "client": ""}
        row |= {"credential_id": new.id, "outcome": "accept", "detail": "app-password", **changes}
        with store.transaction() as tx:
            tx.write_each(store.sql.COUNT_LOGINS, [row])

    def written(text, **values):
        with store.transaction() as tx:
            tx.write(text, **values)

    async with opened(store, ring) as passdb:

        async def found(credential_id=new.id, most=17):
            return await passdb.let_in_from(alice, credential_id, most)

        assert await found() == frozenset()
        for changes in (
            *({"credential_id": other.id}, {"credential_id": None}, {"service": "smtp"}, {"outcome": "reject"}),
            *({"login": "bob@example.test"}, {"outcome": "defer"}),
        ):
            note("192.0.2.9", **changes)
        note("192.0.2.1")
        note("192.0.2.1")
        note("2001:db8::1", service="pop3")
        note("192.0.2.2", at=time.time() - 60)  # by a clock that is slow
        assert await found() == {"192.0.2.1", "2001:db8::1", "192.0.2.2"}
        assert await found(other.id) == {"192.0.2.9"}
        assert len(await found(most=2)) == 2
        assert await found(99) is None  # a row that is gone
        apppasswords.revoke(store, alice, ids=[new.id], **ROOT)
        assert await found() == {"192.0.2.1", "2001:db8::1", "192.0.2.2"}
        note("", login=None, account_id=None, credential_id=None, service="", outcome="dropped")
        assert await found() is None  # of that time not all was written
        written("DELETE FROM audit WHERE outcome = 'dropped'")
        assert await found() is not None
        written(store.sql.PRUNE_AUDIT, before=time.time() - 30, batch=1)  # the oldest: the slow clock's
        assert await found() is not None  # that from before it was made is still there
        written("UPDATE audit SET at = at + 3600 WHERE kind <> 'login'")
        written("UPDATE audit SET at = at + 60 WHERE kind = 'login'")
        assert await found() is None  # none is as old as the app password


async def test_the_web_record_is_replaced_unless_it_has_changed(store, ring, alice):
    async with opened(store, ring) as passdb:
        account = await passdb.lookup(alice, ())
        await passdb.replace_web_record(account.id, "plain:web", "plain:stronger")
        await passdb.replace_web_record(account.id, "plain:web", "plain:late")
        await passdb.replace_web_record(account.id + 1, "plain:stronger", "plain:wrong")
        assert (await passdb.lookup(alice, ())).web_record == "plain:stronger"


async def test_each_lookup_sees_what_was_committed_before_it(store, ring, alice):
    async with opened(store, ring) as passdb:
        for mode in (True, False, True):
            mailboxes.set_account(store, alice, AccountChange(mode=mode), **ROOT)
            assert (await passdb.lookup(alice, ())).mode_on is mode


async def test_a_database_that_may_only_be_read_is_enough_for_logins(database, ring, alice, read_only):
    with read_only(database):
        async with opened(database.store, ring) as passdb:
            account = await passdb.lookup(alice, ())
            with pytest.raises(StoreUnavailable):
                await passdb.replace_web_record(account.id, "plain:web", "plain:new")
            assert (await passdb.lookup(alice, ())).web_record == "plain:web"


def test_lookups_on_uvloop(store, ring, alice):
    async def main():
        async with opened(store, ring) as passdb:
            found = await asyncio.gather(*[passdb.lookup(alice, ring.selectors(alice, "x")) for _ in range(50)])
        return {account.login for account in found}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == {alice}


# --- faults: SQLite ---------------------------------------------------------------------------------------------------


async def test_a_missing_file_is_a_fault_until_it_is_there(tmp_path, ring):
    store = open_store(f"sqlite:///{tmp_path / 'mailauth.db'}")
    async with opened(store, ring, deadline_s=0.2) as passdb:
        with pytest.raises(StoreUnavailable, match="there is no store"):
            await passdb.lookup(ALICE, ())
        create(store, ring)
        assert await passdb.lookup(ALICE, ()) is None


async def test_a_lookup_waits_for_a_lock_without_holding_up_the_loop(sqlite_database, ring):
    store = sqlite_database.store
    mailboxes.add_account(store, ALICE, "plain:web", **ROOT)
    async with opened(store, ring) as passdb:
        with closing(_exclusive(sqlite_database)) as other:
            waiting = asyncio.create_task(passdb.lookup(ALICE, ()))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not waiting.done()
            other.close()
        assert (await waiting).login == ALICE


async def test_a_lock_that_lasts_is_a_fault_at_the_deadline(sqlite_database, ring):
    async with opened(sqlite_database.store, ring, deadline_s=0.05) as passdb:
        with closing(_exclusive(sqlite_database)), pytest.raises(StoreUnavailable, match="locked"):
            await asyncio.wait_for(passdb.lookup(ALICE, ()), 5)


async def test_a_damaged_file_is_a_fault(sqlite_database, ring):
    sqlite_database.path.write_bytes(b"This is no database. " * 500)
    async with opened(sqlite_database.store, ring, deadline_s=0.2) as passdb:
        with pytest.raises(StoreUnavailable):
            await passdb.lookup(ALICE, ())


async def test_a_damaged_page_is_a_fault(sqlite_database, ring):
    sqlite_database.run("PRAGMA wal_checkpoint(TRUNCATE)")
    ((root,),) = sqlite_database.run("SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_accounts_1'")
    ((size,),) = sqlite_database.run("PRAGMA page_size")
    with sqlite_database.path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    async with opened(sqlite_database.store, ring, deadline_s=0.2) as passdb:
        with pytest.raises(StoreUnavailable, match="malformed"):
            await passdb.lookup(ALICE, ())


async def test_tables_that_are_not_there_are_a_fault(sqlite_database, ring):
    sqlite_database.run("ALTER TABLE accounts RENAME TO elsewhere")
    async with opened(sqlite_database.store, ring, deadline_s=0.2) as passdb:
        with pytest.raises(StoreUnavailable):
            await passdb.lookup(ALICE, ())


# --- faults: PostgreSQL -----------------------------------------------------------------------------------------------


async def test_a_restarted_server_costs_no_login(postgres_database, ring):
    store = postgres_database.store
    mailboxes.add_account(store, ALICE, "plain:web", **ROOT)
    async with opened(store, ring, connections=2) as passdb:
        await asyncio.gather(passdb.lookup(ALICE, ()), passdb.lookup(ALICE, ()))
        postgres_database.end_connections()
        for _ in range(3):
            assert (await passdb.lookup(ALICE, ())).login == ALICE


async def test_no_server_is_a_fault(ring):
    async with opened(open_store("postgresql://127.0.0.1:1/mail"), ring, deadline_s=0.2) as passdb:
        with pytest.raises(StoreUnavailable):
            await passdb.lookup(ALICE, ())


async def test_a_slow_answer_is_a_fault_at_the_deadline_and_the_next_login_is_served(postgres_database, ring):
    store = postgres_database.store
    mailboxes.add_account(store, ALICE, "plain:web", **ROOT)
    async with opened(store, ring, connections=1, deadline_s=2.0) as passdb:
        await passdb.lookup(ALICE, ())
        with store.transaction() as tx:
            _lock(tx)
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(passdb.lookup(ALICE, ()), 20)
        assert (await passdb.lookup(ALICE, ())).login == ALICE


async def test_a_server_that_takes_no_connection_is_not_asked_for_one_by_every_login(postgres_database, ring):
    """Each try costs both sides something; so few are made, however many logins wait."""
    store = postgres_database.store
    mailboxes.add_account(store, ALICE, "plain:web", **ROOT)
    async with opened(store, ring, connections=4) as passdb:
        parameters, tried = store.driver.parameters, []
        store.driver.parameters = Counting(
            parameters | {"host": "127.0.0.1", "hostaddr": "127.0.0.1", "port": "1"}, tried
        )
        waiting = [asyncio.create_task(passdb.lookup(ALICE, ())) for _ in range(200)]
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(1.0)  # the outage
        passed_s = asyncio.get_running_loop().time() - began
        assert 1 < len(tried) <= 4 * (passed_s / CONNECT_AGAIN_S + 2)
        store.driver.parameters = parameters
        assert [account.login for account in await asyncio.gather(*waiting)] == [ALICE] * 200


class Counting(dict):
    """Parameters of connections, and how often they were used."""

    def __init__(self, parameters, used):
        super().__init__(parameters)
        self.used = used

    def __or__(self, other):
        self.used.append(other)
        return dict(self) | other


async def test_a_login_given_up_takes_no_connection_with_it(postgres_database, ring):
    store = postgres_database.store
    mailboxes.add_account(store, ALICE, "plain:web", **ROOT)
    async with opened(store, ring, connections=1) as passdb:
        await passdb.lookup(ALICE, ())
        with store.transaction() as tx:
            _lock(tx)
            waiting = asyncio.create_task(passdb.lookup(ALICE, ()))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(waiting, 1)
        assert (await passdb.lookup(ALICE, ())).login == ALICE


async def test_logins_share_the_connections_there_are(postgres_database, ring):
    store = postgres_database.store
    mailboxes.add_account(store, ALICE, "plain:web", **ROOT)
    async with opened(store, ring, connections=3) as passdb:
        await asyncio.gather(*[passdb.lookup(ALICE, ()) for _ in range(40)])
        ((count,),) = postgres_database.run(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'SELECT accounts.id%'"
        )
        assert count == 3


def _lock(tx):
    tx.write("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")


def _exclusive(database):
    """A connection that locks everybody out, readers too."""
    connection = sqlite3.connect(database.path, isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute("UPDATE site SET created_at = created_at")
    connection.execute("COMMIT")
    return connection
