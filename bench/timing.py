"""Whether refusals can be told apart by time: some thousand of them, of every class, over real connections.

    .venv/bin/python bench/timing.py [--refusals 3000] [--connections 8]

A site is made in a temporary folder and served as it is, the throttle off. Classes come in a random order, each attempt
on a connection of its own; what is measured is the time from the attempt's last octet to the reply's. Each class is
compared with all others together: Kolmogorov-Smirnov (is it the same distribution?) and Mann-Whitney (does one tend to
be later?). First without the clock of refusals, as a control: there the classes that cost a hash must show.
Source: Kolmogorov 1933, Smirnov 1948; Mann and Whitney 1947, with the normal approximation and mid-ranks for ties.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import statistics
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mailauth.accounts import apppasswords, mailboxes
from mailauth.accounts.changes import AccountChange
from mailauth.attempt import Service
from mailauth.hashing.argon2id import Argon2id
from mailauth.keys import KeyRing
from mailauth.store.engine import open_store
from testsite import ACTOR, Site, make

DELAY_S = 0.3  # shorter than the default, so that it is over some day; a hash takes 0.02 s
REFUSED = b"a NO [AUTHENTICATIONFAILED]"
SURE = 0.001  # over all comparisons of one run together: so seldom chance alone looks like a difference
WEB = "correct horse battery"

Times = dict[str, list[float]]


def main() -> int:
    """Measure, print, and say by the exit code whether all is as it should be."""
    parser = argparse.ArgumentParser(prog="bench/timing.py", description="Whether refusals differ in time by class.")
    parser.add_argument("--refusals", type=int, default=3000, help="of each run (%(default)s)")
    parser.add_argument("--connections", type=int, default=8, help="at the same time (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mailauth-timing-") as name:
        site = make(Path(name) / "site", 1, lambda _: None)
        classes = _classes(site)
        told_apart = {}
        for delay_s in (0.0, DELAY_S):
            with site.serve(throttled=False, refusal_delay_s=delay_s) as running:
                count = options.refusals if delay_s else options.refusals // 2
                times = asyncio.run(_measure(running.ports["imap"], classes, count, options.connections))
            told_apart[delay_s] = _print(delay_s, times)
    if not told_apart[0.0]:
        print("NOT AS EXPECTED: without the clock nothing shows, so this measurement sees nothing")
    if told_apart[DELAY_S]:
        print(f"NOT AS EXPECTED: told apart: {', '.join(told_apart[DELAY_S])}")
    return 1 if told_apart[DELAY_S] or not told_apart[0.0] else 0


def _classes(site: Site) -> dict[str, tuple[str, str | None]]:
    """Login and password by class; password None: another wrong one each time."""
    ten = site.accounts[0]
    ring, store, hasher = KeyRing.load(site.layout.keys), open_store(f"sqlite:///{site.layout.store}"), Argon2id()

    def add(name: str, **changes: object) -> str:
        login = f"{name}@example.test"
        mailboxes.add_account(store, login, hasher.hash(WEB.encode()), actor=ACTOR)
        if changes:
            mailboxes.set_account(store, login, AccountChange(**changes), actor=ACTOR)  # type: ignore[arg-type]
        return login

    def mint(login: str, **terms: object) -> apppasswords.Minted:
        return apppasswords.mint(store, ring, hasher, login, label="x", actor=ACTOR, **terms)  # type: ignore[arg-type]

    web, one = add("web"), add("one", mode=True)
    mint(one)
    gone = mint(one)
    apppasswords.revoke(store, one, ids=[gone.id], actor=ACTOR)
    expired = mint(one, expires_at=time.time() + 1.0)
    sending = mint(one, services=frozenset({Service.SMTP}))
    classes: dict[str, tuple[str, str | None]] = {
        "unknown login": ("nobody@example.test", None),
        "unknown domain": ("nobody@elsewhere.test", None),
        "wrong, web password": (web, None),
        "wrong, one app password": (one, None),
        "wrong, ten app passwords": (ten.login, None),
        "mode on": (one, WEB),
        "tombstone": (one, gone.password),
        "expired": (one, expired.password),
        "another service's": (one, sending.password),
        "disabled": (add("disabled", enabled=False), None),
        "client logon off": (add("logon-off", client_logon=False), WEB),
        "service off": (add("service-off", imap=False), WEB),
    }
    store.close()
    time.sleep(1.0)  # until it has expired
    return classes


async def _measure(port: int, classes: dict[str, tuple[str, str | None]], count: int, connections: int) -> Times:
    order = [name for name in classes for _ in range(count // len(classes))]
    random.shuffle(order)
    waiting, times, wrong = iter(order), {name: [] for name in classes}, Counter[bytes]()

    async def client() -> None:
        for name in waiting:
            login, password = classes[name]
            took_s, reply = await _refused(port, login, password or f"wrong {random.random()}")
            if reply.startswith(REFUSED):
                times[name].append(took_s)
            else:
                wrong[reply] += 1

    await asyncio.gather(*(client() for _ in range(connections)))
    for reply, times_heard in wrong.items():
        print(f"{times_heard} times in place of a refusal: {reply!r}")
    return times


async def _refused(port: int, login: str, password: str) -> tuple[float, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    await asyncio.sleep(random.random() * 0.1)  # any moment between two ticks
    began = time.perf_counter()
    writer.write(f'a LOGIN "{login}" "{password}"\r\n'.encode())
    reply = await reader.readline()
    took_s = time.perf_counter() - began
    writer.close()
    return took_s, reply


def _print(delay_s: float, times: Times) -> list[str]:
    """The table of one run; the classes that can be told apart."""
    chance = SURE / (2 * len(times))
    count = sum(map(len, times.values()))
    print(f"\nrefusal_delay_s = {delay_s}: {count} refusals; a p below {chance:.1e} is no chance")
    print("| class | n | median ms | p95 ms | KS distance | KS p | Mann-Whitney p |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    told_apart = []
    for name, mine in times.items():
        others = [took_s for other, all_s in times.items() if other != name for took_s in all_s]
        distance, same = kolmogorov_smirnov(mine, others)
        later = mann_whitney(mine, others)
        p95 = statistics.quantiles(mine, n=20)[-1]
        figures = f"{len(mine)} | {statistics.median(mine) * 1e3:.1f} | {p95 * 1e3:.1f} | {distance:.3f}"
        print(f"| {name} | {figures} | {same:.2g} | {later:.2g} |")
        if min(same, later) < chance:
            told_apart.append(name)
    return told_apart


def kolmogorov_smirnov(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """The largest distance of the two distributions, and how likely one as large is when they are the same."""
    first, second = sorted(one), sorted(other)
    distance = max(
        abs(bisect_right(first, value) / len(first) - bisect_right(second, value) / len(second))
        for value in {*first, *second}
    )
    size = math.sqrt(len(first) * len(second) / (len(first) + len(second)))
    scaled = (size + 0.12 + 0.11 / size) * distance
    if scaled < 0.2:  # the series does not converge there, and all is likely
        return distance, 1.0
    series = sum((-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return distance, min(1.0, max(0.0, 2 * series))


def mann_whitney(one: Sequence[float], other: Sequence[float]) -> float:
    """How likely ranks as different are when neither tends to be larger; two-sided."""
    counts = Counter([*one, *other])
    ranks, below, ties = {}, 0, 0.0
    for value in sorted(counts):
        ranks[value] = below + (counts[value] + 1) / 2
        below += counts[value]
        ties += counts[value] ** 3 - counts[value]
    mine, theirs = len(one), len(other)
    both = mine + theirs
    larger = sum(ranks[value] for value in one) - mine * (mine + 1) / 2
    variance = mine * theirs / 12 * (both + 1 - ties / (both * (both - 1)))
    if variance == 0:
        return 1.0
    return math.erfc(abs(larger - mine * theirs / 2) / math.sqrt(2 * variance))


if __name__ == "__main__":
    sys.exit(main())
