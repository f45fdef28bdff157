"""Who got in from where lately: bounded, told to others once, and no more than once a day."""

from __future__ import annotations

import pytest

from mailauth.guessing import KNOWN, KNOWN_S, Told
from mailauth.verify import knowngood
from mailauth.verify.knowngood import KnownGood

A_DAY = 86400.0


@pytest.fixture
def known():
    return KnownGood()


def tell(known, now):
    subjects = [one.subject for one in known.to_tell()]
    for subject in subjects:
        known.told(subject, now)
    return subjects


def test_a_pair_is_told_until_it_has_been_heard_and_again_each_day(known):
    known.add("192.0.2.1", 7, 0.0)
    assert known.to_tell() == known.to_tell() == [Told(KNOWN, "192.0.2.1|7", 0.0)]
    assert tell(known, 1.0) == ["192.0.2.1|7"]
    for now in (2.0, A_DAY):
        known.add("192.0.2.1", 7, now)
        assert known.to_tell() == []
    known.add("192.0.2.1", 7, A_DAY + 1.0)
    assert tell(known, A_DAY + 2.0) == ["192.0.2.1|7"]


def test_a_device_is_told_to_nobody(known):
    known.add("device c|7", 7, 0.0, tell=False)
    assert known.knows("device c|7", 7, 1.0)
    assert known.to_tell() == []


def test_what_is_heard_is_known_and_not_told_again(known):
    known.hear("2001:db8::/64|7", 3600.0, 10_000.0)
    assert known.knows("2001:db8::/64", 7, 10_000.0)
    known.add("2001:db8::/64", 7, 10_001.0)
    assert known.to_tell() == []
    assert known.knows("2001:db8::/64", 7, 10_000.0 + KNOWN_S)
    known.hear("2001:db8::/64|7", 7200.0, 10_002.0)  # older than what is known here
    assert known.knows("2001:db8::/64", 7, 10_000.0 + KNOWN_S)


def test_what_is_heard_late_is_known_for_the_rest_of_its_time(known):
    known.hear("192.0.2.1|7", KNOWN_S - 10.0, 0.0)
    assert known.knows("192.0.2.1", 7, 9.0)
    assert not known.knows("192.0.2.1", 7, 10.0)


@pytest.mark.parametrize("subject", ["", "|7", "192.0.2.1", "192.0.2.1|", "192.0.2.1|x", "192.0.2.1|-7"])
def test_what_no_version_of_ours_wrote_is_passed_over(known, subject):
    known.hear(subject, 0.0, 0.0)
    known.told("192.0.2.1|7", 0.0)
    assert len(known) == 0


def test_too_old_is_not_heard(known):
    known.hear("192.0.2.1|7", KNOWN_S, 0.0)
    assert len(known) == 0


def test_who_gets_in_from_everywhere_pushes_out_nobody_else(known):
    known.add("192.0.2.1", 7, 0.0)
    for n in range(5000):
        known.add(f"2001:db8:{n:x}::/64", 8, 1.0)
    assert len(known) == 1 + knowngood.MOST_OF_ACCOUNT
    assert len(known.to_tell()) == 1 + knowngood.MOST_OF_ACCOUNT
    assert known.knows("192.0.2.1", 7, 2.0)
    assert known.knows("2001:db8:1387::/64", 8, 2.0)
    assert not known.knows("2001:db8:0::/64", 8, 2.0)


def test_the_longest_unused_go_first(known, monkeypatch):
    monkeypatch.setattr(knowngood, "MOST_PAIRS", 10)
    for account in range(10):
        known.add("192.0.2.1", account, 0.0)
    known.add("192.0.2.1", 0, 1.0)
    known.add("192.0.2.1", 77, 2.0)
    assert len(known) == 10
    assert known.knows("192.0.2.1", 0, 3.0)
    assert not known.knows("192.0.2.1", 1, 3.0)


def test_much_is_told_little_by_little(known):
    for account in range(1200):
        known.add("192.0.2.1", account, 0.0)
    assert [len(tell(known, 1.0)) for _ in range(4)] == [500, 500, 200, 0]
