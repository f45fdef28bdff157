"""Carrying out the steps of second factors: errands, being beaten to it, and the keys that states stand under."""

import asyncio

import pytest

from mailauth.accounts import enrolment, secondfactor, steps
from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.signin import SignedIn
from mailauth.accounts.steps import Errand, Question, Refusal, Wait
from mailauth.accounts.tallies import overdrawn
from mailauth.accounts.unit import changing
from mailauth.factors.factor import Asked, Delay, Later
from mailauth.factors.fetch import Answer, Request
from mailauth.factors.ledger import Cost
from mailauth.factors.message import Refused as NotSent
from mailauth.interfaces import BadRecord, StoreUnavailable
from portal_people import NOW, Gateway, all_at_once, means_of, person


@pytest.fixture
def gateway():
    return Gateway()


@pytest.fixture
def means(store, ring, gateway):
    return means_of(store, ring, gateway)


@pytest.fixture
def alice(means):
    alice = person(means)
    alice.begin()
    alice.enrol_totp()
    return alice


async def test_errands_are_run_in_the_loop_and_steps_in_threads():
    loop, asked = asyncio.get_running_loop(), []

    def step():
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return Errand(
            Request("GET", "https://a.test"), lambda first: Errand(Request("GET", "https://b.test"), done(first))
        )

    def done(first):
        return lambda second: SignedIn(f"{first.status} {second}", "in")

    async def send(request):
        assert asyncio.get_running_loop() is loop
        asked.append(request.url)
        return Answer(200) if len(asked) == 1 else None

    outcome = await steps.settled(step, send)
    assert outcome == SignedIn("200 None", "in") and asked == ["https://a.test", "https://b.test"]
    assert await steps.settled(lambda: Question("x"), send) == Question("x")


def test_who_is_beaten_asks_again_and_not_for_ever(means, store, alice, monkeypatch):
    session, given = alice.begin(), {"code": alice.code()}
    real, beaten = steps._read, []

    def read(tx, *place):
        found = real(tx, *place)
        if len(beaten) < 3:
            beaten.append(1)
            return found._replace(state=found.state.replace('"last_step":', '"last_step": '))
        return found

    monkeypatch.setattr(steps, "_read", read)
    assert isinstance(secondfactor.check(means, session, "totp", given, now=alice.now), SignedIn)
    assert beaten
    monkeypatch.undo()
    session, given = alice.begin(), {"code": alice.code()}
    monkeypatch.setattr(steps, "MOST_ROUNDS", 3)
    monkeypatch.setattr(steps.factorrows, "replace_state", lambda *_: False)
    with pytest.raises(StoreUnavailable):
        secondfactor.check(means, session, "totp", given, now=alice.now)


def test_an_answer_that_comes_after_a_newer_question_does_not_count(means, alice, gateway):
    token = enrolment.ask(means, alice.session, "sms", now=alice.now)
    alice.prove(token)
    errand = enrolment.begin(means, alice.session, "sms", {"number": "13800138000"}, token=token, now=alice.now)
    gateway.read = lambda answer: NotSent("no such number")
    with changing(means.store, "x", alice.now) as unit:
        unit.tx.write("DELETE FROM questions")
    outcome = errand.then(Answer(200))
    assert isinstance(outcome, Refusal) and outcome.reason == "expired"


def test_a_state_that_cannot_be_read_is_a_fault_and_no_wrong_code(database, means, alice):
    session = alice.begin()
    database.run("UPDATE factors SET state = '{}'")
    with pytest.raises(BadRecord):
        secondfactor.check(means, session, "totp", {"code": "123456"}, now=alice.now)
    with pytest.raises(NoSuch):
        secondfactor.check(means, session, "wechat", {"code": "1"}, now=alice.now)
    with pytest.raises(NoSuch):
        secondfactor.check(means, session, "no-such-factor", {"code": "1"}, now=alice.now)


def test_costs_are_charged_together_or_not_at_all(store):
    def charge(*subjects, now=NOW):
        costs = [Cost(subject, 2, 100.0, Delay.SENDS) for subject in subjects]
        with changing(store, "x", now) as unit:
            return overdrawn(unit, costs)

    results = all_at_once([lambda: charge("b", "a")] * 8)
    assert sum(result is None for result in results) == 2
    assert {result.retry_after_s for result in results if result is not None} == {100.0}
    assert charge("a", "c").subject == "a"
    assert charge("c", "c") is None
    assert charge("c", now=NOW + 99.0) is not None
    assert charge("c", now=NOW + 100.0) is None


def test_a_step_that_changes_nothing_writes_nothing(database, means, alice, monkeypatch):
    session = alice.begin()
    monkeypatch.setattr(steps, "changing", None)
    outcome = secondfactor.check(means, session, "totp", {"code": "12"}, now=alice.now)
    assert outcome == Refusal("malformed")
    assert secondfactor.challenge(means, session, "totp", now=alice.now) == Question("")
    factor = means.factors["totp"]
    later = Later(Delay.TRIES, 5.0, None, None, "x")
    assert steps._outcome(later, "") == Wait("tries", 5.0, "x") and factor.name == "totp"
    assert steps._outcome(Asked(None, None), "q") == Question("q")
