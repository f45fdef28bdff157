"""What owners and administrators are told about programs."""

import json
from dataclasses import replace

import pytest

from mailauth.accounts import mailboxes, observations
from mailauth.accounts.observations import observed, observed_everywhere, sentence
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.views import as_json
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import LoginJudged
from mailauth.store.observations import Kind, Observations, write
from mailauth.verdict import Accept, Principal, Reason, Reject

NOW = 1.8e9
OUTCOMES = {
    Kind.WEB_PASSWORD_REFUSED: Reject(Reason.CLIENT_PASSWORDS_ONLY),
    Kind.DELETED_APP_PASSWORD: Reject(Reason.REVOKED, 7),
    Kind.WOULD_BREAK: Accept(Principal(1, "", None)),
}


@pytest.fixture
def people(store):
    """Three accounts in two domains, with ids from 1 on."""
    logins = ["a@example.test", "b@example.test", "c@example.org"]
    for login in logins:
        mailboxes.add_account(store, login, None, actor="cli:root", now=NOW)
    return logins


def observe(store, account_id, kind, *, client="Foxmail", peer="203.0.113.9", at=NOW, count=1):
    seen = Observations()
    attempt = Attempt(Credential("x"), Service.IMAP, peer, True, client)
    event = LoginJudged(attempt, OUTCOMES[kind], "x", account_id, 1.0, would_break=kind is Kind.WOULD_BREAK)
    for _ in range(count):
        seen.note(event, at)
    with store.transaction() as tx:
        write(store, tx, seen.take(at))


def test_the_latest_comes_first(store, people):
    for number in range(3):
        observe(store, 1, Kind.WOULD_BREAK, client=str(number), at=NOW + number)
    observe(store, 2, Kind.WOULD_BREAK)
    assert [view.client for view in observed(store, "A@Example.test")] == ["2", "1", "0"]
    assert observed(store, people[2]) == []


def test_whom_there_is_nothing_to_tell_of(store, people):
    with pytest.raises(NoSuch):
        observed(store, "nobody@example.test")
    with pytest.raises(Refused):
        observed(store, "no address")
    with pytest.raises(NoSuch):
        observed_everywhere(store, domain="example.net")


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_all_accounts_are_told_of_page_by_page(store, people, monkeypatch, page):
    monkeypatch.setattr(observations, "PAGE_ROWS", page)
    for account_id in (3, 1, 2):
        for kind in Kind:
            observe(store, account_id, kind)
            observe(store, account_id, kind, peer="", client="")
    told = [(view.login, view.kind, view.network) for view in observed_everywhere(store)]
    assert len(told) == len(set(told)) == 18
    assert [login for login, _, _ in told] == sorted(login for login, _, _ in told)
    breaking = list(observed_everywhere(store, kind=Kind.WOULD_BREAK))
    assert len(breaking) == 6 and {view.kind for view in breaking} == {Kind.WOULD_BREAK}
    org = list(observed_everywhere(store, domain="Example.ORG", kind=Kind.DELETED_APP_PASSWORD))
    assert [(view.login, view.credential_id) for view in org] == [("c@example.org", 7)] * 2


def test_a_view_is_json_without_what_was_found_out_about_the_secret(store, people):
    observe(store, 1, Kind.DELETED_APP_PASSWORD, count=3)
    (view,) = observed(store, people[0])
    assert json.loads(json.dumps(as_json(view))) == {
        "login": "a@example.test",
        "kind": "deleted-app-password",
        "network": "203.0.113.0/24",
        "service": "imap",
        "client": "Foxmail",
        "credential_id": 7,
        "label": None,
        "first_at": "2027-01-15T08:00:00Z",
        "last_at": "2027-01-15T08:00:00Z",
        "count": 3,
    }


LAST = "last seen 2027-01-15T08:00:00Z"


TOLD = {
    (Kind.DELETED_APP_PASSWORD, "Foxmail", "203.0.113.9", 17): (
        "Foxmail at 203.0.113.0/24 still sends the deleted app password 7 by IMAP; "
        f"{LAST}, 17 times since 2027-01-15T08:00:00Z; delete the account there or put in a new one"
    ),
    (Kind.WEB_PASSWORD_REFUSED, "", "2001:db8:1:2::3", 1): (
        f"a program at 2001:db8:1::/48 does not use an app password and is refused by IMAP; {LAST}; put one in there"
    ),
    (Kind.WOULD_BREAK, "", "", 1): (
        f"a program gets in with the web password by IMAP; {LAST}; put in an app password before that ends"
    ),
}


@pytest.mark.parametrize(("kind", "client", "peer", "count"), TOLD)
def test_it_is_said_in_words_with_what_to_do(store, people, kind, client, peer, count):
    observe(store, 1, kind, client=client, peer=peer, count=count)
    (view,) = observed(store, people[0])
    assert sentence(view) == TOLD[kind, client, peer, count]


def test_a_deleted_app_password_is_called_by_its_label(store, people):
    observe(store, 1, Kind.DELETED_APP_PASSWORD)
    (view,) = observed(store, people[0])
    assert "the deleted app password 'old iPhone' by" in sentence(replace(view, label="old iPhone"))
