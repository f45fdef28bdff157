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
def held(plan: dict[str, Any]) -> Iterator[None]:
    """Connections that are open within the block. Raises NoLoad."""
    pipe = subprocess.PIPE
    with subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as generator:
        assert generator.stdin and generator.stdout and generator.stderr
        generator.stdin.write(json.dumps(plan) + "\n")
        generator.stdin.flush()
        if not generator.stdout.readline():  # it says once that all are open
            raise NoLoad(_last_line(generator.stderr.read()))
        yield
        generator.stdin.close()
        generator.wait(PATIENCE_S)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no word"])[-1]
