"""SIGTERM: nobody new gets in, who is there is told, a login under way ends, and the process is gone in time."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import time
from collections.abc import Iterator

import psycopg
import pytest
from faulty_site import ALICE, frozen, secrets_of, wait_until

import postgres
from mailauth.attempt import Service
from site_of_tests import Site, said

pytestmark = pytest.mark.xdist_group("sigterm")  # one server for all of this file

GONE_S = 10.0
LATE_S = 3.0  # a loaded machine may be so late
GOODBYE = {
    Service.IMAP: b"* BYE [UNAVAILABLE] ",
    Service.POP3: b"-ERR [SYS/TEMP] ",
    Service.SMTP: b"421 4.3.2 ",
}


@contextlib.contextmanager
def connected(site: Site, service: Service) -> Iterator[ssl.SSLSocket]:
    """A client that has heard the greeting, and says what it is told."""
    with (
        socket.create_connection(("localhost", site.ports[service, "implicit"]), timeout=30) as clear,
        site.client_tls.wrap_socket(clear, server_hostname="localhost") as sock,
    ):
        assert sock.recv(4096)
        yield sock


def rest(sock: ssl.SSLSocket) -> bytes:
    """All that is still said."""
    heard = b""
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
        while more := sock.recv(4096):
            heard += more
    return heard


def end(process) -> float:
    """Ask it to end, and say how long that took."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    return time.monotonic() - began


def nobody_listens(site: Site) -> bool:
    for port in site.ports.values():
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return False
    return True


def test_everybody_hears_a_goodbye_and_nobody_new_gets_in(tmp_path):
    site = Site(tmp_path)
    app = secrets_of(site)["app"]
    with contextlib.ExitStack() as stack, site.serving() as process:
        greeted = {service: stack.enter_context(connected(site, service)) for service in Service}
        inside = {service: stack.enter_context(site.client(service)) for service in Service}
        for client in inside.values():
            said(client, ALICE, app)
        idle = inside[Service.IMAP]
        idle.select()
        idle.send(b"i IDLE\r\n")
        assert idle.readline().startswith(b"+ ")
        took_s = end(process)
        for service, sock in greeted.items():
            heard = rest(sock)
            assert heard.startswith(GOODBYE[service]) and heard.count(b"\r\n") == 1, heard
        for service, client in inside.items():
            heard = rest(client.sock)
            assert GOODBYE[service] in heard, heard
    assert took_s < GONE_S
    assert nobody_listens(site)


LOGIN = {
    Service.IMAP: "a LOGIN {login} {password}\r\n",
    Service.POP3: "USER {login}\r\nPASS {password}\r\n",
    Service.SMTP: "EHLO x\r\nAUTH PLAIN {plain}\r\n",
}


@pytest.mark.parametrize("service", Service)
def test_a_login_under_way_is_not_told_that_its_password_was_wrong(tmp_path, service):
    """A refusal that waits for its tick is one that nobody hears: only that the server goes away."""
    site = Site(tmp_path, sections="[replies]\nrefusal_delay_s = 10\n[throttle]\nenabled = false\n")
    secrets_of(site)
    with site.serving() as process, connected(site, service) as sock:
        plain = "AGFsaWNlQGV4YW1wbGUudGVzdAB3cm9uZw=="
        sock.sendall(LOGIN[service].format(login=ALICE, password="wrong", plain=plain).encode())
        site.logged("verdict=reject ")
        took_s = end(process)
        (*_, last) = rest(sock).splitlines()
    assert last.startswith(GOODBYE[service]), last
    assert took_s < GONE_S


def test_a_client_that_does_not_leave_is_cut(tmp_path):
    site = Site(tmp_path)
    secrets_of(site)
    with site.serving() as process, connected(site, Service.IMAP) as sock:
        took_s = end(process)  # who never reads, and never says anything
        assert rest(sock).startswith(GOODBYE[Service.IMAP])
    assert took_s < GONE_S


@pytest.fixture(scope="module")
def server():
    """A server that no other test uses."""
    with postgres.started() as server:
        yield server


@contextlib.contextmanager
def on_postgresql(server, folder) -> Iterator[Site]:
    with postgres.database(server.get_uri()) as url:
        site = Site(folder, url=url.replace("postgres:@", "postgres@"), timeout_s=20.0)
        yield site
        site.store.close()


def test_a_store_that_stands_still_does_not_keep_the_process(server, tmp_path):
    """With a login that waits for it, with its place among the processes to be given up, with rows to be written."""
    with on_postgresql(server, tmp_path) as site:
        password = secrets_of(site)["app"]
        with site.serving() as process, connected(site, Service.IMAP) as waiting:
            assert site.ask(Service.POP3, ALICE, password).startswith(b"+OK")
            with frozen(server):
                waiting.sendall(f"a LOGIN {ALICE} {password}\r\n".encode())
                time.sleep(1.0)  # of standing still
                took_s = end(process)
            assert rest(waiting).startswith(GOODBYE[Service.IMAP])
    assert took_s < GONE_S + LATE_S


def test_a_write_that_waits_for_somebody_else_does_not_keep_the_process(server, tmp_path):
    """A web password's hash is to be replaced, and somebody has the row locked."""
    with on_postgresql(server, tmp_path) as site, psycopg.connect(site.url) as connection:
        password = secrets_of(site)["web"]
        with site.serving() as process:
            connection.execute("SELECT * FROM accounts FOR UPDATE")
            assert site.ask(Service.IMAP, ALICE, password).startswith(b"OK")
            blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            wait_until(lambda: connection.execute(blocked).fetchone()[0])
            took_s = end(process)
    assert took_s < GONE_S + LATE_S


def test_a_second_signal_changes_nothing(tmp_path):
    site = Site(tmp_path)
    with site.serving() as process:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.poll() is not None)
