"""The command line in tests: as a function, and as a real process that serves."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from mailauth.cli.main import cli
from mailauth.founding.ports import LISTENERS, LOOPBACK, PORTAL
from site_of_tests import WORKER

PATIENCE_S = 30.0  # only a broken process takes so long


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Said]


def run(*args: str, stdin: str | bytes = "") -> Said:
    result = CliRunner().invoke(cli, list(args), input=stdin)
    assert isinstance(result.exception, SystemExit | None), result.exception
    if result.exit_code not in {0, 75, 77}:
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "Traceback" not in result.output
    return Said(result.exit_code, result.stdout, result.stderr)


def minted(mailauth: Cli, login: str, *options: str, label: str = "Phone") -> str:
    said = mailauth("app-password", "add", login, "--label", label, *options)
    assert said.code == 0, said.err
    return said.out.splitlines()[-1]


def free_offset() -> int:
    """A port offset of which every port is free now, and below those that `free_ports` gives to anybody. Ports of mail
    are less than 1000 apart, so each worker has some of its own, and six have them below all of the portal's."""
    while True:
        offset = 2000 + WORKER % 6 * 1000 + random.randrange(100)
        with ExitStack() as stack:
            try:
                for port in (PORTAL, *[port for _, _, port in LISTENERS]):
                    stack.enter_context(socket.socket()).bind((LOOPBACK, port + offset))
            except OSError:
                continue
            return offset


class Serving:
    """A process that serves; `seen` is what it has said so far on standard output and standard error."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.seen = ""

    def wait_for(self, text: str) -> str:
        """Everything said until this text was said. Fails if it is not."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            assert self.process.stdout is not None
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            more = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert more, f"ended, or took too long, before it said {text!r}: {self.seen}"
            self.seen += more.decode()
        return self.seen

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end. Its exit code."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=PATIENCE_S)
        self.seen += rest.decode()
        return self.process.returncode


@contextmanager
def serving(*args: str) -> Iterator[Serving]:
    """`mailauth ARGS` as a process of its own."""
    command = [sys.executable, "-m", "mailauth", *args]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    ) as process:
        try:
            yield Serving(process)
        finally:
            if process.poll() is None:
                process.kill()
