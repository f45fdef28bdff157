"""Programs that do not log in as they should: what is one row, when it is written, and that there are few of them."""

import threading

import pytest

from mailauth.accounts import apppasswords, mailboxes
from mailauth.accounts.observations import observed
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import LoginJudged
from mailauth.store import observations
from mailauth.store.observations import INTERVAL_S, MAX_CLIENT_CHARACTERS, MAX_ROWS, Kind, Observations
from mailauth.store.writebehind import WriteBehind
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject

ALICE = "alice@example.test"
ROOT = {"actor": "cli:root"}
NOW = 1.8e9
NO_APP_PASSWORD = Reject(Reason.CLIENT_PASSWORDS_ONLY)
WEB = Accept(Principal(1, ALICE, None))


def judged(outcome, *, account_id=1, peer="203.0.113.9", client="Foxmail", service=Service.IMAP, would_break=False):
    attempt = Attempt(Credential(ALICE, "s3cret"), service, peer, True, client)
    return LoginJudged(attempt, outcome, ALICE, account_id, 1.0, would_break=would_break)


@pytest.fixture
def seen():
    return Observations()


@pytest.mark.parametrize(
    ("outcome", "would_break", "kind", "credential_id"),
    [
        (NO_APP_PASSWORD, False, Kind.WEB_PASSWORD_REFUSED, 0),
        (Reject(Reason.REVOKED, 7), False, Kind.DELETED_APP_PASSWORD, 7),
        (WEB, True, Kind.WOULD_BREAK, 0),
    ],
)
def test_what_is_observed(seen, outcome, would_break, kind, credential_id):
    seen.note(judged(outcome, would_break=would_break), NOW)
    (row,) = seen.take(NOW)
    assert row == {
        "account_id": 1,
        "kind": str(kind),
        "network": "203.0.113.0/24",
        "service": "imap",
        "client": "Foxmail",
        "credential_id": credential_id,
        "first_at": NOW,
        "last_at": NOW,
        "count": 1,
    }


@pytest.mark.parametrize(
    "event",
    [
        judged(WEB),
        judged(Accept(Principal(1, ALICE, 7))),
        judged(Reject(Reason.WRONG_PASSWORD)),
        judged(Reject(Reason.WRONG_PASSWORD), would_break=True),
        judged(Reject(Reason.EXPIRED, 7)),
        judged(Reject(Reason.UNKNOWN_LOGIN), account_id=None),
        judged(NO_APP_PASSWORD, account_id=None),
        judged(Defer(Cause.THROTTLED)),
        judged(Defer(Cause.STORE)),
    ],
)
def test_nothing_else_is_observed(seen, event):
    seen.note(event, NOW)
    assert seen.take(NOW, everything=True) == []


def test_a_row_is_written_at_once_and_then_hourly_with_what_came_meanwhile(seen):
    for second in range(10):
        seen.note(judged(NO_APP_PASSWORD), NOW + second)
    assert [row["count"] for row in seen.take(NOW + 10)] == [10]
    seen.note(judged(NO_APP_PASSWORD), NOW + 20)
    seen.note(judged(NO_APP_PASSWORD), NOW + 30)
    seen.forget(NOW + 60)
    assert seen.take(NOW + 9 + INTERVAL_S) == []
    (row,) = seen.take(NOW + 10 + INTERVAL_S)
    assert (row["first_at"], row["last_at"], row["count"]) == (NOW + 20, NOW + 30, 2)


def test_addresses_of_one_network_are_one_row_and_other_things_are_not(seen):
    for peer in ("203.0.113.1", "203.0.113.250"):
        seen.note(judged(NO_APP_PASSWORD, peer=peer), NOW)
    assert len(seen.take(NOW)) == 1
    for event in (
        judged(NO_APP_PASSWORD, peer="203.0.114.1"),
        judged(NO_APP_PASSWORD, service=Service.SMTP),
        judged(NO_APP_PASSWORD, client="K-9"),
        judged(NO_APP_PASSWORD, account_id=2),
        judged(Reject(Reason.REVOKED, 7)),
        judged(Reject(Reason.REVOKED, 8)),
    ):
        seen.note(event, NOW)
        assert len(seen.take(NOW)) == 1


def test_rows_come_in_the_same_order_in_every_process(seen):
    for account_id in (3, 1, 2):
        seen.note(judged(NO_APP_PASSWORD, account_id=account_id), NOW)
    assert [row["account_id"] for row in seen.take(NOW)] == [1, 2, 3]


def test_a_clock_set_back_keeps_nothing_from_being_written(seen):
    seen.note(judged(NO_APP_PASSWORD), NOW)
    seen.take(NOW)
    seen.note(judged(NO_APP_PASSWORD), NOW - 86400)
    assert len(seen.take(NOW - 86400)) == 1


def test_what_could_not_be_written_is_due_again_and_counted_on(seen):
    seen.note(judged(NO_APP_PASSWORD), NOW)
    rows = seen.take(NOW)
    seen.note(judged(NO_APP_PASSWORD), NOW + 1)
    seen.give_back(rows)
    (row,) = seen.take(NOW + 2)
    assert (row["first_at"], row["last_at"], row["count"]) == (NOW, NOW + 1, 2)
    seen.give_back([row])
    assert seen.take(NOW + 3) == [row]


def test_made_up_programs_are_taken_up_for_a_while_only(seen):
    for number in range(1000):
        seen.note(judged(NO_APP_PASSWORD, client=f"bot {number}"), NOW)
    assert len(seen.take(NOW)) == MAX_ROWS
    seen.note(judged(NO_APP_PASSWORD, client="bot 1000"), NOW + 1)
    seen.note(judged(NO_APP_PASSWORD, client="bot 0"), NOW + 1)  # which is known
    assert [row["client"] for row in seen.take(NOW + 1, everything=True)] == ["bot 0"]
    for other in (judged(NO_APP_PASSWORD, account_id=2), judged(Reject(Reason.REVOKED, 7))):
        seen.note(other, NOW + 1)
    assert len(seen.take(NOW + 2)) == 2
    seen.forget(NOW + 2 + INTERVAL_S)
    seen.note(judged(NO_APP_PASSWORD, client="bot 1000"), NOW + 3 + INTERVAL_S)
    assert len(seen.take(NOW + 3 + INTERVAL_S)) == 1


def test_the_whole_is_bounded(seen, monkeypatch):
    monkeypatch.setattr(observations, "MAX_KNOWN", 30)
    for account_id in range(1000):
        seen.note(judged(NO_APP_PASSWORD, account_id=account_id), NOW)
    assert len(seen._pending) == len(seen._known) == 30
    seen.take(NOW)
    seen.forget(NOW + INTERVAL_S)
    assert not seen._pending and not seen._written_at and not seen._known


def test_what_a_client_calls_itself_is_cut_and_plain(seen):
    seen.note(judged(NO_APP_PASSWORD, client=" \x1b[31mred\r\n\u2028\udc80" + "x" * 10_000), NOW)
    (row,) = seen.take(NOW)
    assert row["client"].startswith("?[31mred????x")
    assert len(row["client"]) <= MAX_CLIENT_CHARACTERS


# ---- in the store


@pytest.fixture
def alice(store):
    mailboxes.add_account(store, ALICE, None, **ROOT, now=NOW)
    return ALICE


def write(store, *events, now=NOW):
    behind = WriteBehind(store, clock=lambda: now)
    for event in events:
        behind(event)
    assert behind.close()


def test_counts_of_processes_add_up(store, alice):
    for second in (0, 100, 50):  # two processes, and one whose clock is behind
        write(store, *[judged(NO_APP_PASSWORD)] * 3, now=NOW + second)
    (view,) = observed(store, alice)
    assert (view.first_at, view.last_at, view.count) == (NOW, NOW + 100, 9)
    assert (view.kind, view.network, view.service) == (Kind.WEB_PASSWORD_REFUSED, "203.0.113.0/24", "imap")


def test_the_oldest_rows_of_a_kind_go(store, alice):
    write(store, judged(Reject(Reason.REVOKED, 7)), now=NOW - 5000)
    for batch in range(3):
        at = NOW + batch
        write(store, *[judged(NO_APP_PASSWORD, client=f"{batch} {number}") for number in range(15)], now=at)
    kept = [view for view in observed(store, alice) if view.kind is Kind.WEB_PASSWORD_REFUSED]
    assert len(kept) == MAX_ROWS
    assert {view.client[0] for view in kept} == {"1", "2"}
    assert sum(view.client[0] == "2" for view in kept) == 15
    assert [view.kind for view in observed(store, alice)][-1] is Kind.DELETED_APP_PASSWORD


def test_an_account_that_is_gone_gets_no_rows_and_takes_nobodys_along(store, alice):
    mailboxes.add_account(store, "bob@example.test", None, **ROOT, now=NOW)
    write(store, judged(NO_APP_PASSWORD), judged(NO_APP_PASSWORD, account_id=2), judged(NO_APP_PASSWORD, account_id=99))
    mailboxes.remove_account(store, alice, **ROOT)
    write(store, judged(NO_APP_PASSWORD), judged(NO_APP_PASSWORD, account_id=2))
    (view,) = observed(store, "bob@example.test")
    assert view.count == 2


def test_an_account_that_goes_while_its_row_is_written(database, alice):
    """The one waits for the other, and neither fails: nothing is left of the account."""
    store = database.store
    rows = Observations()
    rows.note(judged(NO_APP_PASSWORD), NOW)
    removed = threading.Thread(target=mailboxes.remove_account, args=(store, alice), kwargs=ROOT)
    with store.transaction() as tx:
        observations.write(store, tx, rows.take(NOW))
        removed.start()
    removed.join(30)
    assert database.run("SELECT login FROM accounts") == []
    assert database.run("SELECT kind FROM observations") == []


def test_the_label_of_a_deleted_app_password_is_its_own_as_long_as_it_is_kept(database, ring, alice):
    class Plain:
        def hash(self, secret):
            return "plain:" + secret.decode()

    store = database.store
    old = apppasswords.mint(store, ring, Plain(), alice, label="old iPhone", **ROOT, now=NOW)
    apppasswords.revoke(store, alice, ids=[old.id], **ROOT, now=NOW)
    write(store, judged(Reject(Reason.REVOKED, old.id)))
    (view,) = observed(store, alice)
    assert (view.credential_id, view.label) == (old.id, "old iPhone")
    database.run("DELETE FROM app_passwords")
    (view,) = observed(store, alice)
    assert (view.credential_id, view.label) == (old.id, None)


@pytest.mark.parametrize("is_web", [True, False])
@pytest.mark.parametrize("network", ["203.0.113.77", "203.0.113.0/24"])
def test_whether_it_was_the_web_password_is_noted_beside_the_row(database, alice, is_web, network):
    store = database.store
    write(store, judged(NO_APP_PASSWORD), judged(NO_APP_PASSWORD, client="K-9"), judged(Reject(Reason.REVOKED, 7)))
    observations.note_web_password(store, 1, network, Service.IMAP, "Foxmail", is_web=is_web)
    observations.note_web_password(store, 1, "192.0.2.1", Service.IMAP, "Foxmail", is_web=is_web)  # no such row
    assert database.run("SELECT kind, client, is_web_password FROM observations ORDER BY kind, client") == [
        ("deleted-app-password", "Foxmail", None),
        ("web-password-refused", "Foxmail", int(is_web)),
        ("web-password-refused", "K-9", None),
    ]
