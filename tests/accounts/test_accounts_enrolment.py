"""Enrolling, removing and resetting second factors."""

import dataclasses

import pytest

from keyrings import put_in_use, with_another
from mailauth.accounts import bindings, enrolment, freshproof, portalsessions, proving, secondfactor, vouchers
from mailauth.accounts.changes import AccountChange, PolicyChange
from mailauth.accounts.enrolment import Bound
from mailauth.accounts.finding import locked_account_row
from mailauth.accounts.freshproof import Act, NotProven
from mailauth.accounts.history import audit
from mailauth.accounts.mailboxes import set_account, show_account
from mailauth.accounts.portalsessions import SignedOut, Stage
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.signin import SignedIn
from mailauth.accounts.site import set_site
from mailauth.accounts.steps import Errand, Question, Refusal, Wait
from mailauth.accounts.unit import changing
from mailauth.factors.message import Busy
from mailauth.store.upkeep import DAY_S
from portal_people import ALICE, NOW, PEER, ROOT, Gateway, all_at_once, means_of, person, run

SENT: dict = {}


@pytest.fixture
def gateway():
    return Gateway()


@pytest.fixture
def means(store, ring, gateway):
    return means_of(store, ring, gateway)


@pytest.fixture
def alice(means):
    return person(means)


def demand(store, on=True, at=NOW, login=ALICE):
    set_account(store, login, AccountChange(two_factor=on), **ROOT, now=at)


def issue(store, kind=vouchers.Kind.ENROLMENT, now=NOW, login=ALICE):
    with changing(store, "portal:root@example.test", now) as unit:
        return vouchers.issue(unit, locked_account_row(unit, login), kind).code


def reset(store, now=NOW, login=ALICE):
    with changing(store, "cli:root", now) as unit:
        return bindings.reset(unit, locked_account_row(unit, login))


def kinds(store, login=ALICE):
    return [row.kind for row in audit(store, login)]


def told(database, person):
    return [
        kind for (kind,) in database.run(f"SELECT kind FROM notices WHERE account_id = {person.account_id} ORDER BY id")
    ]


def test_the_first_factor_takes_the_web_password_and_switches_the_mode_on(database, means, store, alice):
    alice.begin()
    token = enrolment.ask(means, alice.session, "totp", now=NOW)
    action = freshproof.action(means, alice.session, token, now=NOW)
    assert (action.ways, action.needs_password) == ((freshproof.WEB_PASSWORD,), False)
    bound = alice.enrol_totp()
    assert bound == Bound("totp", None, False, True)
    assert alice.session.mode_on and alice.session.has_factor and alice.session.ever_had_factor
    (view,) = secondfactor.bound(means, alice.session, now=alice.now)
    assert (view.kind, view.is_offered, view.is_alone, view.last_used_at) == ("totp", True, True, None)
    assert [(part.id, part.name) for part in view.parts] == [("", "Phone")]
    assert kinds(store)[-2:] == ["factor-added", "mode-on"]
    assert told(database, alice) == ["factor-added", "mode-on"]
    ((state, key_ids),) = database.run("SELECT state, key_ids FROM factors")
    assert alice.secret not in state and key_ids == " 1 "


def test_the_mode_stays_where_a_setting_says_so(store, ring):
    alice = person(means_of(store, ring, two_factor_sets_mode=False))
    alice.begin()
    assert alice.enrol_totp().turned_on is False
    assert show_account(store, ALICE).mode == "off"


def test_confirming_and_the_mode_are_one_change(means, store, alice, monkeypatch):
    alice.begin()
    monkeypatch.setattr(enrolment, "end_all", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        alice.enrol_totp()
    monkeypatch.undo()
    assert not alice.session.has_factor and not alice.session.mode_on
    assert not alice.session.ever_had_factor


def test_a_wrong_code_enrols_nothing_and_leaves_the_question_open(means, alice):
    alice.begin()
    token = enrolment.ask(means, alice.session, "totp", now=NOW)
    alice.prove(token)
    begun = enrolment.begin(means, alice.session, "totp", {}, token=token, now=NOW)
    for code, reason in (("000000", "wrong"), ("12", "malformed"), ("", "malformed")):
        outcome = enrolment.confirm(means, alice.session, "totp", {"code": code}, question_id=begun.id, now=NOW)
        assert isinstance(outcome, Refusal) and outcome.reason in {reason, "clock", "used"}
    assert enrolment.question(means, alice.session, "totp", begun.id, now=NOW)["secret"]
    assert not alice.session.has_factor


def test_nobody_who_is_in_enrols_without_proof_and_a_proof_is_for_one(means, alice):
    alice.begin()
    with pytest.raises(NotProven):
        enrolment.begin(means, alice.session, "totp", {}, now=NOW)
    with pytest.raises(NotProven):
        enrolment.begin(means, alice.session, "totp", {}, question_id="made-up", now=NOW)
    token = enrolment.ask(means, alice.session, "totp", now=NOW)
    with pytest.raises(NotProven):
        enrolment.begin(means, alice.session, "totp", {}, token=token, now=NOW)
    alice.prove(token)
    with pytest.raises(NotProven):
        enrolment.begin(means, alice.session, "wechat", {}, token=token, now=NOW)
    assert isinstance(enrolment.begin(means, alice.session, "totp", {}, token=token, now=NOW), Question)
    with pytest.raises(NotProven):
        enrolment.begin(means, alice.session, "totp", {}, token=token, now=NOW)


def test_an_enrolment_is_confirmed_once_though_asked_twenty_times_at_once(means, store, alice):
    alice.begin()
    token = alice.proven(Act.FACTOR_ADD, {"factor": "totp"})
    begun = enrolment.begin(means, alice.session, "totp", {}, token=token, now=alice.now)
    shown = enrolment.question(means, alice.session, "totp", begun.id, now=alice.now)
    alice.secret = shown["secret"].replace(" ", "")
    given, session = {"code": alice.code()}, alice.session
    results = all_at_once(
        [lambda: enrolment.confirm(means, session, "totp", given, question_id=begun.id, now=alice.now)] * 20
    )
    assert sum(isinstance(result, Bound) for result in results) == 1
    assert {result.reason for result in results if isinstance(result, Refusal)} == {"nothing-asked"}
    assert kinds(store).count("factor-added") == 1
    with pytest.raises(NoSuch):
        enrolment.question(means, alice.session, "totp", begun.id, now=alice.now)


def test_adding_a_second_one_takes_the_web_password_and_the_first(means, alice):
    alice.begin()
    alice.enrol_totp()
    token = enrolment.ask(means, alice.session, "wechat", now=alice.now)
    action = freshproof.action(means, alice.session, token, now=alice.now)
    assert (action.ways, action.needs_password, action.is_proven) == (("totp",), True, False)
    assert proving.check(means, alice.session, token, "totp", {"code": alice.code()}, now=alice.now) == proving.Proven(
        True
    )
    with pytest.raises(NotProven):
        enrolment.begin(means, alice.session, "wechat", {}, token=token, now=alice.now)
    assert proving.prove_by_password(means, alice.session, token, alice.match, now=alice.now) == proving.Proven(False)
    assert isinstance(enrolment.begin(means, alice.session, "wechat", {}, token=token, now=alice.now), Question)


def test_a_new_factor_signs_everybody_else_out_and_ends_every_open_proof(means, alice):
    alice.begin()
    other = alice.token
    alice.begin()
    token = alice.proven(Act.APP_PASSWORD, {})
    alice.enrol_totp()
    assert portalsessions.find(means, other, now=alice.now) is None
    with pytest.raises(NoSuch):
        freshproof.action(means, alice.session, token, now=alice.now)


def test_a_demanded_factor_is_enrolled_before_anything_else(means, store, alice):
    demand(store)
    assert alice.begin().stage is Stage.ENROL
    assert enrolment.ends_at(means, alice.session, now=NOW) == NOW + 14 * DAY_S
    with pytest.raises(SignedOut):
        enrolment.ask(means, alice.session, "totp", now=NOW)
    with pytest.raises(Refused):
        enrolment.begin(means, alice.session, "recovery-codes", {}, now=NOW)
    before = alice.token
    bound = alice.enrol_totp()
    assert isinstance(bound.signed_in, SignedIn) and bound.turned_on
    assert alice.stage is Stage.IN and alice.session.factor == "totp"
    assert portalsessions.find(means, before, now=alice.now) is None
    rows = [row.detail for row in audit(store, ALICE) if row.kind == "sign-in"]
    assert rows == ["web password and totp"]


@pytest.mark.parametrize("level", ["account", "site"])
def test_after_two_weeks_it_takes_a_code_of_an_administrator(means, store, alice, level):
    if level == "site":
        set_site(store, PolicyChange(two_factor=True), **ROOT, now=NOW)
    else:
        demand(store)
    alice.now = NOW + 14 * DAY_S - 1
    assert alice.begin().stage is Stage.ENROL
    alice.now += 2
    session = alice.begin()
    assert session.stage is Stage.CODE
    with pytest.raises(SignedOut):
        enrolment.begin(means, session, "totp", {}, now=alice.now)
    code, other = issue(store, now=alice.now), issue(store, vouchers.Kind.PASSWORD_RESET, now=alice.now)
    for wrong in ("", "abcdef", other, code[:-1], code + "a"):
        assert not enrolment.admit(means, session, wrong, now=alice.now)
    assert enrolment.admit(means, session, f" {code.upper().replace('-', ' ')} ", now=alice.now)
    assert alice.stage is Stage.ENROL
    assert "enrolment-code-used" in kinds(store)
    again = alice.begin()
    assert again.stage is Stage.CODE and not enrolment.admit(means, again, code, now=alice.now)


def test_a_code_is_good_for_one_account_and_for_one_of_many_who_use_it_at_once(means, store, alice):
    bob = person(means, "bob@example.test")
    for login in (ALICE, bob.login):
        demand(store, login=login)
    alice.now = bob.now = NOW + 15 * DAY_S
    code = issue(store, now=alice.now)
    assert not enrolment.admit(means, bob.begin(), code, now=bob.now)
    sessions = [alice.begin() for _ in range(10)]
    results = all_at_once([lambda s=s: enrolment.admit(means, s, code, now=alice.now) for s in sessions])
    assert sorted(results) == [False] * 9 + [True]


def test_a_new_code_kills_the_old_and_each_has_its_end(means, store, alice):
    demand(store)
    alice.now = NOW + 15 * DAY_S
    first, second = issue(store, now=alice.now), issue(store, now=alice.now)
    session = alice.begin()
    assert not enrolment.admit(means, session, first, now=alice.now)
    alice.now += 3 * DAY_S
    session = alice.begin()
    assert not enrolment.admit(means, session, second, now=alice.now)


def test_a_new_account_has_its_own_two_weeks(means, store, alice):
    demand(store, at=NOW - 100 * DAY_S)
    assert alice.begin().stage is Stage.ENROL
    assert enrolment.ends_at(means, alice.session, now=NOW) == NOW + 13 * DAY_S  # it was made a day ago


def test_a_demand_that_begins_while_somebody_is_in_leaves_him_the_enrolment_only(means, store, alice):
    before = alice.begin()
    demand(store)
    assert alice.stage is Stage.ENROL
    with pytest.raises(SignedOut):
        portalsessions.end_others(means, before, now=NOW)
    alice.enrol_totp()
    assert alice.stage is Stage.IN
    demand(store, False)
    demand(store, at=alice.now)
    assert alice.stage is Stage.IN


def test_a_demand_of_later_demands_nothing_yet(means, store, alice):
    set_account(store, ALICE, AccountChange(two_factor=True, enforce_from=NOW + 10), **ROOT, now=NOW)
    assert alice.begin().stage is Stage.IN
    assert enrolment.ends_at(means, alice.session, now=NOW) is None
    alice.now += 10
    assert alice.stage is Stage.ENROL


# --- text messages: what goes out, and how often ----------------------------------------------------------------------


def enrol_sms(alice, gateway, number="13800138000"):
    means = alice.means
    token = None
    if alice.session.stage is Stage.IN:
        token = enrolment.ask(means, alice.session, "sms", now=alice.now)
        alice.prove(token)
    begun = run(enrolment.begin(means, alice.session, "sms", {"number": number}, token=token, now=alice.now), SENT)
    assert isinstance(begun, Question), begun
    return run(
        enrolment.confirm(means, alice.session, "sms", {"code": gateway.code}, question_id=begun.id, now=alice.now)
    )


def test_a_number_is_bound_by_the_code_that_was_sent_to_it(database, means, alice, gateway):
    alice.begin()
    assert enrol_sms(alice, gateway).kind == "sms"
    (view,) = secondfactor.bound(means, alice.session, now=alice.now)
    assert view.parts[0].detail == "138****8000"
    assert "13800138000" not in str(database.run("SELECT * FROM factors"))
    assert "13800138000" not in str(database.run("SELECT * FROM tallies"))


def test_nothing_is_sent_before_what_was_asked_is_written(means, alice, gateway, database):
    alice.begin()
    enrol_sms(alice, gateway)
    alice.now += 100
    session = alice.begin()
    sent = len(gateway.messages)
    outcome = secondfactor.challenge(means, session, "sms", language="zh", now=alice.now)
    assert isinstance(outcome, Errand) and len(gateway.messages) == sent + 1
    assert gateway.messages[-1].language == "zh" and gateway.messages[-1].to == "+8613800138000"
    assert "13800138000" not in repr(outcome)
    assert '"sent_at":' in database.run("SELECT state FROM factors")[0][0]
    assert isinstance(outcome.then(None), Question)
    given = {"code": gateway.code}
    assert isinstance(secondfactor.check(means, session, "sms", given, now=alice.now), SignedIn)


def test_a_code_belongs_to_the_session_and_the_purpose_that_it_was_sent_for(means, alice, gateway):
    alice.begin()
    enrol_sms(alice, gateway)
    alice.now += 100
    first, second = alice.begin(), alice.begin()
    run(secondfactor.challenge(means, first, "sms", now=alice.now), SENT)
    code = {"code": gateway.code}
    outcome = secondfactor.check(means, second, "sms", code, now=alice.now)
    assert isinstance(outcome, Refusal) and outcome.reason == "elsewhere"
    signed = secondfactor.check(means, first, "sms", code, now=alice.now)
    alice.token = signed.token
    token = freshproof.begin(means, alice.session, Act.APP_PASSWORD, {}, now=alice.now)
    outcome = proving.check(means, alice.session, token, "sms", code, now=alice.now)
    assert isinstance(outcome, Refusal) and outcome.reason == "nothing-asked"


def test_messages_are_limited_in_all_sessions_together_and_a_refused_one_costs_nothing(database, means, alice, gateway):
    alice.begin()
    enrol_sms(alice, gateway)
    alice.now += 100
    sessions = [alice.begin() for _ in range(10)]
    results = all_at_once([lambda s=s: secondfactor.challenge(means, s, "sms", now=alice.now) for s in sessions])
    assert sum(isinstance(result, Errand) for result in results) == 1
    waits = [result for result in results if isinstance(result, Wait)]
    assert len(waits) == 9 and {wait.why for wait in waits} == {"resend"}
    assert all(0 < wait.retry_after_s <= 60 for wait in waits)
    ((total,),) = database.run("SELECT count FROM tallies WHERE subject = 'sms-day-all'")
    assert total == 2  # with the one of the enrolment


def test_a_gateway_that_does_not_answer_leaves_the_code_valid(means, alice, gateway, monkeypatch):
    alice.begin()
    enrol_sms(alice, gateway)
    alice.now += 100
    session = alice.begin()
    monkeypatch.setattr(gateway, "read", lambda answer: Busy("none", 30.0))
    outcome = run(secondfactor.challenge(means, session, "sms", now=alice.now), None)
    assert isinstance(outcome, Wait) and (outcome.why, outcome.detail) == ("provider", "none")
    assert isinstance(secondfactor.check(means, session, "sms", {"code": gateway.code}, now=alice.now), SignedIn)


def test_another_number_or_code_takes_no_new_proof_but_the_open_enrolment(means, alice, gateway):
    alice.begin()
    token = alice.proven(Act.FACTOR_ADD, {"factor": "sms"})
    ask = {"token": token, "now": alice.now}
    first = run(enrolment.begin(means, alice.session, "sms", {"number": "13800138000"}, **ask), SENT)
    again = {"question_id": first.id, "now": alice.now}
    typo = enrolment.begin(means, alice.session, "sms", {"number": "no number"}, **again)
    assert isinstance(typo, Refusal) and typo.reason == "not-a-number"
    assert isinstance(enrolment.begin(means, alice.session, "sms", {"number": "13800138000"}, **again), Wait)
    second = run(enrolment.begin(means, alice.session, "sms", {"number": "13900139000"}, **again), SENT)
    assert second.id != first.id
    with pytest.raises(NotProven):
        enrolment.begin(means, alice.session, "sms", {"number": "13700137000"}, **again)
    with pytest.raises(NoSuch):
        enrolment.question(means, alice.session, "sms", first.id, now=alice.now)
    done = enrolment.confirm(means, alice.session, "sms", {"code": gateway.code}, question_id=second.id, now=alice.now)
    assert isinstance(done, Bound)


# --- providers: whom one identity serves -----------------------------------------------------------------------------

WHO = {"openid": "o1", "unionid": "u1 of Alice", "access_token": "t"}


def enrol_wechat(person, who=WHO):
    means = person.means
    token = enrolment.ask(means, person.session, "wechat", now=person.now)
    person.prove(token)
    begun = enrolment.begin(means, person.session, "wechat", {"name": "Mine"}, token=token, now=person.now)
    back = {"state": begun.id, "code": "c1"}
    return run(enrolment.confirm(means, person.session, "wechat", back, question_id=begun.id, now=person.now), who)


def test_an_identity_serves_one_account_until_it_is_let_go(database, means, alice):
    bob = person(means, "bob@example.test")
    alice.begin()
    bob.begin()
    assert isinstance(enrol_wechat(alice), Bound)
    refused = enrol_wechat(bob)
    assert isinstance(refused, Refusal) and refused.reason == "claimed"
    assert not bob.session.has_factor
    refused = enrol_wechat(bob, WHO | {"openid": "o2"})  # the same person in another app
    assert isinstance(refused, Refusal) and refused.reason == "claimed"
    assert "u1 of Alice" not in str(database.run("SELECT * FROM factor_claims"))
    reset(means.store, now=alice.now)
    assert database.run("SELECT * FROM factor_claims") == []
    assert isinstance(enrol_wechat(bob), Bound)


def test_an_identity_that_two_bind_at_once_serves_one(means, alice):
    bob = person(means, "bob@example.test")
    ends = []
    for who in (alice, bob):
        who.begin()
        token = enrolment.ask(means, who.session, "wechat", now=who.now)
        who.prove(token)
        begun = enrolment.begin(means, who.session, "wechat", {}, token=token, now=who.now)
        errand = enrolment.confirm(
            means, who.session, "wechat", {"state": begun.id, "code": "c"}, question_id=begun.id, now=who.now
        )
        ends.append(lambda errand=errand: run(errand, WHO))
    results = all_at_once(ends)
    assert sum(isinstance(result, Bound) for result in results) == 1
    (other,) = [result for result in results if not isinstance(result, Bound)]
    assert isinstance(other, Refusal) and other.reason in {"claimed", "expired"}


def test_a_way_back_is_judged_once(means, alice):
    alice.begin()
    token = enrolment.ask(means, alice.session, "wechat", now=alice.now)
    alice.prove(token)
    begun = enrolment.begin(means, alice.session, "wechat", {}, token=token, now=alice.now)
    back = {"state": begun.id, "code": "c"}
    again = {"question_id": begun.id, "now": alice.now}
    errand = enrolment.confirm(means, alice.session, "wechat", back, **again)
    second = enrolment.confirm(means, alice.session, "wechat", back, **again)
    assert isinstance(second, Refusal) and second.reason == "nothing-asked"
    assert isinstance(run(errand, WHO), Bound)


def test_an_answer_that_comes_when_the_session_has_ended_binds_nothing(means, alice):
    alice.begin()
    token = enrolment.ask(means, alice.session, "wechat", now=alice.now)
    alice.prove(token)
    begun = enrolment.begin(means, alice.session, "wechat", {}, token=token, now=alice.now)
    errand = enrolment.confirm(
        means, alice.session, "wechat", {"state": begun.id, "code": "c"}, question_id=begun.id, now=alice.now
    )
    portalsessions.end(means, alice.session, now=alice.now)
    with pytest.raises(SignedOut):
        run(errand, WHO)
    assert not alice.begin().has_factor


# --- recovery codes --------------------------------------------------------------------------------------------------


def make_codes(alice):
    means = alice.means
    token = enrolment.ask(means, alice.session, "recovery-codes", now=alice.now)
    alice.prove(token)
    begun = enrolment.begin(means, alice.session, "recovery-codes", {}, token=token, now=alice.now)
    codes = enrolment.question(means, alice.session, "recovery-codes", begun.id, now=alice.now)["codes"]
    bound = enrolment.confirm(means, alice.session, "recovery-codes", {}, question_id=begun.id, now=alice.now)
    assert isinstance(bound, Bound)
    return codes


def test_recovery_codes_sign_in_once_each_and_prove_a_new_enrolment_only(database, means, alice):
    alice.begin()
    with pytest.raises(Refused):
        enrolment.ask(means, alice.session, "recovery-codes", now=NOW)
    alice.enrol_totp()
    codes = make_codes(alice)
    session = alice.begin()
    assert secondfactor.ways(means, session, now=alice.now) == ("totp", "recovery-codes")
    results = all_at_once(
        [
            lambda: secondfactor.check(means, session, "recovery-codes", {"code": codes[0]}, now=alice.now),
            lambda: secondfactor.check(means, session, "recovery-codes", {"code": codes[0]}, now=alice.now),
        ]
    )
    (signed,) = [result for result in results if isinstance(result, SignedIn)]
    alice.token = signed.token
    assert told(database, alice)[-2:] == ["recovery-code-used", "new-device"]
    for act in set(Act) - {Act.FACTOR_ADD}:
        token = freshproof.begin(means, alice.session, act, {}, now=alice.now)
        assert "recovery-codes" not in freshproof.action(means, alice.session, token, now=alice.now).ways
        with pytest.raises(proving.NoProof):
            proving.check(means, alice.session, token, "recovery-codes", {"code": codes[1]}, now=alice.now)
    token = enrolment.ask(means, alice.session, "totp", now=alice.now)
    proving.prove_by_password(means, alice.session, token, alice.match, now=alice.now)
    given = {"code": codes[1]}
    assert isinstance(
        proving.check(means, alice.session, token, "recovery-codes", given, now=alice.now), proving.Proven
    )
    begun = enrolment.begin(means, alice.session, "totp", {}, token=token, now=alice.now)
    shown = enrolment.question(means, alice.session, "totp", begun.id, now=alice.now)
    alice.secret = shown["secret"].replace(" ", "")
    bound = enrolment.confirm(means, alice.session, "totp", {"code": alice.code()}, question_id=begun.id, now=alice.now)
    assert bound == Bound("totp", None, True, False)


# --- removing, renaming, resetting -----------------------------------------------------------------------------------


def remove(alice, kind, part=""):
    token = bindings.ask_to_remove(alice.means, alice.session, kind, part, now=alice.now)
    alice.prove(token)
    return bindings.remove(alice.means, alice.session, token, now=alice.now)


def test_the_last_one_goes_with_what_only_helps_out_and_the_mode_stays(database, means, store, alice):
    alice.begin()
    alice.enrol_totp()
    make_codes(alice)
    other = alice.token
    alice.sign_in()
    assert remove(alice, "totp") == "totp"
    assert database.run("SELECT * FROM factors") == []
    assert alice.session.mode_on and not alice.session.has_factor and alice.session.ever_had_factor
    assert portalsessions.find(means, other, now=alice.now) is None
    assert told(database, alice)[-1] == "factor-removed"
    assert alice.begin().stage is Stage.IN


def test_the_last_one_does_not_go_while_one_is_demanded(means, store, alice, gateway):
    alice.begin()
    alice.enrol_totp()
    token = bindings.ask_to_remove(means, alice.session, "totp", now=alice.now)
    alice.prove(token)
    demand(store, at=alice.now)
    with pytest.raises(Refused):
        bindings.remove(means, alice.session, token, now=alice.now)
    with pytest.raises(Refused):
        bindings.ask_to_remove(means, alice.session, "totp", now=alice.now)
    assert alice.session.has_factor
    enrol_sms(alice, gateway)
    assert remove(alice, "totp") == "totp"
    assert [view.kind for view in secondfactor.bound(means, alice.session, now=alice.now)] == ["sms"]


def test_two_that_go_at_once_are_never_both_gone_where_one_is_demanded(means, store, alice, gateway):
    alice.begin()
    alice.enrol_totp()
    enrol_sms(alice, gateway)
    demand(store, at=alice.now)
    tokens = []
    for kind in ("totp", "sms"):
        tokens.append(bindings.ask_to_remove(means, alice.session, kind, now=alice.now))
        alice.prove(tokens[-1])
    session = alice.session
    results = all_at_once([lambda t=t: bindings.remove(means, session, t, now=alice.now) for t in tokens])
    assert sum(isinstance(result, str) for result in results) == 1
    assert alice.session.has_factor


def test_what_is_removed_is_what_was_proven_for(means, alice, gateway):
    alice.begin()
    alice.enrol_totp()
    enrol_sms(alice, gateway)
    token = bindings.ask_to_remove(means, alice.session, "sms", now=alice.now)
    with pytest.raises(NotProven):
        bindings.remove(means, alice.session, token, now=alice.now)
    alice.prove(token)
    with pytest.raises(NotProven):
        bindings.rename(means, alice.session, token, now=alice.now)
    assert bindings.remove(means, alice.session, token, now=alice.now) == "sms"
    with pytest.raises(NotProven):
        bindings.remove(means, alice.session, token, now=alice.now)
    for kind in ("sms", "nothing"):
        with pytest.raises(NoSuch):
            bindings.ask_to_remove(means, alice.session, kind, now=alice.now)
    with pytest.raises(NoSuch):
        bindings.ask_to_remove(means, alice.session, "totp", "no such part", now=alice.now)


def test_a_factor_that_is_offered_no_more_can_be_removed(store, ring, means, alice, gateway):
    alice.begin()
    alice.enrol_totp()
    enrol_sms(alice, gateway)
    del alice.means.factors["sms"]
    views = {view.kind: view.is_offered for view in secondfactor.bound(means, alice.session, now=alice.now)}
    assert views == {"totp": True, "sms": False}
    assert remove(alice, "sms") == "sms"


def test_a_factor_is_called_otherwise_with_proof(database, means, alice):
    alice.begin()
    alice.enrol_totp()
    token = bindings.ask_to_rename(means, alice.session, "totp", "", "Old\nphone", now=alice.now)
    alice.prove(token)
    assert bindings.rename(means, alice.session, token, now=alice.now) == "totp"
    (view,) = secondfactor.bound(means, alice.session, now=alice.now)
    assert view.parts[0].name == "Old phone"
    assert told(database, alice)[-1] == "factor-renamed"


def test_a_reset_forgets_all_factors_and_keeps_the_mode(database, means, store, alice):
    alice.begin()
    alice.enrol_totp()
    make_codes(alice)
    assert sorted(reset(store, alice.now)) == ["recovery-codes", "totp"]
    assert alice.stage is None
    assert database.run("SELECT * FROM devices") == []
    assert show_account(store, ALICE).mode == "on"
    assert told(database, alice)[-1] == "factors-reset"
    session = alice.begin()
    assert session.stage is Stage.IN
    token = enrolment.ask(means, session, "totp", now=alice.now)
    assert freshproof.action(means, session, token, now=alice.now).ways == (freshproof.ENROLMENT_CODE,)
    with pytest.raises(proving.NoProof):
        proving.prove_by_password(means, session, token, alice.match, now=alice.now)
    other = freshproof.begin(means, session, Act.APP_PASSWORD, {}, now=alice.now)
    assert freshproof.action(means, session, other, now=alice.now).ways == ()
    code = issue(store, now=alice.now)
    assert not proving.prove_by_code(means, session, token, "wrong", now=alice.now)
    assert proving.prove_by_code(means, session, token, code, now=alice.now)
    assert isinstance(enrolment.begin(means, session, "totp", {}, token=token, now=alice.now), Question)


def test_a_state_is_put_under_the_newest_key_when_it_is_used(database, store, ring, means, alice):
    alice.begin()
    alice.enrol_totp()
    newer = put_in_use(store, with_another(ring))
    alice.means = dataclasses.replace(means, ring=lambda: newer)
    alice.sign_in()
    assert database.run("SELECT key_ids FROM factors") == [(" 2 ",)]
    assert alice.session.peer == PEER
    ((used_at, peer),) = database.run("SELECT last_used_at, last_used_peer FROM factors")
    assert (used_at, peer) == (alice.now, PEER)
