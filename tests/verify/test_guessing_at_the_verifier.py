"""An attack on the verifier with the real throttle: what a guesser gets judged, and what the owner sees meanwhile."""

from __future__ import annotations

import itertools

import pytest

from doubles import LengthKeys, MemoryPassdb, PlainHashes
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import Events
from mailauth.verdict import Accept, Cause, Defer, Reason, Reject
from mailauth.verify.throttle import GuessThrottle
from mailauth.verify.verifier import Verifier

ALICE, BOB, MALLORY = "alice@example.test", "bob@example.test", "mallory@example.test"
APP = "abcdefghjkmnpqrs"
WEB = "correct horse"
ATTACKER, HOME, ELSEWHERE = "192.0.2.66", "198.51.100.7", "203.0.113.8"
SPELLINGS = [
    "alice@example.test",
    "Alice@Example.TEST",
    "ALICE@example.test",
    "nobody@example.test",
    "bob@example.test",
]


class Site:
    """A verifier on a store in memory, its clock, and what became of each attempt."""

    def __init__(self, now=1000.0):
        self.now = now
        self.passdb, self.hashes = MemoryPassdb(), PlainHashes()
        self.throttle = GuessThrottle(clock=lambda: self.now)
        self.restart()
        self.passdb.add(ALICE, WEB)
        self.passdb.mint(ALICE, APP)
        self.passdb.add(BOB, "bob's own", mode_on=True)
        self.passdb.add(MALLORY, "her own")

    def restart(self):
        """Nothing is proven any more; the throttle has what it knew."""
        self.verifier = Verifier(self.passdb, LengthKeys(), self.hashes, Events(), self.throttle)

    async def try_(self, password, login=ALICE, peer=HOME, service=Service.IMAP):
        return await self.verifier.authenticate(Attempt(Credential(login, password), service, peer, True))

    async def judged(self, password, **how):
        return type(await self.try_(password, **how)) is Reject


@pytest.fixture
def site():
    return Site()


async def guesses_judged(site, seconds, attempts_each_second):
    """How many wrong guesses one source gets judged, over all services, names and spellings, its own logins between."""
    ways = itertools.cycle(itertools.product(Service, SPELLINGS))
    judged = 0
    for n in range(seconds * attempts_each_second):
        service, login = next(ways)
        judged += await site.judged(f"wrong {n} at {site.now}", login=login, peer=ATTACKER, service=service)
        if n % 10 == 0:
            assert type(await site.try_("her own", login=MALLORY, peer=ATTACKER, service=service)) is Accept
        if n % attempts_each_second == attempts_each_second - 1:
            site.now += 1.0
    return judged


async def test_one_source_gets_at_most_forty_guesses_judged_in_thirty_seconds(site):
    assert 30 <= await guesses_judged(site, 30, 20) <= 40


async def test_and_then_two_in_a_minute(site):
    await guesses_judged(site, 30, 20)
    assert await guesses_judged(site, 600, 3) <= 21


async def test_the_owner_gets_in_meanwhile_from_wherever(site):
    assert type(await site.try_(WEB)) is Accept
    for n in range(300):
        await site.try_(f"wrong {n}", peer=ATTACKER)
    assert type(await site.try_(WEB)) is Accept
    assert type(await site.try_(WEB, peer=ELSEWHERE)) is Accept
    assert type(await site.try_(APP, peer=ATTACKER)) is Accept
    assert await site.try_("a typo") == Reject(Reason.WRONG_PASSWORD)


async def test_the_owner_gets_in_from_behind_the_attacker_s_address(site):
    assert type(await site.try_(WEB, peer=ATTACKER)) is Accept
    for n in range(300):
        await site.try_(f"wrong {n}", login=BOB, peer=ATTACKER)
    site.restart()
    assert type(await site.try_(WEB, peer=ATTACKER)) is Accept


async def test_many_sources_hold_up_strangers_with_web_passwords_and_nobody_else(site):
    assert type(await site.try_(WEB)) is Accept
    site.restart()
    outcomes = [await site.try_(f"wrong {n}", peer=f"10.{n}.0.1") for n in range(200)]
    assert [type(outcome) for outcome in outcomes] == [Reject] * 100 + [Defer] * 100
    assert outcomes[-1] == Defer(Cause.THROTTLED, 30.0)
    assert type(await site.try_(WEB, peer=ELSEWHERE)) is Defer
    assert type(await site.try_(APP, peer=ELSEWHERE)) is Accept
    assert type(await site.try_(WEB)) is Accept  # known there
    assert type(await site.try_(WEB, peer=ELSEWHERE)) is Accept  # proven now
    assert await site.try_("wrong", login=BOB, peer=ELSEWHERE) == Reject(Reason.CLIENT_PASSWORDS_ONLY)


async def test_a_stale_device_harms_nobody_behind_its_address(site):
    for n in range(5000):
        assert await site.try_("the old web password", service=list(Service)[n % 3]) == Reject(Reason.WRONG_PASSWORD)
        site.now += 60.0
    assert await site.try_("bob's typo", login=BOB) == Reject(Reason.CLIENT_PASSWORDS_ONLY)
    assert type(await site.try_(WEB)) is Accept


async def test_a_device_with_a_deleted_app_password_is_never_counted(site):
    site.passdb.revoke(ALICE, APP)
    for _ in range(500):
        assert (await site.try_(APP)).reason is Reason.REVOKED
    assert site.throttle.exchange_out() == []


async def test_three_typos_cost_nothing(site):
    for typo in ("corect horse", "correct hrose", "Correct horse"):
        assert await site.try_(typo) == Reject(Reason.WRONG_PASSWORD)
    assert type(await site.try_(WEB)) is Accept


async def test_made_up_names_wait_like_names_that_are_there(site):
    for n in range(100):
        await site.try_("password", login=f"u{n}@example.test", peer=ATTACKER)
    outcomes = [
        await site.try_("guess", login=login, peer=ATTACKER) for login in (ALICE, BOB, MALLORY, "nobody@example.test")
    ]
    assert len(set(map(repr, outcomes))) == 1
    assert type(outcomes[0]) is Defer
