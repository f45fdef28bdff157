"""`mailauth serve` with a probe of its event loop: how long others had to wait for it, and how many descriptors it has.

    python lag.py FILE PYTHON -m mailauth serve ...

Each second a line is added to FILE: the time of the monotonic clock; the most milliseconds by which the loop was late
in that second, for whatever reason; the most for which it worked itself meanwhile (the rest is the processor's, which
others had, and waiting for a lock or a disk); and the open descriptors.
It is told from inside because a server that holds passwords lets nobody else look (PR_SET_DUMPABLE, prctl(2)).
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mailauth import compose
from mailauth.cli.main import run
from mailauth.config import Settings

EVERY_S = 0.002
TELL_S = 1.0


class Probe:
    """Wakes up again and again, and notes by how much it was late."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._late_s = self._held_s = 0.0
        self._tell_at = self._loop.time() + TELL_S
        self._wait()

    def stop(self) -> None:
        """Write the last line."""
        self._handle.cancel()
        self._tell(self._loop.time())

    def _wait(self) -> None:
        self._used_s = time.thread_time()
        self._due = self._loop.time() + EVERY_S
        self._handle = self._loop.call_at(self._due, self._strike)

    def _strike(self) -> None:
        now = self._loop.time()
        late_s = now - self._due
        self._late_s = max(self._late_s, late_s)
        self._held_s = max(self._held_s, min(late_s, time.thread_time() - self._used_s))
        if now >= self._tell_at:
            self._tell(now)
        self._wait()

    def _tell(self, now: float) -> None:
        late_ms, held_ms, count = self._late_s * 1000, self._held_s * 1000, len(list(Path("/dev/fd").iterdir()))
        with self._file.open("a") as file:
            file.write(f"{time.monotonic():.3f} {late_ms:.1f} {held_ms:.1f} {count}\n")
        self._late_s = self._held_s = 0.0
        self._tell_at = now + TELL_S


@dataclass(frozen=True)
class Second:
    """One line."""

    at: float
    late_ms: float
    held_ms: float
    descriptors: int


def told(file: Path, since: float = 0.0, until: float = float("inf")) -> list[Second]:
    """The lines between two times of the monotonic clock."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    words = [line.split() for line in lines if line.endswith("\n")]
    seconds = [Second(*map(float, times), int(descriptors)) for *times, descriptors in words]
    return [second for second in seconds if since <= second.at <= until]


def main() -> None:
    """Serve, as the arguments say, with the probe beside it."""
    file, serve = Path(sys.argv[1]), compose.serve

    async def probed(settings: Settings, *more: object) -> None:
        probe = Probe(file)
        try:
            await serve(settings, *more)  # type: ignore[arg-type]
        finally:
            probe.stop()

    compose.serve = probed
    sys.argv = sys.argv[4:]  # after PYTHON -m
    run()


if __name__ == "__main__":
    main()
