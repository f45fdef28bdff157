"""The audit log as it is read."""

import json
from itertools import islice

import pytest

from mailauth.accounts import history, mailboxes
from mailauth.accounts.history import activity, audit, note
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.views import as_json, moment
from mailauth.store.upkeep import DAY_S

NOW = 1.8e9
ROOT = {"actor": "cli:root"}


@pytest.fixture
def written(store):
    for number in range(5):
        login = f"u{number % 2}@example.test"
        note(store, "verify", **ROOT, login=login, account_id=number % 2, detail=str(number), now=NOW + number)
    return store


def details(rows):
    return [row.detail for row in rows]


def test_rows_come_oldest_first(written):
    assert details(audit(written)) == ["0", "1", "2", "3", "4"]


def test_of_more_rows_than_the_limit_the_latest_come(written):
    assert details(audit(written, limit=2)) == ["3", "4"]
    assert details(audit(written, limit=5)) == details(audit(written, limit=6)) == ["0", "1", "2", "3", "4"]


def test_rows_of_one_login_and_since_a_time(written):
    assert details(audit(written, "U1@Example.test")) == ["1", "3"]
    assert details(audit(written, since=NOW + 2)) == ["2", "3", "4"]
    assert details(audit(written, "u0@example.test", since=NOW + 2, limit=1)) == ["4"]
    assert details(audit(written, "u0@example.test", since=NOW + 2, limit=9)) == ["2", "4"]
    assert details(audit(written, "nobody@example.test")) == []


def test_pages_leave_out_nothing_and_repeat_nothing(store, monkeypatch):
    """Rows are not written in the order of their times, and many are of one moment."""
    monkeypatch.setattr(history, "PAGE_ROWS", 7)
    for number in range(40):
        note(store, "verify", **ROOT, detail=str(number), now=NOW - number // 15)
    told = details(audit(store))
    assert told == [str(number) for number in [*range(30, 40), *range(15, 30), *range(15)]]
    for limit in (1, 6, 7, 8, 14, 39, 40, 41):
        assert details(audit(store, limit=limit)) == told[-limit:]


def test_an_export_is_read_as_it_is_taken_and_holds_nobody_up(store, monkeypatch):
    monkeypatch.setattr(history, "PAGE_ROWS", 3)
    for number in range(10):
        note(store, "verify", **ROOT, detail=str(number), now=NOW + number)
    rows = audit(store)
    assert details(islice(rows, 4)) == ["0", "1", "2", "3"]
    note(store, "verify", **ROOT, detail="meanwhile", now=NOW + 99)  # would wait for a transaction that is open
    assert details(rows)[-2:] == ["9", "meanwhile"]


def test_a_name_that_is_none_is_refused(store):
    with pytest.raises(Refused):
        audit(store, "no address")
    with pytest.raises(Refused):
        activity(store, "no address", days=90)


def test_an_owner_is_shown_the_latest_days_of_this_account_and_of_none_before_it(store):
    login = "a@example.test"
    mailboxes.add_account(store, login, None, **ROOT, now=NOW - 100 * DAY_S)
    mailboxes.remove_account(store, login, **ROOT, now=NOW - 60 * DAY_S)
    mailboxes.add_account(store, login, None, **ROOT, now=NOW - 50 * DAY_S)
    mailboxes.add_account(store, "b@example.test", None, **ROOT, now=NOW)
    shown = activity(store, login, days=90, now=NOW)
    assert [(row.kind, row.at) for row in shown] == [("account-added", NOW - 50 * DAY_S)]
    assert list(activity(store, login, days=49, now=NOW)) == []
    note(store, "verify", **ROOT, login=login, account_id=2, now=NOW)
    assert [row.kind for row in activity(store, login, days=90, limit=1, now=NOW)] == ["verify"]
    with pytest.raises(NoSuch):
        activity(store, "c@example.test", days=90)


@pytest.mark.parametrize(
    ("login", "kept"),
    [
        ("hunter2@example.test", "(unknown)@example.test"),
        ("hunter2@elsewhere.test", "(unknown)"),
        ("alice@example.test", "(unknown)@example.test"),  # without its account_id it is nobody's
        (None, None),
    ],
)
def test_a_name_that_is_no_accounts_is_not_kept(store, login, kept):
    mailboxes.add_account(store, "alice@example.test", None, **ROOT)
    note(store, "verify", **ROOT, login=login)
    assert list(audit(store))[-1].login == kept


def test_a_note_is_kept_whole_and_is_json(store):
    said = {
        "login": "a@example.test",
        "account_id": 7,
        "service": "imap",
        "peer": "2001:db8::1",
        "credential_id": 3,
        "label": "手机",
        "outcome": "accept",
        "detail": "rule 3: '; DROP TABLE audit; --",
        "client": "Mail %s",
    }
    note(store, "verify", actor="cli:root", **said, now=NOW)
    (row,) = audit(store)
    told = json.loads(json.dumps(as_json(row)))
    assert told == said | {
        "id": row.id,
        "at": "2027-01-15T08:00:00Z",
        "actor": "cli:root",
        "kind": "verify",
        "count": 1,
    }


@pytest.mark.parametrize(("at", "told"), [(0, "1970-01-01T00:00:00Z"), (4e20, "400000000000000000000 s after 1970")])
def test_moments_are_told_even_beyond_the_calendar(at, told):
    assert moment(at) == told
