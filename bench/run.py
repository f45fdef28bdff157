"""Measures what a login costs, beside Dovecot where there is one: `make bench`, or `python bench/run.py --help`.

Everything is made anew in a temporary folder and listens on loopback only; what is started is stopped by its id.
Servers and generator share one processor: on two, each login costs up to twice as much whenever the two run at the same
time on halves of one core, and the figures of one and the same server lie 40 % apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import dovecot
from book import LEFT_OUT, Book
from cases import APART, CASES, Bench
from driving import NoLoad
from processes import DidNotStart
from testsite import make

DESCRIPTORS = 256  # besides those of the connections


def main() -> int:
    """Run the cases; 0, or 1 if a verdict was not the expected one."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that servers are stopped
    _allow_descriptors(max(options.idle, options.crowd) + options.connections + DESCRIPTORS)
    book = Book()
    with tempfile.TemporaryDirectory(prefix="mailauth-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Dovecot's own users read in it
        bench = Bench(
            site=make(folder / "site", options.accounts, _tell),
            folder=folder,
            seconds=options.seconds,
            rounds=options.rounds,
            connections=options.connections,
            idle=options.idle,
            crowd=options.crowd,
            missing=LEFT_OUT if options.alone else dovecot.why_not(),
            book=book,
            tell=_tell,
        )
        where = "all processors" if options.spread else _share_one_processor()
        try:
            for case in options.cases or [name for name in CASES if name not in APART]:
                CASES[case](bench)
        except (DidNotStart, NoLoad) as reason:
            raise SystemExit(f"{case}: {reason}") from None
        finally:
            _tell("")
    began = f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}, on {where}"
    _print(book, began, bench.missing)
    if options.json is not None:
        options.json.write_text(json.dumps({"measured": began, "dovecot": bench.missing, **book.plain()}, indent=1))
    return 1 if book.wrong() else 0


def _print(book: Book, began: str, missing: str | None) -> None:
    print(began)
    if missing is not None:
        print(f"Dovecot: {missing}; our figures stand alone")
    if book.rows:
        print("", *book.table(), sep="\n")
    if book.notes:
        print("", *book.notes.values(), sep="\n")
    print("", *book.goals(), sep="\n")
    for line in book.wrong():
        print(f"NOT AS EXPECTED: {line}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run.py", description="CPU per login, beside Dovecot 2.3 if it is here."
    )
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all but {' and '.join(APART)}"
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="for which logins are begun in a round (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--connections", type=int, default=32, help="at the same time (%(default)s)")
    parser.add_argument(
        "--accounts", type=int, default=100, help="with ten app passwords each; 2 at least (%(default)s)"
    )
    parser.add_argument("--idle", type=int, default=1000, help="connections of the case memory (%(default)s)")
    parser.add_argument(
        "--crowd", type=int, default=10_000, help="connections of the case idle; half as many log in (%(default)s)"
    )
    parser.add_argument("--spread", action="store_true", help="on all processors: other rates, less firm CPU")
    parser.add_argument("--alone", action="store_true", help="without Dovecot and HAProxy")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    options = parser.parse_args()
    unknown = [case for case in options.cases if case not in CASES]
    if unknown or options.accounts < 2:
        parser.error(f"no such case: {', '.join(unknown)}" if unknown else "--accounts: 2 at least")
    return options


def _machine() -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    system = platform.platform(terse=True)
    return f"{os.cpu_count()} cores, {system}, Python {platform.python_version()}, load {load}"


def _share_one_processor() -> str:
    """Keep this process, and those that it starts, on one processor where the system can; says which."""
    if not hasattr(os, "sched_setaffinity"):
        return "all processors"
    chosen = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {chosen})
    return f"processor {chosen}"


def _allow_descriptors(count: int) -> None:
    """For this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _tell(text: str) -> None:
    """One line that is written over, and only where somebody looks on."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
