"""The cases of the dovecot-auth bridge: requests on one connection of a UNIX socket, one or sixteen in flight.

Beside Dovecot's own auth process by the same protocol: with its best cache (a digest in memory is compared, no row is
read, nothing is logged), and with a store in SQL, Argon2id hashes and its cache, which remembers the hash.
Source: Dovecot's documentation, "Authentication Protocol". Rule: every answer is held against the one that must come.
"""

from __future__ import annotations

import base64
import itertools
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Self

import dovecot
from book import DOVECOT, OURS, Row
from testsite import BRIDGE, Running, Site

WRITTEN_S = 0.8  # after this, log lines (0.2 s) and audit rows (0.5 s) of the last login are written
HELLO = b"VERSION\t1\t1\nCPID\t1\n"
QUOTED = 3
PATIENCE_S = 30.0

Credential = tuple[str, str]
Opponent = Callable[[Site, Path], AbstractContextManager[Running]]


class AuthSocket:
    """One connection. credentials: shown in turn, again and again; all of them are right."""

    def __init__(self, path: Path, credentials: Sequence[Credential]) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(PATIENCE_S)
        self._sock.connect(str(path))
        greeting = b""
        while not greeting.endswith(b"DONE\n"):
            greeting += self._sock.recv(65_536)
        self._sock.sendall(HELLO)
        told = b"\tPLAIN\tservice=imap\trip=127.0.0.1\tlip=127.0.0.1\tsecured\tresp="
        shown = [told + base64.b64encode(f"\0{login}\0{password}".encode()) + b"\n" for login, password in credentials]
        self._shown: Iterator[bytes] = itertools.cycle(shown)
        self._numbers = itertools.count(1)
        self._sent_at: dict[bytes, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def ask(self, count: int | None, in_flight: int, seconds: float | None) -> dict[str, Any]:
        """Keep so many in flight, until so many were asked or so long; the figures."""
        took_s: list[float] = []
        quotes: list[bytes] = []
        unread = b""
        began_s = time.perf_counter()
        until_s = began_s + (seconds or PATIENCE_S)
        left = count if count is not None else 1 << 62
        left -= self._send(min(in_flight, left))
        while self._sent_at:
            *lines, unread = (unread + self._sock.recv(65_536)).split(b"\n")
            now_s = time.perf_counter()
            for line in lines:
                word, number, _ = line.split(b"\t", 2)
                took_s.append(now_s - self._sent_at.pop(number))
                if word != b"OK":
                    quotes.append(line)
            if now_s < until_s and left > 0:
                left -= self._send(min(len(lines), left))
        total_s = time.perf_counter() - began_s
        cuts = statistics.quantiles(took_s, n=100) if len(took_s) > 1 else [0.0] * 99
        return {
            "logins": len(took_s),
            "per_s": len(took_s) / total_s,
            **{f"p{at}_ms": cuts[at - 1] * 1000 for at in (50, 95, 99)},
            "surprises": len(quotes),
            "quotes": tuple(repr(quote) for quote in quotes[:QUOTED]),
        }

    def _send(self, count: int) -> int:
        numbers = [b"%d" % next(self._numbers) for _ in range(count)]
        now_s = time.perf_counter()
        self._sent_at.update(dict.fromkeys(numbers, now_s))
        self._sock.sendall(b"".join([b"AUTH\t" + number + next(self._shown) for number in numbers]))
        return count


def auth_socket(case: str, in_flight: int, who: str, start: Opponent) -> Callable[[Any], None]:
    """A case: passwords that are known to the process, beside this opponent."""

    def run(bench: Any) -> None:
        accounts = bench.site.accounts
        with ExitStack() as stack:
            ours = stack.enter_context(bench.site.serve())
            rivals = bench.opponent(stack, start)
            sockets = [(OURS, ours, bench.site.layout.folder / BRIDGE)]
            sockets += [(who, rival.running, rival.running.auth_socket) for rival in rivals]
            lines = []
            for name, running, path in sockets:
                line = stack.enter_context(AuthSocket(path, [(a.login, a.passwords[0]) for a in accounts]))
                line.ask(len(accounts), 1, None)  # each is shown once
                lines.append((name, running, line))
            for number in range(bench.rounds):
                for name, running, line in lines[:: -1 if number % 2 else 1]:
                    bench.tell(f"{case}: {name}")
                    before_s = running.server.cpu_s()
                    figures = line.ask(None, in_flight, bench.seconds)
                    time.sleep(WRITTEN_S)
                    cpu_us = (running.server.cpu_s() - before_s) * 1e6 / max(figures["logins"], 1)
                    bench.book.rows.append(Row(case, name, cpu_us, **figures))

    return run


CASES: dict[str, Callable[[Any], None]] = {
    "auth-socket": auth_socket("auth-socket", 1, DOVECOT, dovecot.front),
    "auth-16": auth_socket("auth-16", 16, DOVECOT, dovecot.front),
    "auth-sql": auth_socket("auth-sql", 16, DOVECOT, dovecot.remembering),
}
