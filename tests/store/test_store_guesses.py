"""Counts of guesses in the store: of several processes together, falling by time, whatever steps the clock makes."""

from __future__ import annotations

import math
import threading

import pytest

from guessers import ALICE, ELSEWHERE, HERS, HOME, RIGHT, Guessing
from mailauth.guessing import ACCOUNT, EVERYTHING, KNOWN, KNOWN_S, LIMITS, RESERVE, SOURCE, Told
from mailauth.interfaces import StoreUnavailable
from mailauth.store import guesses
from mailauth.store.guesses import SharedGuesses, upkeep

NOW = 1.8e9
AN_HOUR, A_DAY = 3600.0, 86400.0
MANY = range(1000)


class Wall:
    """A wall clock that can be set."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


class Process(Guessing):
    """A throttle with its place among those of one store. passes: time, for both clocks."""

    def __init__(self, store, wall, now=1000.0):
        super().__init__(now=now)
        self.wall = wall
        self.shared = SharedGuesses(store, wall)
        self.throttle.merge(self.shared.exchange())

    def tell(self):
        self.exchange(self.shared)


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def one(store, wall):
    return Process(store, wall)


@pytest.fixture
def other(store, wall):
    return Process(store, wall, now=777_000.0)  # booted at another time


def pass_time(seconds, wall, *processes):
    wall.now += seconds
    for process in processes:
        process.now += seconds


def rows(database):
    return sorted(database.run("SELECT kind, subject, spent, at FROM guesses"))


def held_against(database, kind, subject):
    return [spent for row_kind, row_subject, spent, _ in rows(database) if (row_kind, row_subject) == (kind, subject)]


# ---- together


def test_what_one_has_counted_holds_for_the_other(one, other):
    assert one.admitted(MANY) == SOURCE.guesses
    assert other.guess("x", RIGHT) is True
    one.tell()
    other.tell()
    assert other.guess("x") == pytest.approx(SOURCE.refill_s)
    assert other.guess("x", peer=ELSEWHERE) is True


def test_what_both_have_counted_is_added_up_once(one, other, database):
    for n in range(10):
        assert one.guess(n) is True
        assert other.guess(n + 100) is True
        for process in (one, other, one):
            process.tell()
    assert held_against(database, "source", HOME) == [20]
    assert (one.admitted(range(1000, 2000)), other.admitted(range(2000, 3000))) == (13, 13)
    for process in (one, other, one, other):
        process.tell()
    assert held_against(database, "source", HOME) == [46]
    pass_time(SOURCE.refill_s * (46 - SOURCE.guesses), one.wall, one, other)
    assert (one.admitted([5000]), other.admitted([5001])) == (0, 0)
    pass_time(SOURCE.refill_s, one.wall, one, other)
    assert (one.admitted([5000]), other.admitted([5001])) == (1, 1)


def test_an_account_is_guessed_at_a_hundred_times_in_all_processes_together(one, other):
    admitted = 0
    for n in range(200):
        process = (one, other)[n % 2]
        admitted += process.guess(n, peer=f"10.{n}.0.1", web=True) is True
        process.tell()
    assert admitted in {100, 101}  # the last one may not have been heard of
    for process in (one, other):
        assert process.guess("x", peer="10.250.0.1", web=True) == pytest.approx(30, abs=31)


def test_who_is_known_to_one_is_known_to_the_other(one, other):
    one.throttle.welcome(HOME, HERS)
    assert not other.throttle.knows(HOME, HERS)
    one.tell()
    other.tell()
    assert other.throttle.knows(HOME, HERS)
    assert not other.throttle.knows(ELSEWHERE, HERS)


def test_a_reserve_is_one_in_all_processes(one, other, database):
    one.throttle.welcome(HOME, HERS)
    for n in range(100):
        one.guess(n, peer=f"10.{n}.0.1", web=True)
    assert one.admitted(range(200, 300), web=True) == RESERVE.guesses
    one.tell()
    other.tell()
    assert held_against(database, "reserve", f"{HOME}|{HERS}") == [5]
    assert other.guess("x", web=True) is not True


def test_nothing_of_a_device_is_stored(one, database):
    one.throttle.welcome(HOME, HERS, device="c00kie")
    for n in range(100):
        one.guess(n, peer=f"10.{n}.0.1", web=True)
    one.admitted(range(200, 300), web=True, device="c00kie")
    one.tell()
    assert "c00kie" not in str(rows(database))


def test_only_counts_are_stored_and_nothing_of_names_and_secrets(one, database):
    one.admitted([f"s3cret{n}" for n in MANY], login="nobody@example.test", account=None)
    one.admitted(["hunter2"] * 3, login=ALICE, web=True, peer="2001:db8:1:2::3")
    one.throttle.welcome(HOME, HERS)
    one.tell()
    assert [(kind, subject) for kind, subject, *_ in rows(database)] == [
        ("known", f"{HOME}|{HERS}"),
        ("network", "192.0.2.0/24"),
        ("source", HOME),
    ]


def test_a_typo_is_not_worth_a_row(one, database):
    one.guess("typo", web=True)
    one.tell()
    assert rows(database) == []
    one.guess("typo 2", web=True)
    one.tell()
    assert held_against(database, "source", HOME) == [2]
    assert held_against(database, "account", str(HERS)) == [2]


def test_nothing_to_tell_is_nothing_written(one, other, database):
    one.admitted(MANY)
    one.tell()
    before = rows(database)
    pass_time(5.0, one.wall, one, other)
    for process in (one, other, one):
        process.tell()
    assert rows(database) == before


# ---- it survives


def test_it_survives_a_restart(one, store, wall):
    one.admitted(MANY)
    one.throttle.welcome(HOME, 2)
    one.tell()
    pass_time(SOURCE.refill_s * 3, wall)
    anew = Process(store, wall)
    assert anew.admitted(MANY) == 3
    assert anew.throttle.knows(HOME, 2)
    pass_time(KNOWN_S, wall, anew)
    assert not Process(store, wall).throttle.knows(HOME, 2)


def test_a_delay_at_an_account_survives_a_restart(one, store, wall):
    for n in range(103):
        one.guess(n, peer=f"10.{n}.0.1", web=True)
        one.now += 0 if n < 99 else 125
        wall.now += 0 if n < 99 else 125
    wait_s = one.guess("x", peer=ELSEWHERE, web=True)
    one.tell()
    anew = Process(store, wall)
    assert anew.guess("x", peer=ELSEWHERE, web=True) == pytest.approx(wait_s, abs=130)
    pass_time(A_DAY, wall, anew)
    assert anew.guess("x", peer=ELSEWHERE, web=True) is True


def test_a_store_that_is_not_there_costs_nothing_but_the_sharing(one, other, monkeypatch):
    real = one.shared._store.transaction

    def away():
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(one.shared._store, "transaction", away)
    one.admitted(MANY)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            one.tell()
    assert one.guess("x") is not True
    monkeypatch.setattr(one.shared._store, "transaction", real)
    one.tell()
    other.tell()
    assert other.guess("x") == pytest.approx(SOURCE.refill_s)


def test_a_store_that_is_read_only_is_read(one, database, wall, read_only):
    one.admitted(MANY)
    one.tell()
    with read_only(database):
        reader = Process(database.store, wall)
        assert reader.guess("x") is not True
        reader.admitted(range(50), peer=ELSEWHERE)
        with pytest.raises(StoreUnavailable):
            reader.tell()


# ---- clearing


def test_what_is_cleared_while_it_is_told_stays_cleared(one, store):
    one.admitted(MANY)
    one.tell()
    one.guess("again", peer=ELSEWHERE)
    told = one.throttle.exchange_out()
    counts = one.shared.exchange(told)
    one.throttle.clear("source", HOME)
    one.throttle.merge(counts, told)
    assert one.guess("x") is True


def test_what_is_cleared_everywhere_does_not_come_back(one, other, store):
    one.admitted(MANY)
    for process in (one, other):
        process.tell()
    with store.transaction() as tx:
        tx.write(store.sql.CLEAR_GUESSES)
    one.throttle.clear(EVERYTHING, "")
    for process in (one, other, one):
        process.tell()
    assert one.guess("x") is True
    assert other.guess("x") is not True  # until it has heard of it
    other.throttle.clear(EVERYTHING, "")
    for process in (one, other, one, other):
        process.tell()
    assert other.guess("x") is True


# ---- clocks


@pytest.mark.parametrize("step_s", [AN_HOUR, -AN_HOUR, A_DAY, -A_DAY])
def test_a_step_of_the_clock_forgets_nothing_and_locks_nobody_out(one, other, store, wall, step_s):
    one.admitted(MANY)
    for process in (one, other):
        process.tell()
    wall.now += step_s
    for _ in range(3):
        pass_time(1.0, wall, one, other)
        for process in (one, other):
            process.tell()
    for process in (one, other):
        assert process.guess("x") == pytest.approx(SOURCE.refill_s - 3, abs=0.1)
    pass_time(SOURCE.refill_s - 3, wall, one, other)
    assert one.guess("x") is True
    assert other.guess("y") is True
    one.tell()
    other.tell()
    assert other.guess("z") is not True
    pass_time(SOURCE.refill_s * (SOURCE.guesses + 2), wall, one, other)
    for process in (one, other):
        process.tell()
    assert one.admitted(range(5000, 6000)) == SOURCE.guesses
    assert Process(store, wall).admitted(range(5000, 6000)) == SOURCE.guesses


@pytest.mark.parametrize("step_s", [AN_HOUR, -AN_HOUR, A_DAY, -A_DAY])
def test_who_starts_after_a_step_of_the_clock_is_locked_out_no_longer_than_the_limits_say(one, store, wall, step_s):
    for n in range(100):
        one.guess(n, peer=f"10.{n}.0.1", web=True)
    one.admitted(MANY)
    one.tell()
    wall.now += step_s
    anew = Process(store, wall)
    waits = [anew.guess("x"), anew.guess("x", peer=ELSEWHERE, web=True)]
    assert all(wait is True or wait <= 30.0 for wait in waits)
    pass_time(guesses.UPKEEP_S, wall, anew)
    anew.tell()  # and brings what is of the future to now
    pass_time((SOURCE.guesses + 1) * SOURCE.refill_s, wall, anew)
    assert Process(store, wall).admitted(range(5000, 6000)) == SOURCE.guesses


def test_a_change_is_heard_of_after_the_clock_was_set_back(one, other, wall):
    one.tell()
    other.tell()
    wall.now -= A_DAY
    one.admitted(MANY)
    one.tell()
    other.tell()
    assert other.guess("x") is not True


def test_who_is_known_survives_a_step_of_the_clock(one, store, wall):
    one.throttle.welcome(HOME, HERS)
    one.tell()
    for step_s in (A_DAY, -2 * A_DAY):
        wall.now += step_s
        upkeep(store, wall.now)
        assert Process(store, wall).throttle.knows(HOME, HERS)


# ---- bounds


def test_what_time_has_emptied_is_deleted(one, database, store, wall):
    one.admitted(MANY, web=True)
    one.throttle.welcome(HOME, HERS)
    one.tell()
    assert len(rows(database)) == 4
    wall.now += (SOURCE.guesses - 1) * SOURCE.refill_s
    upkeep(store, wall.now)
    assert [kind for kind, *_ in rows(database)] == ["account", "known", "source"]
    wall.now += SOURCE.refill_s
    upkeep(store, wall.now)
    assert [kind for kind, *_ in rows(database)] == ["account", "known"]
    wall.now += SOURCE.guesses * ACCOUNT.refill_s
    upkeep(store, wall.now)
    assert [kind for kind, *_ in rows(database)] == ["known"]
    wall.now += KNOWN_S
    upkeep(store, wall.now)
    assert rows(database) == []


def test_upkeep_comes_by_itself_each_minute(one, database, wall):
    one.admitted(MANY)
    one.tell()
    pass_time(A_DAY, wall, one)
    one.tell()
    assert rows(database) == []


def test_rows_are_bounded_and_the_newest_stay(store, database, wall, monkeypatch):
    monkeypatch.setattr(guesses, "MOST_ROWS", {"known": 30, "counted": 100})
    shared = SharedGuesses(store, wall)
    for batch in range(10):
        wall.now += 1.0
        told = [Told("source", f"10.{batch}.{n}.1", 5.0) for n in range(50)]
        shared.exchange(told + [Told(KNOWN, f"10.{batch}.{n}.1|{n}", 0.0) for n in range(10)])
    upkeep(store, wall.now)
    left = rows(database)
    assert sum(kind == "source" for kind, *_ in left) == 100
    assert sum(kind == KNOWN for kind, *_ in left) == 30
    assert {subject.split(".")[1] for kind, subject, *_ in left if kind == "source"} == {"8", "9"}
    upkeep(store, wall.now)
    assert rows(database) == left


def test_a_million_sources_come_to_few_rows(one, database, wall):
    """Of sources that guess once there is nothing to tell; of others, no more at a time than the store can take."""
    for n in range(3000):
        one.guess("once", peer=f"2001:{n:x}::1", account=None)
    assert one.throttle.exchange_out() == []
    for n in range(3000):
        one.guess("twice", peer=f"2001:{n:x}::1", account=None)
    sizes = []
    for _ in range(8):
        sizes.append(len(one.throttle.exchange_out()))
        one.tell()
    assert sizes == [500] * 6 + [0] * 2
    assert len(rows(database)) == 3000


def test_no_count_is_added_up_beyond_what_ends_soon(store, database, wall):
    shared = SharedGuesses(store, wall)
    for _ in range(50):
        shared.exchange([Told(limit.kind, "x", limit.guesses) for limit in LIMITS.values()])
    assert {kind: spent for kind, _, spent, _ in rows(database)} == {kind: LIMITS[kind].most for kind in LIMITS}


# ---- many at once, and what nobody of ours wrote


def test_many_processes_add_at_once_and_nothing_is_lost(store, database, wall):
    subjects = [f"10.0.{n}.1" for n in range(40)]
    faults = []

    def run(order):
        shared = SharedGuesses(store, wall)
        try:
            for _ in range(15):
                shared.exchange([Told("network", subject, 1.0) for subject in order])
        except StoreUnavailable as fault:
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(order,)) for order in (subjects, subjects[::-1], subjects[::2] * 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    assert {subject: spent for _, subject, spent, _ in rows(database)} == {
        subject: 60.0 if n % 2 == 0 else 30.0 for n, subject in enumerate(subjects)
    }


def test_rows_that_no_version_of_ours_wrote_are_passed_over(store, database, wall):
    with store.transaction() as tx:
        values = {"added": 30.0, "now": NOW, "most": 1e9, "refill_s": 1.0}
        for kind, subject in (("moon", "x"), ("source", HOME), ("source", ELSEWHERE), (KNOWN, "x")):
            tx.write(store.sql.ADD_GUESSES, kind=kind, subject=subject, **values)
    bad = "9e999" if database.url.startswith("sqlite") else "'NaN'"
    database.run(f"UPDATE guesses SET spent = {bad} WHERE subject = '{ELSEWHERE}'")
    process = Process(store, wall)
    assert process.admitted(MANY) == 3
    assert process.admitted(MANY, peer=ELSEWHERE) == SOURCE.guesses


def test_the_oldest_change_comes_first_and_none_from_the_future(store, wall):
    shared = SharedGuesses(store, wall)
    for n in range(3):
        wall.now += 100.0
        shared.exchange([Told("source", f"10.0.0.{n}", 20.0)])
    wall.now -= 50.0
    counts = SharedGuesses(store, wall).exchange()
    assert [(count.subject, count.idle_s) for count in counts] == [
        *(("10.0.0.0", 150.0), ("10.0.0.1", 50.0)),
        ("10.0.0.2", 0.0),
    ]


def test_a_clock_set_back_is_made_up_for_at_once(one, database, wall):
    one.admitted(MANY)
    one.tell()
    wall.now -= AN_HOUR
    one.tell()
    assert all(at < wall.now for *_, at in rows(database))


def test_what_is_read_is_bounded_after_the_first_time(store, wall, monkeypatch):
    monkeypatch.setattr(guesses, "MOST_READ", 10)
    shared = SharedGuesses(store, wall)
    counts = shared.exchange([Told("source", f"10.0.0.{n}", 5.0) for n in range(50)])
    assert len(counts) == 50
    wall.now += 1.0
    assert len(shared.exchange()) == 10
    assert all(math.isclose(count.idle_s, 1.0) for count in shared.exchange())
