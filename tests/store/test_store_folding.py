"""Logins folded into rows: what is one row, what is kept of a name, and that nothing grows without end."""

from dataclasses import replace

import pytest

from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import LoginJudged
from mailauth.names import NotALogin, fold
from mailauth.store import folding
from mailauth.store.folding import UNKNOWN, Folding, plain
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject

ALICE = "alice@example.test"


def judged(
    outcome=None,
    *,
    login=ALICE,
    account_id=1,
    service=Service.IMAP,
    peer="192.0.2.1",
    client="",
    detail="",
    key=7,
    guess=None,
):
    if outcome is None:
        outcome = Accept(Principal(account_id, login, key))
    attempt = Attempt(Credential("x", "s3cret"), service, peer, True, client)
    return LoginJudged(attempt, outcome, login, account_id, 1.0, detail, guess)


@pytest.fixture
def folded():
    new = Folding("p")
    new.local_domains = frozenset({"example.test"})
    return new


def rows(batch):
    return list(batch.logins.values())


def test_equal_logins_of_one_minute_are_one_row_with_a_count(folded):
    for second in (0, 1, 59.9):
        folded.note(judged(client=f"phone {second}"), 1000.0 + second)
    (row,) = rows(folded.take(1060.0))
    assert row["count"] == 3
    assert row["at"] == 1000.0
    assert row["client"] == "phone 59.9"
    assert (row["login"], row["account_id"], row["credential_id"]) == (ALICE, 1, 7)
    assert (row["kind"], row["outcome"], row["detail"], row["actor"]) == ("login", "accept", "app-password", "client")


@pytest.mark.parametrize(
    "other",
    [
        judged(service=Service.SMTP),
        judged(peer="192.0.2.2"),
        judged(key=8),
        judged(key=None),
        judged(login="bob@example.test", account_id=2),
        judged(Reject(Reason.WRONG_PASSWORD)),
        judged(Reject(Reason.EXPIRED, 7)),
        judged(Defer(Cause.STORE)),
    ],
)
def test_logins_that_differ_are_rows_of_their_own(folded, other):
    folded.note(judged(), 1000.0)
    folded.note(other, 1000.0)
    assert [row["count"] for row in rows(folded.take(1000.0))] == [1, 1]


def test_a_new_minute_is_a_new_row(folded):
    folded.note(judged(), 1000.0)
    folded.note(judged(), 1060.0)
    assert [row["at"] for row in rows(folded.take(1060.0))] == [1000.0, 1060.0]


def test_a_clock_set_back_begins_a_new_row(folded):
    folded.note(judged(), 1000.0)
    folded.note(judged(), 900.0)
    assert len(rows(folded.take(900.0))) == 2


def test_a_row_already_written_is_written_again_with_its_whole_count(folded):
    folded.note(judged(), 1000.0)
    (first,) = rows(folded.take(1000.5))
    assert not folded.take(1001.0)
    folded.note(judged(), 1002.0)
    (second,) = rows(folded.take(1002.5))
    assert (first["count"], second["count"]) == (1, 2)
    assert first["fold"] == second["fold"]


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Reject(Reason.CLIENT_PASSWORDS_ONLY), ("reject", "client-passwords-only", None)),
        (Reject(Reason.REVOKED, 9), ("reject", "app-password-revoked", 9)),
        (Defer(Cause.THROTTLED, 3.0), ("defer", "throttled", None)),
        (Accept(Principal(1, ALICE, None)), ("accept", "web-password", None)),
        (Accept(Principal(1, ALICE, 3)), ("accept", "app-password", 3)),
    ],
)
def test_what_is_told_of_an_outcome(folded, outcome, told):
    folded.note(judged(outcome), 1000.0)
    (row,) = rows(folded.take(1000.0))
    assert (row["outcome"], row["detail"], row["credential_id"]) == told


def test_the_detail_of_a_defer_is_told_too(folded):
    folded.note(judged(Defer(Cause.STORE), detail="locked\r\nby another"), 1000.0)
    (row,) = rows(folded.take(1000.0))
    assert row["detail"] == "store-unavailable: locked??by another"


@pytest.mark.parametrize(
    ("login", "kept"),
    [
        ("nobody@example.test", "(unknown)@example.test"),
        ("hunter2@examp1e.test", "(unknown)"),  # a mistyped password, or a made-up name
        ("p@ssw0rd", "(unknown)"),
        (None, "(unknown)"),
    ],
)
@pytest.mark.parametrize("outcome", [Reject(Reason.UNKNOWN_LOGIN), Defer(Cause.THROTTLED)])
def test_of_a_name_that_is_no_accounts_only_our_own_domain_is_kept(folded, login, kept, outcome):
    folded.note(judged(outcome, login=login, account_id=None), 1000.0)
    (row,) = rows(folded.take(1000.0))
    assert row["login"] == kept
    assert "hunter2" not in repr(row)


@pytest.mark.parametrize("name", [UNKNOWN, f"{UNKNOWN}@example.test"])
def test_what_is_kept_of_an_unknown_name_is_no_accounts_login(name):
    with pytest.raises(NotALogin):
        fold(name)


WRONG = Reject(Reason.WRONG_PASSWORD)


def test_each_wrong_secret_is_a_row_with_a_count(folded):
    for _ in range(50):
        folded.note(judged(WRONG, guess=1), 1000.0)
    folded.note(judged(WRONG, guess=2), 1001.0)
    folded.note(judged(WRONG, guess=1), 1002.0)
    first, second = rows(folded.take(1003.0))
    assert (first["count"], second["count"]) == (51, 1)


@pytest.mark.parametrize("guess", [None, 1, 2])
def test_of_a_wrong_secret_nothing_is_written(folded, guess):
    """Not even its number: rows of different secrets differ in nothing but the row that they are."""
    folded.note(judged(WRONG, guess=7), 1000.0)
    folded.note(judged(WRONG, guess=guess), 1000.0)
    one, other = rows(folded.take(1000.0))
    assert one.pop("fold") != other.pop("fold")
    assert one == other


def test_made_up_names_from_one_address_are_one_row_whatever_comes_with_them(folded):
    for number in range(1000):
        name = f"u{number}@d{number}.test"
        folded.note(judged(Reject(Reason.UNKNOWN_LOGIN), login=name, account_id=None, guess=number), 1000.0)
    (row,) = rows(folded.take(1000.0))
    assert row["count"] == 1000


def test_no_password_is_kept(folded):
    folded.note(judged(Reject(Reason.WRONG_PASSWORD)), 1000.0)
    assert "s3cret" not in repr(folded.take(1000.0))


def test_a_last_use_is_the_newest_and_due_once_a_minute(folded):
    folded.note(judged(client="Mail 1"), 1000.0)
    folded.note(judged(peer="2001:db8::1", service=Service.SMTP, client="Mail 2"), 1000.2)
    batch = folded.take(1000.5)
    assert batch.uses == {
        7: {
            "row_id": 7,
            "last_used_at": 1000.2,
            "last_used_peer": "2001:db8::1",
            "last_used_service": "smtp",
            "last_used_client": "Mail 2",
        }
    }
    folded.note(judged(), 1010.0)
    assert folded.take(1010.5).uses == {}
    folded.note(judged(), 1030.0)
    assert folded.take(1060.4).uses == {}
    assert folded.take(1060.5).uses[7]["last_used_at"] == 1030.0
    assert folded.take(1200.0).uses == {}


def test_what_is_told_again_is_counted_from_its_first_time_and_used_at_its_last(folded):
    folded.note(judged(), 1000.0, 1000.1, 1000.4)
    batch = folded.take(1000.5)
    (row,) = rows(batch)
    assert (row["at"], row["count"]) == (1000.0, 3)
    assert batch.uses[7]["last_used_at"] == 1000.4


def test_the_last_of_what_was_told_together_is_the_last_use_whichever_is_looked_at_last(folded):
    folded.note(judged(), 1000.0, 1000.4)
    folded.note(judged(service=Service.SMTP), 1000.2)
    folded.note(judged(service=Service.SMTP, key=8), 1000.0)
    folded.note(judged(key=8), 900.0)  # the clock was set back
    uses = folded.take(1000.5).uses
    told = {key: (use["last_used_at"], use["last_used_service"]) for key, use in uses.items()}
    assert told == {7: (1000.4, "imap"), 8: (900.0, "imap")}


def test_at_the_end_every_last_use_is_due(folded):
    folded.note(judged(), 1000.0)
    folded.take(1000.5)
    folded.note(judged(), 1010.0)
    assert folded.take(1010.5, everything=True).uses[7]["last_used_at"] == 1010.0


@pytest.mark.parametrize("outcome", [Reject(Reason.EXPIRED, 7), Defer(Cause.STORE), Accept(Principal(1, ALICE, None))])
def test_only_an_accepted_app_password_was_used(folded, outcome):
    folded.note(judged(outcome), 1000.0)
    assert folded.take(1000.0).uses == {}


def test_what_could_not_be_written_is_kept_and_counted_on(folded):
    folded.note(judged(), 1000.0)
    batch = folded.take(1000.5)
    folded.note(judged(), 1001.0)
    folded.give_back(batch)
    again = folded.take(1001.5)
    assert [row["count"] for row in rows(again)] == [2]
    assert again.uses[7]["last_used_at"] == 1001.0
    folded.give_back(again)
    assert len(rows(folded.take(1500.0))) == 1


def test_pending_rows_are_bounded_and_what_is_dropped_is_told(folded, monkeypatch):
    monkeypatch.setattr(folding, "MAX_PENDING", 10)
    for number in range(25):
        folded.note(judged(peer=f"192.0.2.{number}", key=number), 1000.0)
    folded.note(judged(peer="192.0.2.99"), 1000.0, 1000.1, 1000.2)
    batch = folded.take(1000.5)
    assert len(batch.logins) == 10
    assert len(batch.uses) == 10
    (row,) = rows(folded.take(1001.0))
    assert (row["outcome"], row["count"], row["login"]) == ("dropped", 18, None)
    assert not folded.take(1002.0)


def test_an_outage_fills_memory_once_however_often_writing_is_tried(folded, monkeypatch):
    monkeypatch.setattr(folding, "MAX_PENDING", 10)
    told = 0
    for cycle in range(5):
        for number in range(10):
            folded.note(judged(peer=f"192.0.2.{number}", key=100 * cycle + number), 1000.0 + cycle)
        batch = folded.take(1000.5 + cycle)
        for number in range(10):
            folded.note(judged(peer=f"198.51.100.{number}", key=100 * cycle + number), 1000.6 + cycle)
        told += 20
        folded.give_back(batch)
        assert len(folded._pending.logins) <= 10
        assert len(folded._pending.uses) <= 10
    counted = sum(row["count"] for _ in range(3) for row in rows(folded.take(2000.0)))
    assert counted == told


def test_rows_of_the_last_minute_are_bounded_too(folded, monkeypatch):
    monkeypatch.setattr(folding, "MAX_PENDING", 10)
    for number in range(1000):
        folded.note(judged(peer=f"p{number}", key=number), 1000.0)
        folded.take(1000.0)
    assert len(folded._open) <= 10
    folded.forget(1100.0)
    assert not folded._open
    assert not folded._use_written_at


def test_what_is_observed_again_is_counted(folded):
    folded.note(judged(Reject(Reason.REVOKED, 7)), 1000.0, 1000.1, 1000.4)
    (seen,) = folded.take(1000.5).observations
    assert seen["count"] == 3


def test_what_is_observed_is_taken_with_the_rest_and_comes_back_with_it(folded):
    folded.note(judged(Reject(Reason.REVOKED, 7)), 1000.0)
    batch = folded.take(1000.0)
    (seen,) = batch.observations
    assert (seen["account_id"], seen["credential_id"]) == (1, 7)
    folded.give_back(batch)
    assert folded.take(1001.0).observations == [seen]
    folded.note(judged(Reject(Reason.REVOKED, 7)), 1002.0)
    assert folded.take(1003.0).observations == []
    assert len(folded.take(1003.0, everything=True).observations) == 1


def test_a_batch_of_one_kind_is_no_empty_one(folded):
    folded.note(judged(Reject(Reason.REVOKED, 7)), 1000.0)
    batch = folded.take(1000.0)
    assert batch
    assert replace(batch, logins={})
    assert not replace(batch, logins={}, observations=[])


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Apple Mail (16.0)", "Apple Mail (16.0)"),
        ("a\0b\x1b[31m\udc80\u202ec", "a?b?[31m??c"),
        ("邮件", "邮件"),
        ("x" * 500, "x" * 200),
    ],
)
def test_what_a_client_says_of_itself_is_made_plain(said, kept):
    assert plain(said) == kept
