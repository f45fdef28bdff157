"""Bounds on guessing: distinct wrong secrets count, repeats and faults do not, time alone heals."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guessers import ALICE, ELSEWHERE, HERS, HOME, RIGHT, WRONG, Guessing
from mailauth import guessing
from mailauth.attempt import Attempt, Credential, Service
from mailauth.guessing import ACCOUNT, NETWORK, RESERVE, SOURCE, Count
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject
from mailauth.verify import buckets, sameness
from mailauth.verify.throttle import LOST_S, GuessThrottle

MANY = range(1000)
AN_HOUR, A_DAY = 3600.0, 86400.0


@pytest.fixture
def site():
    return Guessing()


def sources(count, start=0):
    """Addresses that share no network."""
    return [f"10.{n >> 8}.{n & 255}.1" for n in range(start, start + count)]


def use_up(site, account=HERS, secret="guess"):
    """Make all the wrong guesses that an account has, from as many networks."""
    for n, peer in enumerate(sources(100)):
        assert site.guess(f"{secret}{n}", peer=peer, account=account, web=True) is True


# ---- sources


def test_a_source_has_so_many_guesses_and_gets_them_back_by_time(site):
    assert site.admitted(MANY) == SOURCE.guesses
    assert site.guess("x") == pytest.approx(SOURCE.refill_s)
    site.now += SOURCE.refill_s
    assert site.guess("x") is True
    assert site.guess("y") is not True
    site.now += A_DAY
    assert site.admitted(range(2000, 3000)) == SOURCE.guesses


def test_a_wait_that_was_waited_is_over(site):
    site.admitted(MANY)
    for n in range(50):
        site.now += site.guess(f"x{n}")
        assert site.guess(f"x{n}") is True


def test_neither_name_nor_service_nor_spelling_of_the_address_gives_more(site):
    peers = ["2001:db8::1", "2001:db8::2", "2001:DB8:0:0:ffff::3"]
    total = sum(
        site.guess(n, peer=peers[n % 3], login=f"u{n}@example.test", account=n % 7 or None, on=list(Service)[n % 3])
        is True
        for n in MANY
    )
    assert total == SOURCE.guesses


def test_an_ipv4_address_seen_through_an_ipv6_socket_is_the_same_source(site):
    site.admitted(MANY, peer="192.0.2.1")
    assert site.guess("x", peer="::ffff:192.0.2.1") is not True
    assert site.guess("x", peer="::FFFF:C000:0201") is not True
    assert site.guess("x", peer=("::ffff:192.0.2.1", 1, 0, 0)) is not True


@pytest.mark.parametrize("peer", ["192.0.2.{}", "2001:db8:7:{:x}::1"])
def test_the_sources_of_one_network_have_a_bound_together(site, peer):
    total = sum(site.guess((n, i), peer=peer.format(n)) is True for i in range(40) for n in range(256))
    assert total == NETWORK.guesses
    assert site.guess("x", peer=peer.format(3)) is not True
    assert site.guess("x", peer=ELSEWHERE) is True


def test_one_password_sprayed_over_many_names_counts_each_time(site):
    known = sum(site.guess("same", login=f"u{n}@example.test", account=n + 1) is True for n in range(20))
    unknown = sum(site.guess("same", login=f"x{n}@example.test", account=None) is True for n in MANY)
    assert known + unknown == SOURCE.guesses


def test_three_typos_cost_no_time_at_all(site):
    assert site.admitted(["Secret", "secrte", "secret "], web=True) == 3
    assert site.guess("secret", RIGHT, web=True) is True


def test_trusted_networks_and_unix_sockets_are_not_counted_by_source():
    site = Guessing(["10.0.0.0/8", "fd00::/8"])
    for peer in ("10.1.2.3", "fd00::1", "", "::ffff:10.1.2.3"):
        assert site.admitted(MANY, peer=peer) == len(MANY)
    assert site.admitted(MANY, peer="11.1.2.3") == SOURCE.guesses


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "fe80::1"])
def test_private_addresses_are_not_trusted_for_that(site, peer):
    assert site.admitted(MANY, peer=peer) == SOURCE.guesses


def test_trust_in_a_source_does_not_open_the_account():
    site = Guessing(["10.0.0.0/8"])
    assert site.admitted(MANY, peer="10.1.2.3", web=True) == ACCOUNT.guesses


# ---- what a guess is


@pytest.mark.parametrize("outcome", [RIGHT, Defer(Cause.STORE), Defer(Cause.BUSY), Reject(Reason.REVOKED, 7)])
def test_only_a_wrong_guess_costs(site, outcome):
    assert site.admitted(MANY, outcome=outcome, web=True) == len(MANY)
    assert site.admitted(MANY, web=True) == SOURCE.guesses


@pytest.mark.parametrize("reason", [Reason.DISABLED, Reason.SERVICE_OFF, Reason.UNKNOWN_LOGIN, Reason.AUTHZID])
def test_whatever_the_account_s_state_a_wrong_guess_costs_the_same(site, reason):
    assert site.admitted(MANY, outcome=Reject(reason)) == SOURCE.guesses


def test_the_same_wrong_secret_is_paid_for_once(site):
    assert site.admitted(["old"] * 500, web=True) == 500
    assert site.admitted(MANY, web=True) == SOURCE.guesses - 1
    assert site.guess("old", web=True) is True


def test_plain_then_login_over_all_services_is_one_guess(site):
    for n, (service, _) in itertools.product(range(33), itertools.product(Service, ["PLAIN", "LOGIN"])):
        assert site.guess(f"typo{n}", on=service, web=True) is True
    assert site.guess("one more") is not True


def test_an_alias_is_the_same_login(site):
    for n in range(32):
        assert site.guess(n, typed="post@example.test") is True
        assert site.guess(n, typed=ALICE) is True
    assert site.guess("one more") is True
    assert site.guess("two more") is not True


def test_who_has_nothing_left_does_not_learn_which_names_are_one_account(site):
    site.admitted(range(33))
    assert site.guess(0) is True
    waits = [
        site.guess(0, typed="post@example.test"),
        site.guess(0, login="nobody@example.test", account=None),
        site.guess(0, login="bob@example.test", account=2, web=True),
        site.guess("other"),
    ]
    assert waits == [pytest.approx(SOURCE.refill_s)] * 4


def test_the_same_secret_shown_by_five_connections_at_once_is_paid_for_once(site):
    for claim in [site.claim("old", web=True) for _ in range(5)]:
        claim.settle(WRONG)
    assert site.admitted(MANY, web=True) == SOURCE.guesses - 1


def test_a_stale_device_that_moves_about_counts_once_at_the_account(site):
    for n, peer in enumerate(sources(1000)):
        assert site.guess("old", peer=peer, web=True) is True, n
    assert site.admitted(range(99), peer="", web=True) == 99


def test_a_guess_whose_client_left_stays_paid_for_and_counts_in_the_end(site):
    assert site.admitted(MANY, outcome=None) == SOURCE.guesses
    site.now += LOST_S
    assert site.guess("x") == pytest.approx(SOURCE.refill_s)


def test_a_claim_counts_once_whatever_it_is_told(site):
    claim = site.claim("x")
    for outcome in (WRONG, RIGHT, Defer(Cause.BUSY), WRONG):
        claim.settle(outcome)
    late = site.claim("y")
    site.now += LOST_S
    assert site.guess("z") is True
    late.settle(RIGHT)
    assert site.admitted(MANY) == SOURCE.guesses - 2


def test_guesses_in_parallel_gain_nothing(site):
    claims = [site.claim(n) for n in MANY]
    assert sum(not isinstance(claim, float) for claim in claims) == SOURCE.guesses


def test_hanging_claims_gain_nothing_either(site):
    """Held guesses do not fall; so neither does handing them back make room for more than there was."""
    held = [site.claim(n, on=Service.POP3) for n in range(33)]
    site.now += LOST_S - 1
    assert site.admitted(range(100, 200)) == 0
    for claim in held:
        claim.settle(Defer(Cause.BUSY))
    assert site.admitted(range(100, 200)) == SOURCE.guesses


def test_equal_secrets_have_one_number_and_different_ones_have_not(site):
    first, again, other = (site.claim(secret).guess for secret in ("a", "a", "b"))
    assert first == again != other
    assert site.claim("a", peer=ELSEWHERE).guess == first
    assert site.claim("a", login="bob@example.test", account=2).guess not in {first, other}
    assert Guessing(["0.0.0.0/0"]).claim("a").guess == 1


# ---- midnight


def test_the_key_of_sameness_is_new_each_day_and_no_device_is_counted_anew_for_that(site):
    keys = set()
    number = site.claim("old").guess
    for _ in range(24 * 5):
        claim = site.claim("old")
        assert claim.guess == number
        claim.settle(WRONG)
        keys |= {site.throttle._sameness._key, site.throttle._sameness._old_key}
        site.now += AN_HOUR
        if site.throttle._sameness._key not in keys:
            assert site.admitted(range(200, 300)) == SOURCE.guesses
            assert site.guess("old") is True  # though nothing is left
            site.now += AN_HOUR
    assert len(keys) == 6  # five, and none
    assert sum(len(key) == 32 for key in keys) == 5


def test_a_secret_not_shown_for_two_days_is_forgotten(site):
    number = site.claim("old").guess
    site.now += 2 * A_DAY
    assert site.claim("old").guess != number
    assert len(site.throttle._sameness) == 1


# ---- accounts


def test_many_sources_share_the_account_s_bound_for_web_passwords_only(site):
    use_up(site)
    assert site.guess("x", web=True) == pytest.approx(guessing.FIRST_DELAY_S)
    assert site.guess("x", web=False) is True
    assert site.guess("x", account=2, web=True) is True


def test_the_delay_at_an_account_grows_to_a_balance_and_falls_by_time_alone(site):
    use_up(site)
    waits = []
    for n, peer in enumerate(sources(30, 500)):
        waits.append(site.guess(n, peer=peer, web=True))
        site.now += waits[-1]
        assert site.guess(n, peer=peer, web=True) is True
    assert waits[:4] == pytest.approx([30, 58, 110, 200], abs=12)
    assert all(later > earlier for earlier, later in itertools.pairwise(waits[:5]))
    assert waits[-1] == pytest.approx(ACCOUNT.refill_s, rel=0.05)  # so many in, so many out: a hundred a day
    assert max(waits) <= guessing.LONGEST_DELAY_S
    site.now += A_DAY
    assert site.admitted(range(100, 130), peer=ELSEWHERE, web=True) == 30


def test_an_account_is_open_again_by_itself(site):
    use_up(site)
    site.now += guessing.FIRST_DELAY_S
    assert site.guess("right", RIGHT, web=True) is True


def test_while_one_is_judged_at_a_slow_account_no_other_is(site):
    use_up(site)
    site.now += guessing.FIRST_DELAY_S
    claims = [site.claim(n, peer=peer, web=True) for n, peer in enumerate(sources(20, 500))]
    assert sum(not isinstance(claim, float) for claim in claims) == 1


def test_a_success_clears_no_count(site):
    for n in range(33):
        site.guess(n, web=True)
        site.guess("right", RIGHT, web=True)
        site.throttle.welcome(HOME, 2)
    assert site.guess("another") is not True
    use_up(site, account=2)
    site.guess("right", RIGHT, peer=ELSEWHERE, account=2)
    assert site.guess("another", peer=ELSEWHERE, account=2, web=True) is not True


# ---- who is known


def test_an_owner_gets_in_where_it_is_known_while_ten_thousand_guess(site):
    site.throttle.welcome(HOME, HERS)
    for n, peer in enumerate(sources(10_000)):
        site.guess(n, peer=peer, web=True)
        if n % 100 == 99:
            assert site.guess("hers", RIGHT, web=True) is True
    assert site.guess("hers", RIGHT, peer=ELSEWHERE, web=True) is not True


def test_an_owner_gets_in_from_behind_the_address_of_who_guesses(site):
    site.throttle.welcome(HOME, HERS)
    assert site.admitted(MANY, login="bob@example.test", account=2, web=True) == SOURCE.guesses
    for n in range(100):
        site.guess(f"more{n}", login="bob@example.test", account=2, web=True)
        assert site.guess("hers", RIGHT, web=True) is True


def test_a_reserve_is_small_and_fills_up_by_time_alone(site):
    site.throttle.welcome(HOME, HERS)
    use_up(site)
    assert site.admitted(MANY, web=True) == RESERVE.guesses
    for _ in range(20):
        assert site.guess("hers", RIGHT, web=True) is not True
    site.now += RESERVE.refill_s
    assert site.guess("hers", RIGHT, web=True) is True
    assert site.admitted(range(2000, 2100), web=True) == 2  # one of the reserve, one that the account has by then


def test_a_source_that_is_in_many_accounts_is_lent_little(site):
    for account in range(1, 50):
        site.throttle.welcome(HOME, account)
    total = sum(site.guess(n, login=f"u{n}", account=n % 49 + 1, web=True) is True for n in MANY)
    assert total == SOURCE.guesses + SOURCE.lent == 39
    assert site.guess("x", account=7, web=True) == pytest.approx(SOURCE.refill_s * (SOURCE.lent + 1))
    site.now += SOURCE.refill_s
    assert site.guess("hers", RIGHT, account=7, web=True) is True
    assert site.guess("stranger's", account=77, web=True) is not True


def test_a_network_lends_too(site):
    for n in range(2, 20):
        site.admitted(MANY, peer=f"192.0.2.{n}", login=f"u{n}", account=None)
    assert site.guess("x") is not True
    site.throttle.welcome(HOME, HERS)
    assert site.guess("hers", RIGHT) is True


def test_a_device_has_a_reserve_wherever_it_is(site):
    site.throttle.welcome(ELSEWHERE, HERS, device="cookie 7")
    use_up(site)
    site.admitted(MANY, account=2)
    assert site.guess("hers", RIGHT, web=True, device="cookie 7") is True
    assert site.guess("hers", RIGHT, web=True, device="cookie 8") is not True
    assert site.guess("hers", RIGHT, web=True, device="cookie 7", account=2) is not True
    assert site.admitted(MANY, web=True, device="cookie 7") == RESERVE.guesses
    assert site.guess("hers", RIGHT, web=True, device="cookie 7") is not True


def test_who_is_known_is_forgotten_after_a_month(site):
    assert not site.throttle.knows(HOME, HERS)
    site.throttle.welcome(HOME, HERS)
    site.now += guessing.KNOWN_S - 1
    assert site.throttle.knows(HOME, HERS)
    assert not site.throttle.knows(HOME, 2)
    assert not site.throttle.knows(ELSEWHERE, HERS)
    site.throttle.welcome(HOME, HERS)
    site.now += guessing.KNOWN_S - 1
    assert site.throttle.knows(HOME, HERS)
    site.now += 1
    assert not site.throttle.knows(HOME, HERS)


def test_an_ipv6_device_is_known_in_its_whole_network(site):
    site.throttle.welcome("2001:db8::1", HERS)
    assert site.throttle.knows("2001:db8::ffff:1", HERS)
    assert not site.throttle.knows("2001:db8:0:1::1", HERS)
    site.throttle.welcome("", HERS)
    assert not site.throttle.knows("", HERS)


# ---- what the wait tells


def test_who_has_nothing_left_hears_the_same_whatever_is_named(site):
    use_up(site, account=2)
    for n, peer in enumerate(sources(4, 500)):
        site.now += site.guess(n, peer=peer, account=2, web=True)
        site.guess(n, peer=peer, account=2, web=True)
    assert site.guess("x", peer=ELSEWHERE, account=2, web=True) > 2 * SOURCE.refill_s
    site.admitted(MANY)
    waits = [
        site.guess("x", login="nobody@example.test", account=None),
        site.guess("x", account=HERS, web=True),
        site.guess("x", account=HERS, web=False),
        site.guess("x", account=2, web=True),
    ]
    assert len(set(waits)) == 1


# ---- clearing, and the clock


def test_clearing_forgets_what_was_counted_and_not_who_is_known(site):
    site.throttle.welcome(HOME, 2)
    site.admitted(MANY, web=True)
    site.throttle.clear("source", HOME)
    assert site.admitted(range(2000, 3000)) == SOURCE.guesses
    assert site.throttle.knows(HOME, 2)
    site.throttle.clear("source", "192.0.0.0/8")
    assert site.guess("z") is True


def test_clearing_an_account(site):
    use_up(site)
    site.throttle.clear("account", "2")
    assert site.guess("x", web=True) is not True
    site.throttle.clear("account", str(HERS))
    assert site.admitted(range(5000, 5010), web=True) == 10


def test_clearing_everything(site):
    use_up(site)
    site.throttle.clear(guessing.EVERYTHING, "")
    assert len(site.throttle._buckets) == 0
    assert site.admitted(range(5000, 5010), web=True) == 10


def test_clearing_as_processes_are_told_to(site, caplog):
    use_up(site)
    for takes in ("", "[]", "{}", '{"scope": "moon", "subject": ""}', '{"scope": "source", "subject": "x"}', "7"):
        site.throttle.cleared(takes)
    assert caplog.text.count("cannot be understood") == 6
    assert site.guess("x", web=True) is not True
    site.throttle.cleared('{"login": "alice@example.test", "scope": "account", "subject": "1"}')
    assert site.guess("x", web=True) is True


def test_what_is_held_while_it_is_cleared_does_no_harm(site):
    claims = [site.claim(n, web=True) for n in range(33)]
    site.throttle.clear(guessing.EVERYTHING, "")
    for n, claim in enumerate(claims):
        claim.settle(WRONG if n % 2 else RIGHT)
    assert site.throttle.exchange_out() == []
    assert site.admitted(range(100, 200)) == SOURCE.guesses


@pytest.mark.parametrize("step_s", [-A_DAY, -AN_HOUR])
def test_a_clock_set_back_gives_nothing_and_takes_nothing(site, step_s):
    use_up(site)
    site.admitted(range(1000, 1010), peer=ELSEWHERE)
    site.now += step_s
    assert site.admitted(range(2000, 2100), peer=ELSEWHERE) == SOURCE.guesses - 10
    assert site.guess("x", web=True) == pytest.approx(guessing.FIRST_DELAY_S)
    site.now += guessing.FIRST_DELAY_S
    assert site.guess("x", web=True) is True


# ---- others


def test_what_was_counted_while_others_were_heard_is_added_to_what_they_have(site):
    told = site.throttle.exchange_out()
    assert site.admitted(range(5)) == 5
    site.throttle.merge([Count("source", HOME, 20.0, 0.0)], told)
    assert site.admitted(range(100, 200)) == SOURCE.guesses - 25


def test_what_others_have_never_lowers_a_count(site):
    site.admitted(range(20))
    told = site.throttle.exchange_out()
    site.throttle.merge([Count("source", HOME, 3.0, 0.0), Count("source", HOME, 30.0, 1e9)], told)
    assert site.admitted(range(100, 200)) == SOURCE.guesses - 20


def test_however_much_others_have_it_ends_soon(site):
    site.throttle.merge([Count("source", HOME, 1e12, 0.0), Count("account", "1", 1e12, 0.0)])
    assert site.guess("x") == (SOURCE.most + 1 - SOURCE.guesses) * SOURCE.refill_s
    assert site.guess("x", peer=ELSEWHERE, web=True) == guessing.LONGEST_DELAY_S


def test_what_is_told_is_told_once(site):
    site.admitted(range(5))
    first = site.throttle.exchange_out()
    assert [(one.kind, one.subject, one.added) for one in first] == [("source", HOME, 5.0)]
    assert site.throttle.exchange_out() == first  # it was not heard
    site.guess("a sixth")
    site.throttle.merge([], first)
    (rest,) = site.throttle.exchange_out()
    assert rest.added == 1.0
    site.throttle.merge([], [rest])
    assert site.throttle.exchange_out() == []


def test_what_was_counted_after_a_clearing_is_told(site):
    site.admitted(range(30))
    told = site.throttle.exchange_out()
    site.throttle.clear(guessing.EVERYTHING, "")
    site.admitted(range(100, 105))
    site.throttle.merge([], told)
    (one,) = site.throttle.exchange_out()
    assert one.added == 5.0


# ---- bounds of memory


def test_the_tables_are_bounded(site, monkeypatch):
    monkeypatch.setattr(buckets, "MOST_BUCKETS", 50)
    monkeypatch.setattr(sameness, "MOST_SECRETS", 60)
    for n, peer in enumerate(sources(500)):
        site.guess(n, peer=peer, account=n + 1, web=True)
    assert [len(table) for table in site.throttle._buckets._tables.values()] == [50, 50, 50, 0, 0]
    assert len(site.throttle._sameness) == 60
    for peer in sources(500):
        site.guess("same", peer=peer)
    assert max(len(shown.paid) for shown in site.throttle._sameness._today.values()) <= sameness.MOST_PAYERS + 1


def test_a_device_that_repeats_itself_is_not_pushed_out_by_others(site, monkeypatch):
    monkeypatch.setattr(sameness, "MOST_SECRETS", 60)
    number = site.claim("old").guess
    for n, peer in enumerate(sources(500)):
        site.guess(n, peer=peer)
        claim = site.claim("old")
        assert claim.guess == number
        claim.settle(WRONG)


def test_one_that_still_guesses_is_not_pushed_out_by_others(site, monkeypatch):
    monkeypatch.setattr(buckets, "MOST_BUCKETS", 50)
    site.admitted(MANY)
    for n, peer in enumerate(sources(500)):
        site.guess(n, peer=peer)
        assert site.guess(f"more{n}") is not True


@pytest.mark.slow
def test_a_million_made_up_names_and_sources_fill_no_memory():
    site = Guessing(["10.0.0.0/8"])
    for n in range(1_000_000):
        site.guess("pw", peer="10.0.0.1" if n % 2 else HOME, login=f"u{n}@example.test", account=None)
    for n in range(60_000):
        site.guess("pw", peer=f"2001:{n >> 16:x}:{n & 0xFFFF:x}::1", account=None)
    assert len(site.throttle._sameness) <= sameness.MOST_SECRETS
    assert all(len(table) <= buckets.MOST_BUCKETS for table in site.throttle._buckets._tables.values())
    assert len(site.throttle._buckets._untold) <= 2
    assert not site.throttle._open


# ---- whatever comes, in whatever order


PEERS = ["192.0.2.1", "192.0.2.2", "198.51.100.1", "2001:db8::1", "2001:db8::2"]
OUTCOMES = [
    WRONG,
    WRONG,
    WRONG,
    Reject(Reason.UNKNOWN_LOGIN),
    RIGHT,
    Defer(Cause.BUSY),
    Reject(Reason.REVOKED, 3),
    None,
]
STEPS = st.one_of(
    st.tuples(
        st.just("guess"),
        st.integers(1, 60),
        st.sampled_from(PEERS),
        st.sampled_from([None, 1, 2]),
        st.sampled_from(OUTCOMES),
        st.booleans(),
    ),
    st.tuples(st.just("hold"), st.integers(1, 60), st.sampled_from(PEERS), st.sampled_from([None, 1, 2])),
    st.tuples(st.just("settle"), st.sampled_from(OUTCOMES)),
    st.tuples(st.just("wait"), st.floats(0, 400)),
    st.tuples(st.just("welcome"), st.sampled_from(PEERS), st.sampled_from([1, 2])),
    st.tuples(st.just("hear"), st.sampled_from(PEERS), st.floats(0, 500), st.floats(0, 500)),
)


class Watched(Guessing):
    """Notes each wrong guess that was judged: when, from where, at which account."""

    def __init__(self):
        super().__init__()
        self.judged = []
        self.held = []
        self.numbers = itertools.count()

    def take(self, step):
        match step:
            case ("guess", count, peer, account, outcome, repeat):
                for _ in range(count):
                    self.judge(self.one(peer, account, "again" if repeat else next(self.numbers)), outcome)
            case ("hold", count, peer, account):
                self.held += [self.one(peer, account, next(self.numbers)) for _ in range(count)]
            case ("settle", outcome):
                for held in self.held:
                    self.judge(held, outcome)
                self.held.clear()
            case ("wait", seconds):
                self.now += seconds
            case ("welcome", peer, account):
                self.throttle.welcome(peer, account)
            case ("hear", peer, spent, idle_s):
                self.throttle.merge([Count("source", guessing.source_of(guessing.parsed(peer)), spent, idle_s)])

    def one(self, peer, account, secret):
        web = account == 1
        login = f"{account}@example.test"
        return self.claim(secret, peer=peer, login=login, account=account, web=web), peer, web

    def judge(self, one, outcome):
        claim, peer, web = one
        if isinstance(claim, float) or outcome is None:
            return
        new = claim in self.throttle._open and any(b.key not in claim.shown.paid for b in claim.held)
        claim.settle(outcome)
        if new and type(outcome) is Reject and outcome.credential_id is None:
            self.judged.append((self.now, guessing.source_of(guessing.parsed(peer)), web))


def most_in(times, window_s):
    return max((sum(start <= at <= start + window_s for at in times) for start in times), default=0)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_no_order_of_events_gives_a_source_more_than_forty_in_thirty_seconds(steps):
    site = Watched()
    for step in steps:
        site.take(step)
    for source in {source for _, source, _ in site.judged}:
        times = [at for at, whence, _ in site.judged if whence == source]
        for window_s in (0.0, 30.0, 300.0):
            assert most_in(times, window_s) <= SOURCE.guesses + SOURCE.lent + window_s / SOURCE.refill_s
    for table in site.throttle._buckets._tables.values():
        for bucket in table.values():
            assert bucket.spent >= 0
            assert bucket.held >= 0
            assert 0 <= bucket.untold <= bucket.spent + 1e-9


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 2000)), max_size=40))
def test_however_spread_an_account_is_guessed_at_a_hundred_times_and_then_slowly(waves):
    site, times, peers = Guessing(), [], iter(sources(60_000))
    for count, pause_s in waves:
        for _ in range(count):
            peer = next(peers)
            if site.guess(peer, peer=peer, web=True) is True:
                times.append(site.now)
        site.now += pause_s
    assert most_in(times, 0.0) <= 100
    for start in times:
        spent_s = [at - start for at in times if at >= start]
        if len(spent_s) > 100:
            beyond = len(spent_s) - 100 - spent_s[-1] / ACCOUNT.refill_s
            assert beyond <= guessing.DELAYS_UNTIL_LONGEST


@settings(max_examples=50, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_came_it_is_over_after_an_hour(steps):
    site = Watched()
    for step in steps:
        site.take(step)
    site.now += LOST_S
    site.guess("a breath", peer="203.0.113.1")
    site.now += AN_HOUR
    for n, peer in enumerate(PEERS):
        assert site.guess(f"after all {n}", peer=peer, login="z@example.test", account=3, web=True) is True
    assert site.guess("hers", RIGHT, peer="203.0.113.1", account=1, web=True) is True


def test_a_throttle_with_no_clock_given_reads_the_monotonic_one():
    attempt = Attempt(Credential(ALICE, "x"), Service.IMAP, HOME, True)
    claim = GuessThrottle().claim(attempt, ALICE, HERS, web=True)
    assert not isinstance(claim, float)
    claim.settle(Accept(Principal(HERS, ALICE, None)))
