"""Logins that somebody else judges: the limits on guesses hold, the record is kept, and nobody gets in by it."""

from __future__ import annotations

import pytest

from doubles import MemoryPassdb
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import Events, LoginJudged
from mailauth.guessing import ACCOUNT, SOURCE
from mailauth.interfaces import BadRecord, StoreUnavailable
from mailauth.verdict import Accept, Cause, Defer, Reason, Reject
from mailauth.verify import reported
from mailauth.verify.reported import ReportedLogins
from mailauth.verify.throttle import GuessThrottle

ALICE, STRANGER = "alice@example.test", "bob@example.org"
HERE, THERE = "203.0.113.9", "198.51.100.7"


class Site:
    """One with an account of alice's. now: monotonic seconds."""

    def __init__(self, *, throttled: bool = True) -> None:
        self.now = 1000.0
        self.passdb = MemoryPassdb()
        self.hers = self.passdb.add(ALICE).id
        self.told: list[LoginJudged] = []
        events = Events()
        events.subscribe(self.told.append)
        throttle = GuessThrottle(clock=lambda: self.now) if throttled else None
        self.logins = ReportedLogins(self.passdb, throttle, events)

    def wait_s(self, login: str = ALICE, shown: str = "0e77", peer: str = HERE) -> float:
        return self.logins.wait_s(attempt(login, shown, peer))

    async def note(
        self, accepted: bool | None, login: str = ALICE, shown: str = "0e77", peer: str = HERE
    ) -> LoginJudged:
        self.logins.note(attempt(login, shown, peer), accepted)
        await self.logins.close()
        return self.told[-1]

    async def guess(self, count: int, **where: str) -> None:
        for number in range(count):
            await self.note(False, shown=f"{number:04x}", **where)


def attempt(login: str, shown: str, peer: str) -> Attempt:
    return Attempt(Credential(login, shown), Service.IMAP, peer, True, "k-9")


async def test_a_source_that_guesses_has_to_wait_and_time_heals() -> None:
    site = Site()
    await site.guess(SOURCE.guesses)
    assert site.wait_s(shown="new") == pytest.approx(SOURCE.refill_s)
    assert site.wait_s(shown="new", peer=THERE) == 0
    site.now += SOURCE.refill_s
    assert site.wait_s(shown="new") == 0


async def test_asking_counts_nothing() -> None:
    site = Site()
    for number in range(10 * SOURCE.guesses):
        assert site.wait_s(shown=f"{number:04x}") == 0
    assert not site.told


async def test_a_device_that_repeats_itself_is_one_guess() -> None:
    site = Site()
    for _ in range(10 * SOURCE.guesses):
        await site.note(False)
    assert site.wait_s(shown="new") == 0


async def test_secrets_that_are_not_told_apart_are_each_a_guess() -> None:
    """Or somebody whose Dovecot tells no hash could guess for ever."""
    site = Site()
    for _ in range(SOURCE.guesses):
        await site.note(False, shown="")
    assert site.wait_s(shown="") > 0


async def test_an_account_is_not_guessed_at_from_everywhere() -> None:
    site = Site()
    for number in range(ACCOUNT.guesses):
        await site.note(False, shown=f"{number:04x}", peer=f"10.{number}.0.1")
    assert site.wait_s(shown="new", peer=THERE) > 0
    assert site.wait_s(STRANGER, shown="new", peer=THERE) == 0


async def test_where_somebody_got_in_lately_a_reserve_is_left() -> None:
    site = Site()
    await site.note(True)
    for number in range(ACCOUNT.guesses):
        await site.note(False, shown=f"{number:04x}", peer=f"10.{number}.0.1")
    assert site.wait_s(shown="new", peer=THERE) > 0
    assert site.wait_s(shown="new", peer=HERE) == 0


@pytest.mark.parametrize("accepted", [True, None])
async def test_what_was_right_or_not_judged_is_no_guess(accepted: bool | None) -> None:
    site = Site()
    for number in range(2 * SOURCE.guesses):
        await site.note(accepted, shown=f"{number:04x}")
    assert site.wait_s(shown="new") == 0


@pytest.mark.parametrize(
    ("accepted", "outcome"),
    [(False, Reject(Reason.WRONG_PASSWORD)), (None, Defer(Cause.THROTTLED))],
)
async def test_what_came_of_it_is_told(accepted: bool | None, outcome: Reject | Defer) -> None:
    site = Site()
    event = await site.note(accepted, "Alice@Example.test")
    assert (event.outcome, event.login, event.account_id) == (outcome, ALICE, site.hers)
    assert (event.attempt.peer, event.attempt.client) == (HERE, "k-9")


async def test_who_got_in_is_told_as_by_a_password_that_is_no_app_password() -> None:
    site = Site()
    event = await site.note(True)
    assert isinstance(event.outcome, Accept)
    assert (event.outcome.principal.account_id, event.outcome.principal.credential_id) == (site.hers, None)
    event = await site.note(True, STRANGER)
    assert isinstance(event.outcome, Accept)
    assert (event.login, event.account_id) == (STRANGER, None)


@pytest.mark.parametrize("accepted", [True, False, None])
async def test_no_event_holds_what_was_shown(accepted: bool | None) -> None:
    event = await Site().note(accepted, shown="0e77")
    assert "0e77" not in f"{event!r} {event.attempt.credential.password}"


@pytest.mark.parametrize("fault", [StoreUnavailable("away"), BadRecord("unreadable")])
async def test_with_the_store_away_a_source_is_counted_all_the_same(fault: Exception) -> None:
    site = Site()
    site.passdb.fault = fault
    await site.guess(SOURCE.guesses)
    assert site.wait_s(shown="new") > 0
    assert {event.account_id for event in site.told} == {None}
    site.passdb.fault = None
    assert (await site.note(False, peer=THERE)).account_id == site.hers


@pytest.mark.parametrize("login", ["", "no address", "a@b\r\nc", "\udcff@example.test"])
async def test_a_name_that_is_none_is_counted_by_its_source(login: str) -> None:
    site = Site()
    await site.guess(SOURCE.guesses, login=login)
    assert site.wait_s(login, shown="new") > 0
    assert {(event.login, event.account_id) for event in site.told} == {(None, None)}


async def test_an_account_is_looked_up_once_and_not_all_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reported, "MOST_ACCOUNTS", 1)
    site = Site()
    site.passdb.add(STRANGER)
    for login, lookups in [(ALICE, 1), (ALICE, 1), (STRANGER, 2), (STRANGER, 2), (ALICE, 3)]:
        await site.note(True, login)
        assert site.passdb.lookups == lookups


async def test_where_nobody_is_slowed_down_all_is_told_still() -> None:
    site = Site(throttled=False)
    await site.guess(10 * SOURCE.guesses)
    assert site.wait_s(shown="new") == 0
    assert len(site.told) == 10 * SOURCE.guesses
    assert isinstance((await site.note(True)).outcome, Accept)
