"""The bounds of guessing as arithmetic, and what counts as one source."""

from __future__ import annotations

import math
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailauth import guessing
from mailauth.guessing import ACCOUNT, LIMITS, NETWORK, SOURCE, cleared_by, network_of, parsed, source_of

SOURCES = [
    ("192.0.2.7", "192.0.2.7", "192.0.2.0/24"),
    ("255.255.255.255", "255.255.255.255", "255.255.255.0/24"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
    ("2001:DB8::1", "2001:db8::/64", "2001:db8::/48"),
    ("::1", "::/64", "::/48"),
    ("fd00::1", "fd00::/64", "fd00::/48"),
    ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.0/24"),
    ("::FFFF:C000:207", "192.0.2.7", "192.0.2.0/24"),
]


@pytest.mark.parametrize(("peer", "source", "network"), SOURCES)
def test_a_source_and_its_network(peer, source, network):
    address = parsed(peer)
    assert (source_of(address), network_of(address)) == (source, network)


@given(st.ip_addresses())
def test_a_source_lies_in_its_network_and_holds_its_address(address):
    assert address in ip_network(source_of(address))
    assert ip_network(source_of(address)).subnet_of(ip_network(network_of(address)))


@pytest.mark.parametrize("peer", ["", "unix:/run/x", "192.0.2", "localhost"])
def test_what_has_no_address_is_no_source(peer):
    assert parsed(peer) is None


@given(
    st.sampled_from(list(LIMITS.values())),
    st.floats(0, 1e6),
    st.floats(-1e9, 1e9),
    st.integers(0, 1000),
    st.floats(-1e9, math.inf),
)
def test_no_count_and_no_wait_is_negative_or_endless(limit, spent, elapsed_s, held, idle_s):
    left = limit.after(spent, elapsed_s)
    assert 0 <= left <= spent
    wait_s = limit.wait_s(left, held, idle_s)
    assert 0 <= wait_s < math.inf
    if limit.delays:
        assert wait_s <= guessing.LONGEST_DELAY_S
    if left + held + 1 <= limit.guesses:
        assert wait_s == 0


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
def test_nobody_waits_longer_than_an_hour(limit):
    assert 0 < limit.wait_s(limit.most, 0, 0.0) <= 3600.0


def test_one_source_never_has_more_than_forty_guesses_in_thirty_seconds():
    assert SOURCE.guesses + SOURCE.lent + 30.0 / SOURCE.refill_s <= 40
    assert NETWORK.guesses == 8 * SOURCE.guesses
    assert 8 * NETWORK.refill_s == SOURCE.refill_s


def test_the_delay_at_an_account_doubles_from_half_a_minute_to_an_hour():
    waits = [ACCOUNT.wait_s(100.0 + wrong, 0, 0.0) for wrong in range(-2, 9)]
    assert waits == [0, 0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert ACCOUNT.wait_s(103.0, 0, 200.0) == 40
    assert ACCOUNT.wait_s(103.0, 0, 240.0) == 0
    assert ACCOUNT.wait_s(103.0, 1, 240.0) == 480  # another is being judged just now


CLEARED = [
    ("source", "192.0.2.7", "source", "192.0.2.7", True),
    ("source", "192.0.2.7", "source", "192.0.2.8", False),
    ("source", "192.0.2.7", "network", "192.0.2.0/24", True),
    ("source", "192.0.2.7", "reserve", "192.0.2.7|12", True),
    ("source", "192.0.2.7", "reserve", "192.0.2.8|12", False),
    ("source", "192.0.2.7", "account", "12", False),
    ("source", "192.0.2.7", "source", "::/64", False),
    ("source", "192.0.2.0/25", "source", "192.0.2.127", True),
    ("source", "192.0.2.0/25", "source", "192.0.2.128", False),
    ("source", "192.0.2.0/25", "network", "192.0.2.0/24", True),
    ("source", "192.0.0.0/16", "network", "192.0.2.0/24", True),
    ("source", "0.0.0.0/0", "source", "203.0.113.9", True),
    ("source", "0.0.0.0/0", "source", "2001:db8::/64", False),
    ("source", "::/0", "source", "2001:db8::/64", True),
    ("source", "2001:db8::1", "source", "2001:db8::/64", True),
    ("source", "2001:db8::1", "network", "2001:db8::/48", True),
    ("source", "2001:db8:0:1::1", "source", "2001:db8::/64", False),
    ("source", "2001:db8::/47", "network", "2001:db8:1::/48", True),
    ("source", "192.0.2.7", "source", "no address", False),
    ("source", "192.0.2.7", "source", "192.0.2.7/x", False),
    ("account", "12", "account", "12", True),
    ("account", "12", "account", "112", False),
    ("account", "12", "reserve", "192.0.2.7|12", True),
    ("account", "12", "reserve", "192.0.2.7|112", False),
    ("account", "12", "device", "device x|12", True),
    ("account", "12", "source", "192.0.2.7", False),
    ("all", "", "device", "device x|12", True),
    ("all", "", "network", "192.0.2.0/24", True),
]


@pytest.mark.parametrize(("scope", "named", "kind", "subject", "is_cleared"), CLEARED)
def test_what_is_cleared(scope, named, kind, subject, is_cleared):
    cleared = cleared_by(scope, named)
    assert (kind in cleared and cleared[kind](subject)) is is_cleared


@pytest.mark.parametrize("scope", [("all", ""), ("account", "1"), ("source", "::/0")])
def test_who_is_known_stays_known(scope):
    assert guessing.KNOWN not in cleared_by(*scope)


@pytest.mark.parametrize("scope", [("account", "alice"), ("source", "example.test"), ("known", ""), ("", "")])
def test_nothing_is_cleared_by_what_is_not_understood(scope):
    with pytest.raises(ValueError, match=r".+"):
        cleared_by(*scope)


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128))
def test_clearing_a_network_is_as_ipaddress_sees_it(address, other, bits):
    network = ip_network((other, min(bits, other.max_prefixlen)), strict=False)
    cleared = cleared_by("source", str(network))
    for kind, subject in (("source", source_of(address)), ("network", network_of(address))):
        meets = ip_network(subject).version == network.version and ip_network(subject).overlaps(network)
        assert cleared[kind](subject) is meets
    assert cleared["source"](source_of(ip_address(network.network_address)))
