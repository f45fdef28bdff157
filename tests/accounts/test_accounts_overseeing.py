"""What administrators look at: the report, the audit log, who is slowed down, domains and the site."""

import pytest

from mailauth.accounts import administration, freshproof, levels, overseeing, roleholders
from mailauth.accounts.administration import Denied
from mailauth.accounts.changes import AccountChange, PolicyChange
from mailauth.accounts.domains import add_domain, remove_domain
from mailauth.accounts.history import audit, note
from mailauth.accounts.mailboxes import add_account, remove_account, set_account, show_account
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.roles import Denial, Role, Verb
from mailauth.accounts.site import set_site
from mailauth.guessing import ACCOUNT, SOURCE
from mailauth.interfaces import PolicyLevel
from mailauth.store import observations
from mailauth.store.observations import Kind
from portal_people import NOW, ROOT, means_of, person

BOB = "bob@example.test"
EVE = "eve@other.test"
DAY_S = 86400.0


@pytest.fixture
def means(store, ring):
    return means_of(store, ring)


def administrator(means, login, role, domains=()):
    """Somebody with a role who has signed in with his app."""
    who = person(means, login)
    roleholders.set_role(means.store, login, role, domains, **ROOT)
    who.begin()
    who.enrol_totp()
    who.sign_in()
    return who


@pytest.fixture
def people(means):
    """Two users in two domains; an administrator of the site and one of the first domain, and an auditor."""
    bob, eve = person(means, BOB), person(means, EVE)
    root = administrator(means, "root@example.test", Role.SITE_ADMIN)
    chief = administrator(means, "chief@example.test", Role.DOMAIN_ADMIN)
    auditor = administrator(means, "auditor@example.test", Role.AUDITOR)
    return {"bob": bob, "eve": eve, "root": root, "chief": chief, "auditor": auditor}


def who(person):
    return administration.signed_in(person.session)


def seen(store, account_ids, *, client="Outlook", kind=Kind.WOULD_BREAK, at=NOW):
    key = {"kind": str(kind), "network": "192.0.2.0/24", "service": "imap", "client": client, "credential_id": 0}
    rows = [{"account_id": one, **key, "first_at": at - 10, "last_at": at, "count": 3} for one in account_ids]
    with store.transaction() as tx:
        observations.write(store, tx, rows)


def ids(store, *logins):
    with store.reading() as tx:
        return [tx.row(store.sql.ACCOUNT, login=login)["id"] for login in logins]


# ---- the report


def test_the_report_has_the_programs_that_enforcing_would_stop(means, store, people):
    root = who(people["root"])
    seen(store, ids(store, BOB, EVE))
    seen(store, ids(store, BOB), client="Mutt")
    seen(store, ids(store, BOB), client="refused already", kind=Kind.WEB_PASSWORD_REFUSED)
    seen(store, ids(store, EVE), client="long ago", at=NOW - 40 * DAY_S)
    found = overseeing.report(means, root, since=NOW - 30 * DAY_S)
    assert [(view.login, view.client) for view in found.rows] == [(BOB, "Mutt"), (BOB, "Outlook"), (EVE, "Outlook")]
    assert (found.programs, found.accounts, found.is_more, found.following) == (3, 2, False, None)
    found = overseeing.report(means, root, "Other.TEST", since=0.0)
    assert [(view.login, view.client) for view in found.rows] == [(EVE, "Outlook"), (EVE, "long ago")]
    set_account(store, BOB, AccountChange(mode=True), **ROOT)
    assert {view.login for view in overseeing.report(means, root, since=0.0).rows} == {EVE}


def test_the_report_is_read_in_pages_and_whole(means, store, people, monkeypatch):
    root = who(people["root"])
    logins = [f"p{number:02}@example.test" for number in range(25)]
    for login in logins:
        add_account(store, login, None, **ROOT)
    seen(store, ids(store, *logins))
    after, read = None, []
    while True:
        page = overseeing.report(means, root, since=0.0, after=after, limit=10)
        assert (page.programs, page.accounts) == (25, 25)
        read += [view.login for view in page.rows]
        if page.following is None:
            break
        after = page.following
    assert read == logins
    monkeypatch.setattr(overseeing, "MOST_COUNTED", 20)
    page = overseeing.report(means, root, since=0.0)
    assert (page.programs, page.is_more) == (20, True)
    for rows in (1, 24, 25, 26):
        monkeypatch.setattr(overseeing, "DOWNLOAD_ROWS", rows)
        pages = list(overseeing.whole_report(means, root, since=0.0))
        assert [view.login for page in pages for view in page] == logins


def test_the_report_is_for_whom_it_is_for(means, store, people):
    chief = who(people["chief"])
    seen(store, ids(store, BOB, EVE))
    assert [view.login for view in overseeing.report(means, chief, "example.test", since=0.0).rows] == [BOB]
    for domain, why in (("", Denial.SITE_ONLY), ("other.test", Denial.NOT_YOUR_DOMAIN)):
        for call in (overseeing.report, lambda *args, **kw: next(overseeing.whole_report(*args, **kw))):
            with pytest.raises(Denied) as refused:
                call(means, chief, domain, since=0.0)
            assert refused.value.why is why
    with pytest.raises(NoSuch):
        overseeing.report(means, who(people["root"]), "nowhere.test", since=0.0)
    with pytest.raises(Refused):
        overseeing.report(means, who(people["root"]), "no domain", since=0.0)
    assert len(overseeing.report(means, who(people["auditor"]), since=0.0).rows) == 2


def test_whoever_loses_his_role_gets_no_more_of_the_file(means, store, people, monkeypatch):
    monkeypatch.setattr(overseeing, "DOWNLOAD_ROWS", 1)
    seen(store, ids(store, BOB, EVE))
    pages = overseeing.whole_report(means, who(people["auditor"]), since=0.0)
    assert len(next(pages)) == 1
    roleholders.set_role(store, "auditor@example.test", Role.USER, **ROOT)
    with pytest.raises(Denied):
        next(pages)


# ---- the audit log


def test_the_audit_log_is_read_backwards(means, store, people):
    root = who(people["root"])
    for number in range(12):
        add_account(store, f"p{number}@example.test", None, **ROOT, now=NOW + number // 5)  # some at one moment
    read, before = [], None
    while True:
        page = overseeing.audited(means, root, before=before, limit=5)
        assert len(page.rows) <= 5
        read += page.rows
        if page.following is None:
            break
        before = page.following
    assert read == list(reversed(list(audit(store))))
    remove_account(store, BOB, **ROOT, now=NOW + 100)
    assert overseeing.audited(means, root, " BOB@example.test").rows[0].kind == "account-removed"
    assert overseeing.audited(means, root, "nobody@nowhere.test").rows == ()


def test_a_domain_administrator_reads_of_an_account_of_his(means, store, people):
    chief = who(people["chief"])
    remove_account(store, BOB, **ROOT)
    add_account(store, BOB, None, **ROOT)
    rows = overseeing.audited(means, chief, BOB).rows
    assert [row.kind for row in rows] == ["account-added"]  # and nothing of who had the address before
    assert overseeing.audited_account(means, chief, BOB, limit=5) == rows
    for login, why in ((EVE, Denial.NOT_YOUR_DOMAIN), ("", Denial.SITE_ONLY), ("(unknown)", Denial.SITE_ONLY)):
        with pytest.raises(Denied) as refused:
            overseeing.audited(means, chief, login)
        assert refused.value.why is why
    with pytest.raises(NoSuch):
        overseeing.audited(means, chief, "nobody@example.test")
    with pytest.raises(Denied):
        overseeing.audited_account(means, chief, EVE, limit=5)
    assert overseeing.audited(means, who(people["auditor"])).rows


def test_the_log_of_a_domain_is_of_everybody_in_it_since_it_was_added(means, store, people):
    with store.transaction() as tx:
        tx.write("UPDATE domains SET created_at = 1")
    for number in range(7):
        add_account(store, f"p{number}@other.test", None, **ROOT, now=NOW + number // 3)  # some at one moment
    remove_account(store, "p0@other.test", **ROOT, now=NOW + 50)
    note(store, "login", actor="client", login="nobody@other.test", outcome="reject", now=NOW + 60)
    whole = [row for row in reversed(list(audit(store))) if (row.login or "").endswith("@other.test")]
    read, before = [], None
    while True:
        page = overseeing.audited(means, who(people["auditor"]), domain="Other.TEST", before=before, limit=3)
        read += page.rows
        if page.following is None:
            break
        before = page.following
    assert read == whole
    assert {"(unknown)@other.test", "p0@other.test", EVE} <= {row.login for row in read}
    assert overseeing.audited(means, who(people["root"]), domain="other.test").rows == tuple(whole)
    chief = who(people["chief"])
    logins = {row.login for row in overseeing.audited(means, chief, domain="example.test").rows}
    assert BOB in logins and {login.partition("@")[2] for login in logins} == {"example.test"}
    with pytest.raises(Denied) as refused:
        overseeing.audited(means, chief, domain="other.test")
    assert refused.value.why is Denial.NOT_YOUR_DOMAIN
    with pytest.raises(Denied):
        overseeing.audited(
            means, administration.Administrator(people["bob"].account_id, "api:1", ""), domain="example.test"
        )
    with pytest.raises(NoSuch):
        overseeing.audited(means, who(people["root"]), domain="nowhere.test")


def test_who_had_the_name_of_a_domain_before_is_not_in_its_log(means, store, people):
    remove_domain(store, "other.test", with_accounts=True, **ROOT, now=NOW + 5)
    add_domain(store, "other.test", **ROOT, now=NOW + 10)
    add_account(store, EVE, None, **ROOT, now=NOW + 20)
    rows = overseeing.audited(means, who(people["root"]), domain="other.test").rows
    assert [(row.login, row.kind) for row in rows] == [(EVE, "account-added")]


# ---- who is slowed down


def test_who_is_slowed_down_is_shown_to_whom_it_concerns(means, store, people):
    bob, eve, root = ids(store, BOB, EVE, "root@example.test")
    with store.transaction() as tx:
        for limit, subject in ((SOURCE, "203.0.113.9"), (ACCOUNT, bob), (ACCOUNT, eve), (ACCOUNT, root)):
            spent = {"added": limit.guesses * 2.0, "most": limit.guesses * 2.0, "refill_s": limit.refill_s}
            tx.write(store.sql.ADD_GUESSES, kind=limit.kind, subject=str(subject), now=NOW, **spent)

    def shown(name):
        found = overseeing.slowed_down(means, who(people[name]), now=NOW)
        return {one.view.subject: one.may_clear for one in found.listed}, found.may_clear_all

    everyone = {"203.0.113.9", BOB, EVE, "root@example.test"}
    listed, all_of_them = shown("root")
    assert listed == {subject: subject != "root@example.test" for subject in everyone}
    assert all_of_them
    assert shown("auditor") == (dict.fromkeys(everyone, False), False)
    assert shown("chief") == ({BOB: True, "root@example.test": False}, False)


# ---- domains and the site


def test_domains_are_listed_in_pages_for_whom_they_are(means, store, people):
    for number in range(6):
        add_domain(store, f"d{number}.test", **ROOT)
    names, after = [], ""
    while after is not None:
        page = levels.domains(means, who(people["root"]), after=after, limit=3)
        names += [view.name for view in page.domains]
        after = page.following
    assert names == sorted([*[f"d{number}.test" for number in range(6)], "example.test", "other.test"])
    assert Verb.ADD_DOMAIN in page.allowed
    page = levels.domains(means, who(people["chief"]))
    assert [view.name for view in page.domains] == ["example.test"]
    assert Verb.ADD_DOMAIN not in page.allowed
    several = [f"d{number}.test" for number in range(5)]
    roleholders.set_role(store, BOB, Role.DOMAIN_ADMIN, several, **ROOT)
    two = administration.Administrator(people["bob"].account_id, "api:1", "")
    first = levels.domains(means, two, limit=3)
    rest = levels.domains(means, two, after=first.following, limit=3)
    assert [view.name for view in (*first.domains, *rest.domains)] == several
    with pytest.raises(Denied):
        levels.domains(means, administration.Administrator(people["eve"].account_id, "api:1", ""))


def test_a_domain_and_the_site_are_shown_with_what_may_be_done(means, store, people):
    set_site(store, PolicyChange(policy=PolicyLevel.OBSERVE), **ROOT)
    mine = levels.domain(means, who(people["chief"]), "Example.TEST")
    assert (mine.view.name, mine.site.policy) == ("example.test", "observe")
    assert Verb.SET_DOMAIN in mine.allowed
    assert Verb.REMOVE_DOMAIN not in mine.allowed
    with pytest.raises(Denied):
        levels.domain(means, who(people["chief"]), "other.test")
    with pytest.raises(NoSuch):
        levels.domain(means, who(people["root"]), "nowhere.test")
    assert not levels.site(means, who(people["chief"])).holders
    site = levels.site(means, who(people["auditor"]))
    assert {holder.login for holder in site.holders} == {
        f"{name}@example.test" for name in ("root", "chief", "auditor")
    }
    assert Verb.SET_SITE not in site.allowed
    assert Verb.SET_SITE in levels.site(means, who(people["root"])).allowed


# ---- asking rehearses


def everything(store):
    names = ("accounts", "domains", "audit", "notices", "vouchers", "changes", "app_passwords", "portal_sessions")
    with store.reading() as tx:
        return {name: tx.rows(f"SELECT * FROM {name} ORDER BY 1") for name in names}


@pytest.mark.parametrize(
    ("verb", "name", "change"),
    [
        (Verb.SET_ACCOUNT, BOB, {"enabled": False}),
        (Verb.RESET_PASSWORD, BOB, None),
        (Verb.ENROLMENT_CODE, BOB, None),
        (Verb.REMOVE_ACCOUNT, BOB, None),
        (Verb.ERASE_ACCOUNT, BOB, None),
        (Verb.EXPORT_ACCOUNT, BOB, None),
        (Verb.ADD_ACCOUNT, "new@example.test", None),
        (Verb.SET_SITE, "", {"policy": "enforced"}),
        (Verb.REMOVE_DOMAIN, "other.test", {"with_accounts": True}),
        (Verb.SET_ROLE, BOB, {"role": "auditor"}),
    ],
)
def test_asking_changes_nothing(means, store, people, verb, name, change):
    root = people["root"]
    before = everything(store)
    token = administration.ask(means, root.session, verb, name, change, now=root.now)
    assert everything(store) == before
    action = freshproof.action(means, root.session, token, now=root.now)
    assert action.params == {"verb": str(verb), "name": name, "change": change or {}}


@pytest.mark.parametrize(
    ("verb", "name", "change", "why"),
    [
        (Verb.ADD_ACCOUNT, BOB, None, "account-exists"),
        (Verb.ADD_ACCOUNT, "no address", None, "no-address"),
        (Verb.ADD_ALIAS, BOB, {"alias": EVE}, "is-account"),
        (Verb.ADD_ALIAS, BOB, {"alias": "x@nowhere.test"}, "not-your-domain"),
        (Verb.ADD_DOMAIN, "example.test", None, "domain-exists"),
        (Verb.REMOVE_DOMAIN, "example.test", {"with_accounts": True}, "over-equals"),
        (Verb.SET_ACCOUNT, BOB, {"max_app_passwords": 101}, "most-out-of-range"),
        (Verb.SET_RECOVERY_ADDRESS, BOB, {"address": BOB}, "own-address"),
        (Verb.CLEAR_THROTTLE, "nonsense", None, "no-source"),
    ],
)
def test_what_would_be_refused_is_refused_before_the_proof(means, store, people, verb, name, change, why):
    root = people["root"]
    with pytest.raises(Refused) as refused:
        administration.ask(means, root.session, verb, name, change, now=root.now)
    assert refused.value.why == why
    assert show_account(store, BOB).enabled
