"""The cases of overload: crowds that do nothing, and a storm of guesses. What they cost, and what others notice of it.

Rule: on all processors, for that is where the goals hold; so these figures lie further apart than CPU per login.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lag
from book import Bound
from driving import drive, held, raging

if TYPE_CHECKING:
    from cases import Bench
    from testsite import Running

IDLE_KIB = 64.0  # for each connection
BACK_S = 5.0  # after which descriptors and memory are as before
STORM_CONNECTIONS = 200
STORM_S = 10.0
P95_MS = 1000.0
HELD_MS = 50.0
WARM_UP = 50  # connections: what is loaded with the first ones is nobody's
KNOWN_AT_ONCE = 4


def idle(bench: Bench) -> None:
    """Connections before login that say nothing; then sessions in IDLE: memory of each, and what is left of it."""
    right = [(account.login, account.passwords[0], "in") for account in bench.site.accounts]
    for what, count, credentials in (
        ("idle TLS connections before login", bench.crowd, []),
        ("IMAP sessions in IDLE", bench.crowd // 2, right),
    ):
        bench.tell(f"idle: {count} {what}")
        probe = bench.folder / f"probe-{time.monotonic_ns()}"
        with all_processors(), bench.site.serve(probe=probe) as running:
            plan = bench.plan(running, "imaps", hold=True, credentials=credentials)
            with held(plan | {"connections": WARM_UP}):
                _log_in(bench, running, right)
            time.sleep(BACK_S)
            _crowd(bench, running, probe, plan | {"connections": count}, what)


def _crowd(bench: Bench, running: Running, probe: Path, plan: dict[str, Any], what: str) -> None:
    count, right = plan["connections"], [(account.login, account.passwords[0], "in") for account in bench.site.accounts]
    empty_kib, before = running.server.resident_kib(), _descriptors(probe)
    with held(plan):
        full_kib, among = running.server.resident_kib(), _log_in(bench, running, right)
    left = time.monotonic()
    while (after := _descriptors(probe)) > before + WARM_UP and time.monotonic() < left + 10 * BACK_S:
        pass
    back_s = time.monotonic() - left
    time.sleep(max(0.0, BACK_S - back_s))
    later_kib = running.server.resident_kib()
    each_kib = (full_kib - empty_kib) / count
    bench.book.bounds += [
        Bound("idle", f"for each of {count:,} {what}", each_kib, "KiB", IDLE_KIB),
        Bound("idle", "until their descriptors are given back", back_s, "s", BACK_S),
    ]
    bench.book.notes[f"idle: {what}"] = (
        f"{count:,} {what}: the process has {empty_kib / 1024:.0f} MiB without them, {full_kib / 1024:.0f} with them, "
        f"{later_kib / 1024:.0f} {BACK_S:.0f} s after they have left; descriptors {before}, then {after}; logins of "
        f"others meanwhile: p50 {among['p50_ms']:.1f} ms, p99 {among['p99_ms']:.1f} ms"
    )


def storm(bench: Bench) -> None:
    """Guesses and first logins by 200 connections, as fast as they are answered, while known passwords log in."""
    bench.tell(f"storm: {STORM_CONNECTIONS} connections for {STORM_S:.0f} s")
    known = [(account.login, account.passwords[0], "in") for account in bench.site.accounts]
    unseen = [
        (account.login, password, "in|deferred")
        for account in bench.site.accounts
        for password in account.passwords[1:]
    ]
    guesses = [(victim, None, "refused|deferred") for victim in bench.site.victims]
    mixed = [credential for number, new in enumerate(unseen) for credential in (new, guesses[number % len(guesses)])]
    probe = bench.folder / f"probe-{time.monotonic_ns()}"
    with all_processors(), bench.site.serve(throttled=False, refusal_delay_s=0.5, probe=probe) as running:
        drive(bench.plan(running, "imaps", credentials=known))  # their proofs are known from here on
        time.sleep(lag.TELL_S)
        quiet_kib = running.server.resident_kib()
        plan = bench.plan(running, "imap", credentials=mixed, connections=STORM_CONNECTIONS)
        began = time.monotonic()
        with raging(plan | {"repeat": True, "seconds": STORM_S}) as stormed:
            time.sleep(0.5)  # until it is at its height
            mine = bench.plan(running, "imaps", credentials=known, connections=KNOWN_AT_ONCE)
            figures = drive(mine | {"repeat": True, "seconds": STORM_S - 1.0})
            stormy_kib = running.server.resident_kib()
        ended = time.monotonic()
        seconds = _wait_for(lambda: [line for line in lag.told(probe, began) if line.at > ended]) and lag.told(
            probe, began
        )
    seconds = [second for second in seconds if second.at <= ended + lag.TELL_S]
    late_ms, held_ms = (max(getattr(second, name) for second in seconds) for name in ("late_ms", "held_ms"))
    if wrong := figures["surprises"] + figures["errors"] + stormed["surprises"] + stormed["errors"]:
        raise SystemExit(f"storm: {wrong} not as expected: {figures['quotes'] + stormed['quotes']}")
    bench.book.bounds += [
        Bound("storm", "p95 of a login whose password is known", figures["p95_ms"], "ms", P95_MS),
        Bound("storm", "the event loop was held at most", held_ms, "ms", HELD_MS),
    ]
    bench.book.notes["storm"] = (
        f"storm of {STORM_CONNECTIONS} connections, {stormed['per_s']:,.0f} guesses and first logins a second; "
        f"known passwords, {KNOWN_AT_ONCE} at a time over TLS: {figures['per_s']:,.0f} logins a second, "
        f"p50 {figures['p50_ms']:.1f} ms, p95 {figures['p95_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms; "
        f"the event loop was late by {late_ms:.0f} ms at most, of which it was at work itself for {held_ms:.0f}; "
        f"{quiet_kib / 1024:.0f} MiB before, {stormy_kib / 1024:.0f} in it"
    )


def _log_in(bench: Bench, running: Running, credentials: list[tuple[str, str, str]]) -> dict[str, Any]:
    """Log everybody in once; the figures."""
    plan = bench.plan(running, "imaps", credentials=credentials, connections=KNOWN_AT_ONCE)
    figures = drive(plan)
    if figures["surprises"] or figures["errors"]:
        raise SystemExit(f"overload: a good login failed: {figures['quotes']}")
    return figures


def _descriptors(probe: Path) -> int:
    """How many the server has open now."""
    now = time.monotonic()
    return _wait_for(lambda: lag.told(probe, now))[-1].descriptors


def _wait_for(what: Callable[[], list[lag.Second]]) -> list[lag.Second]:
    while not (found := what()):
        time.sleep(0.05)
    return found


@contextmanager
def all_processors() -> Iterator[None]:
    """For this process and those that it starts within the block."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
