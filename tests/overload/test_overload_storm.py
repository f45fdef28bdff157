"""200 connections that show wrong and never-seen right passwords as fast as they can, and owners who notice little."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest
from crowds import PATIENCE_S, SOURCE, SPARE, allow_descriptors, descriptors, lag, probe, resident_kib, storm, wait_for

from mailauth.accounts import apppasswords, mailboxes
from mailauth.attempt import Service
from mailauth.hashing.argon2id import Argon2id
from site_of_tests import ACCEPTED, ACTOR, Site

CONNECTIONS = 200
THREADS = 2
P95_S = 5.0  # the goal is 1 s and the loop is to be held 50 ms at most: bench/ measures that, where nobody else works
HELD_MS = 500.0
CONNECTION_KIB = 64
ELSE_KIB = 32 * 1024  # what is loaded and written meanwhile

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc"),
]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    if not allow_descriptors(3 * CONNECTIONS):
        pytest.skip("this system allows too few descriptors")
    sections = (
        f"[hashing]\nthreads = {THREADS}\n[limits]\nmax_failures = 100\n"
        f"[replies]\nrefusal_delay_s = 0.2\n[throttle]\nenabled = false\n{SOURCE}"
    )
    return Site(tmp_path, sections=sections, tls_off=True, launcher=probe(tmp_path / "probe"))


def test_a_storm_takes_bounded_memory_and_holds_up_nobody_who_is_known(site: Site) -> None:
    real = Argon2id()  # each guess costs a hash as strong as it should be
    owner = site.add("owner@example.test")
    password = apppasswords.mint(site.store, site.ring, real, owner, label="x", actor=ACTOR).password
    mailboxes.add_account(site.store, "victim@example.test", real.hash(b"correct horse battery"), actor=ACTOR)
    newcomers = [site.add(f"new{number}@example.test") for number in range(3)]
    raging: list[tuple[str, str | None, str]] = [("victim@example.test", None, "refused|deferred")] * 40
    raging += [
        (
            new,
            apppasswords.mint(site.store, site.ring, real, new, label=f"{number}", actor=ACTOR).password,
            "in|deferred",
        )
        for new in newcomers
        for number in range(10)
    ]
    with site.serving() as server:
        for service, tls in site.ports:
            assert site.ask(service, owner, password, tls=tls).startswith(ACCEPTED[service])
        open_before, kib_before = descriptors(site.folder / "probe"), resident_kib(server.pid)
        began = time.monotonic()
        with storm(site.ports[Service.IMAP, "off"], CONNECTIONS, raging) as figures:
            waited = [waits(site, owner, password) for _ in range(60)]
        ended = time.monotonic()
        wait_for(lambda: descriptors(site.folder / "probe") < open_before + SPARE, "descriptors are given back")
        most_kib = resident_kib(server.pid, "VmHWM") - kib_before
        held_ms = max(second.held_ms for second in lag.told(site.folder / "probe", began, ended + lag.TELL_S))
        assert waits(site, owner, password) < PATIENCE_S
    assert (figures["errors"], figures["surprises"]) == (0, 0), figures["quotes"]
    assert figures["logins"] > CONNECTIONS  # it was a storm
    assert statistics.quantiles(waited, n=20)[-1] < P95_S
    assert most_kib < THREADS * real.memory_kib + CONNECTIONS * CONNECTION_KIB + ELSE_KIB
    assert held_ms < HELD_MS


def waits(site: Site, login: str, password: str) -> float:
    """How long one who is known waits, from connecting on; he gets in."""
    began = time.monotonic()
    assert site.ask(Service.IMAP, login, password).startswith(ACCEPTED[Service.IMAP])
    return time.monotonic() - began
