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


# ---- counted before it can speak


def test_a_connection_that_is_not_named_counts_in_the_total_alone() -> None:
    census = Census(2, 1)
    behind_proxy = [Guest(), Guest()]
    for guest in behind_proxy:
        assert census.enter(guest, None) is None
    assert len(census) == 2
    assert census.enter(Guest(), None) is None
    assert (behind_proxy[0].told, len(census)) == ([Ending.CROWDED], 2)


def test_a_connection_counts_for_its_source_from_when_it_is_named() -> None:
    census = Census(100, 1)
    named, crowded, elsewhere = Guest(), Guest(), Guest()
    for guest in (named, crowded, elsewhere):
        assert census.enter(guest, None) is None
    assert census.enter(named, "192.0.2.1") is None
    assert census.enter(crowded, "192.0.2.1") is Ending.CROWDED
    assert census.enter(elsewhere, "192.0.2.2") is None
    assert census.everyone() == [named, elsewhere]
    assert census.enter(named, "192.0.2.3") is None  # it has a name
    census.leave(named)
    assert census.enter(Guest(), "192.0.2.1") is None


def test_a_place_that_is_handed_over_stays_one_and_where_it_was() -> None:
    census = Census(3, 2)
    arrival, younger, speaker = Guest(), Guest(), Guest()
    census.enter(arrival, "192.0.2.1")
    census.enter(younger, "192.0.2.1")
    census.hand_over(arrival, speaker)
    assert census.everyone() == [arrival, younger]  # the other cannot be told anything yet
    assert census.enter(speaker, "192.0.2.1") is None
    assert len(census) == 2
    assert set(census.everyone()) == {speaker, younger}
    assert census.enter(Guest(), "192.0.2.1") is Ending.CROWDED
    for _ in range(2):
        census.enter(Guest(), "192.0.2.2")
    assert (arrival.told, speaker.told, younger.told) == ([], [Ending.CROWDED], [])
    census.leave(arrival)
    assert len(census) == 3


def test_who_has_come_for_a_place_is_cut_by_the_one_that_held_it() -> None:
    census = Census(1, 10)
    arrival, speaker = Guest(), Guest()
    census.enter(arrival, "192.0.2.1")
    census.hand_over(arrival, speaker)
    assert census.enter(Guest(), "192.0.2.2") is None
    assert (arrival.told, speaker.told) == ([Ending.CROWDED], [])
    census.leave(speaker)
    assert len(census) == 1


def test_a_place_that_nobody_has_come_for_ends_with_the_one_that_held_it() -> None:
    census = Census(10, 1)
    arrival, speaker = Guest(), Guest()
    census.enter(arrival, "192.0.2.1")
    census.hand_over(arrival, speaker)
    census.leave(arrival)
    assert len(census) == 0
    assert census.enter(speaker, "192.0.2.1") is None  # counted anew
    assert census.everyone() == [speaker]


def test_an_heir_without_a_name_may_come_to_a_crowded_source() -> None:
    census = Census(10, 1)
    arrival, speaker = Guest(), Guest()
    census.enter(arrival, None)
    census.hand_over(arrival, speaker)
    census.enter(Guest(), "192.0.2.1")
    assert census.enter(speaker, "192.0.2.1") is Ending.CROWDED
    assert len(census) == 1


def test_a_place_that_is_gone_is_not_handed_over() -> None:
    census = Census(10, 10)
    arrival, speaker = Guest(), Guest()
    census.enter(arrival, "192.0.2.1")
    census.leave(arrival)
    census.hand_over(arrival, speaker)
    assert len(census) == 0


def test_room_is_made_at_the_cost_of_strangers_only() -> None:
    census = Census(10, 10)
    assert not census.make_room()
    member, stranger = Guest(), Guest()
    census.enter(member, "192.0.2.1")
    census.logged_in(member)
    census.enter(stranger, "192.0.2.1")
    assert census.make_room()
    assert not census.make_room()
    assert (member.told, stranger.told, len(census)) == ([], [Ending.CROWDED], 1)


def test_a_house_may_be_smaller_than_was_said_and_never_larger() -> None:
    census = Census(3, 10)
    census.bound(100)
    census.bound(2)
    guests = [Guest() for _ in range(3)]
    for guest in guests:
        census.enter(guest, "192.0.2.1")
    assert [guest.told for guest in guests] == [[Ending.CROWDED], [], []]
