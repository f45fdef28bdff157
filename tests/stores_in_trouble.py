"""What can happen to the SQLite store of a site while it is served."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from site_of_tests import Site

LOCK = """
import os, shutil, sqlite3, sys
copy = sys.argv[2] + ".copy"
shutil.copy(sys.argv[1], copy)
connection = sqlite3.connect(copy, isolation_level=None)
connection.execute("PRAGMA locking_mode = EXCLUSIVE")
connection.execute("BEGIN EXCLUSIVE")
os.rename(copy, sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
"""


def files(site: Site) -> list[Path]:
    """The store's: the file itself first."""
    return sorted(site.folder.glob("mailauth.db*"))


@contextlib.contextmanager
def store_away(site: Site) -> Iterator[None]:
    """There is none."""
    away = site.folder / "away"
    away.mkdir()
    for file in files(site):
        file.rename(away / file.name)
    try:
        yield
    finally:
        for file in files(site):
            file.unlink(missing_ok=True)  # who had it open lets go of it, too, when it sees that it was replaced
        for file in away.iterdir():
            file.rename(site.folder / file.name)
        away.rmdir()


@contextlib.contextmanager
def store_locked(site: Site) -> Iterator[None]:
    """It does not answer: somebody else has it locked."""
    with store_away(site):
        there = [site.folder / "away" / "mailauth.db", site.folder / "mailauth.db"]
        words = [sys.executable, "-c", LOCK, *there]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"locked\n"
            try:
                yield
            finally:
                process.communicate()
