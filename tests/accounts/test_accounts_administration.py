"""Administrating others: through the portal with proof, and through the API."""

import pytest

from mailauth.accounts import (
    administration,
    enrolment,
    freshproof,
    portalsessions,
    proving,
    roleholders,
    searching,
    secondfactor,
    tokens,
    vouchers,
    webpassword,
)
from mailauth.accounts.administration import Administrator, Denied
from mailauth.accounts.aliases import add_alias
from mailauth.accounts.changes import AccountChange, PolicyChange
from mailauth.accounts.domains import add_domain, show_domain
from mailauth.accounts.freshproof import Act, NotProven
from mailauth.accounts.history import audit
from mailauth.accounts.mailboxes import add_account, set_account, show_account
from mailauth.accounts.portalsessions import SignedOut, Stage
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.roles import Denial, Role, Verb
from mailauth.accounts.site import set_site, show_site
from mailauth.accounts.steps import Refusal
from mailauth.interfaces import PolicyLevel
from portal_people import NOW, PEER, ROOT, Gateway, all_at_once, means_of, person, run

BOB = "bob@example.test"
EVE = "eve@other.test"


@pytest.fixture
def gateway():
    return Gateway()


@pytest.fixture
def means(store, ring, gateway):
    return means_of(store, ring, gateway)


def administrator(means, login, role, domains=()):
    """Somebody with a role who has signed in with his app."""
    who = person(means, login)
    roleholders.set_role(means.store, login, role, domains, **ROOT)
    who.begin()
    who.enrol_totp()
    who.sign_in()
    return who


@pytest.fixture
def root(means):
    return administrator(means, "root@example.test", Role.SITE_ADMIN)


@pytest.fixture
def chief(means, root):
    return administrator(means, "chief@example.test", Role.DOMAIN_ADMIN)


@pytest.fixture
def bob(means, root):
    person(means, EVE)
    return person(means, BOB)


def do(who, verb, name, change=None):
    token = administration.ask(who.means, who.session, verb, name, change, now=who.now)
    who.prove(token)
    return administration.perform(who.means, who.session, token, now=who.now)


def test_an_act_takes_a_proof_that_names_it_whole_and_is_done_once(means, store, root, bob):
    token = administration.ask(means, root.session, Verb.SET_ACCOUNT, BOB, {"pop3": False}, now=root.now)
    with pytest.raises(NotProven):
        administration.perform(means, root.session, token, now=root.now)
    root.prove(token)
    view = administration.perform(means, root.session, token, now=root.now)
    assert (view.login, view.pop3, view.imap) == (BOB, False, True)
    with pytest.raises(NotProven):
        administration.perform(means, root.session, token, now=root.now)
    other = root.proven(Act.MODE_OFF, {"verb": "set-account", "name": BOB, "change": {"imap": False}})
    with pytest.raises(NotProven):
        administration.perform(means, root.session, other, now=root.now)
    row = list(audit(store, BOB))[-1]
    assert (row.actor, row.peer, row.kind) == ("portal:root@example.test", PEER, "account-changed")


def test_a_text_message_alone_makes_no_administrator(means, store, gateway):
    chief = person(means, "chief@example.test")
    roleholders.set_role(store, chief.login, Role.SITE_ADMIN, **ROOT)
    chief.begin()
    assert chief.session.role == "site-admin" and not chief.session.administers
    token = enrolment.ask(means, chief.session, "sms", now=chief.now)
    chief.prove(token)
    begun = run(enrolment.begin(means, chief.session, "sms", {"number": "13800138000"}, token=token, now=NOW), {})
    enrolment.confirm(means, chief.session, "sms", {"code": gateway.code}, question_id=begun.id, now=NOW)
    chief.now += 100
    session = chief.begin()
    run(secondfactor.challenge(means, session, "sms", now=chief.now), {})
    signed = secondfactor.check(means, session, "sms", {"code": gateway.code}, now=chief.now)
    chief.token = signed.token
    assert chief.stage is Stage.IN and not chief.session.administers
    with pytest.raises(Denied):
        administration.ask(means, chief.session, Verb.SET_SITE, "", {"max_app_passwords": 1}, now=chief.now)
    token = freshproof.begin(means, chief.session, Act.ADMINISTRATION, {}, now=chief.now)
    assert freshproof.action(means, chief.session, token, now=chief.now).ways == ()


def test_a_session_that_is_not_in_or_has_no_role_administrates_nothing(means, root, bob):
    bob.begin()
    with pytest.raises(Denied):
        administration.ask(means, bob.session, Verb.SET_ACCOUNT, BOB, {"imap": False}, now=bob.now)
    half = root.begin()
    assert half.stage is Stage.PASSWORD
    with pytest.raises(SignedOut):
        administration.ask(means, half, Verb.SET_ACCOUNT, BOB, {"imap": False}, now=root.now)


def test_whoever_loses_his_role_after_the_proof_does_nothing(means, store, root, chief, bob):
    token = administration.ask(means, chief.session, Verb.SET_ACCOUNT, BOB, {"imap": False}, now=chief.now)
    chief.prove(token)
    session = chief.session
    do(root, Verb.SET_ROLE, chief.login, {"role": "user"})
    with pytest.raises(SignedOut):
        administration.perform(means, session, token, now=chief.now)
    who = Administrator(chief.account_id, "api:1", PEER)
    with pytest.raises(Denied):
        administration.perform_for(means, who, Verb.SET_ACCOUNT, BOB, {"imap": False}, now=chief.now)
    assert show_account(store, BOB).imap


def test_a_domain_administrator_stays_in_his_domains(means, store, root, chief, bob):
    assert do(chief, Verb.SET_ACCOUNT, "BOB@Example.TEST", {"enabled": False}).enabled is False
    for name in (EVE, "EVE@OTHER.test"):
        with pytest.raises(Denied) as refused:
            do(chief, Verb.SET_ACCOUNT, name, {"enabled": False})
        assert refused.value.why is Denial.NOT_YOUR_DOMAIN
    with pytest.raises(Denied):
        do(chief, Verb.ADD_ACCOUNT, "new@other.test")
    with pytest.raises(NoSuch):
        do(chief, Verb.ADD_ACCOUNT, "new@nowhere.test")
    with pytest.raises(Denied):
        do(chief, Verb.SET_DOMAIN, "other.test", {"enabled": False})
    assert do(chief, Verb.ADD_ACCOUNT, "new@example.test").login == "new@example.test"
    for alias in ("x@other.test", "x@nowhere.test"):
        with pytest.raises(Refused):
            do(chief, Verb.ADD_ALIAS, BOB, {"alias": alias})
    assert do(chief, Verb.ADD_ALIAS, BOB, {"alias": "x@example.test"}) == "x@example.test"
    add_alias(store, BOB, "y@other.test", **ROOT)
    with pytest.raises(Refused):
        do(chief, Verb.REMOVE_ALIAS, "y@other.test")
    assert do(chief, Verb.REMOVE_ALIAS, "x@example.test") == BOB


RESERVED = ("postmaster", "Abuse", "HOSTMASTER", "webmaster", "admin", "administrator", "mailer-daemon", "security")


@pytest.mark.parametrize("name", [*RESERVED, "abuse+x"])
def test_an_account_that_speaks_for_its_domain_is_added_by_the_site_only(means, store, root, chief, name):
    login = f"{name}@example.test"
    with pytest.raises(Refused) as refused:
        do(chief, Verb.ADD_ACCOUNT, login)
    assert refused.value.why == "reserved-name"
    assert do(root, Verb.ADD_ACCOUNT, login).login == login.lower()


@pytest.mark.parametrize("name", [*RESERVED, "abuse+x"])
def test_an_alias_that_speaks_for_its_domain_is_given_by_the_site_only(means, store, root, chief, bob, name):
    alias = f"{name}@example.test"
    with pytest.raises(Refused) as refused:
        do(chief, Verb.ADD_ALIAS, BOB, {"alias": alias})
    assert refused.value.why == "reserved-name"
    assert do(root, Verb.ADD_ALIAS, BOB, {"alias": alias}) == alias.lower()
    assert do(chief, Verb.ADD_ALIAS, BOB, {"alias": "my-root@example.test"}) == "my-root@example.test"
    assert show_account(store, BOB).aliases == tuple(sorted([alias.lower(), "my-root@example.test"]))


def test_an_address_that_somebody_had_is_given_out_again_by_the_site_only(means, store, root, chief, bob):
    do(chief, Verb.REMOVE_ACCOUNT, BOB)
    with pytest.raises(Refused, match="somebody's before"):
        do(chief, Verb.ADD_ACCOUNT, BOB, {"recovery_address": "thief@elsewhere.test"})
    assert do(root, Verb.ADD_ACCOUNT, BOB, {"recovery_address": "bob@elsewhere.test"}).login == BOB
    assert do(chief, Verb.RESET_PASSWORD, BOB).recovery_address == "bob@elsewhere.test"


@pytest.mark.parametrize(
    "change", [{"policy": "optional"}, {"policy": "observe"}, {"two_factor": False}, {"max_app_passwords": 7}]
)
def test_a_domain_administrators_policy_is_not_below_the_sites(means, store, chief, bob, change):
    site = PolicyChange(policy=PolicyLevel.ENFORCED, two_factor=True, max_app_passwords=6)
    set_site(store, site, **ROOT, now=chief.now)
    for verb, name in ((Verb.SET_DOMAIN, "example.test"), (Verb.SET_ACCOUNT, BOB)):
        with pytest.raises(Refused):
            do(chief, verb, name, change)
    assert do(chief, Verb.SET_DOMAIN, "example.test", {"max_app_passwords": 3}).max_app_passwords == 3


def test_nobody_shuts_a_domain_with_equals_in_it(means, store, root, chief, bob):
    for who in (chief, root):
        for switch in ("enabled", "imap", "pop3", "smtp"):
            with pytest.raises(Refused) as refused:
                do(who, Verb.SET_DOMAIN, "example.test", {"max_app_passwords": 3, switch: False})
            assert refused.value.why == "over-equals"
        assert do(who, Verb.SET_DOMAIN, "example.test", {"pop3": True}).pop3
    with pytest.raises(Refused):
        do(root, Verb.REMOVE_DOMAIN, "example.test", {"with_accounts": True})
    roleholders.set_role(store, EVE, Role.DOMAIN_ADMIN, ["other.test"], **ROOT)  # below him
    assert do(root, Verb.SET_DOMAIN, "other.test", {"pop3": False}).pop3 is False
    assert do(root, Verb.SET_DOMAIN, "other.test", {"enabled": False}).enabled is False
    assert do(root, Verb.REMOVE_DOMAIN, "other.test", {"with_accounts": True}) == 1
    assert do(root, Verb.ADD_DOMAIN, "New.test") == "new.test"
    assert show_domain(store, "example.test").enabled


@pytest.mark.parametrize(
    ("verb", "name", "change"),
    [
        (Verb.SET_ACCOUNT, BOB, {}),
        (Verb.SET_ACCOUNT, BOB, {"role": "site-admin"}),
        (Verb.SET_ACCOUNT, BOB, {"policy": "strict"}),
        (Verb.SET_ROLE, BOB, {"role": "king"}),
        (Verb.SET_ROLE, BOB, {"role": "user", "domains": ["example.test"]}),
        (Verb.SET_SITE, "", {"enabled": False}),
        (Verb.SET_RECOVERY_ADDRESS, BOB, {"address": "nonsense"}),
        (Verb.SET_RECOVERY_ADDRESS, BOB, {"address": BOB}),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(means, root, bob, verb, name, change):
    with pytest.raises(Refused):
        do(root, verb, name, change)


def test_roles_are_given_and_whoever_gets_one_signs_in_again(means, store, root, bob):
    bob.begin()
    do(root, Verb.SET_ROLE, BOB, {"role": "domain-admin", "domains": ["other.test", "example.test"]})
    assert bob.stage is None
    holders = {holder.login: holder for holder in roleholders.listed(store)}
    assert holders[BOB].domains == ("example.test", "other.test")
    assert set(holders) == {BOB, "root@example.test"}
    with pytest.raises(Denied):
        do(root, Verb.SET_ROLE, root.login, {"role": "user"})
    do(root, Verb.SET_ROLE, BOB, {"role": "site-admin"})
    with pytest.raises(Denied):
        do(root, Verb.SET_ROLE, BOB, {"role": "user"})


def test_two_administrators_who_act_on_each_other_at_once_do_not_both_win(means, store, root, bob):
    other = administrator(means, "other@example.test", Role.DOMAIN_ADMIN)
    take = administration.ask(means, root.session, Verb.SET_ROLE, other.login, {"role": "user"}, now=root.now)
    root.prove(take)
    set_token = administration.ask(means, other.session, Verb.SET_ACCOUNT, BOB, {"imap": False}, now=other.now)
    other.prove(set_token)
    sessions = root.session, other.session
    results = all_at_once(
        [
            lambda: administration.perform(means, sessions[0], take, now=root.now),
            lambda: administration.perform(means, sessions[1], set_token, now=other.now),
        ]
    )
    assert results[0] is None
    assert isinstance(results[1], SignedOut | Denied) or results[1].imap is False


def test_other_acts_do_what_they_say(means, store, root, bob):
    bob.begin()
    bob.enrol_totp()
    first = bob.session
    assert do(root, Verb.SIGN_OUT, BOB) == 1
    assert portalsessions.find(means, bob.token, now=bob.now) is None and first.login == BOB
    assert do(root, Verb.CLOSE_SESSIONS, BOB) is None
    assert do(root, Verb.REVOKE, BOB) == []
    assert do(root, Verb.RESET_FACTORS, BOB) == ["totp"]
    assert do(root, Verb.ENROLMENT_CODE, BOB).kind is vouchers.Kind.ENROLMENT
    assert do(root, Verb.CLEAR_THROTTLE, BOB).counts == 0
    assert do(root, Verb.CLEAR_THROTTLE, "192.0.2.1").subject == "192.0.2.1"
    assert do(root, Verb.SET_SITE, "", {"max_app_passwords": 4}).max_app_passwords == 4
    assert show_site(store).max_app_passwords == 4
    data = do(root, Verb.EXPORT_ACCOUNT, BOB)
    assert data["account"]["login"] == BOB
    assert do(root, Verb.ERASE_ACCOUNT, BOB).startswith("erased:")
    assert do(root, Verb.REMOVE_ACCOUNT, EVE) is None
    with pytest.raises(NoSuch):
        show_account(store, BOB)


def test_a_reset_link_goes_to_the_recovery_address_and_sets_a_password_once(means, store, root, chief, bob):
    with pytest.raises(Refused):
        do(chief, Verb.RESET_PASSWORD, BOB)
    assert do(root, Verb.RESET_PASSWORD, BOB).recovery_address is None
    with pytest.raises(Denied):
        do(chief, Verb.SET_RECOVERY_ADDRESS, BOB, {"address": "bob@elsewhere.test"})
    do(root, Verb.SET_RECOVERY_ADDRESS, BOB, {"address": "Bob@Elsewhere.test"})
    reset = do(chief, Verb.RESET_PASSWORD, BOB)
    assert reset.recovery_address == "bob@elsewhere.test" and reset.voucher.code not in repr(reset)
    bob.now = chief.now
    bob.begin()
    assert webpassword.reset_login(store, reset.voucher.code, now=bob.now) == BOB
    assert webpassword.reset_login(store, "wrong", now=bob.now) is None
    assert webpassword.reset(store, "wrong", "plain:new", peer=PEER, now=bob.now) is None
    results = all_at_once(
        [lambda: webpassword.reset(store, reset.voucher.code, "plain:new", peer=PEER, now=bob.now)] * 5
    )
    assert sorted(results, key=str) == [None] * 4 + [BOB]
    assert bob.stage is None
    rows = {row.kind: row for row in audit(store, BOB)}
    assert rows["web-password-changed"].actor == "portal:reset-link"
    late = do(chief, Verb.RESET_PASSWORD, BOB).voucher.code
    assert webpassword.reset(store, late, "plain:new", peer=PEER, now=chief.now + 86400) is None


def test_the_api_administrates_by_the_role_of_its_account(means, store, root, chief, bob):
    issued = tokens.add(store, chief.login, label="x", scopes=["admin:read"], **ROOT, now=NOW)
    caller = tokens.caller(store, issued.token, peer=PEER, now=NOW)
    with pytest.raises(Denied):
        administration.calling(caller, tokens.Scope.ADMIN_WRITE)
    issued = tokens.add(store, chief.login, label="x", scopes=["admin:write"], **ROOT, now=NOW)
    who = administration.calling(tokens.caller(store, issued.token, peer=PEER, now=NOW), tokens.Scope.ADMIN_WRITE)
    view = administration.perform_for(means, who, Verb.SET_ACCOUNT, BOB, {"imap": False}, now=NOW)
    assert view.imap is False
    with pytest.raises(Denied):
        administration.perform_for(means, who, Verb.SET_ACCOUNT, EVE, {"imap": False}, now=NOW)
    row = [row for row in audit(store, BOB) if row.kind == "account-changed"][-1]
    assert row.actor == f"api:{issued.id}:chief@example.test" and row.peer == PEER
    for verb in (Verb.SET_PASSWORD, Verb.SHOW_ACCOUNT):
        with pytest.raises(Denied):
            administration.perform_for(means, who, verb, BOB, {}, now=NOW)


# --- finding accounts ------------------------------------------------------------------------------------------------


def logins(page):
    return [view.login for view in page.accounts]


def test_accounts_are_found_by_how_they_begin_page_by_page(means, store, root, chief, bob):
    for number in range(5):
        add_account(store, f"b{number}@example.test", None, **ROOT)
    add_account(store, "b_x@example.test", None, **ROOT)
    add_account(store, "ba@other.test", None, **ROOT)
    add_alias(store, EVE, "bravo@example.test", **ROOT)
    who = administration.signed_in(root.session)
    found = []
    after = ""
    while after is not None:
        page = searching.found(means, who, " B", after=after, limit=3, now=root.now)
        found += logins(page)
        assert len(page.accounts) <= 3
        after = page.following
    assert found == sorted([f"b{n}@example.test" for n in range(5)] + ["b_x@example.test", "ba@other.test", BOB])
    assert logins(searching.found(means, who, "b_", now=root.now)) == ["b_x@example.test"]
    assert logins(searching.found(means, who, "b%", now=root.now)) == []
    assert logins(searching.found(means, who, "bravo@example.test", now=root.now)) == [EVE]
    assert logins(searching.found(means, who, "b", domain="other.test", now=root.now)) == ["ba@other.test"]
    mine = administration.signed_in(chief.session)
    assert "ba@other.test" not in logins(searching.found(means, mine, "b", now=chief.now))
    assert logins(searching.found(means, mine, "bravo@example.test", now=chief.now)) == []
    with pytest.raises(Denied):
        searching.found(means, mine, domain="other.test", now=chief.now)
    assert searching.domains_of(means, mine) == ("example.test",)
    assert searching.domains_of(means, who) is None


def test_who_has_several_domains_sees_them_as_one_list(means, store, root):
    add_domain(store, "other.test", **ROOT)
    two = administrator(means, "two@example.test", Role.DOMAIN_ADMIN, ["example.test", "other.test"])
    for number in range(6):
        add_account(store, f"m{number}@{'example' if number % 2 else 'other'}.test", None, **ROOT)
    who = administration.signed_in(two.session)
    first = searching.found(means, who, "m", limit=4, now=two.now)
    rest = searching.found(means, who, "m", after=first.following, limit=4, now=two.now)
    assert [login[:2] for login in logins(first) + logins(rest)] == [f"m{number}" for number in range(6)]


def test_everything_about_an_account_and_what_may_be_done_to_it(means, store, root, chief, bob):
    bob.begin()
    bob.enrol_totp()
    set_account(store, BOB, AccountChange(mode=True), **ROOT)
    do(root, Verb.SET_RECOVERY_ADDRESS, BOB, {"address": "bob@elsewhere.test"})
    details = searching.details(means, administration.signed_in(chief.session), BOB, now=chief.now)
    assert (details.view.login, details.view.role, details.view.has_second_factor) == (BOB, "user", True)
    assert details.recovery_address == "b***@elsewhere.test"
    assert [view.kind for view in details.factors] == ["totp"] and bob.secret not in repr(details)
    assert Verb.RESET_FACTORS in details.allowed and Verb.SET_ROLE not in details.allowed
    for login, why in ((EVE, Denial.NOT_YOUR_DOMAIN),):
        with pytest.raises(Denied) as refused:
            searching.details(means, administration.signed_in(chief.session), login, now=chief.now)
        assert refused.value.why is why
    own = searching.details(means, administration.signed_in(chief.session), chief.login, now=chief.now)
    assert own.allowed == {verb for verb in own.allowed if verb.startswith(("list-", "show-"))}


def test_an_auditor_sees_all_and_changes_nothing(means, store, root, bob):
    auditor = administrator(means, "auditor@other.test", Role.AUDITOR)
    who = administration.signed_in(auditor.session)
    assert {BOB, EVE} <= set(logins(searching.found(means, who, now=auditor.now)))
    assert searching.details(means, who, root.login, now=auditor.now).view.role == "site-admin"
    with pytest.raises(Denied) as refused:
        do(auditor, Verb.SET_ACCOUNT, BOB, {"imap": False})
    assert refused.value.why is Denial.READ_ONLY


MANY = {
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 20000) ",
    "postgresql": "WITH s(n) AS (SELECT generate_series(1, 20000)) ",
}
COLUMNS = "domain_id, enabled, client_logon, services, mode_on, policy, policy_reached, two_factor, two_factor_reached"


def test_a_page_of_many_accounts_is_one_range_of_an_index(database, means, root):
    """Looks at the plan, not at the clock: neither a scan of all accounts nor a sort."""
    kind = "sqlite" if database.url.startswith("sqlite") else "postgresql"
    select = f"SELECT 'm' || n || '@example.test', 1.0, {COLUMNS} FROM s, accounts WHERE login LIKE 'root@%'"
    insert = f"INSERT INTO accounts (login, created_at, {COLUMNS}) "
    database.run(insert + MANY[kind] + select if kind == "postgresql" else MANY[kind] + insert + select)
    database.run("ANALYZE")
    values = {"first": "m19", "behind": "m19\U0010ffff", "after": "m1950@example.test", "page": 51}
    explain = "EXPLAIN QUERY PLAN " if kind == "sqlite" else "EXPLAIN "
    with means.store.reading() as tx:
        rows = tx.rows(explain + means.store.sql.FOUND_ACCOUNTS["everywhere"], **values)
    plan = "\n".join([str(row.get("detail") or row.get("QUERY PLAN")) for row in rows])
    assert "SCAN accounts" not in plan and "Seq Scan on accounts" not in plan, plan
    assert "ORDER BY" not in plan and "Sort" not in plan, plan
    who = administration.signed_in(root.session)
    page = searching.found(means, who, "m19", after="m1950@example.test", now=root.now)
    assert len(page.accounts) == 50 and page.accounts[0].login == "m19510@example.test"


def test_a_wrong_code_proves_no_act(means, root, bob):
    token = administration.ask(means, root.session, Verb.SET_ACCOUNT, BOB, {"imap": False}, now=root.now)
    outcome = proving.check(means, root.session, token, "totp", {"code": "000000"}, now=root.now + 200)
    assert isinstance(outcome, Refusal)
    with pytest.raises(NotProven):
        administration.perform(means, root.session, token, now=root.now)


@pytest.mark.parametrize("gone", [Verb.REMOVE_ACCOUNT, Verb.ERASE_ACCOUNT])
def test_an_address_that_somebody_had_is_given_out_again_by_a_site_administrator_alone(
    database, means, store, root, chief, bob, gone
):
    do(root, gone, BOB)
    database.run("DELETE FROM audit")  # which is not kept for ever
    with pytest.raises(Refused) as refused:
        do(chief, Verb.ADD_ACCOUNT, BOB, {"recovery_address": "thief@evil.test"})
    assert refused.value.why == "had-before"
    do(root, Verb.ADD_ACCOUNT, "carl@example.test")
    with pytest.raises(Refused) as refused:
        do(chief, Verb.ADD_ALIAS, "carl@example.test", {"alias": BOB})
    assert refused.value.why == "had-before"
    assert do(root, Verb.ADD_ALIAS, "carl@example.test", {"alias": BOB}) == BOB
    do(root, Verb.REMOVE_ALIAS, BOB)
    assert do(root, Verb.ADD_ACCOUNT, BOB).login == BOB


@pytest.mark.parametrize(
    ("verb", "change", "why"),
    [(Verb.ADD_ACCOUNT, {}, "account-exists"), (Verb.ADD_ALIAS, {"alias": BOB}, "is-account")],
)
def test_an_address_that_somebody_has_is_said_to_be_his(means, root, chief, bob, verb, change, why):
    do(root, Verb.ADD_ACCOUNT, "carl@example.test")
    with pytest.raises(Refused) as refused:
        do(chief, verb, BOB if verb is Verb.ADD_ACCOUNT else "carl@example.test", change)
    assert refused.value.why == why
