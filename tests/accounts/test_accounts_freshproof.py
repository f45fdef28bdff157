"""Fresh proof, and what takes it: client passwords and the switch."""

import dataclasses
import threading

import pytest

from mailauth.accounts import clientpasswords, freshproof, portalsessions, proving
from mailauth.accounts.apppasswords import listed as app_passwords
from mailauth.accounts.apppasswords import mint
from mailauth.accounts.changes import AccountChange
from mailauth.accounts.freshproof import Act, NotProven
from mailauth.accounts.history import audit
from mailauth.accounts.mailboxes import set_account, show_account
from mailauth.accounts.portalsessions import SignedOut
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.steps import Refusal
from mailauth.accounts.unit import changing
from mailauth.factors.factor import Hashing
from mailauth.interfaces import HashUnavailable, PolicyLevel, WebMatch
from mailauth.store.changes import Effect
from portal_people import ALICE, NOW, ROOT, all_at_once, means_of, person


@pytest.fixture
def means(store, ring):
    return means_of(store, ring)


@pytest.fixture
def alice(means):
    alice = person(means)
    alice.begin()
    return alice


def take(alice, token, kind=Act.MODE_OFF, params=None, session=None):
    session = session or alice.session
    with portalsessions.acting(alice.means, session, now=alice.now) as (unit, _):
        return freshproof.take(unit, session, token, kind, params)


def generate(alice, **terms):
    token = clientpasswords.ask_to_generate(alice.means, alice.session, **{"label": "Phone", "now": alice.now} | terms)
    alice.prove(token)
    return clientpasswords.generate(alice.means, alice.session, token, now=alice.now)


def test_a_proof_is_taken_once(alice):
    params = {"delete_all": True, "x": ["é", 1, None]}
    token = alice.proven(Act.MODE_OFF, params)
    assert take(alice, token, params=dict(reversed(params.items()))) == params
    with pytest.raises(NotProven):
        take(alice, token)
    with pytest.raises(NoSuch):
        freshproof.action(alice.means, alice.session, token, now=alice.now)


def test_fifty_who_take_one_proof_at_once_are_one(alice):
    token, session = alice.proven(Act.MODE_OFF, {}), alice.session
    results = all_at_once([lambda: take(alice, token, session=session)] * 50)
    assert sum(result == {} for result in results) == 1
    assert sum(isinstance(result, NotProven) for result in results) == 49


def test_what_failed_leaves_its_proof(alice):
    token = alice.proven(Act.MODE_OFF, {})
    with (
        pytest.raises(ZeroDivisionError),
        portalsessions.acting(alice.means, alice.session, now=alice.now) as (unit, _),
    ):
        freshproof.take(unit, alice.session, token, Act.MODE_OFF)
        raise ZeroDivisionError
    assert take(alice, token) == {}


@pytest.mark.parametrize("wrong", ["kind", "params", "token", "late", "session", "account", "unproven"])
def test_a_proof_is_for_one_act_of_one_session_within_five_minutes(means, alice, wrong):
    token = freshproof.begin(means, alice.session, Act.MODE_OFF, {"a": 1}, now=alice.now)
    if wrong != "unproven":
        alice.prove(token)
    said = {"token": token, "kind": Act.MODE_OFF, "params": {"a": 1}, "session": alice.session}
    if wrong == "late":
        alice.now += 300
    elif wrong == "session":
        said["session"] = alice.begin()
    elif wrong == "account":
        bob = person(means, "bob@example.test", now=alice.now)
        said["session"] = bob.begin()
    else:
        said |= {
            "kind": {"kind": Act.APP_PASSWORD},
            "params": {"params": {"a": 2}},
            "token": {"token": token + "x"},
        }.get(wrong, {})
    with pytest.raises(NotProven):
        take(alice, **said)


def test_the_web_password_proves_only_where_there_never_was_a_factor_and_none_is_demanded(means, store, alice):
    token = freshproof.begin(means, alice.session, Act.MODE_OFF, {}, now=alice.now)
    assert freshproof.action(means, alice.session, token, now=alice.now).ways == ("web-password",)
    with pytest.raises(proving.NoProof):
        proving.prove_by_password(means, alice.session, token, WebMatch(alice.account_id + 1, ALICE), now=alice.now)
    with pytest.raises(proving.NoProof):
        proving.check(means, alice.session, token, "totp", {"code": "123456"}, now=alice.now)
    alice.enrol_totp()
    token = freshproof.begin(means, alice.session, Act.MODE_OFF, {}, now=alice.now)
    action = freshproof.action(means, alice.session, token, now=alice.now)
    assert (action.ways, action.needs_password) == (("totp",), False)
    with pytest.raises(proving.NoProof):
        proving.prove_by_password(means, alice.session, token, alice.match, now=alice.now)


def test_what_was_not_done_in_time_is_asked_for_anew_by_the_same_session_with_the_same_terms(means, alice):
    session = alice.session
    token = freshproof.begin(means, session, Act.EXPORT, {"a": 1}, now=alice.now)
    with pytest.raises(NoSuch):
        freshproof.renew(means, session, token, now=alice.now)
    assert freshproof.lapsed(means, session, "x", now=alice.now) is None
    late = alice.now + freshproof.VALID_S
    found = freshproof.lapsed(means, session, token, now=late)
    assert (found.kind, found.params, found.ways, found.is_proven) == (Act.EXPORT, {"a": 1}, (), False)
    fresh = freshproof.renew(means, session, token, now=late)
    found = freshproof.action(means, session, fresh, now=late)
    assert (found.kind, found.params, found.is_proven) == (Act.EXPORT, {"a": 1}, False)
    other = alice.begin()
    assert freshproof.lapsed(means, other, token, now=late) is None
    with pytest.raises(NoSuch):
        freshproof.renew(means, other, token, now=late)


def test_the_factor_of_the_sign_in_proves_nothing_more(means, alice):
    alice.enrol_totp()
    alice.sign_in()
    token = freshproof.begin(means, alice.session, Act.MODE_OFF, {}, now=alice.now)
    used = {"code": alice.code()}
    alice.now -= 30  # the code that the sign-in has used
    outcome = proving.check(means, alice.session, token, "totp", used, now=alice.now + 30)
    assert outcome == proving.Proven(False)
    other = freshproof.begin(means, alice.session, Act.MODE_OFF, {}, now=alice.now)
    outcome = proving.check(means, alice.session, other, "totp", used, now=alice.now + 30)
    assert isinstance(outcome, Refusal) and outcome.reason == "used"
    with pytest.raises(NotProven):
        take(alice, other)
    assert take(alice, token) == {}


def test_one_code_proves_one_of_fifty_acts(means, alice):
    alice.enrol_totp()
    session = alice.session
    tokens = [freshproof.begin(means, session, Act.MODE_OFF, {"n": n}, now=alice.now) for n in range(20)]
    given = {"code": alice.code()}
    results = all_at_once(
        [lambda t=token: proving.check(means, session, t, "totp", given, now=alice.now) for token in tokens]
    )
    assert sum(isinstance(result, proving.Proven) for result in results) == 1, results
    assert sum(isinstance(result, Refusal) for result in results) == 19


def test_a_program_may_ask_and_the_owner_proves_it_in_his_browser(means, store, alice):
    account = {"id": alice.account_id, "login": ALICE}
    bob = person(means, "bob@example.test", now=alice.now)
    bob.begin()
    token = freshproof.begin_for(store, account, Act.MODE_OFF, {}, actor="api:1", now=alice.now)
    with pytest.raises(NoSuch):
        freshproof.action(means, bob.session, token, now=alice.now)
    with pytest.raises(NotProven):
        take(alice, token)
    assert freshproof.action(means, alice.session, token, now=alice.now).by_program
    alice.prove(token)
    action = freshproof.action(means, alice.session, token, now=alice.now)
    assert (action.by_program, action.is_proven) == (False, True)
    first = alice.session
    with pytest.raises(NotProven):
        take(alice, token, session=alice.begin())
    assert take(alice, token, session=first) == {}


def test_open_acts_are_few_and_what_is_to_be_done_is_short(database, means, alice):
    for _ in range(25):
        freshproof.begin(means, alice.session, Act.MODE_OFF, {}, now=alice.now)
    assert database.run("SELECT count(*) FROM portal_actions") == [(20,)]
    with pytest.raises(Refused):
        freshproof.begin(means, alice.session, Act.MODE_OFF, {"x": "y" * 9000}, now=alice.now)


def test_what_programs_ask_for_does_not_push_out_what_the_owner_does(means, store, alice):
    own = freshproof.begin(means, alice.session, Act.MODE_OFF, {}, now=alice.now)
    account = {"id": alice.account_id, "login": ALICE}
    for _ in range(25):
        freshproof.begin_for(store, account, Act.EXPORT, {}, actor="api:1", now=alice.now + 1)
    alice.prove(own)
    assert take(alice, own) == {}


@pytest.mark.parametrize(("role", "ways"), [("user", {"totp", "sms"}), ("site-admin", {"totp"})])
def test_who_has_a_role_proves_nothing_by_text_message_beside_a_stronger_factor(means, store, alice, role, ways):
    alice.enrol_totp()
    with store.transaction() as tx:
        tx._connection.execute(
            "INSERT INTO factors (account_id, kind, state, parts, key_ids, is_alone, confirmed_at)"
            f" VALUES ({alice.account_id}, 'sms', '{{}}', '[]', ' 1 ', 1, {NOW})"
        )
        tx._connection.execute(f"UPDATE accounts SET role = '{role}' WHERE id = {alice.account_id}")
    for kind in (Act.API_TOKEN, Act.FACTOR_ADD, Act.APP_PASSWORD):
        token = freshproof.begin(means, alice.session, kind, {}, now=alice.now)
        assert set(freshproof.action(means, alice.session, token, now=alice.now).ways) == ways


# --- client passwords ------------------------------------------------------------------------------------------------


def test_generating_turns_the_mode_on_and_both_or_neither_happens(database, means, store, alice, monkeypatch):
    token = clientpasswords.ask_to_generate(means, alice.session, label="Phone", now=alice.now)
    alice.prove(token)
    real = store.sql.ADD_APP_PASSWORD
    monkeypatch.setattr(store.sql, "ADD_APP_PASSWORD", "SELECT nothing FROM nowhere")
    with pytest.raises(Exception, match=r"nowhere|nothing"):
        clientpasswords.generate(means, alice.session, token, now=alice.now)
    monkeypatch.setattr(store.sql, "ADD_APP_PASSWORD", real)
    assert show_account(store, ALICE).mode == "off"
    generated = clientpasswords.generate(means, alice.session, token, now=alice.now)
    assert generated.turned_on and len(generated.minted.password) == 16
    assert generated.minted.password not in repr(generated)
    assert show_account(store, ALICE).mode == "on" and alice.session.client_passwords_only
    rows = {row.kind: row for row in audit(store, ALICE)}
    assert rows["app-password-added"].actor == f"portal:{ALICE}"
    assert rows["app-password-added"].peer == rows["mode-on"].peer == alice.peer
    kinds = [kind for (kind,) in database.run("SELECT kind FROM notices ORDER BY id")]
    assert kinds == ["mode-on", "app-password-added"]
    with pytest.raises(NoSuch):
        clientpasswords.generate(means, alice.session, token, now=alice.now)
    assert generate(alice, label="Second").turned_on is False


def test_what_is_generated_is_what_was_proven_for(means, store, alice):
    terms = {"services": ["smtp"], "networks": ["192.0.2.1/24"], "expires_at": NOW + 99}
    generate(alice, **terms)
    (view,) = clientpasswords.listed(means, alice.session, now=alice.now).listed
    assert (view.services, view.networks, view.expires_at) == (("smtp",), ("192.0.2.0/24",), NOW + 99)
    token = clientpasswords.ask_to_generate(means, alice.session, now=alice.now)
    with pytest.raises(NotProven):
        clientpasswords.generate(means, alice.session, token, label="Late", now=alice.now)
    alice.prove(token)
    with pytest.raises(Refused):
        clientpasswords.generate(means, alice.session, token, now=alice.now)
    clientpasswords.generate(means, alice.session, token, label="Late", now=alice.now)
    assert [view.label for view in app_passwords(store, ALICE)] == ["Phone", "Late"]
    other = alice.proven(Act.MODE_OFF, {})
    with pytest.raises(NotProven):
        clientpasswords.generate(means, alice.session, other, now=alice.now)


@pytest.mark.parametrize(
    "terms", [{"label": " "}, {"services": []}, {"networks": ["x"]}, {"expires_at": NOW - 1}, {"label": "a\nb"}]
)
def test_terms_are_judged_before_proof_is_asked_for(database, means, alice, terms):
    with pytest.raises(Refused):
        clientpasswords.ask_to_generate(means, alice.session, **{"label": "Phone", "now": alice.now} | terms)
    assert database.run("SELECT * FROM portal_actions") == []


def test_the_maximum_holds_though_fifty_are_generated_at_once(means, store, alice):
    set_account(store, ALICE, AccountChange(max_app_passwords=3), **ROOT)
    tokens = []
    for number in range(10):
        tokens.append(clientpasswords.ask_to_generate(means, alice.session, label=f"n{number}", now=alice.now))
        alice.prove(tokens[-1])
    session = alice.session
    results = all_at_once([lambda t=t: clientpasswords.generate(means, session, t, now=alice.now) for t in tokens])
    assert sum(isinstance(result, clientpasswords.Generated) for result in results) == 3
    assert sum(isinstance(result, Refused) for result in results) == 7
    with pytest.raises(Refused, match="most"):
        clientpasswords.ask_to_generate(means, alice.session, label="x", now=alice.now)
    assert clientpasswords.listed(means, alice.session, now=alice.now).most == 3


def test_a_hash_that_cannot_be_made_leaves_everything_as_it_was(means, store, alice, monkeypatch):
    token = clientpasswords.ask_to_generate(means, alice.session, label="Phone", now=alice.now)
    alice.prove(token)

    class NoMemory:
        def hash(self, secret):
            raise HashUnavailable

    monkeypatch.setattr(clientpasswords.apppasswords, "mint", lambda *a, **k: mint(a[0], a[1], NoMemory(), *a[3:], **k))
    with pytest.raises(HashUnavailable):
        clientpasswords.generate(means, alice.session, token, now=alice.now)
    monkeypatch.undo()
    assert show_account(store, ALICE).mode == "off"
    clientpasswords.generate(means, alice.session, token, now=alice.now)


def test_the_switch_goes_on_freely_and_off_with_proof(means, store, alice):
    clientpasswords.turn_on(means, alice.session, now=alice.now)
    clientpasswords.turn_on(means, alice.session, now=alice.now)
    assert [row.kind for row in audit(store, ALICE)].count("mode-on") == 1
    generate(alice)
    token = clientpasswords.ask_to_turn_off(means, alice.session, now=alice.now)
    with pytest.raises(NotProven):
        clientpasswords.turn_off(means, alice.session, token, now=alice.now)
    alice.prove(token)
    effect = Effect()
    assert clientpasswords.turn_off(means, alice.session, token, now=alice.now, effect=effect) == []
    assert effect.number is not None
    assert show_account(store, ALICE).mode == "off" and len(app_passwords(store, ALICE)) == 1
    clientpasswords.turn_on(means, alice.session, now=alice.now)
    token = clientpasswords.ask_to_turn_off(means, alice.session, delete_all=True, now=alice.now)
    alice.prove(token)
    (revoked,) = clientpasswords.turn_off(means, alice.session, token, now=alice.now)
    assert revoked.label == "Phone" and app_passwords(store, ALICE) == []


@pytest.mark.parametrize("change", [{"policy": PolicyLevel.ENFORCED}, {"two_factor": True}])
def test_a_locked_switch_stays_on_whatever_was_proven_before(means, store, alice, change):
    alice.enrol_totp()
    token = clientpasswords.ask_to_turn_off(means, alice.session, now=alice.now)
    alice.prove(token)
    set_account(store, ALICE, AccountChange(**change), **ROOT, now=alice.now)
    with pytest.raises(Refused, match="locked"):
        clientpasswords.turn_off(means, alice.session, token, now=alice.now)
    with pytest.raises(Refused, match="locked"):
        clientpasswords.ask_to_turn_off(means, alice.session, now=alice.now)
    assert show_account(store, ALICE).mode == "on"


def test_deleting_takes_no_proof_and_is_all_or_none(means, store, alice):
    first, second = generate(alice, label="a"), generate(alice, label="b")
    with pytest.raises(NoSuch):
        clientpasswords.delete(means, alice.session, [first.minted.id, 99], now=alice.now)
    assert len(app_passwords(store, ALICE)) == 2
    effect = Effect()
    (gone,) = clientpasswords.delete(means, alice.session, [first.minted.id], now=alice.now, effect=effect)
    assert gone.label == "a" and effect.number is not None
    assert [gone.id for gone in clientpasswords.delete(means, alice.session, None, now=alice.now)] == [second.minted.id]
    assert clientpasswords.delete(means, alice.session, None, now=alice.now) == []


def test_another_account_is_out_of_reach(means, store, alice):
    mine = generate(alice)
    bob = person(means, "bob@example.test", now=alice.now)
    bob.begin()
    for step in (
        lambda: clientpasswords.delete(means, bob.session, [mine.minted.id], now=alice.now),
        lambda: clientpasswords.rename(means, bob.session, mine.minted.id, "x", now=alice.now),
        lambda: clientpasswords.confirm(means, bob.session, [mine.minted.id], now=alice.now),
    ):
        with pytest.raises(NoSuch):
            step()


def test_names_are_changed_and_suspended_ones_confirmed(database, means, alice):
    one = generate(alice)
    assert clientpasswords.rename(means, alice.session, one.minted.id, " Tablet ", now=alice.now).label == "Tablet"
    with pytest.raises(Refused):
        clientpasswords.rename(means, alice.session, one.minted.id, "a\x1bb", now=alice.now)
    database.run("UPDATE app_passwords SET suspended = 1")
    (confirmed,) = clientpasswords.confirm(means, alice.session, [one.minted.id], now=alice.now)
    assert confirmed.label == "Tablet"
    assert not clientpasswords.listed(means, alice.session, now=alice.now).listed[0].suspended


def test_a_session_that_ends_between_proof_and_act_does_nothing(means, store, alice):
    token = clientpasswords.ask_to_generate(means, alice.session, label="Phone", now=alice.now)
    alice.prove(token)
    session = alice.session
    hashed = threading.Event()

    def hash_slowly(secret):
        portalsessions.end(means, session, now=alice.now)
        hashed.set()
        return "plain:" + secret.decode()

    slow = dataclasses.replace(means, hashing=Hashing(hash_slowly, means.hashing.verify))
    with pytest.raises(SignedOut):
        clientpasswords.generate(slow, session, token, now=alice.now)
    assert hashed.is_set() and app_passwords(store, ALICE) == [] and show_account(store, ALICE).mode == "off"


def test_every_change_has_its_audit_row_or_is_none(means, store, alice, monkeypatch):
    clientpasswords.turn_on(means, alice.session, now=alice.now)
    token = clientpasswords.ask_to_turn_off(means, alice.session, now=alice.now)
    alice.prove(token)
    monkeypatch.setattr(store.sql, "ADD_NOTICE", "SELECT nothing FROM nowhere")
    with pytest.raises(Exception, match=r"nowhere|nothing"):
        clientpasswords.turn_off(means, alice.session, token, now=alice.now)
    monkeypatch.undo()
    assert show_account(store, ALICE).mode == "on"
    with changing(store, "cli:root", alice.now):
        pass
    clientpasswords.turn_off(means, alice.session, token, now=alice.now)
