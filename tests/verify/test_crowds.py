"""A proxy or webmail that nobody configured is named in the log, once."""

from __future__ import annotations

import logging
from ipaddress import ip_address

import pytest

from guessers import Guessing
from mailauth.verify import crowds
from mailauth.verify.crowds import CROWD, is_private

PRIVATE = ["10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "127.0.0.1", "169.254.1.1", "::1", "fd00::1"]
PUBLIC = ["192.0.2.1", "172.32.0.1", "100.64.0.1", "8.8.8.8", "2001:db8::1", "::2", "ff02::1"]


def warned(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def get_in(site, peer, accounts):
    for account in accounts:
        site.throttle.welcome(peer, account)


@pytest.mark.parametrize(("addresses", "private"), [(PRIVATE, True), (["fe80::1", "fc00::1"], True), (PUBLIC, False)])
def test_what_is_private(addresses, private):
    assert [is_private(ip_address(address)) for address in addresses] == [private] * len(addresses)


@pytest.mark.parametrize("peer", PRIVATE)
def test_many_accounts_from_one_private_source_are_told_once_with_the_settings(peer, caplog):
    site = Guessing()
    get_in(site, peer, range(CROWD - 1))
    get_in(site, peer, range(CROWD - 1))
    assert warned(caplog) == []
    get_in(site, peer, range(1000))
    get_in(site, "10.9.9.9", range(1000))
    (told,) = warned(caplog)
    assert "20 accounts" in told
    for word in ("proxy_from", "[[listen]]", "[throttle] trusted_networks"):
        assert word in told
    assert peer.partition("::")[0] in told


@pytest.mark.parametrize("peer", [*PUBLIC, ""])
def test_a_public_source_is_an_office_and_nothing_is_said(peer, caplog):
    get_in(Guessing(), peer, range(1000))
    assert warned(caplog) == []


def test_a_trusted_network_is_configured_already(caplog):
    get_in(Guessing(["10.0.0.0/8"]), "10.1.2.3", range(1000))
    assert warned(caplog) == []


def test_a_network_of_desks_is_no_crowd(caplog):
    site = Guessing()
    for n in range(5000):
        site.throttle.welcome(f"10.0.{n >> 8}.{n & 255}", n)
    assert warned(caplog) == []
    assert len(site.throttle._crowds._accounts) == crowds.MOST_SOURCES
