"""Bounds on guessing: distinct wrong secrets count, repeats and faults do not, time alone heals."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from mailauth.attempt import Attempt, Credential, Service
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject
from mailauth.verify import throttle
from mailauth.verify.throttle import ACCOUNT_GUESSES, SOURCE_GUESSES, SOURCE_REFILL_S, GuessThrottle

WRONG = Reject(Reason.WRONG_PASSWORD)
RIGHT = Accept(Principal(1, "a@example.test", None))


class Bench:
    def __init__(self, trusted=()):
        self.now = 0.0
        self.throttle = GuessThrottle([ip_network(network) for network in trusted], lambda: self.now)

    def guess(self, secret, outcome=WRONG, peer="192.0.2.1", login="a@example.test", account=1, service=Service.IMAP):
        """True: admitted (and settled); otherwise the seconds to wait."""
        attempt = Attempt(Credential(login, str(secret)), service, peer, True)
        claim = self.throttle.claim(attempt, login, account)
        if isinstance(claim, float):
            return claim
        if outcome is not None:
            claim.settle(outcome)
        return True

    def admitted(self, secrets, **how):
        return sum(self.guess(secret, **how) is True for secret in secrets)


@pytest.fixture
def bench():
    return Bench()


def test_a_source_has_so_many_guesses_and_gets_them_back_by_time(bench):
    assert bench.admitted(range(100)) == SOURCE_GUESSES
    assert bench.guess("x") == pytest.approx(SOURCE_REFILL_S)
    bench.now += SOURCE_REFILL_S
    assert bench.guess("x") is True
    assert bench.guess("y") is not True
    bench.now += 1e6
    assert bench.admitted(range(200, 300)) == SOURCE_GUESSES


def test_neither_name_nor_service_nor_spelling_of_the_address_gives_more(bench):
    peers = ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"]
    total = sum(
        bench.guess(i, peer=peers[i % 3], login=f"u{i}@example.test", account=i, service=list(Service)[i % 3]) is True
        for i in range(60)
    )
    assert total == SOURCE_GUESSES


def test_the_same_wrong_secret_is_paid_for_once(bench):
    assert bench.admitted(["old"] * 500) == 500
    assert bench.admitted(range(100)) == SOURCE_GUESSES - 1
    assert bench.guess("old") is True


def test_one_password_sprayed_over_many_names_counts_each_time(bench):
    assert sum(bench.guess("same", login=f"u{i}@example.test", account=i) is True for i in range(60)) == SOURCE_GUESSES


@pytest.mark.parametrize("outcome", [RIGHT, Defer(Cause.STORE), Defer(Cause.BUSY), Reject(Reason.REVOKED, 7)])
def test_only_a_wrong_guess_costs(bench, outcome):
    assert bench.admitted(range(200), outcome=outcome) == 200


@pytest.mark.parametrize("reason", [Reason.DISABLED, Reason.SERVICE_OFF, Reason.UNKNOWN_LOGIN, Reason.AUTHZID])
def test_whatever_the_account_s_state_a_wrong_guess_costs_the_same(bench, reason):
    assert bench.admitted(range(100), outcome=Reject(reason)) == SOURCE_GUESSES


def test_the_same_secret_shown_by_five_connections_at_once_is_paid_for_once(bench):
    attempt = Attempt(Credential("a@example.test", "old"), Service.IMAP, "192.0.2.1", True)
    for claim in [bench.throttle.claim(attempt, "a@example.test", 1) for _ in range(5)]:
        claim.settle(WRONG)
    assert bench.admitted(range(100)) == SOURCE_GUESSES - 1


def test_a_guess_whose_client_left_stays_paid_for(bench):
    assert bench.admitted(range(100), outcome=None) == SOURCE_GUESSES


def test_guesses_in_parallel_gain_nothing(bench):
    attempts = [Attempt(Credential("a@example.test", str(i)), Service.IMAP, "192.0.2.1", True) for i in range(100)]
    claims = [bench.throttle.claim(attempt, "a@example.test", None) for attempt in attempts]
    assert sum(not isinstance(claim, float) for claim in claims) == SOURCE_GUESSES


def test_many_sources_share_the_account_s_bound_for_web_passwords_only(bench):
    peers = [f"198.51.100.{i}" for i in range(200)]
    assert sum(bench.guess(i, peer=peer) is True for i, peer in enumerate(peers)) == ACCOUNT_GUESSES
    assert bench.guess("x", peer="203.0.113.1", account=None) is True
    assert bench.guess("x", peer="203.0.113.1", account=2) is True
    bench.now += throttle.ACCOUNT_REFILL_S
    assert bench.guess("y", peer="203.0.113.2") is True


def test_a_success_gives_no_guesses_back(bench):
    for i in range(40):
        bench.guess(i)
        bench.guess("right", outcome=RIGHT)
    assert bench.guess("another") is not True


def test_trusted_networks_and_unix_sockets_are_not_counted_by_source():
    bench = Bench(["10.0.0.0/8"])
    assert bench.admitted(range(90), peer="10.1.2.3", account=None) == 90
    assert bench.admitted(range(90), peer="", account=None) == 90
    assert bench.admitted(range(90), peer="11.1.2.3", account=None) == SOURCE_GUESSES


def test_a_clock_set_back_gives_nothing_and_takes_nothing(bench):
    bench.admitted(range(10))
    bench.now -= 86400
    assert bench.admitted(range(10, 100)) == SOURCE_GUESSES - 10


def test_the_tables_are_bounded(bench, monkeypatch):
    monkeypatch.setattr(throttle, "MAX_BUCKETS", 50)
    for i in range(500):
        bench.guess(i, peer=f"10.0.{i // 250}.{i % 250}", account=i)
    assert len(bench.throttle._sources._buckets) == 50
    assert len(bench.throttle._accounts._buckets) == 50
    for i in range(500):
        bench.guess(i, peer="10.9.9.9", account=None)
        bench.now += SOURCE_REFILL_S
    assert len(bench.throttle._sources.at("10.9.9.9", bench.now).tags) == throttle.MAX_TAGS
