"""Who is counted, who has to go, and who is counted no more."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from mailauth.dialogue import Ending
from mailauth.serving.census import Census, source_of


class Guest:
    """A connection that leaves when it is told to."""

    def __init__(self) -> None:
        self.told: list[Ending] = []

    def end(self, cause: Ending) -> None:
        self.told.append(cause)


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("not:an:address", "not:an:address"),
    ],
)
def test_what_is_one_source(peer: str, source: str) -> None:
    assert source_of(peer) == source


def test_a_source_has_its_bound_and_others_have_theirs() -> None:
    census = Census(100, 2)
    guests = [Guest() for _ in range(4)]
    assert census.enter(guests[0], "192.0.2.1") is None
    assert census.enter(guests[1], "192.0.2.1") is None
    assert census.enter(guests[2], "192.0.2.1") is Ending.CROWDED
    assert census.enter(guests[3], "192.0.2.2") is None
    assert len(census) == 3
    census.leave(guests[0])
    assert census.enter(guests[2], "192.0.2.1") is None


def test_an_ipv6_network_is_one_source() -> None:
    census = Census(100, 1)
    assert census.enter(Guest(), "2001:db8::1") is None
    assert census.enter(Guest(), "2001:db8::2") is Ending.CROWDED
    assert census.enter(Guest(), "2001:db8:0:1::1") is None


def test_a_trusted_network_has_no_bound_of_its_own() -> None:
    census = Census(3, 1, (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))
    assert census.enter(Guest(), "192.0.2.1") is None
    assert census.enter(Guest(), "192.0.2.1") is None
    assert census.enter(Guest(), "198.51.100.1") is None
    assert census.enter(Guest(), "198.51.100.1") is Ending.CROWDED
    assert census.enter(Guest(), "") is None  # the house is full: its oldest stranger has gone
    assert census.enter(Guest(), "") is Ending.CROWDED


def test_a_full_house_drops_its_oldest_stranger() -> None:
    census = Census(2, 100)
    oldest, younger, new = Guest(), Guest(), Guest()
    census.enter(oldest, "192.0.2.1")
    census.enter(younger, "192.0.2.2")
    assert census.enter(new, "192.0.2.3") is None
    assert (oldest.told, younger.told, new.told) == ([Ending.CROWDED], [], [])
    assert len(census) == 2
    census.leave(oldest)  # it says so itself when it has gone
    assert len(census) == 2


def test_who_has_logged_in_is_never_dropped_for_a_stranger() -> None:
    census = Census(2, 100)
    first, second, late = Guest(), Guest(), Guest()
    for guest in (first, second):
        census.enter(guest, "192.0.2.1")
    census.logged_in(first)
    assert census.enter(late, "192.0.2.2") is None
    assert (first.told, second.told) == ([], [Ending.CROWDED])
    census.logged_in(late)
    assert census.enter(Guest(), "192.0.2.3") is Ending.CROWDED
    assert len(census) == 2


def test_who_was_turned_away_is_not_counted() -> None:
    census = Census(100, 1)
    inside, outside = Guest(), Guest()
    census.enter(inside, "192.0.2.1")
    census.enter(outside, "192.0.2.1")
    census.logged_in(outside)
    census.leave(outside)
    assert census.everyone() == [inside]
    census.leave(inside)
    census.leave(inside)
    assert len(census) == 0
    assert census.enter(outside, "192.0.2.1") is None


def test_the_last_one_to_leave_is_noticed() -> None:
    census = Census(100, 100)
    noticed: list[int] = []
    census.when_empty = lambda: noticed.append(len(census))
    guests = [Guest(), Guest()]
    for guest in guests:
        census.enter(guest, "192.0.2.1")
    for guest in guests:
        census.leave(guest)
    census.leave(guests[0])
    assert noticed == [0]
