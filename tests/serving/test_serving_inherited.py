"""Sockets that were opened before us: taken by their address, kept by who opened them, nobody turned away meanwhile."""

from __future__ import annotations

import fcntl
import imaplib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from bridge_clients import FAIL, LATER, OK, DovecotHost
from mailauth.serving.inherited import Inherited
from site_of_tests import Site

STARTING = (
    "import os, sys; given = sys.argv[1].split(',');"
    "[os.dup2(int(number), 3 + at, inheritable=True) for at, number in enumerate(given)];"
    "os.environ.update(LISTEN_FDS=str(len(given)), LISTEN_PID=str(os.getpid()));"
    "import ctypes; zero = ctypes.c_ulong(0);"
    "'MDWE' in os.environ and ctypes.CDLL(None).prctl(65, ctypes.c_ulong(1), zero, zero, zero);"  # from Linux 6.3 on
    "os.execv(sys.executable, sys.argv[2:])"
)
ENCLOSING = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "env", "MDWE=1")
PATIENCE_S = 30.0


def opened(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(50)
    return sock


def started(
    site: Site, log: Path, *socks: socket.socket, enclosed: bool = False, **environment: str
) -> subprocess.Popen[bytes]:
    """As systemd starts it: the sockets are descriptors from 3 on. enclosed: without any right."""
    serve = [sys.executable, "-m", "mailauth", "serve", "--config", str(site.config)]
    numbers = [sock.fileno() for sock in socks]
    words = [*(ENCLOSING if enclosed else ()), sys.executable, "-c", STARTING, ",".join(map(str, numbers)), *serve]
    with log.open("wb") as out:
        process = subprocess.Popen(words, pass_fds=numbers, stderr=out, env=os.environ | environment)
    give_up_at = time.monotonic() + PATIENCE_S
    while b"listening " not in log.read_bytes():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    return process


def judged(host: DovecotHost, password: str) -> str:
    """What is said to it; "later" is no verdict, and a machine that stands still for seconds has nothing better."""
    give_up_at = time.monotonic() + PATIENCE_S
    while (said := host.ask("alice@example.test", password)) == LATER:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    return said


def test_a_socket_of_the_service_manager_outlives_us_and_nobody_is_turned_away(tmp_path: Path) -> None:
    path = tmp_path / "auth"
    site = Site(tmp_path, sections=f'[[bridge]]\nkind = "dovecot-auth"\naddress = "unix:{path}"\n')
    app = site.mint(site.add("alice@example.test")).password
    with opened(path) as sock:
        process = started(site, tmp_path / "log", sock)
        host = DovecotHost(path)
        assert judged(host, app) == OK
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert host.hear() == (0, LATER)
        host.close()
        assert path.is_socket()
        early = socket.socket(socket.AF_UNIX)  # comes while nobody is there
        early.settimeout(PATIENCE_S)
        early.connect(str(path))
        process = started(site, tmp_path / "log", sock)
        assert early.recv(100).startswith(b"VERSION\t1\t2\n")
        early.close()
        host = DovecotHost(path)
        assert judged(host, app) == OK
        host.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.skipif(shutil.which("setpriv") is None or os.geteuid() != 0, reason="rights are taken away with setpriv")
def test_it_needs_no_right_and_no_memory_that_is_written_and_run(tmp_path: Path) -> None:
    """As the unit of `mailauth setup systemd` has it, as far as that can be had without systemd."""
    path = tmp_path / "run" / "auth"
    path.parent.mkdir()
    at_once = "[replies]\nrefusal_delay_s = 0\n"
    site = Site(tmp_path, sections=f'{at_once}[[bridge]]\nkind = "dovecot-auth"\naddress = "unix:{path}"\n')
    site.config.write_text(site.config.read_text().partition("[[listen]]")[0])
    app = site.mint(site.add("alice@example.test")).password
    with opened(path) as sock:
        path.parent.chmod(0o500)
        process = started(site, tmp_path / "log", sock, enclosed=True)
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
        host = DovecotHost(path)
        assert judged(host, app) == OK
        assert judged(host, "wrong") == FAIL
        host.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert "cannot" not in (tmp_path / "log").read_text()


def highest(count: int) -> list[socket.socket]:
    """Listening sockets whose descriptors are in nobody's way."""
    socks = []
    for _ in range(count):
        sock = socket.create_server(("127.0.0.1", 0))
        socks.append(socket.socket(fileno=fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 100)))
        sock.close()
    return socks


def test_listeners_and_the_portal_are_taken_over_and_the_manager_is_told(tmp_path: Path) -> None:
    imap, web = highest(2)
    ports = [sock.getsockname()[1] for sock in (imap, web)]
    site = Site(tmp_path)
    site.config.write_text(
        site.config.read_text().partition("[[listen]]")[0]
        + f'[[listen]]\nservice = "imap"\naddress = "127.0.0.1:{ports[0]}"\ntls = "implicit"\n'
        f'[portal]\naddress = "127.0.0.1:{ports[1]}"\npublic_url = "http://localhost:{ports[1]}"\n'
    )
    app = site.mint(site.add("alice@example.test")).password
    with imap, web, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE_S)
        manager.bind(str(tmp_path / "notify"))
        for _ in range(2):  # the second time they have been served before
            process = started(site, tmp_path / "log", imap, web, NOTIFY_SOCKET=str(tmp_path / "notify"))
            assert manager.recv(100) == b"READY=1"
            with imaplib.IMAP4_SSL("localhost", ports[0], ssl_context=site.client_tls, timeout=PATIENCE_S) as client:
                assert client.login("alice@example.test", app)[0] == "OK"
            with urllib.request.urlopen(f"http://localhost:{ports[1]}/", timeout=PATIENCE_S) as page:
                assert page.status == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
            assert manager.recv(100) == b"STOPPING=1"
        log = (tmp_path / "log").read_text()
        assert "in use" not in log
        assert "does not name" not in log


def test_what_is_meant_for_another_process_or_nobody_is_not_taken() -> None:
    environment = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1", "PATH": "x"}
    assert Inherited(environment).take(Path("/nowhere")) is None
    assert environment == {"PATH": "x"}
    assert Inherited({}).take(("127.0.0.1", 1)) is None


def test_a_socket_that_nobody_names_is_closed_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inherited = Inherited({})
    sock = opened(tmp_path / "s")
    inherited._add(sock.detach())
    other = socket.socket()  # listens nowhere
    inherited._add(other.detach())
    inherited.close()
    assert inherited.take(tmp_path / "s") is None
    told = [record.getMessage() for record in caplog.records]
    assert any("no listening socket" in line for line in told)
    assert any(f"does not name: {tmp_path}/s" in line for line in told)
