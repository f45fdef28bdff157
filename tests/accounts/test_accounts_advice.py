"""What owners are advised: which programs are brought up, and the one that was changed by half."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailauth.accounts.advice import FRESH_S, Need, WebPasswordUse, advised
from mailauth.accounts.observations import ObservationView
from mailauth.accounts.views import AppPasswordView
from mailauth.store.observations import Kind

NOW = 1.8e9
SEEN = ObservationView(
    "alice@example.test",
    Kind.WEB_PASSWORD_REFUSED,
    "203.0.113.0/24",
    "smtp",
    "[10.0.0.2]",
    None,
    None,
    NOW - 9e5,
    NOW - 60,
    3,
)
USED = AppPasswordView(
    id=1,
    label="phone",
    services=("imap", "pop3", "smtp"),
    networks=(),
    created_at=NOW - 3600,
    created_by="portal:alice@example.test",
    expires_at=None,
    expired=False,
    suspended=False,
    last_used_at=NOW - 120,
    last_used_peer="203.0.113.77",
    last_used_service="imap",
    last_used_client="Mail",
)


def needs(observations, passwords=(), now=NOW) -> list[Need]:
    return [advice.need for advice in advised(observations, passwords, now)]


def test_a_program_that_receives_with_the_new_and_sends_with_an_old_one_is_named() -> None:
    (advice,) = advised([SEEN], [USED], NOW)
    assert (advice.need, advice.client, advice.label) == (Need.SENDS_WITH_OLD, "Mail", "phone")
    assert (advice.service, advice.network, advice.last_at) == ("smtp", "203.0.113.0/24", NOW - 60)


def test_and_the_other_way_round() -> None:
    seen, used = replace(SEEN, service="imap"), replace(USED, last_used_service="smtp")
    assert needs([seen], [used]) == [Need.RECEIVES_WITH_OLD]


@pytest.mark.parametrize(
    ("seen", "used"),
    [
        ({}, {"last_used_peer": "198.51.100.7"}),  # another place
        ({"network": ""}, {}),
        ({"last_at": NOW - 4000}, {}),  # before the new one was made
        ({}, {"last_used_at": None, "last_used_peer": None, "last_used_service": None}),
        ({"service": "pop3"}, {}),  # both receive
        ({}, {"last_used_peer": None}),
    ],
)
def test_what_only_looks_like_it_is_not(seen, used) -> None:
    assert needs([replace(SEEN, **seen)], [replace(USED, **used)]) == [Need.REFUSED]


def test_a_program_that_was_not_changed_at_all_is_not_called_half_changed() -> None:
    """A telephone with the new password, and a computer beside it with the old one for both directions."""
    assert needs([SEEN, replace(SEEN, service="imap")], [USED]) == [Need.REFUSED, Need.REFUSED]


def test_what_was_put_right_since_is_not_brought_up() -> None:
    mended = replace(USED, last_used_service="smtp", last_used_client="[10.0.0.2]", last_used_at=NOW - 30)
    assert needs([SEEN], [mended]) == []
    assert needs([SEEN], [replace(mended, last_used_at=NOW - 90)]) == [Need.REFUSED]
    assert needs([SEEN], [replace(mended, last_used_client="another")]) == [Need.REFUSED]


def test_what_was_not_seen_for_long_is_not_brought_up() -> None:
    assert needs([SEEN], now=NOW - 60 + FRESH_S) == [Need.REFUSED]
    assert needs([SEEN], now=NOW - 59 + FRESH_S) == []


@pytest.mark.parametrize(
    ("kind", "label", "need"),
    [
        (Kind.DELETED_APP_PASSWORD, "old phone", Need.DELETED),
        (Kind.DELETED_APP_PASSWORD, None, Need.DELETED_FORGOTTEN),
        (Kind.WEB_PASSWORD_REFUSED, None, Need.REFUSED),
        (Kind.WOULD_BREAK, None, Need.WOULD_BREAK),
    ],
)
def test_each_kind_has_its_advice(kind: Kind, label: str | None, need: Need) -> None:
    (advice,) = advised([replace(SEEN, kind=kind, label=label)], [], NOW)
    assert (advice.need, advice.label) == (need, label or "")


def test_programs_that_use_the_web_password_are_brought_up_until_they_have_one_of_their_own() -> None:
    use = WebPasswordUse("Mail", "imap", SEEN.network, NOW - 50)
    (told,) = advised([], [], NOW, [use, use])
    assert (told.need, told.client, told.service) == (Need.USES_WEB, "Mail", "imap")
    assert (told.network, told.last_at) == (SEEN.network, NOW - 50)
    assert [each.need for each in advised([SEEN], [], NOW, [use])] == [Need.USES_WEB, Need.REFUSED]
    assert advised([], [replace(USED, last_used_at=NOW - 10)], NOW, [use]) == []
    assert advised([], [], NOW + FRESH_S, [use]) == []
    sends = replace(use, service="smtp")
    assert [each.need for each in advised([], [USED], NOW, [sends])] == [Need.SENDS_WITH_OLD]


def test_each_program_is_brought_up_once_the_latest_first() -> None:
    older = replace(SEEN, last_at=NOW - 500)
    other = replace(SEEN, client="Thunderbird", last_at=NOW - 10)
    found = advised([older, SEEN, other], [], NOW)
    assert [(advice.client, advice.last_at) for advice in found] == [
        ("Thunderbird", NOW - 10),
        ("[10.0.0.2]", NOW - 60),
    ]
