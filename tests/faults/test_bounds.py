"""A million made-up names, and what is kept of them: a few rows, however long it goes on."""

from __future__ import annotations

import itertools

from mailauth.accounts import mailboxes
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import LoginJudged
from mailauth.store import writebehind
from mailauth.store.writebehind import WriteBehind
from mailauth.verdict import Cause, Defer, Reason, Reject

NAMES, MINUTES, SOURCES = 20_000, 3, 20
NOW = 1.8e9
OUTCOMES = (Reject(Reason.UNKNOWN_LOGIN), Defer(Cause.THROTTLED, 30.0))
BOUND = SOURCES * len(Service) * len(OUTCOMES) * MINUTES * 2  # two kinds of names: of a domain of ours, and of none


def judged(number, peer, service, outcome):
    """A name that nobody has had before, with a password that nobody has."""
    login = f"name-{number}@{'example' if number % 2 else f'd{number}'}.test"
    attempt = Attempt(Credential(login), service, peer, True, f"client {number}")
    return LoginJudged(attempt, outcome, login, None, 1.0, guess=number)


def test_made_up_names_come_to_few_rows(database, monkeypatch):
    monkeypatch.setattr(writebehind, "INTERVAL_S", 0.02)
    mailboxes.add_account(database.store, "alice@example.test", None, actor="test", now=NOW)
    clock = [NOW]
    behind = WriteBehind(database.store, clock=lambda: clock[0])
    attackers = itertools.cycle(itertools.product([f"192.0.2.{n}" for n in range(SOURCES)], Service, OUTCOMES))
    for minute in range(MINUTES):
        clock[0] = NOW + 60 * minute
        for number in range(NAMES):
            behind(judged(minute * NAMES + number, *next(attackers)))
    assert behind.close(60)
    rows = database.run("SELECT login, count FROM audit WHERE kind = 'login'")
    assert 0 < len(rows) <= BOUND
    assert sum(count for _, count in rows) == NAMES * MINUTES  # all are counted
    assert {login for login, _ in rows} <= {"(unknown)", "(unknown)@example.test"}
    assert database.run("SELECT count(*) FROM observations") == [(0,)]
