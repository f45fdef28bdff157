"""What owners are told, and API tokens."""

import pytest

from mailauth.accounts import clientpasswords, notices, portalsessions, recovery, tokens, vouchers, webpassword
from mailauth.accounts.apppasswords import mint
from mailauth.accounts.changes import AccountChange
from mailauth.accounts.freshproof import NotProven
from mailauth.accounts.history import audit
from mailauth.accounts.mailboxes import remove_account, set_account
from mailauth.accounts.portalsessions import SignedOut
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.roleholders import set_role
from mailauth.accounts.roles import Role
from mailauth.accounts.telling import TOLD
from mailauth.accounts.tokens import Scope
from mailauth.accounts.unit import changing
from portal_people import ALICE, NOW, PEER, ROOT, all_at_once, means_of, person

BOB = "bob@example.test"


@pytest.fixture
def means(store, ring):
    return means_of(store, ring)


@pytest.fixture
def alice(means):
    alice = person(means)
    alice.begin()
    return alice


def tell(store, ring, means, count=1, login=ALICE):
    for number in range(count):
        mint(store, ring, means.hashing, login, label=f"n{number}", **ROOT, now=NOW + number, peer="192.0.2.7")


def test_what_is_changed_on_whatever_way_is_told_until_it_is_acknowledged(means, store, ring, alice):
    tell(store, ring, means, 2)
    tell(store, ring, means, login=person(means, BOB).login)
    alice.enrol_totp()
    views = notices.listed(means, alice.session, now=alice.now)
    assert [view.kind for view in views] == ["mode-on", "factor-added", "app-password-added", "app-password-added"]
    assert [view.by for view in views] == ["owner", "owner", "administrator", "administrator"]
    assert (views[-1].label, views[-1].peer, views[-1].at) == ("n0", "192.0.2.7", NOW)
    assert alice.session.notices == 4
    assert notices.acknowledge(means, alice.session, views[0].id, now=alice.now)
    assert not notices.acknowledge(means, alice.session, views[0].id, now=alice.now)
    assert alice.session.notices == 3
    assert len(notices.listed(means, alice.session, unseen=True, now=alice.now)) == 3
    assert notices.acknowledge_all(means, alice.session, views[2].id, now=alice.now) == 2
    left = notices.listed(means, alice.session, unseen=True, now=alice.now)
    assert [view.kind for view in left] == ["factor-added"]
    older = notices.listed(means, alice.session, before_id=views[1].id, limit=1, now=alice.now)
    assert [view.id for view in older] == [views[2].id]


def test_nobody_reads_or_acknowledges_what_others_are_told(means, store, ring, alice):
    bob = person(means, BOB)
    bob.begin()
    tell(store, ring, means)
    (view,) = notices.listed(means, alice.session, now=alice.now)
    assert notices.listed(means, bob.session, now=NOW) == []
    assert not notices.acknowledge(means, bob.session, view.id, now=NOW)
    assert notices.acknowledge_all(means, bob.session, view.id, now=NOW) == 0
    assert alice.session.notices == 1
    alice.enrol_totp()
    half = alice.begin()
    with pytest.raises(SignedOut):
        notices.listed(means, half, now=alice.now)
    with pytest.raises(SignedOut):
        notices.acknowledge(means, half, view.id, now=alice.now)


def test_each_notice_is_handed_over_to_one_process_until_it_is_mailed(means, store, ring, alice):
    tell(store, ring, means, 10)
    taken = all_at_once([lambda: notices.take_to_mail(store, limit=10, now=NOW + 20)] * 4)
    ids = [notice.id for some in taken for notice in some]
    assert len(ids) == 10 == len(set(ids))
    assert notices.take_to_mail(store, now=NOW + 619) == []
    for notice in [notice for some in taken for notice in some][1:]:
        notices.done(store, notice, NOW + 30)
    (again,) = notices.take_to_mail(store, now=NOW + 621)
    assert again.id == ids[0] and (again.login, again.kind, again.by) == (ALICE, "app-password-added", "administrator")
    assert notices.take_to_mail(store, now=NOW + 3 * 86400 + 20) == []
    views = {view.id: view.mailed_at for view in notices.listed(means, alice.session, now=alice.now)}
    assert views[ids[0]] is None and views[ids[1]] == NOW + 30


def test_what_could_not_be_mailed_is_handed_over_again_when_it_is_time_for_those_who_lack_it(means, store, ring, alice):
    tell(store, ring, means)
    (notice,) = notices.take_to_mail(store, now=NOW)
    assert (notice.to, notice.mailed_at, notice.agent) == ((ALICE,), None, "")
    notices.put_off(store, notice, ("a@x.test", "b@x.test"), NOW + 1, again_at=NOW + 60)
    assert notices.take_to_mail(store, now=NOW + 59) == []
    (again,) = notices.take_to_mail(store, now=NOW + 60)
    assert (again.to, again.mailed_at) == (("a@x.test", "b@x.test"), NOW + 1)
    notices.put_off(store, notice, (ALICE,), None, again_at=NOW)  # who had it before has it no more
    assert notices.take_to_mail(store, now=NOW + 61) == []
    notices.done(store, again, again.mailed_at)
    assert notices.take_to_mail(store, now=NOW + 9999) == []
    assert notices.give_up(store, now=NOW + 4 * 86400) == 0


def test_what_is_too_old_is_given_up(database, means, store, ring, alice):
    tell(store, ring, means, 3)
    assert notices.give_up(store, now=NOW + 3 * 86400 - 1) == 0
    assert notices.give_up(store, now=NOW + 3 * 86400 + 1) == 2
    assert database.run("SELECT count(*) FROM notices WHERE mail_after IS NOT NULL") == [(1,)]


def test_the_browser_is_told_too(means, store, alice):
    alice.enrol_totp()
    alice.now += 60
    asked = clientpasswords.ask_to_generate(means, alice.session, label="Phone", now=alice.now)
    alice.prove(asked)
    clientpasswords.generate(means, alice.session, asked, now=alice.now)
    told = notices.take_to_mail(store, now=alice.now)
    assert {(notice.by, notice.peer, notice.agent) for notice in told} == {("owner", PEER, "Firefox")}
    assert {notice.kind for notice in told} == {"factor-added", "mode-on", "app-password-added"}


def test_who_has_a_reset_link_is_the_owner(means, store, alice):
    with changing(store, "cli:root", NOW) as unit:
        account = {"id": alice.account_id, "login": ALICE}
        code = vouchers.issue(unit, account, vouchers.Kind.PASSWORD_RESET).code
    webpassword.reset(store, code, "plain:new", peer=PEER, now=NOW)
    made, changed = notices.take_to_mail(store, now=NOW)
    assert (made.kind, made.by) == ("password-reset-made", "administrator")
    assert (changed.kind, changed.by, changed.peer) == ("web-password-changed", "owner", PEER)


def test_the_mail_goes_to_the_recovery_address_too(means, store, ring, alice):
    token = recovery.ask_to_set(means, alice.session, "Alice@Elsewhere.test", now=NOW)
    with pytest.raises(NotProven):
        recovery.set_own(means, alice.session, token, now=NOW)
    alice.prove(token)
    recovery.set_own(means, alice.session, token, now=NOW)
    assert recovery.shown(means, alice.session) == "alice@elsewhere.test"
    (notice,) = notices.take_to_mail(store, now=NOW)
    assert (notice.kind, notice.to) == ("recovery-address-changed", (ALICE, "alice@elsewhere.test"))
    assert notice.detail == "a***@elsewhere.test"
    assert "alice@elsewhere.test" not in str(list(audit(store, ALICE)))
    for wrong in (ALICE, "no address"):
        with pytest.raises(Refused):
            recovery.ask_to_set(means, alice.session, wrong, now=NOW)
    token = recovery.ask_to_set(means, alice.session, None, now=NOW)
    alice.prove(token)
    recovery.set_own(means, alice.session, token, now=NOW)
    assert recovery.shown(means, alice.session) is None


def test_what_is_no_change_for_the_owner_is_not_told(store, means, alice):
    assert {"sign-in", "signed-out", "second-factor", "account-added", "account-removed"}.isdisjoint(TOLD)
    set_account(store, ALICE, AccountChange(mode=False), **ROOT)
    assert notices.listed(means, alice.session, now=NOW) == []
    remove_account(store, ALICE, **ROOT)


# --- API tokens ------------------------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_found_by_its_digest(database, store, alice):
    issued = tokens.add(store, ALICE, label="x", scopes=["own:read", "own:revoke"], **ROOT, now=NOW)
    assert issued.token.startswith("mailauth_") and len(issued.token) == 52
    assert issued.token not in repr(issued) and issued.token not in str(database.run("SELECT * FROM api_tokens"))
    caller = tokens.caller(store, issued.token, peer=PEER, now=NOW)
    assert (caller.account_id, caller.login, caller.role) == (alice.account_id, ALICE, Role.USER)
    assert caller.scopes == {Scope.OWN_READ, Scope.OWN_REVOKE} and caller.actor == f"api:{issued.id}"
    for wrong in ("", "mailauth_", issued.token[:-1], issued.token + "x", issued.token.removeprefix("mailauth_")):
        assert tokens.caller(store, wrong, peer=PEER, now=NOW) is None
    (view,) = tokens.listed(store, ALICE)
    assert (view.label, view.scopes, view.last_used_at, view.last_used_peer) == (
        "x",
        ("own:read", "own:revoke"),
        NOW,
        PEER,
    )


def test_a_token_ends_when_it_is_revoked_or_late_or_its_account_is_off(store, alice):
    issued = tokens.add(store, ALICE, label="x", scopes=["own:read"], expires_at=NOW + 10, **ROOT, now=NOW)
    assert tokens.caller(store, issued.token, peer=PEER, now=NOW + 9) is not None
    assert tokens.caller(store, issued.token, peer=PEER, now=NOW + 10) is None
    set_account(store, ALICE, AccountChange(enabled=False), **ROOT)
    assert tokens.caller(store, issued.token, peer=PEER, now=NOW) is None
    set_account(store, ALICE, AccountChange(enabled=True), **ROOT)
    assert tokens.caller(store, issued.token, peer=PEER, now=NOW) is not None
    assert tokens.revoke(store, issued.id, **ROOT, now=NOW).label == "x"
    assert tokens.caller(store, issued.token, peer=PEER, now=NOW) is None
    with pytest.raises(NoSuch):
        tokens.revoke(store, issued.id, **ROOT, now=NOW)
    other = tokens.add(store, ALICE, label="y", scopes=["own:read"], **ROOT, now=NOW)
    remove_account(store, ALICE, **ROOT)
    assert tokens.caller(store, other.token, peer=PEER, now=NOW) is None


def test_a_token_of_a_program_serves_many_and_administrates_none(store, alice):
    issued = tokens.add(store, None, label="Webmail", scopes=["own:read"], **ROOT, now=NOW)
    caller = tokens.caller(store, issued.token, peer=PEER, now=NOW)
    assert (caller.account_id, caller.login, caller.role) == (None, None, Role.USER)
    with pytest.raises(Refused):
        tokens.add(store, None, label="x", scopes=["admin:read"], **ROOT, now=NOW)
    assert [view.login for view in tokens.listed(store)] == [None]
    assert tokens.revoke(store, issued.id, **ROOT, now=NOW).label == "Webmail"


@pytest.mark.parametrize(
    "wrong", [{"scopes": []}, {"scopes": ["everything"]}, {"label": ""}, {"expires_at": NOW - 1}, {"label": "a\nb"}]
)
def test_terms_of_a_token_are_judged(store, alice, wrong):
    with pytest.raises(Refused):
        tokens.add(store, ALICE, **{"label": "x", "scopes": ["own:read"]} | wrong, **ROOT, now=NOW)
    with pytest.raises(Refused):
        for number in range(21):
            tokens.add(store, ALICE, label=str(number), scopes=["own:read"], **ROOT, now=NOW)


def test_ones_own_token_takes_proof_and_gives_no_more_than_one_has(means, store, alice):
    with pytest.raises(Refused):
        tokens.ask_to_add(means, alice.session, label="x", scopes=["admin:read"], now=NOW)
    token = tokens.ask_to_add(means, alice.session, label="x", scopes=["own:read"], expires_at=NOW + 99, now=NOW)
    with pytest.raises(NotProven):
        tokens.add_own(means, alice.session, token, now=NOW)
    alice.prove(token)
    issued = tokens.add_own(means, alice.session, token, now=NOW)
    (view,) = tokens.own(means, alice.session)
    assert (view.id, view.expires_at) == (issued.id, NOW + 99)
    bob = person(means, BOB)
    bob.begin()
    with pytest.raises(NoSuch):
        tokens.revoke_own(means, bob.session, issued.id, now=NOW)
    assert tokens.revoke_own(means, alice.session, issued.id, now=NOW).id == issued.id
    assert tokens.own(means, alice.session) == []
    kinds = [view.kind for view in notices.listed(means, alice.session, now=NOW)]
    assert kinds == ["api-token-revoked", "api-token-added"]


def test_an_administrators_token_is_proven_for_by_an_administrator(means, store, alice):
    set_role(store, ALICE, Role.SITE_ADMIN, **ROOT)
    alice.begin()
    alice.enrol_totp()
    alice.sign_in()
    token = tokens.ask_to_add(means, alice.session, label="x", scopes=["admin:write"], now=alice.now)
    alice.prove(token)
    issued = tokens.add_own(means, alice.session, token, now=alice.now)
    assert tokens.caller(store, issued.token, peer=PEER, now=alice.now).role is Role.SITE_ADMIN
    set_role(store, ALICE, Role.USER, **ROOT)
    assert portalsessions.find(means, alice.token, now=alice.now) is None
    assert tokens.caller(store, issued.token, peer=PEER, now=alice.now).role is Role.USER
