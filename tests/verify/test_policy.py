"""The rules as pure functions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from doubles import ALL_SERVICES, NO_DEMAND
from mailauth.attempt import Attempt, Credential, Service
from mailauth.interfaces import Account, BadRecord, Demand, PolicyLevel, StoredAppPassword
from mailauth.verdict import Reason
from mailauth.verify import policy

NOW = 1_000_000.0
ACCOUNT = Account(1, "a@example.test", True, True, True, ALL_SERVICES, False, (NO_DEMAND,) * 3, None, ())
STORED = StoredAppPassword(7, "plain:x", ALL_SERVICES, (), None, False, False)


def attempt(peer: str = "192.0.2.1", service: Service = Service.IMAP) -> Attempt:
    return Attempt(Credential("a@example.test", "x"), service, peer, True)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"enabled": False}, Reason.DISABLED),
        ({"domain_enabled": False}, Reason.DOMAIN_DISABLED),
        ({"client_logon": False}, Reason.CLIENT_LOGON_OFF),
        ({"services": frozenset({Service.POP3, Service.SMTP})}, Reason.SERVICE_OFF),
        ({"services": frozenset({Service.IMAP})}, None),
        ({"enabled": False, "client_logon": False}, Reason.DISABLED),
    ],
)
def test_nobody_comes_in_on_what_is_switched_off(changes, reason):
    assert policy.standing(replace(ACCOUNT, **changes), Service.IMAP) is reason


@pytest.mark.parametrize(
    ("changes", "peer", "reason"),
    [
        ({}, "192.0.2.1", None),
        ({}, "", None),
        ({"revoked": True}, "192.0.2.1", Reason.REVOKED),
        ({"suspended": True}, "192.0.2.1", Reason.SUSPENDED),
        ({"expires_at": NOW}, "192.0.2.1", Reason.EXPIRED),
        ({"expires_at": NOW + 0.001}, "192.0.2.1", None),
        ({"services": frozenset({Service.SMTP})}, "192.0.2.1", Reason.OTHER_SERVICE),
        ({"networks": ("192.0.2.0/24",)}, "192.0.2.1", None),
        ({"networks": ("192.0.2.0/24",)}, "::ffff:192.0.2.1", None),
        ({"networks": ("10.0.0.0/8", "2001:db8::/32")}, "2001:db8::1", None),
        ({"networks": ("10.0.0.0/8",)}, "192.0.2.1", Reason.OTHER_NETWORK),
        ({"networks": ("10.0.0.0/8",)}, "", Reason.OTHER_NETWORK),
        ({"networks": ("10.0.0.0/8",)}, "not-an-address", Reason.OTHER_NETWORK),
    ],
)
def test_an_app_password_opens_only_what_it_is_for(changes, peer, reason):
    assert policy.scope(replace(STORED, **changes), attempt(peer), NOW) is reason


def test_an_unreadable_network_is_a_fault_and_no_refusal():
    with pytest.raises(BadRecord):
        policy.scope(replace(STORED, networks=("somewhere",)), attempt(), NOW)


ENFORCED, OBSERVE, OPTIONAL = PolicyLevel.ENFORCED, PolicyLevel.OBSERVE, PolicyLevel.OPTIONAL


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("demand", "on"),
    [
        (Demand(OPTIONAL, None, False, False, None, False), False),
        (Demand(OBSERVE, None, False, False, None, False), False),
        (Demand(ENFORCED, None, False, False, None, False), True),
        (Demand(ENFORCED, NOW + 1, False, False, None, False), False),
        (Demand(ENFORCED, NOW, False, False, None, False), True),
        (Demand(ENFORCED, NOW + 86400, True, False, None, False), True),  # reached before the clock was set back
        (Demand(OBSERVE, NOW - 1, True, False, None, False), False),
        (Demand(OPTIONAL, None, False, True, None, False), True),
        (Demand(OPTIONAL, None, False, True, NOW + 1, False), False),
        (Demand(OPTIONAL, None, False, True, NOW + 1, True), True),
    ],
)
def test_the_strictest_level_counts_once_its_start_is_reached(place, demand, on):
    demands = [NO_DEMAND, NO_DEMAND, NO_DEMAND]
    demands[place] = demand
    account = replace(ACCOUNT, demands=tuple(demands))
    assert policy.app_passwords_only(account, NOW) is on
    assert policy.app_passwords_only(replace(account, mode_on=True), NOW) is True


@pytest.mark.parametrize(
    ("authzid", "own"),
    [("", True), ("A@Example.test", True), ("a@example.test", True), ("root", False), ("b@example.test", False)],
)
def test_one_acts_for_oneself_only(authzid, own):
    assert policy.acts_for_itself(Credential("A@example.test", "x", authzid), "a@example.test") is own
