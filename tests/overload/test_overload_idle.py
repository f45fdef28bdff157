"""A crowd that does nothing: idle connections before login, then sessions in IDLE. bench/ has ten times as many."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest
from crowds import SOURCE, SPARE, allow_descriptors, crowd, descriptors, probe, resident_kib, wait_for

from mailauth.attempt import Service
from site_of_tests import ACCEPTED, Site

COUNT = 500
MOST_KIB = 64  # for each of them
ELSE_KIB = 4096  # for whatever else the server does meanwhile
SLOWEST_S = 5.0  # of a good login: it takes some milliseconds where nobody else works
ACCOUNTS = 10

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc"),
]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    if not allow_descriptors(3 * COUNT):
        pytest.skip("this system allows too few descriptors")
    limits = "[replies]\nrefusal_delay_s = 0\n[limits]\nlogin_s = 600\n[throttle]\nenabled = false\n"
    return Site(tmp_path, sections=limits + SOURCE, launcher=probe(tmp_path / "probe"))


def log_in(site: Site, credentials: Sequence[Sequence[str]]) -> float:
    """How long the slowest of good logins takes, one at each door."""
    slowest_s = 0.0
    for (service, tls), (login, password) in zip(site.ports, credentials, strict=False):
        began = time.monotonic()
        assert site.ask(service, login, password, tls=tls).startswith(ACCEPTED[service])
        slowest_s = max(slowest_s, time.monotonic() - began)
    return slowest_s


@contextmanager
def weighed(site: Site, server: Popen[bytes], credentials: Sequence[Sequence[str]]) -> Iterator[None]:
    """A crowd within the block, and what it leaves behind when it goes."""
    open_before, kib_before = descriptors(site.folder / "probe"), resident_kib(server.pid)
    with crowd(site.ports[Service.IMAP, "implicit"], COUNT, credentials):
        assert descriptors(site.folder / "probe") >= open_before + COUNT
        assert resident_kib(server.pid) - kib_before < COUNT * MOST_KIB + ELSE_KIB
        yield
    wait_for(lambda: descriptors(site.folder / "probe") < open_before + SPARE, "descriptors are given back")


def test_a_crowd_costs_little_leaves_nothing_and_holds_nobody_up(site: Site) -> None:
    credentials = [
        (login, site.mint(login).password) for login in map(site.add, map("{}@example.test".format, "abcdefghij"))
    ]
    with site.serving() as server:
        with crowd(site.ports[Service.IMAP, "implicit"], 2 * ACCOUNTS, credentials):
            log_in(site, credentials)  # what is loaded with the first of its kind is nobody's
        with weighed(site, server, ()):
            assert log_in(site, credentials) < SLOWEST_S
        with weighed(site, server, credentials):
            assert log_in(site, credentials) < SLOWEST_S
