"""The numbered log of changes, and waiting until every process has applied one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mailauth.interfaces import Change, StoreUnavailable
from mailauth.store import changes
from mailauth.store.changes import Effect, Touch
from mailauth.store.engine import Store, Transaction, open_store

PATIENCE_S = 60.0
NOW = 1_800_000_000.0


class Clock:
    """Stands still, but for what each look takes."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now = 0.0
        self._step_s = step_s

    def __call__(self) -> float:
        self.now += self._step_s
        return self.now


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "PAUSE_S", 0.0)


def change(store: Store, *touches: Touch, now: float = NOW, token: str = "") -> int:
    with store.transaction() as tx:
        return changes.number_changes(store, tx, list(touches), token or changes.new_token(), now)


def look(store: Store, applied: int) -> list[Change]:
    head = changes.newest(store)
    with store.reading() as tx:
        return changes.after(store, tx, applied, head)


def register(store: Store, name: str, *, applied: int, host: str = "elsewhere/boot/1", pid: int = 4711) -> None:
    with store.transaction() as tx:
        tx.write(store.sql.ADD_PROCESS, id=name, host=host, pid=pid, started_at=NOW, applied=applied)


def apply(store: Store, name: str, number: int, *, ended: int = 0, report: str = "") -> None:
    with store.transaction() as tx:
        tx.write(store.sql.SET_APPLIED, row_id=name, applied=number)
        if ended or report:
            tx.write(store.sql.ADD_ANSWER, number=number, process_id=name, ended=ended, report=report)


def known(store: Store) -> set[str]:
    """Those that are waited for."""
    with store.reading() as tx:
        return {row["id"] for row in tx.rows(store.sql.PROCESSES) if row["applied"] >= 0}


def effect_of(number: int, count: int = 1) -> Effect:
    return Effect(number, count)


# ---- numbers


def test_changes_are_numbered_one_after_the_other(store: Store) -> None:
    began = changes.newest(store)
    assert change(store, Touch("first", 7)) == began + 1
    assert change(store, Touch("second", None, 3, {"what": "it was"}), Touch("third")) == began + 3
    assert look(store, began) == [
        Change(began + 1, "first", 7, None, ""),
        Change(began + 2, "second", None, 3, '{"what": "it was"}'),
        Change(began + 3, "third", None, None, ""),
    ]
    assert look(store, began + 2) == [Change(began + 3, "third")]
    assert look(store, began + 3) == []


def test_those_that_are_kept_are_there_for_who_begins(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "PAGE", 2)
    before = len(changes.kept(store))
    numbers = [change(store, Touch(f"kind-{number}", number)) for number in range(5)]
    later = change(store, Touch("later"), now=NOW + changes.KEPT_S)
    assert [one.number for one in changes.kept(store)][before:] == [*numbers, later]
    changes.prune(store, NOW + changes.KEPT_S + 1)
    assert changes.kept(store) == [Change(later, "later")]


def test_what_is_rolled_back_takes_no_number(store: Store) -> None:
    began = changes.newest(store)
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        changes.number_changes(store, tx, [Touch("never")], changes.new_token(), NOW)
        raise ZeroDivisionError
    assert changes.newest(store) == began
    assert change(store, Touch("next")) == began + 1
    assert [one.kind for one in look(store, began)] == ["next"]


def test_who_sees_a_number_sees_all_changes_up_to_it(database: Any) -> None:
    """A change that takes its number first is committed first, however long it takes: nobody passes over it."""
    began = changes.newest(database.store)
    has_number, may_commit, second_asks = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def slow() -> None:
        store = open_store(database.url)
        with store.transaction() as tx:
            changes.number_changes(store, tx, [Touch("slow")], changes.new_token(), NOW)
            has_number.set()
            assert may_commit.wait(PATIENCE_S)
            order.append("slow")
        store.close()

    def quick() -> None:
        store = open_store(database.url)
        second_asks.set()
        change(store, Touch("quick"))
        order.append("quick")
        store.close()

    first, second = threading.Thread(target=slow), threading.Thread(target=quick)
    first.start()
    assert has_number.wait(PATIENCE_S)
    second.start()
    assert second_asks.wait(PATIENCE_S)
    assert look(database.store, began) == []  # nothing is seen before it is committed, and nothing behind it
    may_commit.set()
    first.join(PATIENCE_S)
    second.join(PATIENCE_S)
    assert order == ["slow", "quick"]
    assert [(one.number - began, one.kind) for one in look(database.store, began)] == [(1, "slow"), (2, "quick")]


def test_a_lost_counter_is_a_fault_and_no_change_is_made_without_a_number(database: Any) -> None:
    database.run("DELETE FROM change_counter")
    with pytest.raises(StoreUnavailable, match="change counter is gone"):
        change(database.store, Touch("any"))
    with pytest.raises(StoreUnavailable, match="change counter is gone"):
        changes.newest(database.store)
    assert database.run("SELECT count(*) FROM changes WHERE kind = 'any'") == [(0,)]


def test_a_change_is_found_again_by_its_token(store: Store) -> None:
    token, other = changes.new_token(), changes.new_token()
    change(store, Touch("one"), Touch("two"), token=token)
    assert changes.committed(store, token)
    assert not changes.committed(store, other)


def test_whether_a_change_was_committed_is_known_when_its_transaction_has_ended(database: Any) -> None:
    """Somebody who lost his connection during COMMIT asks while the server is still at it."""
    token = changes.new_token()
    has_number, may_commit = threading.Event(), threading.Event()
    found: list[bool] = []

    def under_way() -> None:
        store = open_store(database.url)
        with store.transaction() as tx:
            changes.number_changes(store, tx, [Touch("slow")], token, NOW)
            has_number.set()
            assert may_commit.wait(PATIENCE_S)
        store.close()

    def ask() -> None:
        found.append(changes.committed(database.store, token))

    threads = [threading.Thread(target=under_way), threading.Thread(target=ask)]
    threads[0].start()
    assert has_number.wait(PATIENCE_S)
    threads[1].start()
    may_commit.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert found == [True]


# ---- what is not kept any more


def test_pages_are_read_one_after_the_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "PAGE", 3)
    began = changes.newest(store)
    change(store, *[Touch(f"number {number}") for number in range(1, 8)])
    seen, applied = [], began
    while page := look(store, applied):
        assert len(page) <= 3
        seen += page
        applied = page[-1].number
    assert [one.kind for one in seen] == [f"number {number}" for number in range(1, 8)]
    assert applied == changes.newest(store)


def test_who_was_away_for_too_long_takes_everybody_for_touched(store: Store) -> None:
    began = changes.newest(store)
    change(store, Touch("old", 1), Touch("old", 2))
    change(store, Touch("new", 3), now=NOW + changes.KEPT_S)
    changes.prune(store, NOW + changes.KEPT_S + 1)
    assert look(store, began) == [Change(began + 3, changes.MISSED)]
    assert look(store, began + 1) == [Change(began + 3, changes.MISSED)]
    assert look(store, began + 2) == [Change(began + 3, "new", 3)]
    changes.prune(store, NOW + 3 * changes.KEPT_S)
    assert look(store, began + 2) == [Change(began + 3, changes.MISSED)]
    assert look(store, began + 3) == []


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_a_gap_anywhere_is_noticed(database: Any, gone: int) -> None:
    """A clock that was set forward and back leaves old changes behind newer ones, and pruning takes them."""
    began = changes.newest(database.store)
    for number in (1, 2, 3):
        change(database.store, Touch("any", number), now=NOW - 2 * changes.KEPT_S * (number == gone))
    changes.prune(database.store, NOW)
    assert database.run(f"SELECT count(*) FROM changes WHERE number > {began}") == [(2,)]
    assert look(database.store, began) == [Change(began + 3, changes.MISSED)]


def test_answers_go_with_their_changes(database: Any) -> None:
    store = database.store
    old, new = change(store, Touch("old")), change(store, Touch("new"), now=NOW + changes.KEPT_S)
    register(store, "a", applied=0)
    apply(store, "a", old, report="[1]")
    apply(store, "a", new, report="[2]")
    changes.prune(store, NOW + changes.KEPT_S + 1)
    assert database.run("SELECT report FROM answers") == [("[2]",)]
    changes.drop_answers(store, new)
    assert database.run("SELECT report FROM answers") == []


# ---- waiting


def test_nobody_is_waited_for_where_nobody_runs(store: Store) -> None:
    effect = effect_of(change(store, Touch("any")))
    changes.wait_until_applied(store, effect, clock=Clock())
    assert (effect.ended, effect.silent, effect.answers) == (0, [], {})


def test_all_who_run_are_waited_for_and_their_answers_are_added_up(store: Store) -> None:
    number = change(store, Touch("any"))
    for name in ("a", "b", "c"):
        register(store, name, applied=number - 1)
    apply(store, "a", number, ended=2)
    apply(store, "b", number, report="[]")
    effect = effect_of(number)
    is_over = threading.Event()

    def wait() -> None:
        changes.wait_until_applied(store, effect, clock=Clock())  # for ever, by its own clock
        is_over.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not is_over.wait(0.05)
    apply(store, "c", number + 5, ended=1)  # of later changes; to this one it has nothing to say
    assert is_over.wait(PATIENCE_S)
    waiting.join(PATIENCE_S)
    assert effect.ended == 2
    assert effect.silent == []
    assert {name: (answer.ended, answer.report) for name, answer in effect.answers.items()} == {
        "a": (2, ""),
        "b": (0, "[]"),
    }


def test_of_changes_made_as_one_all_answers_count(store: Store) -> None:
    """Another web password, and the app passwords revoked with it."""
    change(store, Touch("before"))
    number = change(store, Touch("web-password-changed", 1), Touch("app-password-revoked", 1))
    register(store, "a", applied=number)
    with store.transaction() as tx:
        for answered, ended in ((number - 2, 100), (number - 1, 3), (number, 4)):
            tx.write(store.sql.ADD_ANSWER, number=answered, process_id="a", ended=ended, report="")
    effect = effect_of(number, count=2)
    changes.wait_until_applied(store, effect, clock=Clock())
    assert effect.ended == 7


def test_who_does_not_answer_is_named_and_waited_for_no_more(store: Store) -> None:
    number = change(store, Touch("any"))
    register(store, "a", applied=number)
    register(store, "b", applied=number - 1, host="mail2.example.test/boot/1", pid=4711)
    effect, clock = effect_of(number), Clock(step_s=1.0)
    changes.wait_until_applied(store, effect, clock=clock)
    assert effect.silent == ["process 4711 at mail2.example.test"]
    assert known(store) == {"a"}
    assert clock.now >= changes.LEASE_S + changes.MARGIN_S
    next_one = effect_of(change(store, Touch("any")))
    apply(store, "a", next_one.number or 0)
    changes.wait_until_applied(store, next_one, clock=Clock())
    assert next_one.silent == []
    assert next_one.absent == next_one.without_answer == ["process 4711 at mail2.example.test"]  # nobody knows
    changes.prune(store, NOW + changes.KEPT_S)  # it may yet come to itself
    the_one_after = effect_of(next_one.number or 0)
    changes.wait_until_applied(store, the_one_after, clock=Clock())
    assert the_one_after.absent == ["process 4711 at mail2.example.test"]
    changes.prune(store, NOW + changes.KEPT_S + 1)
    the_last = effect_of(next_one.number or 0)
    changes.wait_until_applied(store, the_last, clock=Clock())
    assert the_last.without_answer == []


def test_all_who_wait_for_the_same_process_name_it(store: Store) -> None:
    """One gives it up, and others that wait need not wait longer: it can do no more."""
    first, second = effect_of(change(store, Touch("any"))), effect_of(change(store, Touch("any")))
    register(store, "mute", applied=(first.number or 0) - 1)
    waits = threading.Event()

    class Watched(Clock):
        def __call__(self) -> float:
            waits.set()
            return super().__call__()

    waiting = threading.Thread(target=changes.wait_until_applied, args=(store, second), kwargs={"clock": Watched()})
    waiting.start()
    assert waits.wait(PATIENCE_S)
    while not second.silent:
        changes.wait_until_applied(store, effect := effect_of(first.number or 0), clock=Clock(step_s=10.0))
        waiting.join(0.01)
        assert effect.without_answer == ["process 4711 at elsewhere"]
    waiting.join(PATIENCE_S)
    assert second.without_answer == ["process 4711 at elsewhere"]


def test_who_answers_at_the_last_moment_is_neither_named_nor_given_up(store: Store) -> None:
    """Between the last look and the giving up."""
    number = change(store, Touch("any"))
    register(store, "late", applied=number - 1)

    class Late(Store):
        looks = 0

        @contextmanager
        def transaction(self) -> Iterator[Transaction]:
            apply(store, "late", number, ended=5)
            yield from self._unit(writing=True)

    effect, revoker = effect_of(number), Late(store.driver)
    changes.wait_until_applied(revoker, effect, clock=Clock(step_s=10.0))
    revoker.close()
    assert effect.silent == []
    assert effect.ended == 5
    assert known(store) == {"late"}


def test_who_is_dead_is_not_waited_for(store: Store) -> None:
    """A process of this machine that was killed has said nothing; its number is nobody's any more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait(PATIENCE_S)
    number = change(store, Touch("any"))
    register(store, "dead", applied=number - 1, host=changes.this_host(), pid=ended.pid)
    effect = effect_of(number)
    changes.wait_until_applied(store, effect, clock=Clock())
    assert effect.silent == []
    assert known(store) == set()


def test_a_process_of_that_number_elsewhere_is_not_taken_for_dead(store: Store) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait(PATIENCE_S)
    number = change(store, Touch("any"))
    name, _, rest = changes.this_host().partition("/")
    register(store, "elsewhere", applied=number - 1, host=f"{name}/another-boot/{rest}", pid=ended.pid)
    register(store, "alive", applied=number - 1, host=changes.this_host(), pid=os.getpid())
    register(store, "another's", applied=number - 1, host=changes.this_host(), pid=1)
    effect = effect_of(number)
    changes.wait_until_applied(store, effect, clock=Clock(step_s=10.0))
    assert len(effect.silent) == 3


def test_without_a_name_for_the_boot_nobody_is_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines may have the same name."""
    assert changes.this_host() == changes.this_host()

    def unreadable(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr("pathlib.Path.read_text", unreadable)
    assert changes.this_host() != changes.this_host()


def test_a_store_that_is_lost_while_answers_are_waited_for_is_said(store: Store) -> None:
    """The change is made: that is no error; and nobody is in any more when the lease of all has ended."""
    number = change(store, Touch("any"))

    class Lost(Store):
        @contextmanager
        def reading(self) -> Iterator[Transaction]:
            raise StoreUnavailable("gone")
            yield

    effect, clock = effect_of(number), Clock(step_s=10.0)
    changes.wait_until_applied(Lost(store.driver), effect, clock=clock)
    assert effect.silent == ["every process (the store was lost meanwhile)"]
    assert effect.ended == 0
