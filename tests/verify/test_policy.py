"""The rules as pure functions."""

from __future__ import annotations

import pytest

from doubles import ALL_SERVICES, NO_DEMAND
from mailauth.attempt import Credential, Service
from mailauth.interfaces import Account, BadRecord, Demand, PolicyLevel, StoredAppPassword
from mailauth.verdict import Principal, Reason, Stay
from mailauth.verify import policy

NOW = 1_000_000.0
ACCOUNT = Account(
    *(1, "a@example.test", 3, True, True, True, ALL_SERVICES, False, (NO_DEMAND,) * 3),
    *(None, NOW - 9, ()),
)
STORED = StoredAppPassword(7, 1, "plain:x", ALL_SERVICES, (), None, False, False)


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
    assert policy.standing(ACCOUNT._replace(**changes), Service.IMAP) is reason


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
        ({"networks": ("10.0.0.0/8", "2001:db8::/32")}, "2001:db8::1", None),
        ({"networks": ("10.0.0.0/8",)}, "192.0.2.1", Reason.OTHER_NETWORK),
        ({"networks": ("10.0.0.0/8",)}, "", Reason.OTHER_NETWORK),
        ({"networks": ("10.0.0.0/8",)}, "not-an-address", Reason.OTHER_NETWORK),
    ],
)
def test_an_app_password_opens_only_what_it_is_for(changes, peer, reason):
    assert policy.scope(STORED._replace(**changes), Service.IMAP, peer, NOW) is reason


def test_an_unreadable_network_is_a_fault_and_no_refusal():
    with pytest.raises(BadRecord):
        policy.scope(STORED._replace(networks=("somewhere",)), Service.IMAP, "192.0.2.1", NOW)


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
    account = ACCOUNT._replace(demands=tuple(demands))
    assert policy.app_passwords_only(account, NOW) is on
    assert policy.app_passwords_only(account._replace(mode_on=True), NOW) is True


@pytest.mark.parametrize(
    ("authzid", "own"),
    [("", True), ("A@Example.test", True), ("a@example.test", True), ("root", False), ("b@example.test", False)],
)
def test_one_acts_for_oneself_only(authzid, own):
    assert policy.acts_for_itself(Credential("A@example.test", "x", authzid), "a@example.test") is own


BY_WEB, BY_APP = Principal(1, "a@example.test", None), Principal(1, "a@example.test", 7)
STAY = Stay(0, 3, NOW - 9, None)
ENFORCE = Demand(ENFORCED, None, False, False, None, False)


@pytest.mark.parametrize(
    ("principal", "changes", "stays"),
    [
        (BY_WEB, {}, True),
        (BY_WEB, {"web_record": "plain:the same, hashed anew"}, True),
        (BY_WEB, {"web_changed_at": NOW}, False),
        (BY_WEB, {"mode_on": True}, False),
        (BY_WEB, {"demands": (NO_DEMAND, ENFORCE, NO_DEMAND)}, False),
        (BY_WEB, {"client_logon": False}, False),
        (BY_APP, {}, True),
        (BY_APP, {"web_changed_at": NOW, "mode_on": True}, True),
        (BY_APP, {"hits": ()}, False),
        (BY_APP, {"hits": (STORED._replace(revoked=True),)}, False),
        (BY_APP, {"hits": (STORED._replace(suspended=True),)}, False),
        (BY_APP, {"hits": (STORED._replace(expires_at=NOW),)}, False),
        (BY_APP, {"hits": (STORED._replace(expires_at=NOW + 1),)}, True),
        (BY_APP, {"enabled": False}, False),
        (BY_APP, {"domain_enabled": False}, False),
        (BY_APP, {"services": frozenset({Service.POP3})}, False),
    ],
)
def test_a_session_stays_as_long_as_its_login_would_be_let_in_again(principal, changes, stays):
    account = ACCOUNT._replace(**{"hits": (STORED,), **changes})
    assert policy.may_stay(account, principal, STAY, service=Service.IMAP, peer="192.0.2.1", now=NOW) is stays


def test_a_session_does_not_outlive_its_account():
    assert not policy.may_stay(None, BY_APP, STAY, service=Service.IMAP, peer="192.0.2.1", now=NOW)


@pytest.mark.parametrize(
    ("stored", "demands", "until"),
    [
        (STORED, (NO_DEMAND,) * 3, None),
        (STORED._replace(expires_at=NOW + 5), (NO_DEMAND,) * 3, NOW + 5),
        (STORED, (Demand(ENFORCED, NOW + 7, False, False, None, False),) * 3, None),
        (None, (NO_DEMAND,) * 3, None),
        (None, (NO_DEMAND, Demand(ENFORCED, NOW + 7, False, True, NOW + 6, False), NO_DEMAND), NOW + 6),
        (None, (NO_DEMAND, Demand(OBSERVE, NOW + 7, False, False, NOW + 6, False), NO_DEMAND), None),
    ],
)
def test_a_session_ends_when_its_app_password_does_or_when_its_web_password_stops_getting_in(stored, demands, until):
    assert policy.stays_until(ACCOUNT._replace(demands=demands), stored, NOW) == until


@pytest.mark.parametrize(
    ("demand", "would"),
    [
        (NO_DEMAND, False),
        (Demand(OBSERVE, None, False, False, None, False), True),
        (Demand(ENFORCED, NOW + 1, False, False, None, False), True),
        (ENFORCE, False),  # it is broken already
    ],
)
def test_what_a_policy_would_break_is_told_while_it_is_only_observed(demand, would):
    assert policy.would_break(ACCOUNT._replace(demands=(NO_DEMAND, demand, NO_DEMAND)), NOW) is would
