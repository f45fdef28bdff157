"""A server that may have 64 descriptors and is asked for more: it goes on, says so once, and is well afterwards."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crowds import wait_for

from mailauth.attempt import Service
from site_of_tests import ACCEPTED, Site

LIMIT = 64
CLIENTS = 80
KNOWN_LIMIT = 256  # from the start on: large enough for what is kept free to be all that is kept free
SPAN_S = 2.0
BUSY = 0.5  # of a processor: an endless loop takes all of one, and refusing 80 clients next to nothing
SHORT, OVER = "no new connections: Too many open files", "new connections are accepted again"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process are set on Linux only"),
]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, tls_off=True)


@contextlib.contextmanager
def crowd(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Clients that connect and say nothing."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 5)) for _ in range(count)]
        for client in clients:
            client.setblocking(False)
        yield clients


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed this one."""
    try:
        while client.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def gets_in(site: Site, login: str, password: str) -> bool:
    """Whether a good login succeeds now."""
    try:
        return site.ask(Service.IMAP, login, password).startswith(ACCEPTED[Service.IMAP])
    except OSError:
        return False


def cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("tls", ["implicit", "off"])
def test_out_of_descriptors_a_server_turns_clients_away_and_recovers(site: Site, tls: str) -> None:
    owner = site.add("owner@example.test")
    password = site.mint(owner).password
    with site.serving() as server:
        assert gets_in(site, owner, password)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        with crowd(site.ports[Service.IMAP, tls], CLIENTS) as clients:
            wait_for(lambda: sum(map(is_closed, clients)) >= CLIENTS - LIMIT, "who finds no room is told so")
            used_s, began = cpu_s(server.pid), time.monotonic()
            wait_for(lambda: time.monotonic() - began > SPAN_S, "some time passes")
            assert cpu_s(server.pid) - used_s < BUSY * (time.monotonic() - began)
            site.logged(SHORT)
        wait_for(lambda: gets_in(site, owner, password), "the owner gets in again")
        site.logged(OVER)
        assert (site.log.count(SHORT), site.log.count(OVER)) == (1, 1)


def test_connections_do_not_take_the_last_descriptors(tmp_path: Path) -> None:
    """With the limit known from the start there is a full house instead, which drops its oldest stranger."""
    site = Site(
        tmp_path,
        sections="[throttle]\nenabled = false\nmax_connections_per_source = 1000\n",
        launcher=("sh", "-c", f'ulimit -n {KNOWN_LIMIT}; exec "$@"', "sh"),
    )
    owner = site.add("owner@example.test")
    password = site.mint(owner).password
    with site.serving():
        for tls in ("implicit", "starttls"):
            with crowd(site.ports[Service.IMAP, tls], KNOWN_LIMIT) as clients:
                wait_for(lambda clients=clients: is_closed(clients[0]), "the oldest have to go")
                assert gets_in(site, owner, password)
                assert not is_closed(clients[-1])
        assert SHORT not in site.log
        assert "alarm" not in site.log
