"""The generator as a process of its own: plans in, figures out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, str(Path(__file__).with_name("generator.py")))
PATIENCE_S = 120.0  # beyond the time that the plan itself takes


class NoLoad(Exception):
    """The generator could not do what it was told; its last words."""


def drive(plan: dict[str, Any]) -> dict[str, Any]:
    """Carry out a plan of logins. Raises NoLoad."""
    patience_s = PATIENCE_S + (plan["seconds"] or 0)
    done = subprocess.run(
        COMMAND, input=json.dumps(plan) + "\n", capture_output=True, text=True, timeout=patience_s, check=False
    )
    if done.returncode:
        raise NoLoad(_last_line(done.stderr))
    return json.loads(done.stdout)


@contextmanager
def raging(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Logins while the block runs, and after it until their time is over; then what is yielded has the figures."""
    figures: dict[str, Any] = {}
    with _running(plan) as generator:
        yield figures
        said = generator.stdout.readline()  # type: ignore[union-attr]
        if not said:
            raise NoLoad(_last_line(generator.stderr.read()))  # type: ignore[union-attr]
        figures |= json.loads(said)


@contextmanager
def held(plan: dict[str, Any]) -> Iterator[None]:
    """Connections that are open within the block. Raises NoLoad."""
    with _running(plan) as generator:
        if not generator.stdout.readline():  # type: ignore[union-attr]  # it says once that all are open
            raise NoLoad(_last_line(generator.stderr.read()))  # type: ignore[union-attr]
        yield


@contextmanager
def _running(plan: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as generator:
        assert generator.stdin is not None
        generator.stdin.write(json.dumps(plan) + "\n")
        generator.stdin.flush()
        try:
            yield generator
        finally:
            generator.stdin.close()
            generator.wait(PATIENCE_S)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no word"])[-1]
