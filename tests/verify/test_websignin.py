"""The web password at the portal: judged by the same records and within the same limits, opening nothing else."""

from __future__ import annotations

import asyncio

import pytest

from doubles import LengthKeys, MemoryPassdb, PlainHashes
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import Events
from mailauth.interfaces import Change, PoolBusy, StoreUnavailable, WebMatch
from mailauth.serving.sessions import LiveSessions
from mailauth.verdict import Accept, Reason, Reject
from mailauth.verify.throttle import GuessThrottle
from mailauth.verify.verifier import Verifier
from mailauth.verify.websignin import WebSignIn

ALICE, WEB, APP = "alice@example.test", "correct horse", "abcdefghjkmnpqrs"
PEER = "192.0.2.1"
ALICES = WebMatch(1, ALICE)


class Portal:
    def __init__(self) -> None:
        self.now = 1000.0
        self.passdb, self.hashes = MemoryPassdb(), PlainHashes()
        self.throttle = GuessThrottle(clock=lambda: self.now)
        self.verifier = Verifier(self.passdb, LengthKeys(), self.hashes, Events(), self.throttle)
        self.sessions = LiveSessions(self.passdb)
        self.sign_in = WebSignIn(self.passdb, self.verifier.matching, self.throttle, self.sessions, delay_s=0.0)

    async def mail(self, password: str, peer: str = PEER) -> object:
        return await self.verifier.authenticate(Attempt(Credential(ALICE, password), Service.IMAP, peer, True))


@pytest.fixture
def portal() -> Portal:
    return Portal()


@pytest.mark.parametrize("mode_on", [False, True])
async def test_the_web_password_signs_in_whatever_the_mode(portal, mode_on):
    portal.passdb.add(ALICE, WEB, mode_on=mode_on)
    assert await portal.sign_in.check(ALICE.upper(), WEB, PEER) == ALICES


@pytest.mark.parametrize("changes", [{"client_logon": False}, {"services": frozenset()}])
async def test_what_is_switched_off_for_mail_programs_is_not_for_the_portal(portal, changes):
    portal.passdb.add(ALICE, WEB, **changes)
    assert await portal.sign_in.check(ALICE, WEB, PEER) == ALICES


@pytest.mark.parametrize(
    ("login", "password", "changes"),
    [
        (ALICE, "wrong", {}),
        (ALICE, "", {}),
        (ALICE, "x" * 5000, {}),
        ("nobody@example.test", WEB, {}),
        ("no login", WEB, {}),
        (ALICE, WEB, {"enabled": False}),
        (ALICE, WEB, {"domain_enabled": False}),
    ],
)
async def test_nobody_else_signs_in(portal, login, password, changes):
    portal.passdb.add(ALICE, WEB, **changes)
    assert await portal.sign_in.check(login, password, PEER) is None


async def test_an_app_password_never_signs_in_and_one_that_equals_the_web_password_is_that(portal):
    portal.passdb.add(ALICE, WEB)
    portal.passdb.mint(ALICE, APP)
    assert await portal.sign_in.check(ALICE, APP, PEER) is None
    assert type(await portal.mail(APP)) is Accept


@pytest.mark.parametrize("fault", [StoreUnavailable("gone"), PoolBusy("full")])
async def test_a_fault_says_nothing_about_the_password_and_is_no_guess(portal, fault):
    portal.passdb.add(ALICE, WEB)
    portal.passdb.fault = fault if isinstance(fault, StoreUnavailable) else None
    portal.hashes.fault = fault if isinstance(fault, PoolBusy) else None
    for number in range(60):
        with pytest.raises(type(fault)):
            await portal.sign_in.check(ALICE, f"wrong {number}", PEER)
    portal.passdb.fault = portal.hashes.fault = None
    assert await portal.sign_in.check(ALICE, WEB, PEER) == ALICES


async def test_guesses_here_and_by_mail_are_counted_together(portal):
    portal.passdb.add(ALICE, WEB)
    tried = 0
    while await portal.sign_in.check(ALICE, f"wrong {tried}", PEER) is None:
        tried += 1
        assert await portal.mail(f"wrong by mail {tried}") in (Reject(Reason.WRONG_PASSWORD), await portal.mail("x"))
        assert tried < 100
    assert isinstance(await portal.sign_in.check(ALICE, "one more", PEER), float)
    assert type(await portal.mail("one more")) is not Reject


async def test_who_hangs_up_while_it_is_judged_has_guessed(portal):
    portal.passdb.add(ALICE, WEB)
    go = asyncio.Event()
    verify = portal.hashes.verify

    async def slow(record, secret, lane):
        await go.wait()
        return await verify(record, secret, lane)

    portal.hashes.verify = slow
    for number in range(60):
        task = asyncio.ensure_future(portal.sign_in.check(ALICE, f"guess {number}", PEER))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    go.set()
    assert isinstance(await portal.sign_in.check(ALICE, "one more", PEER), float)


async def test_a_password_that_is_changed_while_it_is_judged_is_judged_again(portal):
    portal.passdb.add(ALICE, WEB)
    verify = portal.hashes.verify

    async def meanwhile(record, secret, lane):
        outcome = await verify(record, secret, lane)
        if len(portal.hashes.lanes) == 1:
            portal.passdb.accounts[ALICE] = portal.passdb.accounts[ALICE]._replace(web_record="plain:another")
            await portal.sessions.apply([Change(1, "web-password-changed", account_id=1)])
        return outcome

    portal.hashes.verify = meanwhile
    assert await portal.sign_in.check(ALICE, WEB, PEER) is None


async def test_a_guesser_cannot_lock_the_owner_out_of_the_portal(portal):
    portal.passdb.add(ALICE, WEB)
    assert await portal.sign_in.check(ALICE, WEB, PEER, "this browser") == ALICES
    portal.verifier.matching._proofs._proven.clear()  # as after a restart
    for number in range(400):
        await portal.sign_in.check(ALICE, f"guess {number}", f"198.51.{number % 200}.{number % 250}")
    assert isinstance(await portal.sign_in.check(ALICE, WEB, "203.0.113.5"), float)
    assert await portal.sign_in.check(ALICE, WEB, "203.0.113.5", "this browser") == ALICES
