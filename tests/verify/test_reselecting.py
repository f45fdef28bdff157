"""App passwords move to the newest key behind good logins, one after the other, and nobody waits for it."""

from __future__ import annotations

import asyncio

import pytest

from doubles import MemoryPassdb, PlainHashes
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import Events
from mailauth.interfaces import StoreUnavailable
from mailauth.keys import Key, KeyRing
from mailauth.verdict import Accept, Principal, Reject
from mailauth.verify import reselecting
from mailauth.verify.reselecting import Reselecting
from mailauth.verify.verifier import Verifier

ALICE = "alice@example.test"
APP = "abcdefghjkmnpqrs"
RING = KeyRing([Key(n, "2026-01-01", bytes([n]) * 32) for n in (1, 2, 3)])
(_, (_, SECOND), (_, THIRD)) = RING.selectors(ALICE, APP)


class Keys:
    """Two keys, of which the newest is as said."""

    def __init__(self, newest=2):
        self.newest = newest

    def selectors(self, login, cleaned):
        return RING.selectors(login, cleaned)


class Rows:
    """Notes what moves; `gate`: nothing moves while it is closed."""

    def __init__(self):
        self.moved, self.under_way, self.most_under_way = [], 0, 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault = None

    async def reselect(self, *place):
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        if self.fault is not None:
            raise self.fault
        self.moved.append(place)


@pytest.fixture
def stored():
    return MemoryPassdb().mint(ALICE, APP)


async def settle(moving):
    task = moving._task
    if task is not None:
        await asyncio.wait([task], timeout=30)


async def test_an_app_password_under_an_old_key_moves_to_the_newest_once(stored):
    rows = Rows()
    moving = Reselecting(Keys(), rows)
    for _ in range(2):
        moving.begin_if_outdated(ALICE, stored, APP)
        await settle(moving)
    assert rows.moved == [(stored.id, 1, 2, SECOND)]


async def test_it_is_tried_again_with_the_next_key(stored):
    rows, keys = Rows(), Keys()
    moving = Reselecting(keys, rows)
    for keys.newest in (2, 3):
        moving.begin_if_outdated(ALICE, stored, APP)
        await settle(moving)
    assert rows.moved == [(stored.id, 1, 2, SECOND), (stored.id, 1, 3, THIRD)]


async def test_what_stays(stored):
    rows = Rows()
    moving = Reselecting(Keys(), rows)
    for changes in ({"key_id": 2}, {"key_id": 3}, {"revoked": True}):
        moving.begin_if_outdated(ALICE, stored._replace(**changes), APP)
    assert moving._task is None
    assert rows.moved == []


async def test_one_at_a_time_and_none_twice(stored):
    rows = Rows()
    rows.gate.clear()
    moving = Reselecting(Keys(), rows)
    for number in (1, 2, 3, 2, 1):
        moving.begin_if_outdated(ALICE, stored._replace(id=number), APP)
    rows.gate.set()
    await settle(moving)
    assert [place[0] for place in rows.moved] == [1, 2, 3]
    assert rows.most_under_way == 1


async def test_only_so_many_wait(stored, monkeypatch):
    monkeypatch.setattr(reselecting, "MAX_WAITING", 2)
    monkeypatch.setattr(reselecting, "MAX_TRIED", 3)
    rows = Rows()
    moving = Reselecting(Keys(), rows)
    for number in (1, 2, 3):
        moving.begin_if_outdated(ALICE, stored._replace(id=number), APP)
    await settle(moving)
    for number in (3, 4, 5):
        moving.begin_if_outdated(ALICE, stored._replace(id=number), APP)
        await settle(moving)
    assert [place[0] for place in rows.moved] == [1, 2, 3, 4, 5]
    assert len(moving._tried) <= 3


async def test_a_store_that_takes_no_writes_is_left_alone_for_a_while(stored, caplog):
    now = [100.0]
    rows = Rows()
    rows.fault = StoreUnavailable("read-only")
    moving = Reselecting(Keys(), rows, clock=lambda: now[0])
    for number in range(5):
        moving.begin_if_outdated(ALICE, stored._replace(id=number), APP)
    await settle(moving)
    moving.begin_if_outdated(ALICE, stored, APP)
    assert moving._task is None
    assert [record.getMessage() for record in caplog.records] == [
        "app passwords stay under their old server key until the store can be written: read-only"
    ]
    rows.fault, now[0] = None, 100.0 + reselecting.PAUSE_S
    moving.begin_if_outdated(ALICE, stored._replace(id=0), APP)
    await settle(moving)
    assert [place[0] for place in rows.moved] == [0]


async def test_closing_waits_for_the_one_that_is_under_way(stored):
    rows = Rows()
    rows.gate.clear()
    moving = Reselecting(Keys(), rows)
    for number in (1, 2):
        moving.begin_if_outdated(ALICE, stored._replace(id=number), APP)
    await asyncio.sleep(0)
    closing = asyncio.create_task(moving.close())
    await asyncio.sleep(0)
    assert not closing.done()
    rows.gate.set()
    await closing
    assert [place[0] for place in rows.moved] == [1]
    await moving.close()


# ---- in a verifier


class AtPeace:
    """interfaces.Changes where nothing changes."""

    def mark(self):
        return 0

    def touched(self, mark, account_id, domain_id):
        return False

    async def current(self):
        pass


class Passdb(MemoryPassdb):
    """Finds app passwords by the first key's selector, as `doubles.LengthKeys` makes them."""

    async def lookup(self, login, selectors):
        return await super().lookup(login, [(1, sum(APP.encode()))] if selectors else ())


async def judged(passdb, changes, login=ALICE, password=APP, service=Service.IMAP):
    verifier = Verifier(passdb, Keys(), PlainHashes(), Events(), changes=changes, aliases_log_in=True)
    attempt = Attempt(Credential(login, password), service, "192.0.2.1", True)
    outcome = await verifier.authenticate(attempt)
    await settle(verifier.matching._reselecting) if changes else None
    await verifier.close()
    return outcome


@pytest.mark.parametrize("login", [ALICE, "ALICE@example.test", "alias@example.test"])
async def test_a_good_login_moves_it_by_the_accounts_own_login(login):
    passdb = Passdb()
    passdb.add(ALICE)
    passdb.aliases["alias@example.test"] = ALICE
    stored = passdb.mint(ALICE, APP)
    assert await judged(passdb, AtPeace(), login, "abcd efgh jkmn pqrs") == Accept(Principal(1, ALICE, stored.id))
    assert passdb.moved == [(stored.id, 1, 2, SECOND)]


async def test_its_failure_costs_the_login_nothing():
    passdb = Passdb()
    passdb.add(ALICE)
    passdb.mint(ALICE, APP)

    async def fails(*place):
        raise StoreUnavailable("read-only")

    passdb.reselect = fails
    assert type(await judged(passdb, AtPeace())) is Accept


@pytest.mark.parametrize("changes", [{"revoked": True}, {"record": "plain:another"}])
async def test_a_tombstone_and_a_chance_hit_do_not_move(changes):
    passdb = Passdb()
    passdb.add(ALICE)
    passdb.mint(ALICE, APP, **changes)
    assert type(await judged(passdb, AtPeace())) is Reject
    assert passdb.moved == []


async def test_nothing_moves_where_nobody_is_let_in():
    passdb = Passdb()
    passdb.add(ALICE)
    passdb.mint(ALICE, APP)
    assert type(await judged(passdb, None)) is Accept
    assert passdb.moved == []
