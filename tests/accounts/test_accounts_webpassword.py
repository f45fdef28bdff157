"""Changing the web password, and personal data."""

import json

import pytest

from mailauth.accounts import clientpasswords, erasure, portalsessions, recovery, tokens, vouchers, webpassword
from mailauth.accounts.aliases import add_alias
from mailauth.accounts.apppasswords import listed, mint, revoke
from mailauth.accounts.freshproof import NotProven
from mailauth.accounts.history import audit, note
from mailauth.accounts.mailboxes import add_account, set_web_password, show_account
from mailauth.accounts.portalsessions import SignedOut
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.unit import changing
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import LoginJudged
from mailauth.interfaces import WebMatch
from mailauth.store.changes import Effect
from mailauth.store.observations import Observations
from mailauth.store.observations import write as write_observations
from mailauth.store.upkeep import DAY_S
from mailauth.verdict import Reason, Reject
from portal_people import ALICE, NOW, PEER, ROOT, knows_device, means_of, person

HOME, HOTEL = "192.0.2.1", "198.51.100.9"


@pytest.fixture
def means(store, ring):
    return means_of(store, ring)


@pytest.fixture
def alice(means):
    alice = person(means)
    alice.begin()
    return alice


def give_recovery_address(store, address):
    with changing(store, "test", NOW) as unit:
        recovery.put_recovery_address(unit, unit.tx.row(unit.sql.ACCOUNT, login=ALICE), address)


def make(store, ring, means, label, at, peer=""):
    return mint(store, ring, means.hashing, ALICE, label=label, **ROOT, now=at, peer=peer).id


def got_in(store, alice, peer, at):
    note(store, "login", actor="client", login=ALICE, account_id=alice.account_id, peer=peer, outcome="accept", now=at)


def test_young_ones_and_those_from_strange_networks_are_ticked(means, store, ring, alice):
    now = NOW + 100 * DAY_S
    got_in(store, alice, HOME, now - 60 * DAY_S)
    got_in(store, alice, HOTEL, now - 40 * DAY_S - 600)  # the thief signs in, and makes one ten minutes later
    make(store, ring, means, "old, from home", now - 40 * DAY_S, "192.0.2.200")
    make(store, ring, means, "old, from the hotel", now - 40 * DAY_S, HOTEL)
    make(store, ring, means, "old, by an administrator", now - 31 * DAY_S)
    make(store, ring, means, "young, from home", now - 29 * DAY_S, HOME)
    alice.now = now
    alice.begin()
    ticked = {suspect.view.label: suspect.is_ticked for suspect in webpassword.suspects(means, alice.session, now=now)}
    assert ticked == {
        "old, from home": False,
        "old, from the hotel": True,
        "old, by an administrator": False,
        "young, from home": True,
    }


def test_another_web_password_signs_all_others_out_and_deletes_what_was_ticked(database, means, store, ring, alice):
    first, second = [make(store, ring, means, label, NOW) for label in "ab"]
    other = alice.token
    alice.begin()
    device = alice.device
    effect = Effect()
    gone = webpassword.change(means, alice.session, alice.match, "plain:new", {first, 99}, now=alice.now, effect=effect)
    assert [one.id for one in gone] == [first] and effect.number is not None
    assert [view.id for view in listed(store, ALICE)] == [second]
    assert alice.stage is portalsessions.Stage.IN
    assert portalsessions.find(means, other, now=alice.now) is None
    assert not knows_device(store, device, alice.account_id)
    assert database.run("SELECT web_record FROM accounts") == [("plain:new",)]
    with pytest.raises(SignedOut):
        webpassword.change(means, alice.session, WebMatch(alice.account_id + 1, ALICE), "plain:x", (), now=alice.now)


def refuse(store, alice, service, peer, at, reason=Reason.CLIENT_PASSWORDS_ONLY, client="Foxmail"):
    attempt = Attempt(Credential(ALICE), service, peer, True, client)
    observations = Observations()
    observations.note(LoginJudged(attempt, Reject(reason), ALICE, alice.account_id, 1.0), at)
    with store.transaction() as tx:
        write_observations(store, tx, observations.take(at, everything=True))


# --- personal data ---------------------------------------------------------------------------------------------------


def test_everything_about_oneself_is_told_and_nothing_that_opens_anything(means, store, ring, alice):
    alice.enrol_totp()
    minted = mint(store, ring, means.hashing, ALICE, label="Phone", **ROOT, now=NOW)
    issued = tokens.add(store, ALICE, label="t", scopes=["own:read"], **ROOT, now=NOW)
    add_alias(store, ALICE, "a@example.test", **ROOT)
    got_in(store, alice, HOME, NOW)
    token = erasure.ask_to_export(means, alice.session, now=alice.now)
    with pytest.raises(NotProven):
        erasure.export_own(means, alice.session, token, now=alice.now)
    alice.prove(token)
    data = json.loads(json.dumps(erasure.export_own(means, alice.session, token, now=alice.now)))
    assert data["account"]["aliases"] == ["a@example.test"]
    assert [one["label"] for one in data["app_passwords"]] == ["Phone"]
    assert data["second_factors"][0]["kind"] == "totp" and data["second_factors"][0]["parts"][0]["name"] == "Phone"
    assert {"login", "sign-in", "factor-added"} <= {row["kind"] for row in data["history"]}
    assert data["history"][0]["at"].endswith("Z") and len(data["browsers"]) == 1 == len(data["api_tokens"])
    assert data["notices"] and data["sessions"]
    told = json.dumps(data)
    for secret in (minted.password, issued.token, alice.secret, alice.token, alice.device, "plain:"):
        assert secret not in told


def test_what_is_erased_is_gone_from_every_table(database, means, store, ring, alice):
    bob = "bob@example.test"
    add_account(store, bob, None, **ROOT)
    alice.enrol_totp()
    clientpasswords.turn_on(means, alice.session, now=alice.now)
    minted = mint(store, ring, means.hashing, ALICE, label="Her phone", **ROOT, now=NOW, peer=PEER)
    revoke(store, ALICE, ids=[minted.id], **ROOT)
    add_alias(store, ALICE, "nickname@example.test", **ROOT)
    tokens.add(store, ALICE, label="Her token", scopes=["own:read"], **ROOT, now=NOW)
    got_in(store, alice, HOME, NOW)
    refuse(store, alice, Service.SMTP, HOME, NOW)
    note(store, "factors-reset", actor=f"portal:{ALICE}", login=bob, account_id=2, now=NOW)
    effect = Effect()
    known_as = erasure.erase(store, ALICE, **ROOT, now=alice.now, effect=effect)
    assert effect.number is not None and known_as.startswith("erased:")
    tables = [row["name"] for row in _tables(store)]
    for table in sorted(set(tables) - {"changes"}):  # forgotten within a day, and known until then to those who serve
        content = str(database.run(f"SELECT * FROM {table}"))
        for personal in ("alice", "Her phone", "Her token", "nickname", HOME, PEER, "Firefox"):
            assert personal not in content, (table, personal)
    rows = list(audit(store))
    mine = [row for row in rows if row.login == known_as]
    assert {"account-added", "factor-added", "app-password-revoked", "account-erased"} <= {row.kind for row in mine}
    assert {row.detail for row in mine} == {""}
    assert [row.actor for row in rows if row.login == bob][-1] == f"portal:{known_as}"
    with pytest.raises(NoSuch):
        show_account(store, ALICE)
    assert alice.stage is None
    add_account(store, ALICE, None, **ROOT)
    assert show_account(store, ALICE).app_passwords == 0


def test_exporting_is_on_record_and_told(database, store, alice):
    data = erasure.exported(store, "ALICE@example.test", **ROOT, now=NOW)
    assert data["account"]["login"] == ALICE
    assert list(audit(store, ALICE))[-1].kind == "personal-data-exported"
    assert database.run("SELECT kind FROM notices") == [("personal-data-exported",)]
    with pytest.raises(NoSuch):
        erasure.exported(store, "nobody@example.test", **ROOT)


def _tables(store):
    with store.reading() as tx:
        return tx.rows(store.driver.list_tables)


@pytest.mark.parametrize(
    "change",
    [
        lambda store: set_web_password(store, ALICE, "plain:mine", True, **ROOT),
        lambda store: give_recovery_address(store, "new@elsewhere.test"),
    ],
    ids=["web password", "recovery address"],
)
def test_a_reset_link_does_not_outlive_what_it_was_sent_for(means, store, alice, change):
    with changing(store, "test", alice.now) as unit:
        row = unit.tx.row(unit.sql.ACCOUNT, login=ALICE)
        code = vouchers.issue(unit, row, vouchers.Kind.PASSWORD_RESET).code
    assert webpassword.reset_login(store, code, now=alice.now) == ALICE
    change(store)
    assert webpassword.reset_login(store, code, now=alice.now) is None
    assert webpassword.reset(store, code, "plain:thief", peer=PEER, now=alice.now) is None


def test_an_alias_of_ones_own_is_no_recovery_address(store, alice):
    add_alias(store, ALICE, "ali@example.test", **ROOT)
    with pytest.raises(Refused):
        give_recovery_address(store, "ali@example.test")
