"""`mailauth serve` and its keeper as they run: what each of them knows, and what remains when one of them dies."""

from __future__ import annotations

import base64
import contextlib
import imaplib
import os
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from site_of_tests import SERVING_S, Site

ALICE, WEB = "alice@example.test", "her own secret"
MASTER, KEY = "the master password of masters", "doveadm's key of keys"
SHOWN = base64.b64encode(f"{ALICE}\0proxy\0{MASTER}".encode()).decode()

as_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root looks into another process's memory"
)


class Imap(socketserver.StreamRequestHandler):
    """Lets everybody in who shows the master password for her, and says OK to all that comes then."""

    def handle(self) -> None:
        self.wfile.write(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")
        with contextlib.suppress(OSError):
            for line in self.rfile:
                tag, _, words = line.strip().partition(b" ")
                if words.startswith(b"AUTHENTICATE") and not words.endswith(SHOWN.encode()):
                    self.wfile.write(tag + b" NO no\r\n")
                else:
                    self.wfile.write(tag + b" OK [CAPABILITY IMAP4rev1] done\r\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True


@pytest.fixture
def imap_port() -> Iterator[int]:
    with Server(("127.0.0.1", 0), Imap) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


SECTIONS = """\
[replies]
refusal_delay_s = 0
[throttle]
enabled = false
[mailbox]
kind = "backend"
[backends.here]
imap = "127.0.0.1:{port}"
pop3 = "127.0.0.1:{port}"
smtp = "127.0.0.1:{port}"
tls = "off"
user = "proxy"
password_file = "master"
[[bridge]]
kind = "dovecot-lua"
address = "unix:lua"
token_file = "token"
doveadm_url = "http://127.0.0.1:1"
doveadm_key_file = "doveadm.key"
"""
# Whoever opens a file is written down, as Python tells it (PEP 578).
WATCH = """\
import os, sys

def watch(event, arguments, record=os.environ["OPENED"]):
    if event == "open" and str(arguments[0]).endswith(("/master", "/doveadm.key")):
        file = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{os.getpid()} {os.path.basename(arguments[0])}\\n".encode())
        os.close(file)

sys.addaudithook(watch)
"""


@dataclass
class Watched:
    """A site whose back end is ours, and where it is written down who opens the secrets."""

    site: Site
    opened: Path = field(init=False)

    def __post_init__(self) -> None:
        folder = self.site.folder
        self.opened = folder / "opened"
        (folder / "python").mkdir()
        (folder / "python" / "sitecustomize.py").write_text(WATCH)
        for name, content in {"master": MASTER, "doveadm.key": KEY, "token": "a token of 16 characters"}.items():
            (folder / name).write_text(content + "\n")
        self.site.add(ALICE, WEB)

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.site.folder / "python"), "OPENED": str(self.opened)}

    def readers(self) -> set[tuple[int, str]]:
        """Which process opened which secret."""
        lines = self.opened.read_text().splitlines() if self.opened.exists() else []
        return {(int(line.split()[0]), line.split()[1]) for line in lines}

    def enter(self) -> imaplib.IMAP4:
        """A session behind us."""
        client = self.site.imap("implicit")
        try:
            client.login(ALICE, WEB)
        except imaplib.IMAP4.error as refused:
            pytest.fail(f"{refused}: {self.site.log}")
        assert client.noop()[0] == "OK"
        return client

    def works(self) -> None:
        self.enter().shutdown()


@pytest.fixture
def watched(tmp_path: Path, imap_port: int) -> Watched:
    return Watched(Site(tmp_path, sections=SECTIONS.format(port=imap_port)))


def keeper_of(serve: subprocess.Popen[bytes]) -> int:
    """The one child of a server."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(serve.pid)], capture_output=True, text=True, check=True)
    (pid,) = found.stdout.split()
    return int(pid)


CHUNK_BYTES = 2**20


def in_memory(pid: int, secret: str) -> bool:
    """Whether it stands anywhere in what this process has written to."""
    sought = secret.encode()
    maps = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for place, rights, *_ in maps:
            begin, end = (int(part, 16) for part in place.split("-"))
            for at in range(begin, end if rights.startswith("rw") else begin, CHUNK_BYTES):
                with contextlib.suppress(OSError):  # gone meanwhile, or the kernel's own
                    if sought in os.pread(memory.fileno(), min(CHUNK_BYTES + len(sought), end - at), at):
                        return True
    return False


def is_there(pid: int) -> bool:
    return subprocess.run(["ps", "-p", str(pid)], capture_output=True, check=False).returncode == 0


def wait_until_gone(pid: int) -> None:
    give_up_at = time.monotonic() + SERVING_S
    while is_there(pid):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


@as_root
def test_the_secrets_are_in_the_keeper_and_nowhere_else(watched: Watched) -> None:
    with watched.site.serving(**watched.environment) as serve:
        watched.works()
        keeper = keeper_of(serve)
        assert watched.readers() == {(keeper, "master"), (keeper, "doveadm.key")}
        for secret in (MASTER, KEY, SHOWN):
            assert not in_memory(serve.pid, secret), secret
        assert in_memory(keeper, MASTER)
        assert in_memory(serve.pid, "backends.here")  # it is looked for where it would be
        for pid in (keeper, serve.pid):
            for place in ("cmdline", "environ"):
                said = Path(f"/proc/{pid}/{place}").read_bytes()
                assert not any(secret.encode() in said for secret in (MASTER, KEY, SHOWN))
    log = watched.site.log
    assert not any(secret in log for secret in (MASTER, KEY, SHOWN))


def test_a_keeper_that_is_killed_takes_no_session_along_and_comes_back(watched: Watched) -> None:
    with watched.site.serving() as serve:
        client = watched.enter()
        first = keeper_of(serve)
        os.kill(first, signal.SIGKILL)
        watched.site.logged("the keeper has gone")
        watched.works()  # waits until there is one again
        assert client.noop()[0] == "OK"
        client.shutdown()
        assert keeper_of(serve) != first
        watched.site.logged("there is a keeper again")


def test_the_keeper_ends_with_the_server_and_by_no_signal_of_its(watched: Watched) -> None:
    with watched.site.serving() as serve:
        keeper = keeper_of(serve)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(keeper, number)
        watched.works()
        assert keeper_of(serve) == keeper
    wait_until_gone(keeper)
    with watched.site.serving() as serve:
        keeper = keeper_of(serve)
        serve.kill()
        serve.wait(SERVING_S)
        wait_until_gone(keeper)
        serve.returncode = 0  # as the site expects of it


def test_without_its_secret_nothing_is_served(watched: Watched) -> None:
    (watched.site.folder / "master").unlink()
    for command in (("serve",), ("config", "check")):
        said = watched.site.run(*command)
        assert said.returncode == 78
        assert "[backends.here] password_file: cannot read " in said.stderr


def test_where_there_is_nothing_to_keep_there_is_no_keeper(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.serving() as serve:
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(serve.pid)], capture_output=True, text=True, check=False
        )
        assert not found.stdout.split()


# ---- as a service of its own


@contextlib.contextmanager
def keeping(watched: Watched) -> Iterator[subprocess.Popen[bytes]]:
    site = watched.site
    log = site.folder / "keeper.log"
    words = [sys.executable, "-m", "mailauth", "keeper", "--config", str(site.config)]
    with log.open("w") as out:
        process = subprocess.Popen(words, env=os.environ | watched.environment, stderr=out)
    try:
        give_up_at = time.monotonic() + SERVING_S
        while "listening keeper unix:" not in log.read_text():
            assert time.monotonic() < give_up_at, log.read_text()
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(SERVING_S)
    assert code == 0, log.read_text()


def with_service(watched: Watched, keys: str = "") -> None:
    file = watched.site.config
    file.write_text(file.read_text() + f'[keeper]\naddress = "unix:keeper"\n{keys}')


def test_a_keeper_of_its_own_serves_a_server_that_reads_no_secret(watched: Watched) -> None:
    with_service(watched)
    place = watched.site.folder / "keeper"
    with keeping(watched) as first, watched.site.serving(**watched.environment):
        watched.works()
        assert {pid for pid, _ in watched.readers()} == {first.pid}
        client = watched.enter()
        first.send_signal(signal.SIGTERM)
        first.wait(SERVING_S)
        assert not place.exists()
        with keeping(watched) as second:
            watched.works()
            assert client.noop()[0] == "OK"
            client.shutdown()
            assert {pid for pid, _ in watched.readers()} == {first.pid, second.pid}


def test_without_the_service_nothing_is_served(watched: Watched) -> None:
    with_service(watched)
    said = watched.site.run("serve")
    assert said.returncode == 78
    assert "nobody listens at " in said.stderr
    assert "start `mailauth keeper`, or leave [keeper] address out" in said.stderr


CONNECT = """\
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
sys.stdout.write(repr(sock.recv(4)))
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="mta", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@as_root
def test_who_may_not_ask_the_keeper_is_turned_away(watched: Watched, public: Path) -> None:
    nobody = 65534
    site, place = watched.site, public / "keeper"
    site.config.write_text(site.config.read_text() + f'[keeper]\naddress = "unix:{place}"\n')

    def connected() -> str:
        place.chmod(0o666)  # else it would be the socket's mode that keeps him out
        words = [sys.executable, "-I", "-S", "-c", CONNECT, str(place), str(nobody)]
        said = subprocess.run(words, capture_output=True, text=True, check=False)
        return said.stdout + said.stderr

    with keeping(watched):
        assert connected() == "b''"
        assert f"a process of user {nobody} was turned away" in (site.folder / "keeper.log").read_text()
    site.config.write_text(site.config.read_text() + f'users = ["{nobody}"]\n')
    with keeping(watched):
        assert connected() == repr(b"\0\0\0\x0e")


WRONG = {
    '[keeper]\naddress = "unix:keeper"\nusers = ["no-such-user"]\n': "[keeper]: there is no user 'no-such-user'",
    '[keeper]\naddress = "unix:nowhere/keeper"\n': "[keeper] address: cannot listen on ",
    "": "[keeper] address: is missing; ",
}


@pytest.mark.parametrize("keys", WRONG)
def test_what_keeps_a_service_from_starting_is_said(watched: Watched, keys: str) -> None:
    watched.site.config.write_text(watched.site.config.read_text() + keys)
    said = watched.site.run("keeper")
    assert said.returncode == 78
    assert WRONG[keys] in said.stderr


def test_a_service_without_anything_to_keep_does_not_start(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.config.write_text(site.config.read_text() + '[keeper]\naddress = "unix:keeper"\n')
    said = site.run("keeper")
    assert (said.returncode, "nothing is to be kept" in said.stderr) == (78, True)
