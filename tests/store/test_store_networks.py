"""Addresses made coarse."""

import pytest

from mailauth.store.networks import coarse


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("::1", "::/48"),
        ("", ""),
        ("a UNIX socket", ""),
        ("203.0.113.77/32", "203.0.113.0/24"),
        ("2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("1.2.3", ""),
        ("/24", ""),
    ],
)
def test_an_address_becomes_its_network_and_no_more_is_left_of_it(address, network):
    assert coarse(address) == network
    assert coarse(network) == network
