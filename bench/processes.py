"""Servers as processes: started, waited for, weighed and stopped.

Source: proc(5), /proc/PID/stat; where there is no /proc (macOS), ps(1), whose times have hundredths of a second too.
Rule: what is stopped is what was started here, by its own id. CPU is that of the whole tree, children that have ended
included where the system says it of them (Linux).
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
PORTS = range(20000, 32000)  # below those that systems give to outgoing connections
START_S = 20.0
STOP_S = 15.0

PROC = Path("/proc")


class DidNotStart(Exception):
    """A server ended, or did not listen in time. The text says which, with the end of what it wrote."""


class Server:
    """A running server; use it as a context. ports: it is there once all of these accept."""

    def __init__(self, command: Sequence[str | Path], ports: Sequence[int], output: Path) -> None:
        self._output = output
        with output.open("ab") as file:
            self._process = subprocess.Popen([*map(str, command)], stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        try:
            for port in ports:
                self._wait_for(port)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def cpu_s(self) -> float:
        """User and system time of the process tree so far."""
        return sum(_tree(self._process.pid).values())

    def resident_kib(self) -> int:
        """Resident memory of the process itself, without its children."""
        return int(_ps("rss=", "-p", str(self._process.pid)))

    def family_kib(self) -> int:
        """Resident memory of the process tree."""
        pids = [str(pid) for pid in _tree(self._process.pid)]
        return sum(map(int, _ps("rss=", "-p", ",".join(pids)).split()))

    def stop(self) -> None:
        """End it, gently at first."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_for(self, port: int) -> None:
        give_up_at = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < give_up_at:
            try:
                socket.create_connection((HOST, port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        wrote = self._output.read_text(errors="replace").strip().splitlines()
        raise DidNotStart(f"{Path(self._process.args[0]).name}: {wrote[-1] if wrote else 'no word'}")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise SystemExit(f"no {count} free ports between {PORTS[0]} and {PORTS[-1]}")


def _tree(root: int) -> dict[int, float]:
    """CPU seconds by process id, of a process and all below it."""
    table = _by_proc() if (PROC / "self" / "stat").exists() else _by_ps()
    found, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        if pid in table:
            found[pid] = table[pid][1]
            waiting += [child for child, (parent, _) in table.items() if parent == pid]
    return found


def _by_proc() -> dict[int, tuple[int, float]]:
    """Parent and CPU seconds by process id; those of reaped children count for their parent."""
    table = {}
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
            table[int(folder.name)] = int(words[1]), sum(map(int, words[11:15])) / ticks_per_s
    return table


def _by_ps() -> dict[int, tuple[int, float]]:
    """As _by_proc, without reaped children."""
    table = {}
    for line in _ps("pid=,ppid=,time=", "-ax").splitlines():
        pid, parent, used = line.split()
        table[int(pid)] = int(parent), seconds(used)
    return table


def seconds(used: str) -> float:
    """What ps calls a time, [[days-]hours:]minutes:seconds[.hundredths]."""
    days, _, clock = used.rpartition("-")
    total_s = 0.0
    for part in clock.split(":"):
        total_s = total_s * 60 + float(part)
    return total_s + 86400 * int(days or 0)


def _ps(columns: str, *chosen: str) -> str:
    return subprocess.run(["ps", "-o", columns, *chosen], capture_output=True, text=True, check=True).stdout
