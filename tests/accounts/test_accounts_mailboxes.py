"""Accounts and their aliases."""

import json
import threading
from functools import partial

import pytest

from mailauth.accounts.aliases import add_alias, remove_alias
from mailauth.accounts.apppasswords import listed, mint
from mailauth.accounts.changes import AccountChange, DomainChange, PolicyChange
from mailauth.accounts.domains import set_domain
from mailauth.accounts.history import audit
from mailauth.accounts.mailboxes import (
    Added,
    add_account,
    list_accounts,
    remove_account,
    set_account,
    set_web_password,
    show_account,
)
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.site import set_site
from mailauth.accounts.views import as_json
from mailauth.interfaces import BadRecord, PolicyLevel, StoreUnavailable
from mailauth.store.engine import Transaction
from mailauth.store.faults import Clash

ALICE = "alice@example.test"
ROOT = {"actor": "cli:root"}
NOW = 1.8e9
ENFORCED = PolicyLevel.ENFORCED


class Plain:
    """A hash scheme that is quick."""

    def hash(self, secret):
        return "plain:" + secret.decode()


@pytest.fixture
def alice(store):
    add_account(store, ALICE, "plain:web", **ROOT)
    return ALICE


def test_a_new_account_and_its_new_domain(store):
    assert add_account(store, "Alice@EXAMPLE.test", "plain:web", **ROOT, now=NOW) == Added(ALICE, True)
    assert add_account(store, "bob@example.test", None, **ROOT, now=NOW) == Added("bob@example.test", False)
    view = show_account(store, "ALICE@example.test")
    assert (view.login, view.domain) == (ALICE, "example.test")
    assert (view.enabled, view.domain_enabled, view.client_logon) == (True, True, True)
    assert view.services == ("imap", "pop3", "smtp")
    assert (view.mode, view.effective_mode, view.why) == ("off", "off", "stored")
    assert (view.has_web_password, view.web_changed_at, view.created_at) == (True, NOW, NOW)
    assert (view.app_passwords, view.most_app_passwords, view.max_app_passwords) == (0, 10, None)
    other = show_account(store, "bob@example.test")
    assert (other.has_web_password, other.web_changed_at) == (False, None)
    assert [row.kind for row in audit(store)] == ["domain-added", "account-added", "account-added"]
    (row,) = audit(store, login=ALICE)
    assert (row.actor, row.login, row.at, row.outcome) == ("cli:root", ALICE, NOW, "done")


@pytest.mark.parametrize("login", ["alice", "", "a b@example.test", "a@", "@b", "a@b@c", "ａlice@example.test", "a@-b"])
def test_what_is_no_address_is_refused(store, login):
    with pytest.raises(Refused):
        add_account(store, login, None, **ROOT)
    with pytest.raises(Refused):
        show_account(store, login)


@pytest.mark.parametrize("login", ["o'neil@example.test", "100%@example.test", "%(login)s@x.test", "甲乙@example.test"])
def test_names_that_look_like_sql_are_names(store, login):
    try:
        added = add_account(store, login, None, **ROOT)
    except Refused:  # some cannot be logins at all
        assert "(" in login
        return
    assert show_account(store, login).login == added.login == login


def test_an_account_is_added_once(store, alice):
    with pytest.raises(Refused, match="already"):
        add_account(store, "ALICE@example.test", None, **ROOT)
    assert show_account(store, alice).has_web_password


def test_one_of_many_who_add_the_same_account_succeeds(store):
    done, refused = [], []

    def add():
        try:
            done.append(add_account(store, ALICE, None, **ROOT))
        except Refused as refusal:
            refused.append(refusal)

    _all_at_once([add] * 8)
    assert (len(done), len(refused)) == (1, 7)
    assert [view.login for view in list_accounts(store)] == [ALICE]


def test_services_and_switches(store, alice):
    change = AccountChange(pop3=False, client_logon=False, enabled=False, max_app_passwords=3)
    view = set_account(store, alice, change, **ROOT)
    assert view == show_account(store, alice)
    assert (view.imap, view.pop3, view.smtp, view.client_logon, view.enabled) == (True, False, True, False, False)
    assert view.most_app_passwords == 3
    set_domain(store, "example.test", DomainChange(imap=False, enabled=False), **ROOT)
    view = set_account(store, alice, AccountChange(pop3=True), **ROOT)
    assert view.services == ("pop3", "smtp")
    assert view.imap
    assert not view.domain_enabled
    details = [row.detail for row in audit(store, login=alice)][1:]
    assert details == [
        "max_app_passwords: as above -> 3; pop3: on -> off; enabled: on -> off; client_logon: on -> off",
        "pop3: off -> on",
    ]


def test_the_mode_is_the_owners_unless_policy_locks_it(store, alice):
    assert set_account(store, alice, AccountChange(mode=True), **ROOT).effective_mode == "on"
    assert set_account(store, alice, AccountChange(mode=False), **ROOT).effective_mode == "off"


def _site(store, change, now):
    set_site(store, PolicyChange(**change), **ROOT, now=now)


def _domain(store, change, now):
    set_domain(store, "example.test", DomainChange(**change), **ROOT, now=now)


def _account(store, change, now):
    set_account(store, ALICE, AccountChange(**change), **ROOT, now=now)


@pytest.mark.parametrize(("level", "set_level"), [("site", _site), ("domain", _domain), ("account", _account)])
@pytest.mark.parametrize(
    ("demand", "why"),
    [({"policy": ENFORCED}, "enforced by {}"), ({"two_factor": True}, "second factor demanded by {}")],
)
def test_a_demand_in_force_switches_the_mode_on_and_locks_it(store, alice, level, set_level, demand, why):
    set_level(store, demand | {"enforce_from": NOW + 10}, NOW)
    early = show_account(store, alice, now=NOW + 9)
    assert (early.effective_mode, early.why) == ("off", "stored")
    assert early.effective_policy == ("observe" if "policy" in demand else "optional")
    set_account(store, alice, AccountChange(mode=False), **ROOT, now=NOW + 9)
    view = show_account(store, alice, now=NOW + 10)
    assert (view.mode, view.effective_mode, view.why) == ("off", "on", why.format(level))
    assert view.effective_policy == ("enforced" if "policy" in demand else "optional")
    with pytest.raises(Refused, match=f"locked by policy.*{why.format(level)}"):
        set_account(store, alice, AccountChange(mode=False), **ROOT, now=NOW + 10)
    set_account(store, alice, AccountChange(mode=True), **ROOT, now=NOW + 10)


def test_the_lock_may_be_lifted_in_the_same_change(store, alice):
    set_account(store, alice, AccountChange(policy=ENFORCED, mode=True), **ROOT)
    with pytest.raises(Refused, match="locked"):
        set_account(store, alice, AccountChange(mode=False), **ROOT)
    view = set_account(store, alice, AccountChange(mode=False, policy=PolicyLevel.OPTIONAL), **ROOT)
    assert (view.effective_mode, view.why) == ("off", "stored")
    with pytest.raises(Refused, match="locked"):
        set_account(store, alice, AccountChange(mode=False, policy=ENFORCED), **ROOT)
    assert show_account(store, alice).policy == "optional"


def test_the_strictest_maximum_counts(store, alice):
    def most():
        return show_account(store, alice).most_app_passwords

    set_account(store, alice, AccountChange(max_app_passwords=20), **ROOT)
    assert most() == 20
    set_domain(store, "example.test", DomainChange(max_app_passwords=0), **ROOT)
    set_site(store, PolicyChange(max_app_passwords=6), **ROOT)
    assert most() == 0


def test_another_web_password_revokes_the_app_passwords_or_keeps_them(database, ring, alice):
    store = database.store
    for label in ("phone", "laptop"):
        mint(store, ring, Plain(), alice, label=label, **ROOT)
    assert set_web_password(store, alice, "plain:second", True, **ROOT, now=NOW + 1) == 0
    assert len(listed(store, alice)) == 2
    assert set_web_password(store, alice, "plain:third", False, **ROOT, now=NOW + 2) == 2
    assert listed(store, alice) == []
    assert show_account(store, alice).web_changed_at == NOW + 2
    assert database.run("SELECT web_record FROM accounts") == [("plain:third",)]
    kinds = [row.kind for row in audit(store, login=alice)]
    assert kinds[-4:] == [
        "web-password-changed",
        "web-password-changed",
        "app-password-revoked",
        "app-password-revoked",
    ]
    assert "plain:" not in str(list(audit(store)))


def test_a_removed_account_leaves_only_its_history(database, ring, alice):
    store = database.store
    mint(store, ring, Plain(), alice, label="phone", **ROOT)
    add_alias(store, alice, "a@example.test", **ROOT)
    remove_account(store, alice, **ROOT)
    for table in ("accounts", "aliases", "app_passwords"):
        assert database.run(f"SELECT count(*) FROM {table}") == [(0,)]
    rows = list(audit(store, login=alice))
    assert [row.kind for row in rows] == ["account-added", "app-password-added", "alias-added", "account-removed"]
    assert rows[-1].detail == "with 1 app passwords"
    add_account(store, alice, None, **ROOT)
    ((new_id,),) = database.run("SELECT id FROM accounts")
    assert new_id != rows[0].account_id


@pytest.mark.parametrize(
    "step",
    [
        show_account,
        lambda store, login: set_account(store, login, AccountChange(mode=True), **ROOT),
        lambda store, login: remove_account(store, login, **ROOT),
        lambda store, login: set_web_password(store, login, "plain:x", False, **ROOT),
        lambda store, login: add_alias(store, login, "x@example.test", **ROOT),
        listed,
    ],
)
def test_an_account_that_is_not_there(store, alice, step):
    add_alias(store, alice, "a@example.test", **ROOT)
    before = len(list(audit(store)))
    with pytest.raises(NoSuch, match=r"no account bob@example\.test"):
        step(store, "bob@example.test")
    with pytest.raises(NoSuch, match=f"a@example.test is an alias of {ALICE}"):
        step(store, "a@example.test")
    assert len(list(audit(store))) == before


def test_accounts_are_listed_page_by_page_with_their_aliases(store, monkeypatch):
    monkeypatch.setattr("mailauth.accounts.mailboxes.PAGE_ROWS", 2)
    logins = [f"u{number}@{domain}.test" for domain in ("a", "b") for number in range(5)]
    for login in reversed(logins):
        add_account(store, login, None, **ROOT)
    add_alias(store, "u3@b.test", "z@a.test", **ROOT)
    add_alias(store, "u3@b.test", "y@b.test", **ROOT)
    assert sorted(logins) == sorted(view.login for view in list_accounts(store))
    views = list(list_accounts(store, "B.test"))
    assert [view.login for view in views] == logins[5:]
    assert [view.aliases for view in views] == [(), (), (), ("y@b.test", "z@a.test"), ()]
    assert views[3] == show_account(store, "u3@b.test", now=NOW)
    with pytest.raises(NoSuch, match="no domain"):
        list_accounts(store, "c.test")


def test_an_alias_is_nobodys_login_and_nobody_elses_alias(store, alice):
    add_account(store, "bob@example.test", None, **ROOT)
    assert add_alias(store, alice, "A@Example.test", **ROOT) == "a@example.test"
    for login, alias, why in (
        (alice, "a@example.test", "already"),
        ("bob@example.test", "a@example.test", f"alias of {ALICE}"),
        (alice, "bob@example.test", "account of its own"),
        (alice, alice, "account of its own"),
        (alice, "a@elsewhere.test", "not one of our domains"),
        (alice, "no address", "no mail address"),
    ):
        with pytest.raises(Refused, match=why):
            add_alias(store, login, alias, **ROOT)
    with pytest.raises(Refused, match=f"alias of {ALICE}"):
        add_account(store, "a@example.test", None, **ROOT)
    assert show_account(store, alice).aliases == ("a@example.test",)
    assert remove_alias(store, "A@example.test", **ROOT) == alice
    with pytest.raises(NoSuch, match="no alias"):
        remove_alias(store, "a@example.test", **ROOT)
    add_account(store, "a@example.test", None, **ROOT)
    assert [row.detail for row in audit(store, login=alice)][1:] == ["a@example.test", "a@example.test"]


def test_an_address_never_becomes_an_account_and_an_alias_at_once(store, alice):
    for number in range(8):
        address, outcomes = f"x{number}@example.test", []

        def attempt(add, *arguments, outcomes=outcomes):
            try:
                add(store, *arguments, **ROOT)
                outcomes.append("done")
            except Refused:
                outcomes.append("refused")

        _all_at_once([partial(attempt, add_account, address, None), partial(attempt, add_alias, ALICE, address)])
        assert sorted(outcomes) == ["done", "refused"]


@pytest.mark.parametrize(
    "step",
    [
        lambda store: add_account(store, "bob@example.test", None, **ROOT),
        lambda store: add_alias(store, ALICE, "a@example.test", **ROOT),
    ],
)
def test_who_is_beaten_to_it_is_told_to_look_again(store, alice, step, monkeypatch):
    def write(self, statement, **values):
        raise Clash("a row like this")

    monkeypatch.setattr(Transaction, "write", write)
    with pytest.raises(Refused, match="try again"):
        step(store)


@pytest.mark.parametrize(
    "damage",
    ["UPDATE accounts SET services = 9", "UPDATE site SET policy = 'strict'", "UPDATE domains SET two_factor = 2"],
)
def test_a_row_that_cannot_be_understood_is_a_fault(database, alice, damage):
    database.run(damage)
    with pytest.raises(BadRecord):
        show_account(database.store, alice)
    with pytest.raises(BadRecord):
        set_account(database.store, alice, AccountChange(mode=False), **ROOT)


@pytest.mark.parametrize(
    "step",
    [
        lambda store: add_account(store, "bob@new.test", None, **ROOT),
        lambda store: set_account(store, ALICE, AccountChange(mode=True), **ROOT),
        lambda store: set_web_password(store, ALICE, "plain:x", False, **ROOT),
        lambda store: remove_account(store, ALICE, **ROOT),
        lambda store: add_alias(store, ALICE, "a@example.test", **ROOT),
        lambda store: set_site(store, PolicyChange(policy=ENFORCED), **ROOT),
    ],
)
def test_a_change_without_its_audit_row_is_no_change(store, alice, step, monkeypatch):
    def state():
        return [as_json(view) for view in list_accounts(store, now=NOW)], len(list(audit(store)))

    before, real = state(), Transaction.write

    def write(self, statement, **values):
        if statement == store.sql.ADD_AUDIT:
            raise StoreUnavailable("gone")
        return real(self, statement, **values)

    monkeypatch.setattr(Transaction, "write", write)
    with pytest.raises(StoreUnavailable):
        step(store)
    monkeypatch.undo()
    assert state() == before


def test_views_are_json(store, alice):
    set_account(store, alice, AccountChange(policy=ENFORCED, enforce_from=NOW), **ROOT)
    told = json.loads(json.dumps(as_json(show_account(store, alice))))
    assert told["services"] == ["imap", "pop3", "smtp"]
    assert told["enforce_from"] == "2027-01-15T08:00:00Z"
    assert "record" not in str(told)


def _all_at_once(steps):
    start = threading.Barrier(len(steps))

    def run(step):
        start.wait()
        step()

    threads = [threading.Thread(target=run, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
