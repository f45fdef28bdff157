"""The cases of what is passed through to a server behind us: CPU per MiB beside HAProxy, and memory of idle sessions.

Source: HAProxy's manual, "mode tcp". Rule: plain to plain, one connection, in turns; both pass to the same server.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from book import LEFT_OUT, Bound
from driving import held
from overload import BACK_S, IDLE_KIB, WARM_UP, all_processors
from processes import DidNotStart, Server, free_ports

if TYPE_CHECKING:
    from cases import Bench

MIB = 2**20
MIB_A_SECOND = 512  # of --seconds: by default a turn takes a third of a second of CPU, counted in hundredths
MOST_TIMES = 2.0  # HAProxy's CPU
BEHIND = Path(__file__).with_name("behind.py")
HAPROXY = "/usr/sbin/haproxy"
CONFIGURATION = """\
global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen bench
  bind 127.0.0.1:{port}
  server behind 127.0.0.1:{behind}
"""


class Client:
    """One connection that is in. login: what is said first."""

    def __init__(self, port: int, login: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), 60.0)
        self._unread = b""
        self._hear(b"\r\n")
        self._sock.sendall(login.encode() + b"\r\n")
        if not self._hear(b"\r\n").startswith(b"a OK "):
            raise SystemExit("passing: a good login failed")

    def down(self, mib: int) -> None:
        """Fetch so many."""
        self._sock.sendall(b"b SEND %d\r\n" % mib)
        left, room = mib * MIB, memoryview(bytearray(MIB))
        while left > 0:
            got = self._sock.recv_into(room, min(left, MIB))
            if got == 0:
                raise SystemExit("passing: cut in the middle")
            left -= got
        self._hear(b"\r\n")

    def up(self, mib: int) -> None:
        """Give so many."""
        self._sock.sendall(b"b TAKE %d\r\n" % mib)
        block = bytes(MIB)
        for _ in range(mib):
            self._sock.sendall(block)
        self._hear(b"\r\n")

    def close(self) -> None:
        self._sock.close()

    def _hear(self, end: bytes) -> bytes:
        heard = b""
        while not heard.endswith(end):
            heard += self._sock.recv(4096) or sys.exit("passing: closed")
        return heard


def passing(bench: Bench) -> None:
    """One client that fetches and gives, through us and through HAProxy in turns."""
    account = bench.site.accounts[0]
    with ExitStack() as stack:
        behind = stack.enter_context(_behind(bench))
        ours = stack.enter_context(bench.site.serve(behind=behind))
        ways: list[tuple[str, Server, Client]] = [
            ("mailauth", ours.server, Client(ours.ports["imap"], f"a LOGIN {account.login} {account.passwords[0]}"))
        ]
        try:
            theirs, port = stack.enter_context(_haproxy(bench, behind))
        except DidNotStart as reason:
            bench.book.notes["passing"] = f"HAProxy: {reason}"
        else:
            ways.append(("haproxy", theirs, Client(port, "a LOGIN anybody anything")))
        for _, _, client in ways:
            stack.callback(client.close)
        for direction in ("down", "up"):
            _measure(bench, direction, ways)


def _measure(bench: Bench, direction: str, ways: Sequence[tuple[str, Server, Client]]) -> None:
    us: dict[str, list[float]] = {who: [] for who, _, _ in ways}
    mib = max(1, round(MIB_A_SECOND * bench.seconds))
    for number in range(bench.rounds):
        for who, server, client in ways[:: -1 if number % 2 else 1]:
            bench.tell(f"passing: {who}, {direction}")
            before_s = server.cpu_s()
            getattr(client, direction)(mib)
            us[who].append((server.cpu_s() - before_s) * 1e6 / mib)
    said = "; ".join(
        f"{who} {statistics.median(took):,.0f} us a MiB ({min(took):,.0f} to {max(took):,.0f})"
        for who, took in us.items()
    )
    bench.book.notes[f"passing: {direction}"] = f"passed {direction}: {said}"
    if "haproxy" in us:
        ratio = statistics.median(a / b for a, b in zip(us["mailauth"], us["haproxy"], strict=True))
        bench.book.bounds.append(Bound("passing", f"CPU of HAProxy's per MiB, {direction}", ratio, "x", MOST_TIMES))


def passed_idle(bench: Bench) -> None:
    """Sessions in IDLE at a server behind us, TLS to us and in clear from there: memory of each, keeper included."""
    count = bench.crowd // 2
    bench.tell(f"passed-idle: {count} sessions")
    right: list[Any] = [(account.login, account.passwords[0], "in") for account in bench.site.accounts]
    with all_processors(), _behind(bench) as behind, bench.site.serve(behind=behind) as running:
        plan = bench.plan(running, "imaps", hold=True, credentials=right)
        with held(plan | {"connections": WARM_UP}):
            pass
        time.sleep(BACK_S)
        empty_kib = running.server.family_kib()
        with held(plan | {"connections": count}):
            full_kib = running.server.family_kib()
        time.sleep(BACK_S)
        later_kib = running.server.family_kib()
    each_kib, what = (full_kib - empty_kib) / count, f"for each of {count:,} TLS sessions in IDLE"
    bench.book.bounds.append(Bound("passed-idle", what, each_kib, "KiB", IDLE_KIB))
    bench.book.notes["passed-idle"] = (
        f"{count:,} sessions passed through: server and keeper have {empty_kib / 1024:.0f} MiB without them, "
        f"{full_kib / 1024:.0f} with them, {later_kib / 1024:.0f} {BACK_S:.0f} s after they have left"
    )


@contextmanager
def _behind(bench: Bench) -> Iterator[int]:
    """The server behind; its port."""
    (port,) = free_ports(1)
    with Server((sys.executable, BEHIND, str(port)), [port], bench.folder / "behind.out"):
        yield port


@contextmanager
def _haproxy(bench: Bench, behind: int) -> Iterator[tuple[Server, int]]:
    """HAProxy before it, and its port. Raises DidNotStart."""
    if bench.missing == LEFT_OUT or shutil.which(HAPROXY) is None:
        raise DidNotStart(LEFT_OUT if bench.missing == LEFT_OUT else "not installed")
    (port,) = free_ports(1)
    config = bench.folder / "haproxy.cfg"
    config.write_text(CONFIGURATION.format(port=port, behind=behind))
    with Server((HAPROXY, "-db", "-f", config), [port], bench.folder / "haproxy.out") as server:
        yield server, port


CASES = {"passing": passing, "passed-idle": passed_idle}
