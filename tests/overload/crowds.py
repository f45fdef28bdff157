"""Crowds for the tests of overload: connections by the hundred, and what they cost the server, seen from outside.

The load is that of the benchmark, in a process of its own, so that what is measured here is not our own Python.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

BENCH = Path(__file__).parents[2] / "bench"
PATIENCE_S = 60.0  # a machine that others use as well may need it; reached, it is a failure
SPARE = 10  # descriptors: those of the store come and go as SQLite sees fit
SOURCE = "max_connections_per_source = 5000\n"  # all come from one address here


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


lag = _load("lag")


def probe(file: Path) -> tuple[str, ...]:
    """A launcher of a site's server that tells in this file, each second, how it is. See bench/lag.py."""
    return (sys.executable, str(BENCH / "lag.py"), str(file))


def wait_for(holds: Callable[[], bool], what: str) -> None:
    """Wait for what others do."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at, what
        time.sleep(0.05)


def descriptors(file: Path) -> int:
    """How many the server has open now."""
    asked = time.monotonic()
    wait_for(lambda: bool(lag.told(file, since=asked)), "the server tells how it is")
    return int(lag.told(file)[-1].descriptors)


def resident_kib(pid: int, which: str = "VmRSS") -> int:
    """Resident memory of a process. which: VmHWM: the most there ever was."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{which}:")[2].split()[0])


def allow_descriptors(count: int) -> bool:
    """Whether this process, and those that it starts, may have so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    return hard >= count


@contextmanager
def crowd(port: int, count: int, credentials: Sequence[Sequence[str]] = ()) -> Iterator[None]:
    """So many idle IMAP connections through TLS; with credentials: logged in, and in IDLE."""
    with _generator(
        {"port": port, "tls": True, "connections": count, "hold": True, "credentials": credentials}
    ) as load:
        assert load.stdout is not None
        assert load.stdout.readline(), "they could not all be opened"
        yield


@contextmanager
def storm(port: int, count: int, credentials: Sequence[Sequence[str | None]]) -> Iterator[dict[str, Any]]:
    """So many connections that log in again and again; what is yielded has the figures afterwards."""
    figures: dict[str, Any] = {}
    plan = {"port": port, "tls": False, "connections": count, "hold": False, "credentials": credentials}
    with _generator(plan | {"repeat": True, "seconds": 5.0}) as load:
        yield figures
        assert load.stdout is not None
        figures |= json.loads(load.stdout.readline())


@contextmanager
def _generator(plan: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, BENCH / "generator.py"], stdin=pipe, stdout=pipe, text=True) as load:
        try:
            assert load.stdin is not None
            load.stdin.write(json.dumps({"protocol": "imap"} | plan) + "\n")
            load.stdin.flush()
            yield load
        finally:
            load.stdin.close()  # lets go whom it holds
            if load.wait(PATIENCE_S):
                raise AssertionError(f"the generator ended with {load.returncode}")
