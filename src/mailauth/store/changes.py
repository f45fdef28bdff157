"""The numbered log of changes, which every process that lets clients in applies in order; and waiting until all have.

Rule: a change and its number are one transaction. Nobody's wall clock decides whether a process is still there: one
that has not said that it applied a change within LEASE_S of the change has not been able to read the store for as long
as that, and lets nobody in before it has (see `applier`).
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailauth.interfaces import ELSEWHERE, NOT_YET, Answer, Change, StoreUnavailable
from mailauth.store.engine import Row, Store, Transaction
from mailauth.store.faults import CommitUnknown

LEASE_S = 3.0  # so long after it last read the changes a process may let clients in
MARGIN_S = 0.5  # for what a process does between looking at its lease and letting a client in
PAUSE_S = 0.01  # between two looks whether all have applied a change
PAGE = 1000
KEPT_S = 86400.0  # a process that was away for longer takes everything for touched
MISSED = "missed"  # the kind of a change that stands for others, nobody knows which


@dataclass(frozen=True, slots=True)
class Touch:
    """What a change touches, to be numbered when its transaction ends; see interfaces.Change."""

    kind: str
    account_id: int | None = None
    domain_id: int | None = None
    takes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Effect:
    """What came of a change in the running processes. Handed to the function that makes it, and filled in by that.

    number: of the change, of several made as one the last; None: nothing was changed. count: of changes. ended:
    sessions. silent: processes that were waited for and did not answer; absent: those that had been given up before.
    Nobody new gets in there until they have applied the change. answers: by process.
    """

    number: int | None = None
    count: int = 1
    ended: int = 0
    silent: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)

    @property
    def without_answer(self) -> list[str]:
        """All processes whose sessions nobody knows of."""
        return [*self.silent, *self.absent]

    @property
    def ended_elsewhere(self) -> list[str]:
        """What was ended at servers that ask us, each line once: every process that serves has told the same."""
        return self._told(ELSEWHERE)

    @property
    def open_elsewhere(self) -> list[str]:
        """What may still be open there, because they were not reached."""
        return self._told(NOT_YET)

    def _told(self, begin: str) -> list[str]:
        lines = [line for answer in self.answers.values() for line in answer.report.splitlines()]
        return sorted({line.removeprefix(begin) for line in lines if line.startswith(begin)})


def new_token() -> str:
    """A name for a change by which it is found again when the connection was lost during its COMMIT."""
    return secrets.token_hex(16)


def number_changes(store: Store, tx: Transaction, touches: list[Touch], token: str, now: float) -> int:
    """Give these changes their numbers, one after the other at the end of their transaction, and say the last one."""
    number = 0
    for place, touch in enumerate(touches):
        tx.write(store.sql.NEXT_NUMBER)
        number = _newest(store, tx)
        tx.write(
            store.sql.ADD_CHANGE,
            number=number,
            token=_name(token, place),
            at=now,
            kind=touch.kind,
            account_id=touch.account_id,
            domain_id=touch.domain_id,
            takes=json.dumps(dict(touch.takes)) if touch.takes else "",
        )
    store.driver.announce(tx)
    return number


def committed(store: Store, token: str) -> bool:
    """Whether the changes with this token were committed, after the connection was lost while they were.

    Raises StoreUnavailable when nobody can say.
    """
    with store.transaction() as tx:
        tx.row(store.sql.LOCK_CHANGE_NUMBER)  # had only when a COMMIT that is still under way has come to its end
        return tx.row(store.sql.CHANGE_BY_TOKEN, token=_name(token, 0)) is not None


def _name(token: str, place: int) -> str:
    return ":".join((token, str(place)))


def newest(store: Store) -> int:
    """The number of the newest change. Raises StoreUnavailable."""
    with store.reading() as tx:
        return _newest(store, tx)


def _newest(store: Store, tx: Transaction) -> int:
    row = tx.row(store.sql.CHANGE_NUMBER)
    if row is None:
        raise StoreUnavailable(f"{store.driver.name}: its change counter is gone: restore a backup of it")
    return int(row["number"])


def after(store: Store, tx: Transaction, applied: int, head: int) -> list[Change]:
    """The next PAGE changes behind this number, in order. If one is not kept any more, one that touches everybody."""
    rows = tx.rows(store.sql.CHANGES_AFTER, after=applied, page=PAGE)
    if [row["number"] for row in rows] != list(range(applied + 1, min(head, applied + PAGE) + 1)):
        return [Change(head, MISSED)]
    return [Change(**row) for row in rows]


def kept(store: Store) -> list[Change]:
    """All changes that are still there, in order: those of the last day, and those made since anybody served.

    Raises StoreUnavailable.
    """
    found: list[Change] = []
    with store.reading() as tx:
        while page := tx.rows(store.sql.CHANGES_AFTER, after=found[-1].number if found else 0, page=PAGE):
            found += [Change(**row) for row in page]
    return found


def wait_until_applied(store: Store, effect: Effect, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Come back when no process lets anybody in any more who stands on what was there before this change.

    That is when all have said that they applied it; or when those that have not can do no more, for want of a lease.
    Not to be called in the thread of an event loop that clients are served in: it would wait for itself.
    """
    deadline = clock() + LEASE_S + MARGIN_S
    number = effect.number or 0
    try:
        waited_for, absent = _behind(store, number)
        while waited_for and clock() < deadline:
            time.sleep(PAUSE_S)
            waited_for, _ = _behind(store, number)
        if waited_for:
            _give_up(store, waited_for, number)
        _, given_up = _behind(store, number)
        with store.reading() as tx:
            rows = tx.rows(store.sql.ANSWERS, first=number - effect.count + 1, last=number)
    except (StoreUnavailable, CommitUnknown):
        time.sleep(max(0.0, deadline - clock()))
        effect.silent.append("every process (the store was lost meanwhile)")
        return
    for process_id, name in given_up.items():
        (effect.absent if process_id in absent else effect.silent).append(name)
    for row in rows:
        before = effect.answers.get(row["process_id"], Answer())
        effect.answers[row["process_id"]] = Answer(before.ended + row["ended"], before.report + row["report"])
    effect.ended = sum(answer.ended for answer in effect.answers.values())


def drop_answers(store: Store, number: int) -> None:
    """Forget what was said to this change. Raises StoreUnavailable."""
    with store.transaction() as tx:
        tx.write(store.sql.DROP_ANSWERS, number=number)


def prune(store: Store, now: float) -> None:
    """Delete changes that have been kept long enough, with their answers, and old processes that were given up.

    Raises StoreUnavailable.
    """
    with store.transaction() as tx:
        tx.write(store.sql.PRUNE_PROCESSES, before=now - KEPT_S)
        tx.write(store.sql.PRUNE_CHANGES, before=now - KEPT_S)
        tx.write(store.sql.PRUNE_ANSWERS)


def this_host() -> str:
    """Where a process id means something: this machine since it was started, and this container of it."""
    name = socket.gethostname()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{name}/{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:  # not Linux: another machine may have the same name, so no process is taken for dead
        return f"{name}/{secrets.token_hex(8)}"


def _behind(store: Store, number: int) -> tuple[list[Row], dict[str, str]]:
    """The processes that have not applied this change, and the names of those that were given up.

    Those that ended without saying so are forgotten.
    """
    with store.reading() as tx:
        rows = [row for row in tx.rows(store.sql.PROCESSES) if row["applied"] < number]
    here = this_host() if rows else ""
    dead = {row["id"] for row in rows if row["host"] == here and not _is_alive(row["pid"])}
    if dead:
        with store.transaction() as tx:
            for process_id in dead:
                tx.write(store.sql.REMOVE_PROCESS, row_id=process_id)
    there = [row for row in rows if row["id"] not in dead]
    given_up = [row for row in there if row["applied"] < 0]
    names = {row["id"]: f"process {row['pid']} at {row['host'].partition('/')[0]}" for row in given_up}
    return [row for row in there if row["applied"] >= 0], names


def _give_up(store: Store, rows: list[Row], number: int) -> None:
    """Wait for these no more, unless they have applied this change at the last moment."""
    with store.transaction() as tx:
        for row in rows:
            tx.write(store.sql.GIVE_PROCESS_UP, row_id=row["id"], number=number)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
