"""Sockets that were opened before us: taken by their address, kept by who opened them, nobody turned away meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridge_clients import LATER, OK, DovecotHost
from mailauth.serving.inherited import Inherited
from site_of_tests import Site

STARTING = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3, inheritable=True);"
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.executable, sys.argv[2:])"
)
PATIENCE_S = 30.0


def opened(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(50)
    return sock


def started(site: Site, sock: socket.socket, log: Path) -> subprocess.Popen[bytes]:
    """As systemd starts it: the socket is descriptor 3."""
    serve = [sys.executable, "-m", "mailauth", "serve", "--config", str(site.config)]
    words = [sys.executable, "-c", STARTING, str(sock.fileno()), *serve]
    with log.open("wb") as out:
        process = subprocess.Popen(words, pass_fds=[sock.fileno()], stderr=out)
    give_up_at = time.monotonic() + PATIENCE_S
    while b"listening bridge" not in log.read_bytes():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    return process


def test_a_socket_of_the_service_manager_outlives_us_and_nobody_is_turned_away(tmp_path: Path) -> None:
    path = tmp_path / "auth"
    site = Site(tmp_path, sections=f'[[bridge]]\nkind = "dovecot-auth"\naddress = "unix:{path}"\n')
    app = site.mint(site.add("alice@example.test")).password
    with opened(path) as sock:
        process = started(site, sock, tmp_path / "log")
        host = DovecotHost(path)
        assert host.ask("alice@example.test", app) == OK
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert host.hear() == (0, LATER)
        host.close()
        assert path.is_socket()
        early = socket.socket(socket.AF_UNIX)  # comes while nobody is there
        early.settimeout(PATIENCE_S)
        early.connect(str(path))
        process = started(site, sock, tmp_path / "log")
        assert early.recv(100).startswith(b"VERSION\t1\t2\n")
        early.close()
        host = DovecotHost(path)
        assert host.ask("alice@example.test", app) == OK
        host.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


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
