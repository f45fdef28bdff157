"""The disk of an SQLite store is full: reads go on, whoever writes is told so, nothing is damaged; room mends it."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_site import ALICE, answers, assert_judged, connected, secrets_of, serving, wait_until

from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from site_of_tests import ACCEPTED, REFUSED, Site

DISK_BYTES = 4 * 2**20


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A small file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small tmpfs")
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    options = f"size={DISK_BYTES},mode=700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Not a byte is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    yield
    filler.unlink()


def test_a_full_disk_stops_who_writes_and_nobody_else(disk):
    site = Site(disk)
    secrets = secrets_of(site)
    old = site.mint(ALICE, label="old")
    revoke = ("app-password", "revoke", ALICE, "--id", str(old.id))
    with serving(site, secrets):
        with filled(disk):
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                (disk / "more").write_bytes(b"x")
            for _ in range(3):
                assert_judged(answers(site, secrets))
            for command in (("app-password", "add", ALICE, "--label", "new"), revoke):
                said = site.run(*command)
                assert said.returncode == 69, said
                assert "is full; make room, nothing was changed" in said.stderr
            for service in Service:  # nothing was revoked, as was said
                assert site.ask(service, ALICE, old.password).startswith(ACCEPTED[service])
        assert site.run(*revoke).returncode == 0
        for service in Service:
            assert site.ask(service, ALICE, old.password) == REFUSED[service]
        assert [view.label for view in apppasswords.listed(site.store, ALICE)] == ["test"]
        wait_until(lambda: apppasswords.listed(site.store, ALICE)[0].last_used_at)  # written once it could be
        assert_judged(answers(site, secrets))
        with connected(site) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_start_on_a_full_disk_says_so(disk):
    site = Site(disk)
    secrets_of(site)
    with filled(disk):
        began = time.monotonic()
        said = site.run("serve")
        assert time.monotonic() - began < 30.0
    assert said.returncode == 69, said
    assert "full" in said.stderr or "cannot" in said.stderr or "disk" in said.stderr, said.stderr
    assert "Traceback" not in said.stderr
