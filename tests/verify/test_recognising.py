"""Looking whether a refused program sends the web password: rarely, later, and for nobody but the owner."""

from __future__ import annotations

import asyncio

import pytest

from doubles import MemoryPassdb, PlainHashes
from mailauth.attempt import Attempt, Credential, Service
from mailauth.interfaces import Lane, PoolBusy
from mailauth.verify.recognising import Recognising

WEB = "correct horse"


class Owner:
    """Counts the looks, and hears what came of them."""

    def __init__(self) -> None:
        self.now, self.hashes, self.told = 0.0, PlainHashes(), []
        self.account = MemoryPassdb().add("alice@example.test", WEB, mode_on=True)
        self.looking = Recognising(self.hashes, self.note, later_s=0.0, clock=lambda: self.now)

    async def note(self, account_id, attempt, is_web):
        self.told.append((account_id, attempt, is_web))

    async def refused(self, password=WEB, guess=1, peer="192.0.2.1", times=1, every_s=0.0, account=None):
        attempt = Attempt(Credential("alice@example.test", password), Service.IMAP, peer, True, "Foxmail")
        for _ in range(times):
            self.looking.refused(attempt, account or self.account, guess)
            self.now += every_s
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.mark.parametrize(("password", "is_web"), [(WEB, True), ("something else", False)])
async def test_what_comes_again_and_again_for_an_hour_is_looked_at_once(password, is_web):
    owner = Owner()
    await owner.refused(password, times=20, every_s=300.0)
    ((account_id, attempt, told),) = owner.told
    assert (account_id, told, attempt.client) == (1, is_web, "Foxmail")
    assert attempt.credential.secret == b""
    assert owner.hashes.lanes == [Lane.LAST]


@pytest.mark.parametrize(
    "how",
    [
        {"times": 2, "every_s": 4000.0},  # too seldom
        {"times": 50, "every_s": 10.0},  # too quickly
    ],
)
async def test_what_looks_like_guessing_is_not_looked_at(how):
    owner = Owner()
    await owner.refused(**how)
    assert not owner.hashes.lanes


async def test_other_secrets_and_other_sources_count_for_themselves():
    owner = Owner()
    for number in range(20):
        await owner.refused(guess=number, every_s=600.0)
        await owner.refused(peer=f"192.0.2.{number + 9}", every_s=600.0)
    assert not owner.hashes.lanes


async def test_an_account_is_looked_at_once_a_day():
    owner = Owner()
    for guess in range(5):
        await owner.refused(guess=guess, times=4, every_s=1300.0)
    assert len(owner.told) == 1
    owner.now += 86400.0
    await owner.refused(guess=9, times=4, every_s=1300.0)
    assert len(owner.told) == 2


async def test_a_full_queue_means_some_other_time():
    owner = Owner()
    owner.hashes.fault = PoolBusy("full")
    await owner.refused(times=4, every_s=1300.0)
    owner.hashes.fault = None
    await owner.refused(every_s=1300.0)
    assert [told for _, _, told in owner.told] == [True]


async def test_an_account_without_a_web_password_has_nothing_to_compare():
    owner = Owner()
    await owner.refused(times=9, every_s=1300.0, account=MemoryPassdb().add("bob@example.test"))
    assert not owner.hashes.lanes


async def test_what_waits_is_given_up_at_the_end_and_memory_is_bounded(monkeypatch):
    owner = Owner()
    owner.looking = Recognising(owner.hashes, owner.note, later_s=1e6, clock=lambda: owner.now)
    await owner.refused(times=4, every_s=1300.0)
    await owner.looking.close()
    assert not owner.told
    monkeypatch.setattr("mailauth.verify.recognising.MAX_REMEMBERED", 10)
    for number in range(100):
        await owner.refused(guess=number)
    assert len(owner.looking._seen) == 10
