"""The cases: which servers, which logins, side by side in each round.

Rule: a server's CPU is read before its logins begin and once more when what it writes behind them is written; nothing
else asks anything of it between. Who goes first changes from round to round.
"""

from __future__ import annotations

import random
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bridge
import dovecot
import overload
import passing
import revocation
from book import NOLOGIN, OURS, TEN_HASHES, Book, Row
from driving import drive, held
from mailauth.hashing.argon2id import Argon2id
from processes import DidNotStart
from testsite import APP_PASSWORDS, LISTENERS, Account, Running, Site

WRITTEN_S = 0.8  # after this, log lines (0.2 s) and audit rows (0.5 s) of the last login are written
SETTLED_S = 1.0  # after this, closed connections are forgotten
NAIVE_LOGINS = 5  # a round: half a second, and they hardly differ
OPEN_ROUNDS = 5

Credential = tuple[str, str | None, str]  # login, password (None: another wrong one each time), verdict


@dataclass(frozen=True)
class Contestant:
    """One server in a case. repeat: the credentials may be shown again."""

    who: str
    running: Running
    credentials: Sequence[Credential]
    repeat: bool = True


@dataclass
class Bench:
    """What the cases need. missing: why there is no opponent; None: there is."""

    site: Site
    folder: Path
    seconds: float
    rounds: int
    connections: int
    idle: int
    crowd: int
    missing: str | None
    book: Book
    tell: Callable[[str], None]

    def plan(self, running: Running, door: str, **more: Any) -> dict[str, Any]:
        """A plan for the generator."""
        protocol, tls = LISTENERS[door]
        common = {"protocol": protocol, "tls": tls != "off", "port": running.ports[door], "hold": False}
        return common | {"connections": self.connections, "repeat": False, "seconds": None} | more

    def warm_up(self, contestant: Contestant, door: str) -> None:
        """Show each credential once, so that its proof is known."""
        drive(self.plan(contestant.running, door, credentials=contestant.credentials))

    def measure(self, case: str, contestant: Contestant, door: str) -> None:
        """One round of one contestant, into the book."""
        self.tell(f"{case}: {contestant.who}")
        plan = self.plan(
            contestant.running,
            door,
            credentials=contestant.credentials,
            repeat=contestant.repeat,
            seconds=self.seconds,
        )
        before_s = contestant.running.server.cpu_s()
        figures = drive(plan)
        time.sleep(WRITTEN_S)
        cpu_us = (contestant.running.server.cpu_s() - before_s) * 1e6 / max(figures["logins"], 1)
        figures.pop("generator_us")
        self.book.rows.append(Row(case, contestant.who, cpu_us, **figures | {"quotes": tuple(figures["quotes"])}))

    def opponent(
        self, stack: ExitStack, start: Callable[[Site, Path], AbstractContextManager[Running]]
    ) -> list[Contestant]:
        """Dovecot, if there is one here; it is stopped with the stack."""
        if self.missing is not None:
            return []
        try:
            running = stack.enter_context(start(self.site, self.folder / f"dovecot-{time.monotonic_ns()}"))
        except DidNotStart as reason:
            self.missing = str(reason)
            return []
        credentials = [(account.login, account.passwords[0], dovecot.VERDICT) for account in self.site.accounts]
        return [Contestant(NOLOGIN, running, credentials)]


def known(case: str, door: str, *, opposed: bool) -> Callable[[Bench], None]:
    """Logins whose password has been seen by this process: row read, selector, digest, no hash."""

    def run(bench: Bench) -> None:
        right = [
            (account.login, account.passwords[number % len(account.passwords)], "in")
            for number, account in enumerate(bench.site.accounts)
        ]
        with ExitStack() as stack:
            contestants = [Contestant(OURS, stack.enter_context(bench.site.serve()), right)]
            contestants += bench.opponent(stack, dovecot.front) if opposed else []
            for contestant in contestants:
                bench.warm_up(contestant, door)
            for number in range(bench.rounds):
                for contestant in contestants[:: -1 if number % 2 else 1]:
                    bench.measure(case, contestant, door)

    return run


def first_login(bench: Bench) -> None:
    """Right passwords that this process has never seen, of all ten places: one Argon2id each."""
    never_seen = _never_seen(bench, range(APP_PASSWORDS))
    with ExitStack() as stack:
        theirs = bench.opponent(stack, dovecot.hashing)
        for contestant in theirs:
            bench.warm_up(contestant, "imap")
        for number in range(bench.rounds):
            random.shuffle(never_seen)
            with _fresh(bench) as running:
                contestants = [Contestant(OURS, running, never_seen, repeat=False), *theirs]
                for contestant in contestants[:: -1 if number % 2 else 1]:
                    bench.measure("first-login", contestant, "imap")


def right_of_ten(bench: Bench) -> None:
    """The tenth app password, never seen, against trying ten hashes in turn."""
    tenth = _never_seen(bench, [APP_PASSWORDS - 1])
    for _ in range(bench.rounds):
        with _fresh(bench) as running:
            bench.measure("right-of-ten", Contestant(OURS, running, tenth, repeat=False), "imap")
        bench.book.rows.append(_ten_hashes("right-of-ten", bench.site.accounts, right=True))


def _never_seen(bench: Bench, places: Iterable[int]) -> list[Credential]:
    return [(account.login, account.passwords[place], "in") for place in places for account in bench.site.accounts[1:]]


@contextmanager
def _fresh(bench: Bench) -> Iterator[Running]:
    """A new server that has served one login, of the first account: what is loaded once is no login's to pay."""
    account = bench.site.accounts[0]
    with bench.site.serve() as running:
        drive(bench.plan(running, "imap", credentials=[(account.login, account.passwords[0], "in")]))
        yield running


def wrong_of_ten(bench: Bench) -> None:
    """Another wrong password each time, nobody held back, against trying ten hashes in turn."""
    wrong = [(account.login, None, "refused") for account in bench.site.accounts]
    with bench.site.serve(throttled=False, refusal_delay_s=0.0) as running:
        for _ in range(bench.rounds):
            bench.measure("wrong-of-ten", Contestant(OURS, running, wrong), "imap")
            bench.book.rows.append(_ten_hashes("wrong-of-ten", bench.site.accounts, right=False))


def _ten_hashes(case: str, accounts: Sequence[Account], *, right: bool) -> Row:
    """What a list of hashes without selectors costs: each in turn until one matches, and nothing but the hashing."""
    verify = Argon2id().verify
    chosen = [accounts[number % len(accounts)] for number in range(NAIVE_LOGINS)]
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    for account in chosen:
        secret = (account.passwords[-1] if right else "never-a-password").encode()
        if any(verify(record, secret) for record in account.records) is not right:
            raise SystemExit(f"{case}: the list of hashes is wrong about {account.login}")
    cpu_us = (time.process_time() - began_cpu_s) * 1e6 / NAIVE_LOGINS
    return Row(case, TEN_HASHES, cpu_us, NAIVE_LOGINS, NAIVE_LOGINS / (time.perf_counter() - began_s))


def memory(bench: Bench) -> None:
    """What connections cost that have done their handshake and say nothing; and once more, when those are closed."""
    bench.tell(f"memory: {bench.idle} idle TLS connections")
    with bench.site.serve() as running:
        plan = bench.plan(running, "imaps", connections=bench.idle, hold=True)
        resident_kib = [running.server.resident_kib()]
        for _ in range(2):
            with held(plan):
                resident_kib.append(running.server.resident_kib())
            time.sleep(SETTLED_S)
            resident_kib.append(running.server.resident_kib())
    empty, full, *later = resident_kib
    after, again, at_last = [f"{kib / 1024:.0f}" for kib in later]
    bench.book.notes["memory"] = (
        f"{(full - empty) / bench.idle:.1f} KiB for each of {bench.idle} idle TLS connections before login; "
        f"the process: {empty / 1024:.0f} MiB without, {full / 1024:.0f} with them, {after} when they are closed, "
        f"{again} with as many new ones, {at_last} when those are closed"
    )


def opening(bench: Bench) -> None:
    """How long a command takes that reads the store, from start to end of its process."""
    bench.tell("open: mailauth account list")
    bench.site.configure()
    command = bench.site.command("account", "list")
    took_s, used_s = [], []
    for _ in range(OPEN_ROUNDS):
        began_s, began_cpu_s = time.perf_counter(), _children_cpu_s()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        took_s.append(time.perf_counter() - began_s)
        used_s.append(_children_cpu_s() - began_cpu_s)
    bench.book.notes["open"] = (
        f"`mailauth account list` of {len(bench.site.accounts)} accounts: {statistics.median(took_s):.2f} s, "
        f"{statistics.median(used_s):.2f} s of CPU (medians of {OPEN_ROUNDS})"
    )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


CASES: dict[str, Callable[[Bench], None]] = {
    "imap-plain": known("imap-plain", "imap", opposed=True),
    "imaps-ecdsa": known("imaps-ecdsa", "imaps", opposed=True),
    "pop3-plain": known("pop3-plain", "pop3", opposed=False),
    "smtp-plain": known("smtp-plain", "smtp", opposed=False),
    "first-login": first_login,
    "right-of-ten": right_of_ten,
    "wrong-of-ten": wrong_of_ten,
    **bridge.CASES,
    "memory": memory,
    "open": opening,
    "revocation": revocation.revocation,
    "idle": overload.idle,
    "storm": overload.storm,
    **passing.CASES,
}
APART = ("idle", "storm", "passed-idle")  # by name only: they take minutes, and both processors
