"""The audit log as it is read."""

import json

import pytest

from mailauth.accounts.history import audit, note
from mailauth.accounts.refusals import Refused
from mailauth.accounts.views import as_json, moment

NOW = 1.8e9


@pytest.fixture
def written(store):
    for number in range(5):
        login = f"u{number % 2}@example.test"
        note(store, "verify", actor="cli:root", login=login, detail=str(number), now=NOW + number)
    return store


def details(rows):
    return [row.detail for row in rows]


def test_rows_come_oldest_first(written):
    assert details(audit(written)) == ["0", "1", "2", "3", "4"]


def test_of_more_rows_than_the_limit_the_latest_come(written):
    assert details(audit(written, limit=2)) == ["3", "4"]


def test_rows_of_one_login_and_since_a_time(written):
    assert details(audit(written, "U1@Example.test")) == ["1", "3"]
    assert details(audit(written, since=NOW + 2)) == ["2", "3", "4"]
    assert details(audit(written, "u0@example.test", since=NOW + 2, limit=1)) == ["4"]
    assert details(audit(written, "nobody@example.test")) == []


def test_a_name_that_is_none_is_refused(store):
    with pytest.raises(Refused):
        audit(store, "no address")


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
