"""What a process of ours holds in memory stays there: no core dump, no looking in, and nothing in a repr."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from mailauth.attempt import Attempt, Credential, Service
from mailauth.dialogue import Enter, Judge
from mailauth.hashing.pool import Piece
from mailauth.imap.command import Partial
from mailauth.imap.syntax import Announced
from mailauth.interfaces import Lane
from mailauth.keys import KeyRing
from mailauth.verdict import Principal
from site_of_tests import Site

linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
PASSWORD = "hunter2-hunter2-"
LOGIN = "ada@example.test"

# Runs a command, and says on standard error, whenever it opens one of these files, whether a core could be dumped.
WATCHED = """
import ctypes, sys

def look(event, values):
    if event == "open" and str(values[0]).endswith((".toml", ".key", ".pem", ".db")):
        dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
        sys.stderr.write(f"opened {str(values[0]).rpartition('/')[2]} dumpable={dumpable}\\n")

sys.addaudithook(look)
sys.argv[0] = "mailauth"
from mailauth.cli.main import run
run()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("hardened"))
    site.add(LOGIN, "web password")
    return site


def run(code: str, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@linux
def test_a_process_keeps_its_memory_private():
    told = run(
        "import ctypes, resource\n"
        "from mailauth.serving.hardening import keep_memory_private\n"
        "dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)\n"
        "before = dumpable()\n"
        "keep_memory_private()\n"
        "keep_memory_private()\n"
        "print(before, dumpable(), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    assert told.stdout == "1 0 (0, 0)\n", told.stderr


@linux
@pytest.mark.parametrize(
    ("command", "stdin", "files"),
    [
        (["key", "status"], "", {"mailauth.toml", "mailauth.key"}),
        (["app-password", "add", LOGIN, "--label", "x"], "", {"mailauth.toml", "mailauth.key"}),
        (["verify", LOGIN, "--service", "imap"], "web password\n", {"mailauth.toml", "mailauth.key"}),
        (["account", "passwd", LOGIN, "--password-stdin"], "web password\n", {"mailauth.toml"}),
    ],
)
def test_a_command_does_before_it_reads_anything(site, command, stdin, files):
    done = run(WATCHED, *command, input=stdin, env=os.environ | {"MAILAUTH_CONFIG": str(site.config)})
    assert done.returncode == 0, done.stderr
    seen = [line for line in done.stderr.splitlines() if line.startswith("opened ")]
    assert {line.split()[1] for line in seen} >= files
    assert {line.split()[2] for line in seen} == {"dumpable=0"}


def _core_is_a_file_beside() -> bool:
    pattern = Path("/proc/sys/kernel/core_pattern")
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    return pattern.exists() and pattern.read_text().strip().startswith("core") and most == resource.RLIM_INFINITY


@linux
@pytest.mark.skipif(not _core_is_a_file_beside(), reason="cores go elsewhere here, or may not be written")
@pytest.mark.parametrize(
    ("first", "is_dumped"),
    [
        ("pass", True),
        ("keep_memory_private()", False),
        ("ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)", False),
        ("keep_memory_private(); os.execv(sys.executable, ['python', '-c', 'import os; os.abort()'])", False),
    ],
    ids=["another program", "ours", "one that is not dumpable", "one that ours has started"],
)
def test_a_process_that_dies_leaves_no_core(tmp_path, first, is_dumped):
    imports = "import ctypes, os, sys\nfrom mailauth.serving.hardening import keep_memory_private"
    unlimited = partial(resource.setrlimit, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    done = run(f"{imports}\n{first}\nos.abort()", cwd=tmp_path, preexec_fn=unlimited)
    assert done.returncode == -signal.SIGABRT, done.stderr
    assert bool(list(tmp_path.glob("core*"))) is is_dumped


@linux
def test_a_server_cannot_be_looked_into_by_others_of_its_user(site):
    """The kernel gives what it hides to root; of a process of root it can be asked only from within."""
    with site.serving() as process:
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        owner = Path(f"/proc/{process.pid}/environ").stat().st_uid
    (line,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]
    assert owner == 0


@pytest.mark.parametrize(
    "value",
    [
        Credential(LOGIN, PASSWORD),
        Attempt(Credential(LOGIN, PASSWORD), Service.IMAP, "192.0.2.1", True),
        Judge(1, Attempt(Credential(LOGIN, PASSWORD), Service.IMAP, "192.0.2.1", True)),
        Piece(print, ("record", PASSWORD.encode()), Lane.FIRST, 0.0),
        Partial(b"a LOGIN ada@example.test " + PASSWORD.encode(), Announced(5, True)),
        Enter(Principal(1, LOGIN, 1), b"b LOGIN x " + PASSWORD.encode()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_repr_tells_a_password(value):
    assert PASSWORD[:6] not in f"{value!r} {value} {partial(print, value)!r} {[value]!r} { ({'x': value})!r}"


def test_no_repr_of_keys_tells_one(tmp_path):
    ring = KeyRing.create(tmp_path / "mailauth.key")
    assert repr(ring.keys[0].secret)[4:12] not in f"{ring!r} {ring.keys!r}"
