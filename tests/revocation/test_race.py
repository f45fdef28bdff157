"""The race between a login in flight and a revocation, with a pause at each arrow, on both databases."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from interleaving import LOGIN, PATIENCE_S, QUICK, REVOCATION, Login, Process, Revocation, processes

from mailauth.accounts import apppasswords, domains, mailboxes, site
from mailauth.accounts.changes import AccountChange, DomainChange, PolicyChange
from mailauth.interfaces import Change, PolicyLevel
from mailauth.keys import KeyRing
from mailauth.store import changes
from mailauth.store.changes import Effect
from mailauth.store.engine import Store
from mailauth.store.sqlite import SqliteDriver

ALICE, BOB = "alice@example.test", "bob@elsewhere.test"
WEB, OTHER_WEB, ACTOR = "correct horse battery", "another horse battery", "test"
STEPS = len(LOGIN) + 1, len(REVOCATION) + 1
PATHS = [
    "".join("L" if place in places else "R" for place in range(sum(STEPS)))
    for places in itertools.combinations(range(sum(STEPS)), STEPS[0])
]
# A login held at each of its gates while a revocation goes on to each of its own, or to its end.
READ, MARKED = LOGIN.index("read") + 1, REVOCATION.index("marked") + 1
HELD = {
    "L" * held + "R" * at + "L" * (STEPS[0] - held) + "R" * (STEPS[1] - at): held >= READ and at < MARKED
    for held in range(1, STEPS[0])
    for at in range(1, STEPS[1] + 1)
}


@pytest.fixture
def no_lease_ends_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "LEASE_S", 3600.0)


@pytest.fixture(autouse=True)
def no_disk_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = SqliteDriver.connect

    def quick(driver: SqliteDriver) -> sqlite3.Connection:
        connection = connect(driver)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    monkeypatch.setattr(SqliteDriver, "connect", quick)


@dataclass(frozen=True)
class Secrets:
    """phone, laptop: Alice's app passwords; phone_id, laptop_id: their ids."""

    phone: str
    phone_id: int
    laptop: str
    laptop_id: int


@pytest.fixture
def secrets(database: Any, ring: KeyRing) -> Secrets:
    """Alice and Bob, who have the same web password."""
    for login in (ALICE, BOB):
        mailboxes.add_account(database.store, login, QUICK.hash(WEB.encode()), actor=ACTOR)
    phone, laptop = [
        apppasswords.mint(database.store, ring, QUICK, ALICE, label=label, actor=ACTOR) for label in ("Phone", "Laptop")
    ]
    return Secrets(phone.password, phone.id, laptop.password, laptop.id)


@pytest.fixture
async def process(
    database: Any, ring: KeyRing, secrets: Secrets, no_lease_ends_meanwhile: None
) -> AsyncIterator[Process]:
    async with processes(database.url, ring) as (process,):
        yield process


class Walk:
    """Logins by what is taken away and by what is not, moved together; and the revocation."""

    def __init__(self, process: Process, taken: Login, kept: Login, revocation: Revocation) -> None:
        self._process = process
        self.before = Login(process, *taken.credential)
        self.taken, self.kept, self.revocation = taken, kept, revocation

    async def go(self, path: str) -> str:
        """Walk, and say how the login by what is taken away ended."""
        await self.before.finish()
        assert self.before.client.is_live
        self._process.forget_proofs()
        for step in path:
            if step == "R":
                await self.revocation.next()
                if self.revocation.is_done:
                    self._nobody_is_in_any_more()
            else:
                await self.taken.next()
                await self.kept.next()
        return self._judged()

    def _nobody_is_in_any_more(self) -> None:
        assert self.before.client.was_ended
        assert not self.taken.client.is_live

    def _judged(self) -> str:
        """After everything has come to its end."""
        assert self.taken.is_done
        assert self.kept.is_done
        assert self.revocation.is_done
        taken, effect = self.taken.client, self.revocation.effect
        self._nobody_is_in_any_more()
        assert self.kept.client.is_live
        assert taken.was_ended if taken.was_let_in else taken.was_refused
        assert effect.number is not None
        assert effect.silent == []
        assert effect.ended == 1 + taken.was_ended
        assert len(self._process.live) == 1
        for login in (self.before, self.taken, self.kept):
            login.client.close()
        assert len(self._process.live) == 0
        return "ended" if taken.was_ended else "refused"


async def walk(
    process: Process,
    path: str,
    taken: tuple[str, str],
    kept: tuple[str, str],
    change: Callable[[Store, Effect], object],
) -> str:
    walk = Walk(process, Login(process, *taken), Login(process, *kept), Revocation(process, change))
    try:
        return await walk.go(path)
    except AssertionError as failed:
        failed.add_note(f"on the path {path}")
        raise


async def test_whatever_comes_first_nobody_is_in_when_revoke_returns(
    database: Any, process: Process, secrets: Secrets
) -> None:
    """Every order of all steps: a login that was in before the change is ended, any other refused."""

    def revoke(store: Store, effect: Effect) -> None:
        apppasswords.revoke(store, ALICE, ids=[secrets.phone_id], actor=ACTOR, effect=effect)

    ends: Counter[str] = Counter()
    for path in PATHS:
        with database.store.transaction() as tx:
            tx.write("UPDATE app_passwords SET revoked_at = NULL")
        ends[await walk(process, path, (ALICE, secrets.phone), (ALICE, secrets.laptop), revoke)] += 1
    assert ends.keys() == {"ended", "refused"}
    assert ends.total() == 462


Change_ = Callable[[Store, Effect], object]


def of_account(**changed: Any) -> Change_:
    return lambda store, effect: mailboxes.set_account(
        store, ALICE, AccountChange(**changed), actor=ACTOR, effect=effect
    )


def new_web_password(store: Store, effect: Effect) -> None:
    record = QUICK.hash(OTHER_WEB.encode())
    mailboxes.set_web_password(store, ALICE, record, keep_app_passwords=True, actor=ACTOR, effect=effect)


# What is taken away, what is not, the change, and how it is undone.
CAUSES: dict[str, tuple[tuple[str, str], tuple[str, str], Change_, str]] = {
    "account disabled": ((ALICE, "phone"), (BOB, WEB), of_account(enabled=False), "UPDATE accounts SET enabled = 1"),
    "client logon off": (
        (ALICE, "phone"),
        (BOB, WEB),
        of_account(client_logon=False),
        "UPDATE accounts SET client_logon = 1",
    ),
    "service off": ((ALICE, WEB), (BOB, WEB), of_account(imap=False), "UPDATE accounts SET services = 7"),
    "mode on": ((ALICE, WEB), (ALICE, "phone"), of_account(mode=True), "UPDATE accounts SET mode_on = 0"),
    "second factor demanded": (
        (ALICE, WEB),
        (ALICE, "laptop"),
        of_account(two_factor=True),
        "UPDATE accounts SET two_factor = 0, two_factor_reached = 0",
    ),
    "web password changed": (
        (ALICE, WEB),
        (ALICE, "laptop"),
        new_web_password,
        f"UPDATE accounts SET web_record = '{QUICK.hash(WEB.encode())}'",
    ),
    "domain disabled": (
        (ALICE, "phone"),
        (BOB, WEB),
        lambda store, effect: domains.set_domain(
            store, "example.test", DomainChange(enabled=False), actor=ACTOR, effect=effect
        ),
        "UPDATE domains SET enabled = 1",
    ),
    "policy enforced for all": (
        (BOB, WEB),
        (ALICE, "phone"),
        lambda store, effect: site.set_site(
            store, PolicyChange(policy=PolicyLevel.ENFORCED), actor=ACTOR, effect=effect
        ),
        "UPDATE site SET policy = 'optional', policy_reached = 0",
    ),
}


@pytest.mark.parametrize(("taken", "kept", "change", "undo"), CAUSES.values(), ids=CAUSES)
async def test_every_cause_holds_at_every_arrow(
    database: Any,
    process: Process,
    secrets: Secrets,
    taken: tuple[str, str],
    kept: tuple[str, str],
    change: Change_,
    undo: str,
) -> None:
    taken, kept = [(login, getattr(secrets, password, password)) for login, password in (taken, kept)]
    for path, is_in_before in HELD.items():
        assert await walk(process, path, taken, kept, change) == ("ended" if is_in_before else "refused"), path
        with database.store.transaction() as tx:
            tx.write(undo)


@pytest.mark.parametrize("is_first", [True, False])
async def test_the_last_look_and_the_reply_are_one_step(
    database: Any, process: Process, secrets: Secrets, is_first: bool
) -> None:
    """A login that has been checked, and a change that is applied in the same turn of the loop, in either order."""
    login = Login(process, ALICE, secrets.phone)
    await login.reach("checked")
    apppasswords.revoke(database.store, ALICE, every=True, actor=ACTOR)
    account_id = process.passdb.accounts_seen[-1]
    change = Change(1, "app-password-revoked", account_id)
    if is_first:
        login.open()
    applying = asyncio.ensure_future(process.live.apply([change]))
    if not is_first:
        await asyncio.sleep(0)
        login.open()
    answers = await applying
    await login.finish()
    assert login.client.was_ended is is_first
    assert login.client.was_refused is not is_first
    assert len(answers) == is_first
    assert len(process.live) == 0


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_revocations_at_the_same_time_each_say_what_they_ended(
    database: Any, process: Process, secrets: Secrets, order: tuple[int, ...]
) -> None:
    """All committed before the process looks once; another device gets its app password meanwhile."""
    logins = [Login(process, ALICE, secret) for secret in (secrets.phone, secrets.laptop, secrets.laptop, WEB)]
    for login in logins:
        await login.finish()

    def revoke(row_id: int, effect: Effect) -> None:
        apppasswords.revoke(database.store, ALICE, ids=[row_id], actor=ACTOR, effect=effect)

    mode_on = of_account(mode=True)
    changes_ = [
        lambda effect: revoke(secrets.phone_id, effect),
        lambda effect: revoke(secrets.laptop_id, effect),
        lambda effect: mode_on(database.store, effect),
    ]
    effects, making = [Effect() for _ in changes_], []
    for which in order:
        making.append(asyncio.ensure_future(asyncio.to_thread(changes_[which], effects[which])))
        async with asyncio.timeout(PATIENCE_S):
            while effects[which].number is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    process.look()
    await asyncio.gather(*making)
    assert [effect.ended for effect in effects] == [1, 2, 1]
    assert all(login.client.was_ended for login in logins)


# ---- several processes, and those that do not answer


async def test_revoke_waits_for_every_process(
    database: Any, ring: KeyRing, secrets: Secrets, no_lease_ends_meanwhile: None
) -> None:
    async with processes(database.url, ring, 2) as (first, second):
        logins = [Login(process, ALICE, secrets.phone) for process in (first, first, second)]
        for login in logins:
            await login.finish()
        effect = Effect()
        revoking = asyncio.ensure_future(
            asyncio.to_thread(
                lambda: apppasswords.revoke(database.store, ALICE, ids=[secrets.phone_id], actor=ACTOR, effect=effect)
            )
        )
        async with asyncio.timeout(PATIENCE_S):
            while effect.number is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            first.look()
            while not logins[0].client.was_ended:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert not revoking.done()
        assert logins[2].client.is_live
        second.look()
        await revoking
        assert effect.ended == 3
        assert effect.silent == []
        assert all(login.client.was_ended for login in logins)


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "LEASE_S", 0.2)
    monkeypatch.setattr(changes, "MARGIN_S", 0.05)


@pytest.mark.parametrize("held", ["registered", "read", "hashed"])
async def test_a_process_that_does_not_answer_is_named_and_lets_nobody_in_before_it_has_heard(
    database: Any, ring: KeyRing, secrets: Secrets, short_leases: None, held: str
) -> None:
    async with processes(database.url, ring, lease_s=0.2) as (process,):
        process.live.has_read(float("inf"))
        live, login, other = [
            Login(process, ALICE, secret) for secret in (secrets.phone, secrets.phone, secrets.laptop)
        ]
        await live.finish()
        process.live.has_read(0.0)
        process.forget_proofs()
        await login.reach(held)
        await other.reach(held)
        effect = Effect()
        await asyncio.to_thread(
            lambda: apppasswords.revoke(database.store, ALICE, ids=[secrets.phone_id], actor=ACTOR, effect=effect)
        )
        assert len(effect.silent) == 1
        assert effect.silent[0].startswith("process ")
        assert effect.ended == 0
        assert database.run("SELECT applied FROM processes") == [(-1,)]  # it is not waited for any more
        login.open_all()
        other.open_all()
        for _ in range(50):
            await asyncio.sleep(0.001)
            assert not other.is_done  # it cannot know
        assert not login.client.was_let_in
        process.look()
        await login.finish()
        await other.finish()
        assert login.client.was_refused
        assert other.client.is_live
        async with asyncio.timeout(PATIENCE_S):
            while not live.client.was_ended:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert database.run("SELECT applied FROM processes") == [(effect.number,)]  # it is waited for again
