"""Who is slowed down, as an operator sees it, and ending it."""

from __future__ import annotations

import json

import pytest

from guessers import ALICE, ELSEWHERE, HOME, Guessing
from mailauth.accounts import mailboxes
from mailauth.accounts.history import audit
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.throttled import Cleared, clear, throttled
from mailauth.guessing import SOURCE
from mailauth.store.changes import Effect
from mailauth.store.guesses import SharedGuesses

NOW = 1.8e9
ROOT = {"actor": "cli:root", "now": NOW}
SIX = "2001:db8:1:2::"
MANY = range(1000)


@pytest.fixture
def alice(store):
    mailboxes.add_account(store, ALICE, None, **ROOT)
    with store.reading() as tx:
        return tx.row(store.sql.ACCOUNT, login=ALICE)["id"]


@pytest.fixture
def process(store, alice):
    """A process that guesses were made at: from two sources, from a whole network, and at Alice's account."""
    site = Guessing()
    shared = SharedGuesses(store, lambda: NOW)
    site.admitted(MANY, peer=HOME, account=None)
    site.admitted(MANY, peer=f"{SIX}7", account=None)
    for n in range(10):
        site.admitted([(n, i) for i in MANY], peer=f"203.0.113.{n}", account=None)
    for n in range(103):
        if site.guess(n, peer=f"10.{n}.0.1", account=alice, web=True) is not True:
            site.throttle.welcome(f"10.{n}.0.1", alice)
            assert site.guess(n, peer=f"10.{n}.0.1", account=alice, web=True) is True  # by its reserve
    site.throttle.welcome(HOME, alice)
    site.exchange(shared)
    return site


def shown(store, subject=None, now=NOW):
    return {(view.kind, view.subject): view for view in throttled(store, subject, now=now)}


def keys(store):
    with store.reading() as tx:
        return {(row["kind"], row["subject"]) for row in tx.rows(store.sql.GUESS_KEYS)}


def known(store):
    with store.reading() as tx:
        return tx.row(store.sql.COUNT_GUESSES)["known"]


EIGHT = {("source", f"203.0.113.{n}") for n in range(8)}
ALL = EIGHT | {
    ("source", HOME),
    ("source", f"{SIX}/64"),
    ("network", "203.0.113.0/24"),
    ("account", ALICE),
}


def test_who_is_slowed_why_and_until_when(store, process):
    views = shown(store)
    assert views.keys() == ALL
    home, net, account = views["source", HOME], views["network", "203.0.113.0/24"], views["account", ALICE]
    assert (home.why, home.spent, home.guesses) == ("wrong passwords from this address", 33.0, 33)
    assert home.until_at == NOW + SOURCE.refill_s
    assert (net.why, net.spent, net.guesses) == ("wrong passwords from this network", 264.0, 264)
    assert (account.why, account.spent, account.guesses) == ("wrong web passwords of this account", 100.0, 100)
    assert account.until_at == NOW + 30.0


def test_the_longest_to_wait_come_first(store, process):
    untils = [view.until_at for view in throttled(store, now=NOW)]
    assert untils == sorted(untils, reverse=True)


def test_it_ends_by_itself(store, process):
    assert shown(store, now=NOW + 4.0).keys() == ALL - {("network", "203.0.113.0/24")}
    assert shown(store, now=NOW + SOURCE.refill_s + 1.0) == {}
    assert shown(store, now=NOW - 86400.0).keys() == ALL  # by a clock that was set back, from then on


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        (ALICE, {("account", ALICE)}),
        ("Alice@EXAMPLE.test", {("account", ALICE)}),
        (HOME, {("source", HOME)}),
        (f"::ffff:{HOME}", {("source", HOME)}),
        (ELSEWHERE, set()),
        (f"{SIX}99", {("source", f"{SIX}/64")}),
        (f"{SIX}99/64", {("source", f"{SIX}/64")}),
        ("203.0.113.0/24", EIGHT | {("network", "203.0.113.0/24")}),
        ("203.0.113.99", {("network", "203.0.113.0/24")}),
        ("0.0.0.0/0", {key for key in ALL if key[0] != "account" and ":" not in key[1]}),
        ("::/0", {("source", f"{SIX}/64")}),
    ],
)
def test_what_concerns_one_account_address_or_network(store, process, subject, found):
    assert shown(store, subject).keys() == found


@pytest.mark.parametrize("subject", ["bob@example.test", "post@example.test"])
def test_an_account_that_is_not_there_is_named_as_such(store, process, subject):
    for ask in (throttled, lambda store, subject, now: clear(store, subject, **ROOT)):
        with pytest.raises(NoSuch):
            ask(store, subject, now=NOW)


@pytest.mark.parametrize("subject", ["", "alice", "192.0.2", "192.0.2.0/33", "192.0.2.1 192.0.2.2", "@", "a@b@c"])
def test_what_is_neither_is_refused(store, process, subject):
    for ask in (throttled, lambda store, subject, now: clear(store, subject, **ROOT)):
        with pytest.raises(Refused):
            ask(store, subject, now=NOW)
    assert shown(store).keys() == ALL


def test_an_account_that_was_removed_meanwhile_is_not_shown(store, process):
    mailboxes.remove_account(store, ALICE, **ROOT)
    assert shown(store).keys() == ALL - {("account", ALICE)}


# ---- ending it


def change(database):
    ((kind, account_id, domain_id, takes),) = database.run(
        "SELECT kind, account_id, domain_id, takes FROM changes WHERE kind = 'throttle-cleared'"
    )
    assert domain_id is None
    return kind, account_id, takes


@pytest.mark.parametrize(
    ("subject", "told", "left"),
    [
        (ALICE, Cleared("account", ALICE, 1), ALL - {("account", ALICE)}),
        (HOME, Cleared("source", HOME, 2), ALL - {("source", HOME)}),
        (f"{SIX}1", Cleared("source", f"{SIX}1", 2), ALL - {("source", f"{SIX}/64")}),
        ("203.0.113.0/24", Cleared("source", "203.0.113.0/24", 9), ALL - EIGHT - {("network", "203.0.113.0/24")}),
        (ELSEWHERE, Cleared("source", ELSEWHERE, 0), ALL),
    ],
)
def test_clearing_forgets_it_in_the_store_and_in_every_process(store, database, process, subject, told, left):
    effect = Effect()
    assert clear(store, subject, **ROOT, effect=effect) == told
    assert shown(store).keys() == left
    _, account_id, takes = change(database)
    assert (account_id is not None) == ("@" in subject)
    process.throttle.cleared(takes)
    process.exchange(SharedGuesses(store, lambda: NOW))
    assert shown(store).keys() == left
    assert effect.number is not None
    assert effect.silent == []


def test_clearing_everything(store, database, process):
    before = keys(store)
    assert clear(store, **ROOT) == Cleared("all", "", len(before))
    assert keys(store) == set()
    process.throttle.cleared(change(database)[2])
    assert process.guess("x", peer=HOME, account=None) is True
    assert json.loads(change(database)[2]) == {"scope": "all", "subject": ""}


def test_who_is_known_stays_known(store, process):
    before = known(store)
    assert before == 4
    clear(store, ALICE, **ROOT)
    clear(store, "0.0.0.0/0", **ROOT)
    clear(store, **ROOT)
    assert known(store) == before


def test_clearing_is_written_down(store, process):
    clear(store, "alice@example.test", **ROOT)
    clear(store, "203.0.113.0/24", **ROOT)
    clear(store, **ROOT)
    rows = [(row.actor, row.login, row.detail) for row in audit(store) if row.kind == "throttle-cleared"]
    assert [login for _, login, _ in rows] == [ALICE, None, None]
    assert {actor for actor, *_ in rows} == {"cli:root"}
    assert rows[1][2] == "203.0.113.0/24: 9 counts forgotten"
    assert rows[2][2].startswith("everything: ")
