"""The thread that keeps a process up to date with the store's changes, and says how far it is."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from mailauth.interfaces import Answer, Change, StoreUnavailable
from mailauth.store import changes
from mailauth.store.applier import Applier
from mailauth.store.changes import Effect, Touch
from mailauth.store.engine import Store, Transaction, open_store
from mailauth.store.faults import CommitUnknown

PATIENCE_S = 60.0


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what a thread does by itself."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


class Process:
    """A process with nothing in it but its applier. heard: all changes, in order; current: until when it is."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.heard: list[Change] = []
        self.current_until = -1.0
        self.answer = Answer(1, "")
        self.fault: BaseException | None = None
        self.applier: Applier | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self.applier = await asyncio.to_thread(Applier, self.store, self._apply, self._has_read, loop)

    async def close(self) -> None:
        if self.applier is not None:
            await asyncio.to_thread(self.applier.close)
        self.applier = None
        self.store.close()

    async def _apply(self, news: Sequence[Change]) -> Mapping[int, Answer]:
        if self.fault is not None:
            raise self.fault
        self.heard += news
        return {change.number: self.answer for change in news}

    def _has_read(self, at: float) -> None:
        self.current_until = at + changes.LEASE_S

    @property
    def kinds(self) -> list[str]:
        return [change.kind for change in self.heard]

    @property
    def is_current(self) -> bool:
        return time.monotonic() < self.current_until


@pytest.fixture
async def process(database: Any) -> AsyncIterator[Process]:
    process = Process(open_store(database.url))
    await process.open()
    yield process
    await process.close()


def change(store: Store, *kinds: str, effect: Effect | None = None) -> Effect:
    effect = effect or Effect()
    with store.transaction() as tx:
        effect.number = changes.number_changes(store, tx, [Touch(kind) for kind in kinds], changes.new_token(), 0.0)
        effect.count = len(kinds)
    return effect


def applied(database: Any) -> list[int]:
    """How far those are that are waited for."""
    return [row[0] for row in database.run("SELECT applied FROM processes WHERE applied >= 0 ORDER BY started_at")]


GIVEN_UP = pytest.mark.parametrize(
    "give_up", ["UPDATE processes SET applied = -1", "DELETE FROM processes"], ids=["given up", "forgotten"]
)


# ---- in order


async def test_a_process_registers_applies_in_order_and_leaves(database: Any, process: Process) -> None:
    began = changes.newest(database.store)
    assert applied(database) == [began]
    assert process.is_current
    ((host, pid),) = database.run("SELECT host, pid FROM processes")
    assert (host, pid) == (changes.this_host(), os.getpid())
    for kinds in (["one"], ["two", "three"], ["four"]):
        await asyncio.to_thread(change, database.store, *kinds)
    await eventually(lambda: len(process.heard) == 4)
    assert process.kinds == ["one", "two", "three", "four"]
    await eventually(lambda: applied(database) == [began + 4])
    await process.close()
    assert applied(database) == []
    assert not process.is_current


async def test_who_changes_something_hears_when_it_is_applied(database: Any, process: Process) -> None:
    effect = await asyncio.to_thread(change, database.store, "one", "two")
    await asyncio.to_thread(changes.wait_until_applied, database.store, effect)
    assert process.kinds == ["one", "two"]
    assert effect.ended == 2
    assert effect.silent == []


async def test_what_was_changed_before_is_not_applied(database: Any) -> None:
    change(database.store, "before")
    process = Process(open_store(database.url))
    await process.open()
    await asyncio.to_thread(change, database.store, "after")
    await eventually(lambda: bool(process.heard))
    assert process.kinds == ["after"]
    await process.close()


async def test_many_changes_are_applied_page_by_page_without_a_pause(
    database: Any, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "PAGE", 2)
    assert process.applier is not None
    waits, wait = [], process.applier._wait
    monkeypatch.setattr(process.applier, "_wait", lambda watch: waits.append(len(process.heard)) or wait(watch))
    await asyncio.to_thread(change, database.store, *[str(number) for number in range(9)])
    await eventually(lambda: len(process.heard) == 9)
    await eventually(lambda: waits[-1:] == [9])
    assert process.kinds == [str(number) for number in range(9)]
    assert set(waits) <= {0, 9}


async def test_the_lease_is_renewed_while_nothing_happens(process: Process) -> None:
    before = process.current_until
    await eventually(lambda: process.current_until > before)


async def test_changes_by_many_at_once_are_all_applied_in_order(database: Any, process: Process) -> None:
    began = changes.newest(database.store)

    def many(name: int) -> None:
        store = open_store(database.url)
        for number in range(10):
            change(store, f"{name}/{number}")
        store.close()

    with ThreadPoolExecutor(4) as threads:
        work = [asyncio.wrap_future(threads.submit(many, name)) for name in range(4)]
        await asyncio.gather(*work)
    await eventually(lambda: len(process.heard) == 40)
    assert [heard.number for heard in process.heard] == list(range(began + 1, began + 41))


# ---- faults


async def test_what_could_not_be_applied_is_applied_again(
    database: Any, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    process.fault = StoreUnavailable("gone for a while")
    effect = await asyncio.to_thread(change, database.store, "one")
    await eventually(lambda: "gone for a while" in caplog.text)
    await asyncio.to_thread(change, database.store, "two")
    assert process.heard == []
    assert applied(database)[0] < (effect.number or 0)
    process.fault = None
    await eventually(lambda: process.kinds == ["one", "two"])
    assert len([record for record in caplog.records if "cannot be read" in record.message]) == 1


@pytest.mark.parametrize("bug", [RuntimeError, KeyError, AssertionError])
async def test_a_bug_in_what_is_driven_is_not_the_end(
    database: Any, process: Process, caplog: pytest.LogCaptureFixture, bug: type[Exception]
) -> None:
    process.fault = bug("with something secret in it")
    await asyncio.to_thread(change, database.store, "one")
    await eventually(lambda: bug.__name__ in caplog.text)
    process.fault = None
    await eventually(lambda: process.kinds == ["one"])
    assert "secret" not in caplog.text


async def test_a_store_that_cannot_be_read_ends_the_lease_and_comes_back(
    database: Any, process: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reading = process.store.reading

    @contextmanager
    def failing() -> Iterator[Transaction]:
        raise StoreUnavailable("not to be read")
        yield

    monkeypatch.setattr(changes, "LEASE_S", 0.2)
    before = process.current_until
    await eventually(lambda: process.current_until < before)
    process.store.reading = failing  # type: ignore[method-assign]
    await eventually(lambda: not process.is_current)
    await asyncio.to_thread(change, database.store, "meanwhile")
    await eventually(lambda: "not to be read" in caplog.text)
    process.store.reading = reading  # type: ignore[method-assign]
    await eventually(lambda: process.kinds == ["meanwhile"])


async def test_a_connection_that_is_lost_costs_no_change(postgres_database: Any) -> None:
    process = Process(open_store(postgres_database.url))
    await process.open()
    for kind in ("one", "two", "three"):
        await asyncio.to_thread(postgres_database.end_connections)
        await asyncio.to_thread(change, open_once(postgres_database.url), kind)
        await eventually(lambda kind=kind: process.kinds[-1:] == [kind])
    assert process.kinds == ["one", "two", "three"]
    await process.close()


def open_once(url: str) -> Store:
    """A store whose connections are not kept."""
    store = open_store(url)
    store.driver.keeps_connections = False
    return store


# ---- being known, and being forgotten


@GIVEN_UP
async def test_who_was_forgotten_is_current_no_more_before_it_is_known_again(
    database: Any, process: Process, give_up: str
) -> None:
    """A change that came between did not wait for it."""
    reads: list[tuple[bool, bool]] = []  # whether it is current then, and whether it is known
    has_read = process._has_read

    def seen(at: float) -> None:
        reads.append((at + changes.LEASE_S > time.monotonic(), applied(database) != []))
        has_read(at)

    assert process.applier is not None
    await asyncio.to_thread(database.run, give_up)
    process.applier._read = seen
    await eventually(lambda: any(not is_current for is_current, _ in reads))
    await eventually(lambda: reads[-1] == (True, True))
    ended = [is_current for is_current, _ in reads].index(False)
    assert (True, False) not in reads[ended:]
    effect = await asyncio.to_thread(change, database.store, "after")
    await asyncio.to_thread(changes.wait_until_applied, database.store, effect)
    assert effect.ended == 1


@GIVEN_UP
async def test_who_is_forgotten_while_it_says_how_far_it_is_is_known_again(
    database: Any, process: Process, give_up: str
) -> None:
    """Between its look and its word."""
    assert process.applier is not None
    register, seen = process.applier._register, []

    def registering(tx: Transaction) -> None:
        seen.append(process.is_current)
        register(tx)

    process.applier._register = registering  # type: ignore[method-assign]
    process.answer = Answer(3, "")
    apply = process.applier._apply

    async def forgotten_meanwhile(news: Sequence[Change]) -> Mapping[int, Answer]:
        answers = await apply(news)
        await asyncio.to_thread(database.run, give_up)
        process.applier._apply = apply  # type: ignore[union-attr]
        return answers

    process.applier._apply = forgotten_meanwhile
    effect = await asyncio.to_thread(change, database.store, "one")
    await eventually(lambda: applied(database) == [effect.number])
    assert seen == [True]  # once
    await eventually(lambda: process.is_current)
    assert database.run("SELECT ended FROM answers") == [(3,)]
    assert process.kinds == ["one"]


class Unwritable:
    """Makes a store's transactions fail. unknown: they are committed, and nobody knows."""

    def __init__(self, store: Store, *, unknown: bool = False) -> None:
        self._store, self._transaction, self._unknown = store, store.transaction, unknown
        store.transaction = self._failing  # type: ignore[method-assign]

    @contextmanager
    def _failing(self) -> Iterator[Transaction]:
        if not self._unknown:
            raise StoreUnavailable("not to be written")
        with self._transaction() as tx:
            yield tx
        raise CommitUnknown("nobody knows")

    def over(self) -> None:
        self._store.transaction = self._transaction  # type: ignore[method-assign]


async def test_who_cannot_say_how_far_it_is_goes_on_and_says_it_later(
    database: Any, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Unwritable(process.store)
    effect = await asyncio.to_thread(change, database.store, "one", "two")
    await eventually(lambda: process.kinds == ["one", "two"])
    await asyncio.to_thread(change, database.store, "three")
    await eventually(lambda: process.kinds == ["one", "two", "three"])
    before = process.current_until
    await eventually(lambda: process.current_until > before)  # logins go on: it reads, and nobody has forgotten it
    assert applied(database)[0] < (effect.number or 0)
    broken.over()
    await asyncio.to_thread(changes.wait_until_applied, database.store, effect)
    assert effect.ended == 2
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert "this process cannot say so" in told[0].getMessage()


@GIVEN_UP
async def test_who_is_forgotten_and_cannot_register_is_not_current(
    database: Any, process: Process, give_up: str
) -> None:
    broken = Unwritable(process.store)
    await asyncio.to_thread(database.run, give_up)
    await eventually(lambda: not process.is_current)
    broken.over()
    await eventually(lambda: process.is_current)
    assert len(applied(database)) == 1


async def test_answers_are_said_once_even_if_nobody_knows_whether_they_were(database: Any, process: Process) -> None:
    broken = Unwritable(process.store, unknown=True)
    first = await asyncio.to_thread(change, database.store, "one")
    await eventually(lambda: applied(database) == [first.number])
    broken.over()
    second = await asyncio.to_thread(change, database.store, "two")
    await asyncio.to_thread(changes.wait_until_applied, database.store, second)
    assert second.ended == 1
    assert second.silent == []
    assert database.run("SELECT number, ended FROM answers ORDER BY number") == [(first.number, 1), (second.number, 1)]


@GIVEN_UP
async def test_who_is_forgotten_after_such_an_answer_is_known_again(
    database: Any, process: Process, give_up: str
) -> None:
    broken = Unwritable(process.store, unknown=True)
    first = await asyncio.to_thread(change, database.store, "one")
    await eventually(lambda: applied(database) == [first.number])
    await asyncio.to_thread(database.run, give_up)
    broken.over()
    await eventually(lambda: applied(database) == [first.number])
    await eventually(lambda: process.is_current)


# ---- another store in the place of this one


async def test_a_store_that_went_back_lets_nobody_in_and_everybody_is_looked_at_when_it_is_over(
    database: Any, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(change, database.store, "one", "two", "three")
    await eventually(lambda: len(process.heard) == 3)
    ((head,),) = database.run("SELECT number FROM change_counter")
    await asyncio.to_thread(database.run, f"UPDATE change_counter SET number = {head - 2}")
    await asyncio.to_thread(database.run, f"DELETE FROM changes WHERE number > {head - 2}")
    await eventually(lambda: not process.is_current)
    assert "was a backup put in its place?" in caplog.text
    await asyncio.to_thread(change, database.store, "other two")
    await asyncio.to_thread(change, database.store, "other three")
    await eventually(lambda: process.is_current)
    await eventually(lambda: len(process.heard) > 3)
    assert process.heard[3:] == [Change(head, changes.MISSED)]  # what was changed meanwhile had other numbers


async def test_a_lost_counter_lets_nobody_in(database: Any, process: Process) -> None:
    await asyncio.to_thread(database.run, "DELETE FROM change_counter")
    await eventually(lambda: not process.is_current)
    assert process.heard == []


# ---- the end


def test_a_loop_that_has_ended_ends_the_thread_too(database: Any) -> None:
    process = Process(open_store(database.url))
    with asyncio.Runner() as runner:
        runner.run(process.open())
    assert process.applier is not None
    change(database.store, "nobody hears it")
    process.applier._thread.join(PATIENCE_S)
    assert not process.applier._thread.is_alive()
    assert applied(database) == []
    assert not process.is_current
    process.store.close()


async def test_a_process_starts_only_where_it_can_be_waited_for(database: Any) -> None:
    store = open_store(database.url)
    broken = Unwritable(store)
    process = Process(store)
    with pytest.raises(StoreUnavailable, match="not to be written"):
        await process.open()
    broken.over()
    await process.close()
