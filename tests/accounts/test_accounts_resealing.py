"""What is sealed under an old server key: moved to the newest, while it is used, and good after the old key is gone."""

from __future__ import annotations

import json
import threading
from base64 import b64encode

import pytest

from keyrings import process, put_in_use, with_another
from mailauth.accounts import enrolment, freshproof, keys, secondfactor, steps
from mailauth.accounts.enrolment import Bound
from mailauth.accounts.factorrows import claimed
from mailauth.accounts.freshproof import Act
from mailauth.accounts.keys import listed, remove, replace_lost, rotate
from mailauth.accounts.mailboxes import add_account
from mailauth.accounts.refusals import Refused
from mailauth.accounts.signin import SignedIn
from mailauth.accounts.steps import CLAIMED, Errand, Question, Refusal
from mailauth.accounts.unit import changing
from mailauth.factors.sealed import Box
from mailauth.interfaces import BadRecord, StoreUnavailable, UnknownKey
from mailauth.keys import Key, KeyRing
from mailauth.store.keycheck import WrongKey, require_key
from mailauth.store.resealing import Resealing
from mailauth.store.writebehind import WriteBehind
from portal_people import ALICE, NOW, Gateway, all_at_once, means_of, person, run

BOB = "bob@example.test"
ROOT = {"actor": "cli:root"}
NUMBER = {"number": "13800138000"}


@pytest.fixture
def path(tmp_path, ring):
    """A key file of the store's key."""
    place = tmp_path / "here.keys"
    place.touch(0o600)
    place.write_text("".join([f"{key.id} {key.created} {b64encode(key.secret).decode()}\n" for key in ring.keys]))
    return place


class Site:
    """A portal whose keys are those of its key file, as a serving process has them by and by."""

    def __init__(self, store, ring: KeyRing) -> None:
        self.store, self.ring, self.gateway = store, ring, Gateway()
        self.means = means_of(store, ring, self.gateway)
        object.__setattr__(self.means, "ring", lambda: self.ring)

    def reread(self, path) -> None:
        self.ring = require_key(self.store, KeyRing.load(path))


@pytest.fixture
def here(store, ring):
    return Site(store, ring)


def key_ids(database, table="factors"):
    return sorted({row[0] for row in database.run(f"SELECT key_ids FROM {table}")})


def enrolled(person, kind, given, *, answers=(), confirming):
    """Bind one more factor, with proof; `confirming`: what is given at its end, made of the question's id."""
    token = enrolment.ask(person.means, person.session, kind, now=person.now)
    person.prove(token)
    begun = run(enrolment.begin(person.means, person.session, kind, given, token=token, now=person.now), {})
    assert isinstance(begun, Question), begun
    end = enrolment.confirm(
        person.means, person.session, kind, confirming(begun.id), question_id=begun.id, now=person.now
    )
    return begun.id, run(end, *answers)


def way_back(question_id):
    return {"state": question_id, "code": "c"}


def identity(name):
    return {"access_token": "t", "openid": f"o-{name}", "unionid": f"u-{name}"}


def everything(here, alice):
    """An app, a telephone, a WeChat account and recovery codes; returns the codes."""
    alice.begin()
    alice.enrol_totp()
    _, bound = enrolled(alice, "sms", NUMBER, confirming=lambda _: {"code": here.gateway.code})
    assert isinstance(bound, Bound), bound
    _, bound = enrolled(alice, "wechat", {}, answers=[identity("alice")], confirming=way_back)
    assert isinstance(bound, Bound), bound
    token = enrolment.ask(here.means, alice.session, "recovery-codes", now=alice.now)
    alice.prove(token)
    begun = enrolment.begin(here.means, alice.session, "recovery-codes", {}, token=token, now=alice.now)
    shown = enrolment.question(here.means, alice.session, "recovery-codes", begun.id, now=alice.now)
    enrolment.confirm(here.means, alice.session, "recovery-codes", {}, question_id=begun.id, now=alice.now)
    return list(shown["codes"])


def sign_in_by_each(here, alice, codes):
    """Each factor opens once."""
    alice.sign_in()
    alice.begin()
    alice.now += 90
    assert run(secondfactor.challenge(here.means, alice.session, "sms", now=alice.now), {}) == Question("")
    code = {"code": here.gateway.code}
    assert isinstance(secondfactor.check(here.means, alice.session, "sms", code, now=alice.now), SignedIn)
    alice.begin()
    asked = secondfactor.challenge(here.means, alice.session, "wechat", now=alice.now)
    back = secondfactor.check(
        here.means, alice.session, "wechat", way_back(asked.id), question_id=asked.id, now=alice.now
    )
    assert isinstance(run(back, identity("alice")), SignedIn)
    alice.begin()
    code = {"code": codes.pop()}
    assert isinstance(secondfactor.check(here.means, alice.session, "recovery-codes", code, now=alice.now), SignedIn)


def test_after_a_rotation_all_moves_the_old_key_goes_and_all_still_opens(database, store, here, path):
    alice = person(here.means)
    codes = everything(here, alice)
    assert key_ids(database) == [" 1 "]
    assert [view.factors for view in listed(store, here.ring)] == [4]
    done = rotate(store, path, **ROOT)
    assert (done.in_use, done.moved, done.stuck, done.moved_all) == (True, 6, 0, True)  # 4 states, 2 claims
    assert key_ids(database) == key_ids(database, "factor_claims") == [" 2 "]
    here.reread(path)
    assert [view.factors for view in listed(store, here.ring)] == [0, 4]
    sign_in_by_each(here, alice, codes)
    remove(store, path, 1, **ROOT, now=alice.now + 7200)  # questions are over by then
    here.reread(path)
    assert here.ring.ids == (2,)
    sign_in_by_each(here, alice, codes)


def test_an_identity_serves_one_account_still_when_the_key_is_another(store, here, path):
    alice, bob = person(here.means), person(here.means, BOB)
    everything(here, alice)
    rotate(store, path, **ROOT)
    remove(store, path, 1, **ROOT, now=alice.now + 7200)
    here.reread(path)
    bob.begin()
    bob.enrol_totp()
    assert enrolled(bob, "wechat", {}, answers=[identity("alice")], confirming=way_back)[1] == Refusal(CLAIMED)
    other = {**identity("alice"), "openid": "o-other"}  # the union id alone is enough
    assert enrolled(bob, "wechat", {}, answers=[other], confirming=way_back)[1] == Refusal(CLAIMED)
    _, bound = enrolled(bob, "wechat", {}, answers=[identity("bob")], confirming=way_back)
    assert isinstance(bound, Bound)


def test_a_claim_stays_with_its_account_and_goes_with_its_factor(store, ring, here):
    alice, bob = [Box(ring, str(person(here.means, login).account_id)) for login in (ALICE, BOB)]

    def claim(box, *texts, anew):
        with changing(store, "x", NOW) as unit:
            sealed = [box.seal("credential", text, text * 12) for text in texts]
            return claimed(unit, box, "webauthn", sealed, anew=anew)

    assert claim(alice, b"1", anew=True)
    assert claim(alice, b"2", anew=False)
    assert claim(alice, b"1", b"2", b"2", anew=False)
    assert not claim(bob, b"2", anew=True)
    assert claim(alice, b"1", anew=True)  # the other one was replaced
    assert claim(bob, b"2", anew=True)


def test_what_a_number_has_had_is_not_forgotten_with_a_new_key(store, here, path):
    alice = person(here.means)
    everything(here, alice)
    alice.begin()
    alice.now += 90
    run(secondfactor.challenge(here.means, alice.session, "sms", now=alice.now), {})
    rotate(store, path, **ROOT)
    here.reread(path)
    assert secondfactor.challenge(here.means, alice.session, "sms", now=alice.now + 1).why == "resend"
    alice.now += 90
    run(secondfactor.challenge(here.means, alice.session, "sms", now=alice.now), {})  # under both keys
    remove(store, path, 1, **ROOT, now=alice.now)
    here.reread(path)
    assert secondfactor.challenge(here.means, alice.session, "sms", now=alice.now + 1).why == "resend"


def test_a_code_that_was_sent_before_opens_after(store, here, path):
    alice = person(here.means)
    everything(here, alice)
    alice.begin()
    alice.now += 90
    run(secondfactor.challenge(here.means, alice.session, "sms", now=alice.now), {})
    rotate(store, path, **ROOT)
    remove(store, path, 1, **ROOT, now=alice.now)
    here.reread(path)
    code = {"code": here.gateway.code}
    assert isinstance(secondfactor.check(here.means, alice.session, "sms", code, now=alice.now), SignedIn)


# --- while it goes on ------------------------------------------------------------------------------------------------


def test_a_process_that_lacks_the_key_says_so_and_judges_nobody(database, store, ring, here, path):
    alice = person(here.means)
    alice.begin()
    alice.enrol_totp()
    rotate(store, path, **ROOT)
    before = database.run("SELECT state FROM factors")
    session = alice.begin()
    for given in ({"code": alice.code()}, {"code": "000000"}):  # here.ring is still the old one
        with pytest.raises(UnknownKey):
            secondfactor.check(here.means, session, "totp", given, now=alice.now)
    assert database.run("SELECT state FROM factors") == before
    here.reread(path)
    alice.second()


def test_a_running_process_is_told_of_the_key_before_anything_is_under_it(database, store, here, path):
    alice = person(here.means)
    everything(here, alice)
    with process(database.url, path) as serving:
        object.__setattr__(here.means, "ring", serving.keys.ring)
        rotate(store, path, **ROOT)
        alice.sign_in()
        assert serving.keys.ring().newest == 2
        assert key_ids(database) == [" 2 "]


@pytest.mark.parametrize("moment", ["read", "asked"])
def test_what_is_under_way_while_it_moves_counts_once_and_is_not_lost(database, store, here, path, moment):
    """The provider is asked, or the code is judged, and meanwhile the state moves."""
    alice = person(here.means)
    everything(here, alice)
    session = alice.begin()
    asked = secondfactor.challenge(here.means, session, "wechat", now=alice.now)
    KeyRing.rotate(path)
    both = put_in_use(store, KeyRing.load(path))

    def move():
        here.ring = both
        resealing = Resealing(store, lambda: both)
        resealing.run()
        assert resealing.stuck == 0

    if moment == "asked":
        outcome = secondfactor.check(
            here.means, session, "wechat", way_back(asked.id), question_id=asked.id, now=alice.now
        )
        assert isinstance(outcome, Errand)
        move()
        outcome = run(outcome, identity("alice"))
    else:
        factor, check, given = (
            here.means.factors["totp"],
            type(here.means.factors["totp"]).check,
            {"code": alice.code()},
        )

        def slow(self, occasion, state, pending, given):
            step = check(self, occasion, state, pending, given)
            if key_ids(database) == [" 1 "]:
                move()
            return step

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(type(factor), "check", slow)
            outcome = secondfactor.check(here.means, session, "totp", given, now=alice.now)
        assert secondfactor.check(here.means, alice.begin(), "totp", given, now=alice.now).reason == "used"
    assert isinstance(outcome, SignedIn), outcome
    assert key_ids(database) == [" 2 "]


def test_codes_shown_by_many_while_states_move_count_once_each(database, store, here, path):
    people = [person(here.means, f"user{number}@example.test") for number in range(6)]
    for each in people:
        each.begin()
        each.enrol_totp()
    KeyRing.rotate(path)
    both = put_in_use(store, KeyRing.load(path))
    here.ring = both
    sessions = [each.begin() for each in people]
    codes = [{"code": each.code()} for each in people]

    def check(place):
        return lambda: secondfactor.check(here.means, sessions[place], "totp", codes[place], now=people[place].now)

    sweeps = [lambda: Resealing(store, lambda: both).run()] * 2
    outcomes = all_at_once([check(place) for place in range(6)] * 2 + sweeps)
    for place in range(6):
        pair = outcomes[place], outcomes[place + 6]
        assert sum(isinstance(each, SignedIn) for each in pair) == 1, pair
    assert outcomes[12:] == [None, None]
    Resealing(store, lambda: both).run()
    assert key_ids(database) == [" 2 "]
    for each in people:
        each.sign_in()


def test_it_goes_on_where_it_was_interrupted_in_batches(database, store, here, path, monkeypatch):
    monkeypatch.setattr("mailauth.store.resealing.BATCH_ROWS", 2)
    people = [person(here.means, f"user{number}@example.test") for number in range(5)]
    for each in people:
        each.begin()
        each.enrol_totp()
    KeyRing.rotate(path)
    both = put_in_use(store, KeyRing.load(path))
    first = Resealing(store, lambda: both)
    next(first.steps())
    assert first.moved == 2
    assert database.run("SELECT count(*) FROM factors WHERE key_ids = ' 2 '") == [(2,)]
    second = Resealing(store, lambda: both)
    assert len(list(second.steps())) == 3  # two of two, one of one; then the claims
    assert second.moved == 3
    third = Resealing(store, lambda: both)
    third.run()
    assert third.moved == 0


def test_nothing_moves_to_a_key_that_is_not_the_newest_in_use(database, store, ring, here, path):
    alice = person(here.means)
    alice.begin()
    alice.enrol_totp()
    for newer in (with_another(ring), with_another(ring).using(1)):
        Resealing(store, lambda newer=newer: newer).run()
        assert key_ids(database) == [" 1 "]  # 2 is in no use
    put_in_use(store, with_another(ring))
    Resealing(store, lambda: with_another(ring)).run()
    Resealing(store, lambda: ring).run()  # a process that has not heard of it moves nothing down
    assert key_ids(database) == [" 2 "]


def test_what_cannot_be_opened_stays_is_counted_and_keeps_the_key(database, store, here, path, caplog):
    alice, bob = person(here.means), person(here.means, BOB)
    for each in (alice, bob):
        each.begin()
        each.enrol_totp()
    state = json.loads(database.run(f"SELECT state FROM factors WHERE account_id = {alice.account_id}")[0][0])
    sealed = state["secret"]["$sealed"]
    state["secret"]["$sealed"] = sealed[:-6] + ("AAAA" if sealed[-6:-2] != "AAAA" else "BBBB") + sealed[-2:]
    spoiled = json.dumps(state)
    database.run(f"UPDATE factors SET state = '{spoiled}' WHERE account_id = {alice.account_id}")
    done = rotate(store, path, **ROOT)
    assert (done.in_use, done.moved, done.stuck, done.moved_all) == (True, 1, 1, False)
    assert "1 sealed values cannot be opened and stay where they are alarm" in caplog.text
    assert database.run(f"SELECT state FROM factors WHERE account_id = {alice.account_id}") == [(spoiled,)]
    with pytest.raises(Refused, match="key 1 is needed: 1 second factors stand under it"):
        remove(store, path, 1, **ROOT, now=NOW + 7200)
    assert KeyRing.load(path).ids == (1, 2)


def test_a_store_that_is_lost_meanwhile_does_not_undo_the_rotation(store, here, path, monkeypatch):
    def lost(_):
        raise StoreUnavailable("gone")

    monkeypatch.setattr(keys.Resealing, "run", lost)
    done = rotate(store, path, **ROOT)
    assert (done.in_use, done.moved, done.moved_all) == (True, 0, False)


def test_a_serving_process_moves_what_is_left(database, store, here, path):
    alice = person(here.means)
    alice.begin()
    alice.enrol_totp()
    KeyRing.rotate(path)
    both = put_in_use(store, KeyRing.load(path))
    moved = threading.Event()

    def also():
        yield from Resealing(store, lambda: both).steps()
        moved.set()

    behind = WriteBehind(store, also=also)
    assert moved.wait(30)
    behind.close()
    assert key_ids(database) == [" 2 "]


# --- removing and losing a key ---------------------------------------------------------------------------------------


def test_a_key_that_an_open_question_needs_stays_until_it_is_over(store, here, path):
    alice = person(here.means)
    alice.begin()
    alice.enrol_totp()
    token = alice.proven(Act.FACTOR_ADD, {"factor": "totp"})
    begun = enrolment.begin(here.means, alice.session, "totp", {}, token=token, now=alice.now)
    rotate(store, path, **ROOT)
    with pytest.raises(Refused, match=r"needed for 1 questions .* again in 60 minutes"):
        remove(store, path, 1, **ROOT, now=alice.now)
    here.reread(path)
    assert enrolment.question(here.means, alice.session, "totp", begun.id, now=alice.now)["secret"]
    remove(store, path, 1, **ROOT, now=alice.now + 3601)


def test_nothing_is_written_under_a_key_that_is_removed_at_this_moment(database, store, here, path):
    """By a process that has not heard yet."""
    alice = person(here.means)
    alice.begin()
    alice.enrol_totp()
    session = alice.begin()
    rotate(store, path, **ROOT)
    remove(store, path, 1, **ROOT, now=alice.now + 7200)
    late = KeyRing([*here.ring.keys, *KeyRing.load(path).keys], newest=1)
    here.ring = late
    with pytest.raises(StoreUnavailable, match="server key 1 went out of use"):
        run(secondfactor.check(here.means, session, "totp", {"code": "000000"}, now=alice.now))
    here.reread(path)
    alice.second()
    assert key_ids(database) == [" 2 "]


def test_a_key_file_without_a_key_that_factors_need_is_another(database, store, ring, here, path):
    alice = person(here.means)
    alice.begin()
    alice.enrol_totp()
    database.run("UPDATE factors SET key_ids = ' 1 7 '")
    with pytest.raises(WrongKey, match=r"no key 7, under which 0 app passwords .* and 1 second factors were made"):
        require_key(store, ring)


def test_without_its_key_file_a_site_forgets_what_nobody_can_open(database, store, here, path):
    alice, bob = person(here.means), person(here.means, BOB)
    everything(here, alice)
    bob.begin()
    add_account(store, "carol@example.test", None, **ROOT)
    database.run(
        "INSERT INTO factors (account_id, kind, state, parts, key_ids, is_alone, confirmed_at) "
        f"VALUES ({bob.account_id}, 'webauthn', '{{}}', '[]', ' ', 1, 1.0)"
    )
    path.unlink()
    done = replace_lost(store, path, **ROOT)
    assert (done.key_id, done.factors) == (2, 4)
    assert database.run("SELECT kind FROM factors") == [("webauthn",)]  # it was under no key
    assert database.run("SELECT * FROM factor_claims") == []
    here.reread(path)
    alice.sign_in()
    token = enrolment.ask(here.means, alice.session, "totp", now=alice.now)
    ways = freshproof.action(here.means, alice.session, token, now=alice.now).ways
    assert ways == (freshproof.ENROLMENT_CODE,)  # as after an administrator's reset


def test_a_ring_of_another_site_opens_nothing(store, ring, here):
    alice = person(here.means)
    alice.begin()
    alice.enrol_totp()
    session = alice.begin()
    here.ring = KeyRing([Key(1, "2026-01-01", b"x" * 32)])
    with pytest.raises(BadRecord):
        secondfactor.check(here.means, session, "totp", {"code": "000000"}, now=alice.now)
    assert steps.CLAIMED == "claimed"
