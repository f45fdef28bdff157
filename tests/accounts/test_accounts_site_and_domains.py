"""The site's policy, and the domains."""

import pytest

from mailauth.accounts.changes import DomainChange, PolicyChange
from mailauth.accounts.domains import add_domain, list_domains, remove_domain, set_domain, show_domain
from mailauth.accounts.history import audit
from mailauth.accounts.mailboxes import add_account, list_accounts
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.site import set_site, show_site
from mailauth.accounts.views import as_json
from mailauth.interfaces import BadRecord, PolicyLevel

ROOT = {"actor": "cli:root"}
NOW = 1.8e9


def test_a_new_site_demands_nothing(store):
    view = show_site(store)
    assert (view.policy, view.enforce_from, view.two_factor, view.max_app_passwords) == ("optional", None, False, None)


def test_the_sites_policy_is_changed_and_written_down(store):
    change = PolicyChange(policy=PolicyLevel.ENFORCED, enforce_from=NOW + 60, max_app_passwords=6)
    view = set_site(store, change, **ROOT, now=NOW)
    assert view == show_site(store)
    assert (view.policy, view.enforce_from, view.max_app_passwords) == ("enforced", NOW + 60, 6)
    (row,) = audit(store)
    assert (row.actor, row.kind, row.at) == ("cli:root", "site-changed", NOW)
    assert row.detail == (
        "policy: optional -> enforced; enforce_from: at once -> 2027-01-15T08:01:00Z; max_app_passwords: as above -> 6"
    )


def test_a_change_that_changes_nothing_is_not_written_down(store):
    set_site(store, PolicyChange(), **ROOT)
    set_site(store, PolicyChange(policy=PolicyLevel.OPTIONAL, two_factor=False), **ROOT)
    assert list(audit(store)) == []


@pytest.mark.parametrize("number", [-1, 101])
def test_a_maximum_out_of_bounds_is_refused(store, number):
    with pytest.raises(Refused, match="0 to 100"):
        set_site(store, PolicyChange(max_app_passwords=number), **ROOT)


@pytest.mark.parametrize(
    ("before", "change", "policy", "two_factor"),
    [
        # a start is that of what the same change sets
        ({}, {"policy": "enforced", "enforce_from": NOW + 1}, ("enforced", NOW + 1, 0), (0, None, 0)),
        ({}, {"two_factor": True, "enforce_from": NOW + 1}, ("optional", None, 0), (1, NOW + 1, 0)),
        (
            {},
            {"policy": "enforced", "two_factor": True, "enforce_from": NOW + 1},
            ("enforced", NOW + 1, 0),
            (1, NOW + 1, 0),
        ),
        (
            {},
            {"policy": "observe", "two_factor": True, "enforce_from": NOW + 1},
            ("observe", None, 0),
            (1, NOW + 1, 0),
        ),
        # without a start it is at once, and reached
        ({}, {"policy": "enforced"}, ("enforced", None, 1), (0, None, 0)),
        ({}, {"two_factor": True}, ("optional", None, 0), (1, NOW, 1)),
        ({}, {"policy": "enforced", "enforce_from": NOW - 1}, ("enforced", NOW - 1, 1), (0, None, 0)),
        # a start alone is that of the policy there is, and is reached anew
        ({"policy": "enforced"}, {"enforce_from": NOW + 1}, ("enforced", NOW + 1, 0), (0, None, 0)),
        # a new policy takes its start with it
        ({"policy": "enforced"}, {"policy": "optional"}, ("optional", None, 0), (0, None, 0)),
        ({"policy": "enforced", "enforce_from": NOW + 9}, {"policy": "enforced"}, ("enforced", None, 1), (0, None, 0)),
        ({"two_factor": True}, {"two_factor": False}, ("optional", None, 0), (0, None, 0)),
        # a second factor that is demanded already is not demanded anew, one that was to be later is from now on
        ({"two_factor": True, "enforce_from": NOW - 9}, {"two_factor": True}, ("optional", None, 0), (1, NOW - 9, 1)),
        ({"two_factor": True, "enforce_from": NOW + 9}, {"two_factor": True}, ("optional", None, 0), (1, NOW, 1)),
        # what is not named stays
        (
            {"policy": "enforced", "two_factor": True, "enforce_from": NOW + 9},
            {"max_app_passwords": 3},
            ("enforced", NOW + 9, 0),
            (1, NOW + 9, 0),
        ),
    ],
)
def test_when_a_policy_starts(store, before, change, policy, two_factor):
    for values in (before, change):
        known = {name: PolicyLevel(value) if name == "policy" else value for name, value in values.items()}
        set_site(store, PolicyChange(**known), **ROOT, now=NOW)
    with store.reading() as tx:
        row = tx.row(store.sql.SITE)
    assert (row["policy"], row["enforce_from"], row["policy_reached"]) == policy
    assert (row["two_factor"], row["two_factor_from"], row["two_factor_reached"]) == two_factor


@pytest.mark.parametrize(
    "change", [{}, {"policy": PolicyLevel.OBSERVE}, {"policy": PolicyLevel.OPTIONAL}, {"two_factor": False}]
)
def test_a_start_of_nothing_is_refused(store, change):
    with pytest.raises(Refused, match="start date"):
        set_site(store, PolicyChange(enforce_from=NOW, **change), **ROOT)
    assert list(audit(store)) == []


def test_a_site_that_is_lost_is_a_fault(database):
    database.run("DELETE FROM site")
    with pytest.raises(BadRecord):
        show_site(database.store)


def test_domains_are_added_in_their_one_spelling(store):
    assert add_domain(store, "Example.TEST", **ROOT) == "example.test"
    assert add_domain(store, "bücher.example", **ROOT) == "xn--bcher-kva.example"
    with pytest.raises(Refused, match="already"):
        add_domain(store, "example.test", **ROOT)
    with pytest.raises(Refused):
        add_domain(store, "no domain", **ROOT)
    assert [view.name for view in list_domains(store)] == ["example.test", "xn--bcher-kva.example"]
    assert [row.kind for row in audit(store)] == ["domain-added", "domain-added"]


def test_a_domain_is_changed_and_shown(store):
    add_domain(store, "example.test", **ROOT)
    view = set_domain(store, "EXAMPLE.test", DomainChange(pop3=False, enabled=False, two_factor=True), **ROOT, now=NOW)
    assert view == show_domain(store, "example.test")
    assert (view.enabled, view.imap, view.pop3, view.smtp, view.two_factor) == (False, True, False, True, True)
    row = list(audit(store))[-1]
    assert row.detail.startswith("example.test: two_factor: off -> on; two_factor_from: at once -> 20")
    assert row.detail.endswith("; pop3: on -> off; enabled: on -> off")
    set_domain(store, "example.test", DomainChange(pop3=True, smtp=False), **ROOT)
    assert show_domain(store, "example.test").pop3
    assert not show_domain(store, "example.test").smtp


def test_a_domain_with_accounts_goes_only_if_they_may_go_too(store):
    for name in ("a", "b"):
        add_account(store, f"{name}@example.test", None, **ROOT)
    add_account(store, "a@other.test", None, **ROOT)
    with pytest.raises(Refused, match="2 accounts"):
        remove_domain(store, "example.test", **ROOT)
    assert show_domain(store, "example.test").accounts == 2
    assert remove_domain(store, "example.test", with_accounts=True, **ROOT) == 2
    assert [view.login for view in list_accounts(store)] == ["a@other.test"]
    assert list(audit(store))[-1].detail == "example.test, with 2 accounts"
    assert len(list(audit(store, login="a@example.test"))) == 1


@pytest.mark.parametrize("step", [show_domain, lambda store, name: remove_domain(store, name, **ROOT)])
def test_a_domain_that_is_not_there(store, step):
    with pytest.raises(NoSuch, match="no domain"):
        step(store, "example.org")


def test_many_domains_are_listed_page_by_page(store, monkeypatch):
    monkeypatch.setattr("mailauth.accounts.domains.PAGE_ROWS", 3)
    names = [f"d{number}.test" for number in range(7)]
    for name in reversed(names):
        add_domain(store, name, **ROOT)
    assert [view.name for view in list_domains(store)] == names


def test_a_view_as_json_has_times_in_iso_8601(store):
    set_site(store, PolicyChange(policy=PolicyLevel.ENFORCED, enforce_from=NOW), **ROOT)
    told = as_json(show_site(store))
    assert told["enforce_from"] == "2027-01-15T08:00:00Z"
    assert told["two_factor_from"] is None
    assert told["policy"] == "enforced"
    assert told["created_at"].endswith("Z")
