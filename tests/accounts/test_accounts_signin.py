"""Signing in at the portal, its sessions, and the second factor."""

import json
import subprocess
import sys

import pytest

from mailauth.accounts import freshproof, portalsessions, secondfactor, signin
from mailauth.accounts.changes import AccountChange, DomainChange
from mailauth.accounts.clientpasswords import delete, listed, turn_on
from mailauth.accounts.domains import set_domain
from mailauth.accounts.freshproof import Act
from mailauth.accounts.history import audit
from mailauth.accounts.mailboxes import set_account, set_web_password
from mailauth.accounts.portalsessions import SignedOut, Stage
from mailauth.accounts.steps import Refusal, Wait
from mailauth.interfaces import WebMatch
from portal_people import ALICE, NOW, PEER, ROOT, all_at_once, knows_device, means_of, person


@pytest.fixture
def means(store, ring):
    return means_of(store, ring)


@pytest.fixture
def alice(means):
    return person(means)


def notices(database, account_id):
    return [kind for (kind,) in database.run(f"SELECT kind FROM notices WHERE account_id = {account_id} ORDER BY id")]


def test_a_web_password_alone_is_enough_where_nothing_more_is_asked_for(means, alice):
    session = alice.begin()
    assert (session.stage, session.login, session.role, session.administers) == (Stage.IN, ALICE, "user", False)
    assert (session.mode_on, session.locked_by, session.demanded, session.has_factor) == (False, "", False, False)
    assert (session.since, session.ends_at, session.peer, session.agent) == (NOW, NOW + 43200, PEER, "Firefox")
    (row,) = [row for row in audit(means.store, ALICE) if row.kind == "sign-in"]
    assert (row.actor, row.service, row.peer, row.outcome) == (f"portal:{ALICE}", "portal", PEER, "accept")
    assert (row.detail, row.client) == ("web password", "Firefox")


def test_no_token_opens_anything_but_the_one_that_was_given(database, means, alice):
    alice.begin()
    for wrong in ("", "x", alice.session.id, alice.token + "x", alice.token.lower(), "\udcff", "a" * 5000):
        assert portalsessions.find(means, wrong, now=NOW) is None
    ((stored,),) = database.run("SELECT id FROM portal_sessions")
    assert stored == alice.session.id
    assert alice.token not in str(database.run("SELECT * FROM portal_sessions"))
    assert "csrf" not in repr(alice.session) or alice.session.csrf not in repr(alice.session)
    assert alice.token not in repr(alice.begin())


def test_the_session_changes_at_sign_in_and_the_old_one_opens_nothing(means, alice):
    old = alice.begin().id
    before = alice.token
    alice.begin(replaces=before)
    assert alice.token != before and alice.session.id != old
    assert portalsessions.find(means, before, now=NOW) is None


def test_the_session_changes_at_the_second_factor(means, alice):
    alice.begin()
    alice.enrol_totp()
    alice.begin()
    half = alice.token
    assert alice.stage is Stage.PASSWORD
    assert secondfactor.ways(means, alice.session, now=alice.now) == ("totp",)
    alice.second()
    assert alice.stage is Stage.IN and alice.session.factor == "totp"
    assert portalsessions.find(means, half, now=alice.now) is None
    rows = [row.detail for row in audit(means.store, ALICE) if row.kind == "sign-in"]
    assert rows[-1] == "web password and totp"


def test_half_a_session_can_do_nothing(means, alice):
    alice.begin()
    token = alice.proven(Act.MODE_OFF, {"delete_all": False})
    alice.enrol_totp()
    half = alice.begin()
    now = {"now": alice.now}
    for step in (
        lambda: listed(means, half, **now),
        lambda: delete(means, half, None, **now),
        lambda: turn_on(means, half, **now),
        lambda: freshproof.begin(means, half, Act.MODE_OFF, {}, **now),
        lambda: freshproof.action(means, half, token, **now),
        lambda: secondfactor.bound(means, half, **now),
        lambda: portalsessions.end_others(means, half, **now),
        lambda: portalsessions.end(means, half, "other", **now),
    ):
        with pytest.raises(SignedOut):
            step()
    whole = alice.second()
    with pytest.raises(SignedOut):
        secondfactor.check(means, whole, "totp", {"code": "000000"}, **now)


def test_a_session_read_before_it_ended_changes_nothing_any_more(means, alice):
    session = alice.begin()
    assert portalsessions.end(means, session, now=NOW)
    for step in (lambda: turn_on(means, session, now=NOW), lambda: portalsessions.end_others(means, session, now=NOW)):
        with pytest.raises(SignedOut):
            step()
    assert not portalsessions.end(means, session, now=NOW)


def test_who_does_nothing_is_signed_out_and_nobody_stays_for_ever(means, alice):
    alice.begin()
    for _ in range(20):
        alice.now += 1790
        assert alice.stage is Stage.IN
    alice.now += 1800
    assert alice.stage is None
    alice.begin()
    began = alice.now
    while alice.stage is Stage.IN:
        alice.now += 1000
    assert 43200 <= alice.now - began < 44200


def test_use_is_written_down_once_a_minute(database, alice):
    alice.begin()

    def seen():
        return database.run("SELECT seen_at FROM portal_sessions")[0][0] - NOW

    for seconds, expected in ((59, 0), (60, 60), (100, 60), (121, 121)):
        alice.now = NOW + seconds
        assert alice.stage is Stage.IN and seen() == expected


def test_half_a_session_has_ten_minutes(means, alice):
    alice.begin()
    alice.enrol_totp()
    alice.begin()
    alice.now += 599
    assert alice.stage is Stage.PASSWORD
    alice.now += 1
    assert alice.stage is None


@pytest.mark.parametrize(
    "change",
    [
        lambda store: set_account(store, ALICE, AccountChange(enabled=False), **ROOT),
        lambda store: set_domain(store, "example.test", DomainChange(enabled=False), **ROOT),
        lambda store: set_web_password(store, ALICE, "plain:new", True, **ROOT),
    ],
)
def test_who_is_switched_off_or_gets_another_password_is_signed_out_for_good(store, alice, change):
    alice.begin()
    change(store)
    assert alice.stage is None
    set_account(store, ALICE, AccountChange(enabled=True), **ROOT)
    set_domain(store, "example.test", DomainChange(enabled=True), **ROOT)
    assert alice.stage is None


def test_a_password_that_was_changed_while_it_was_judged_does_not_count(means, store, alice):
    judged = alice.match
    set_web_password(store, ALICE, "plain:new", True, **ROOT, now=NOW)
    with pytest.raises(SignedOut):
        signin.begin(means, judged, peer=PEER, agent="", now=NOW)
    assert alice.begin().stage is Stage.IN


def test_whose_account_is_gone_or_off_gets_no_session(means, store, alice):
    set_account(store, ALICE, AccountChange(enabled=False), **ROOT)
    with pytest.raises(SignedOut):
        alice.begin()
    for match in (
        WebMatch(alice.account_id + 99, ALICE, alice.match.web_changed_at),
        WebMatch(alice.account_id, "bob@example.test", alice.match.web_changed_at),
    ):
        with pytest.raises(SignedOut):
            signin.begin(means, match, peer=PEER, agent="", now=NOW)


def test_sessions_are_listed_and_ended_one_or_all_others(means, alice):
    bob = person(means, "bob@example.test")
    bob.begin()
    first = alice.begin()
    tokens = [alice.token]
    for _ in range(2):
        alice.now += 10
        alice.begin()
        tokens.append(alice.token)
    views = portalsessions.listed(means, alice.session, now=alice.now)
    assert [view.since - NOW for view in views] == [20, 10, 0]
    assert [view.is_this for view in views] == [True, False, False]
    assert views[0].peer == PEER and views[0].stage is Stage.IN
    assert portalsessions.end(means, alice.session, first.id, now=alice.now)
    assert portalsessions.find(means, tokens[0], now=alice.now) is None
    assert not portalsessions.end(means, alice.session, bob.session.id, now=alice.now)
    assert portalsessions.end_others(means, alice.session, now=alice.now) == 1
    assert [portalsessions.find(means, token, now=alice.now) is None for token in tokens] == [True, True, False]
    assert bob.stage is Stage.IN


def test_one_account_has_so_many_sessions_at_most(database, means, alice):
    for _ in range(portalsessions.MOST_SESSIONS + 3):
        alice.now += 1
        alice.begin()
    ((count,),) = database.run("SELECT count(*) FROM portal_sessions")
    assert count == portalsessions.MOST_SESSIONS
    assert alice.stage is Stage.IN


def test_a_language_is_of_the_session_and_then_of_the_account(means, alice):
    alice.begin(language="zh")
    assert alice.session.language == "zh"
    portalsessions.set_language(means, alice.session, "en", now=NOW)
    assert alice.session.language == "en"
    assert alice.begin().language == "en"
    alice.enrol_totp()
    half = alice.begin(language="zh")
    assert half.language == "en"
    portalsessions.set_language(means, half, "zh", now=alice.now)
    assert alice.second().language == "en"


def test_an_unknown_browser_is_told_to_the_owner_once(database, means, alice):
    alice.begin()
    device = alice.device
    assert knows_device(means.store, device, alice.account_id)
    assert not knows_device(means.store, device, alice.account_id + 1)
    assert not knows_device(means.store, "", alice.account_id)
    alice.begin()
    assert alice.device == device
    assert notices(database, alice.account_id) == []
    alice.device = "planted-by-somebody-else"
    alice.begin()
    assert alice.device != "planted-by-somebody-else"
    assert notices(database, alice.account_id) == ["new-device"]
    assert device not in str(database.run("SELECT * FROM devices"))


def test_a_browser_may_be_known_to_several_accounts(means, alice):
    bob = person(means, "bob@example.test")
    alice.begin()
    bob.device = alice.device
    bob.begin()
    assert bob.device == alice.device
    assert knows_device(means.store, bob.device, bob.account_id)


def test_one_code_used_fifty_times_at_once_lets_in_once(means, alice):
    alice.begin()
    alice.enrol_totp()
    sessions = [alice.begin() for _ in range(50)]
    given, now = {"code": alice.code()}, alice.now
    results = all_at_once(
        [lambda session=session: secondfactor.check(means, session, "totp", given, now=now) for session in sessions]
    )
    assert sum(isinstance(result, signin.SignedIn) for result in results) == 1, results
    others = [result for result in results if not isinstance(result, signin.SignedIn)]
    assert {type(result) for result in others} == {Refusal}
    assert {result.reason for result in others} == {"used"}


def test_wrong_codes_are_counted_for_the_account_whatever_the_session(database, means, alice):
    alice.begin()
    alice.enrol_totp()
    alice.now += 3600
    wrong = {"code": "000000" if alice.code() != "000000" else "111111"}
    for left in (4, 3, 2, 1, 0):
        outcome = secondfactor.check(means, alice.begin(), "totp", wrong, now=alice.now)
        assert isinstance(outcome, Refusal) and outcome.reason == "wrong" and outcome.tries_left == left
    right = {"code": alice.code()}
    outcome = secondfactor.check(means, alice.begin(), "totp", right, now=alice.now - 29)
    assert isinstance(outcome, Wait) and outcome.why == "tries"
    assert notices(database, alice.account_id).count("second-factor-guessed") == 1
    rows = [row for row in audit(means.store, ALICE) if row.kind == "second-factor"]
    assert [(row.outcome, row.detail, row.service) for row in rows] == [("reject", "totp: wrong", "portal")] * 5
    alice.now += 60
    alice.second()


def test_fifty_wrong_codes_at_once_are_judged_no_oftener_than_one_after_the_other(means, alice):
    alice.begin()
    alice.enrol_totp()
    alice.now += 3600
    session, wrong = alice.begin(), {"code": "000000" if alice.code() != "000000" else "111111"}
    results = all_at_once([lambda: secondfactor.check(means, session, "totp", wrong, now=alice.now)] * 30)
    assert sum(isinstance(result, Refusal) for result in results) == 5
    assert all(isinstance(result, Refusal | Wait) for result in results), results


def test_a_factor_that_is_offered_no_more_lets_nobody_in_without(store, ring, means, alice):
    alice.begin()
    alice.enrol_totp()
    poorer = means_of(store, ring)
    del poorer.factors["totp"]
    alice.means = poorer
    session = alice.begin()
    assert session.stage is Stage.PASSWORD
    assert secondfactor.ways(poorer, session, now=alice.now) == ()


RACER = """
import json, sys, threading
from mailauth import plugins
from mailauth.accounts import portalsessions, secondfactor, signin
from mailauth.accounts.means import Means
from mailauth.factors.factor import Hashing
from mailauth.keys import Key, KeyRing
from mailauth.store.engine import open_store

told = json.loads(sys.stdin.readline())
ring = KeyRing([Key(int(i), "2026-01-01", bytes.fromhex(secret)) for i, secret in told["keys"]])
factors = {"totp": plugins.load("factors", "totp", {})}
means = Means(open_store(told["url"]), lambda: ring, factors, Hashing(str, lambda a, b: False))
session = portalsessions.find(means, told["token"], now=told["now"])
got = []

def attempt():
    try:
        got.append(secondfactor.check(means, session, "totp", {"code": told["code"]}, now=told["now"]))
    except portalsessions.SignedOut:
        got.append(None)

threads = [threading.Thread(target=attempt) for _ in range(8)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(got), sum(isinstance(one, signin.SignedIn) for one in got), flush=True)
"""


def test_one_code_lets_in_once_though_several_processes_judge_it(database, ring, alice):
    alice.begin()
    alice.enrol_totp()
    processes = []
    for _ in range(3):
        alice.begin()
        process = subprocess.Popen(
            [sys.executable, "-c", RACER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append((process, alice.token))
    told = {
        "keys": [(key.id, key.secret.hex()) for key in ring.keys],
        "url": database.url,
        "code": alice.code(),
        "now": alice.now,
    }
    for process, token in processes:
        process.stdin.write(json.dumps(told | {"token": token}) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
    for process, _ in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outcomes = [process.communicate()[0].split() for process, _ in processes]
    assert [tried for tried, _ in outcomes] == ["8"] * 3
    assert sum(int(won) for _, won in outcomes) == 1
