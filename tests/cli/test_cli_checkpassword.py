"""`checkpassword` and `helper`: what a mail server's one login comes to, through the bridge of a running server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailauth.accounts import apppasswords
from mailauth.cli import asking
from mailauth.cli.asking import MAX_SHOWN_BYTES, NotJudged, Shown
from site_of_tests import ACTOR, Site

ALICE, CHINESE, LONG = "alice@example.test", "\u738b\u5c0f\u660e@example.test", "long@example.test"
WEB = "correct horse battery"
OTHER_WEB = "\u6b63\u786e\u7684\u5bc6\u7801 p\u00e4ss"
LONG_WEB = "x" * 1000
TELLING = "import json, os, sys; json.dump((os.getcwd(), dict(os.environ), sys.argv), open(sys.argv[1], 'w'))"
KINDS = ("checkpassword", "helper")
LATER = {"checkpassword": 111, "helper": 2}
each_kind = pytest.mark.parametrize("kind", KINDS)


@dataclass
class World:
    site: Site
    socket: Path
    app: str
    revoked: str


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="chk", dir="/tmp") as name:
        folder = Path(name)
        table = f'[[bridge]]\nkind = "dovecot-auth"\naddress = "unix:{folder}/auth"\n'
        site = Site(folder, sections=f"[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\n{table}")
        site.add(ALICE, WEB, mode=True)
        revoked = site.mint(ALICE, label="revoked")
        apppasswords.revoke(site.store, ALICE, ids=[revoked.id], actor=ACTOR)
        site.add(CHINESE, OTHER_WEB)
        site.add(LONG, LONG_WEB)
        with site.serving():
            yield World(site, folder / "auth", site.mint(ALICE).password, revoked.password)


def started(words: list[str], said: bytes, descriptor: int, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """One program that reads this from this descriptor."""
    command = [sys.executable, "-m", "mailauth", *words]
    if descriptor == 0:
        return subprocess.run(command, input=said, capture_output=True, env=os.environ | environment, check=False)
    with tempfile.NamedTemporaryFile() as file:
        file.write(said)
        file.flush()
        shell = ["sh", "-c", 'exec "$@" 3<"$0"', file.name, *command]
        nothing = subprocess.DEVNULL
        return subprocess.run(shell, stdin=nothing, capture_output=True, env=os.environ | environment, check=False)


def ask(kind: str, place: Path | str, login: str, password: bytes, **environment: str) -> int:
    """The exit code. What checkpassword becomes ends with 42."""
    environment = {"SERVICE": "smtp", **environment}
    words = [kind, "--socket", str(place)]
    if kind == "helper":
        done = started(words, login.encode() + b"\n" + password + b"\n", 0, **environment)
    else:
        words += ["sh", "-c", "exit 42"]
        done = started(words, login.encode() + b"\0" + password + b"\0\0", 3, **environment)
    for shown in (login.encode(), password):
        assert len(shown) < 6 or shown not in done.stdout + done.stderr
    return 0 if kind == "checkpassword" and done.returncode == 42 else done.returncode


CASES = [
    (ALICE, "app", 0),
    ("Alice@EXAMPLE.test", "app", 0),
    (ALICE, b"wrong", 1),
    (ALICE, "revoked", 1),
    (ALICE, WEB.encode(), 1),
    (ALICE, b"", 1),
    (ALICE, b"\xff\xfe", 1),
    (CHINESE, OTHER_WEB.encode(), 0),
    (CHINESE, OTHER_WEB.encode()[:-1], 1),
    (LONG, LONG_WEB.encode(), 0),
    (LONG, LONG_WEB.encode()[:-1] + b"y", 1),
    (LONG, b"x" * 5000, 1),
    ("nobody@example.test", "app", 1),
    ("*", "app", 1),
    (f"{ALICE}\tuser=x", "app", 1),
    ("", b"", 1),
]


@each_kind
@pytest.mark.parametrize(("login", "password", "code"), CASES)
def test_what_it_comes_to(world: World, kind: str, login: str, password: str | bytes, code: int) -> None:
    shown = getattr(world, password).encode() if isinstance(password, str) else password
    assert ask(kind, world.socket, login, shown) == code


@each_kind
def test_the_client_and_its_service_are_on_record(world: World, kind: str) -> None:
    client = {"checkpassword": "203.0.113.3", "helper": "2001:db8::3"}[kind]
    told = {"SERVICE": "pop3", "PROTO": "TCP", "TCPREMOTEIP": client, "AUTH_SECURED": "TLS"}
    assert ask(kind, world.socket, ALICE, world.app.encode(), **told) == 0
    world.site.logged(f"login service=pop3 login={ALICE} peer={client} tls=yes verdict=accept")


@each_kind
def test_without_a_server_nobody_is_refused(world: World, kind: str, tmp_path: Path) -> None:
    assert ask(kind, tmp_path / "nothing", ALICE, b"wrong") == LATER[kind]
    assert ask(kind, world.socket, ALICE, b"wrong", SERVICE="") == LATER[kind]
    assert ask(kind, world.socket, ALICE, b"wrong", SERVICE="ldap") == LATER[kind]  # which it does not serve
    assert ask(kind, world.socket, ALICE, b"wrong", SERVICE="smtp\trip=1") == LATER[kind]


@each_kind
def test_too_much_is_not_judged(world: World, kind: str) -> None:
    code = {"checkpassword": 2, "helper": 2}[kind]
    assert ask(kind, world.socket, ALICE, b"x" * MAX_SHOWN_BYTES) == code


@pytest.mark.parametrize(
    "said", [b"", b"a@example.test", b"a@example.test\0", b"a\0b", b"a\0b\0c\0d\0", b"a\0b\0c\0d"], ids=repr
)
def test_what_is_not_said_as_the_interface_has_it_is_2(world: World, said: bytes) -> None:
    done = started(["checkpassword", "--socket", str(world.socket), "--service", "imap", "true"], said, 3)
    assert done.returncode == 2, done


@pytest.mark.parametrize("said", [b"", b"\n", b"a@example.test\n", b"a\nb\nc\n", b"a\0\nb\n"], ids=repr)
def test_the_same_on_standard_input(world: World, said: bytes) -> None:
    done = started(["helper", "--socket", str(world.socket), "--service", "imap"], said, 0)
    assert done.returncode == 2, done


def test_without_a_descriptor_it_is_misused(world: World) -> None:
    words = [sys.executable, "-m", "mailauth", "checkpassword", "--socket", str(world.socket), "true"]
    done = subprocess.run(["sh", "-c", 'exec "$@" 3<&-', "sh", *words], capture_output=True, check=False)
    assert (done.returncode, b"descriptor 3" in done.stderr) == (2, True)


def test_the_helper_without_an_input(world: World) -> None:
    words = [sys.executable, "-m", "mailauth", "helper", "--socket", str(world.socket), "--service", "imap"]
    done = subprocess.run(["sh", "-c", 'exec "$@" 0<&-', "sh", *words], capture_output=True, check=False)
    assert (done.returncode, b"standard input" in done.stderr) == (2, True)


def test_a_lookup_without_a_password_lets_nobody_in(world: World) -> None:
    """Dovecot asks so for a user database."""
    assert ask("checkpassword", world.socket, ALICE, world.app.encode(), AUTHORIZED="1") == 111


def test_the_helper_does_not_wait_for_the_end_of_its_input(world: World) -> None:
    """maddy leaves it open until the helper has ended."""
    words = [sys.executable, "-m", "mailauth", "helper", "--socket", str(world.socket), "--service", "imap"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(f"{ALICE}\n".encode())
        process.stdin.flush()
        process.stdin.write(f"{world.app}\n".encode())
        process.stdin.flush()
        assert process.wait(30) == 0


def test_a_name_with_a_line_end_lets_nobody_in(world: World) -> None:
    """As maddy would hand it on: what comes behind it would be taken for the password."""
    said = f"{ALICE}\n{world.app}\nwhatever the password is\n".encode()
    done = started(["helper", "--socket", str(world.socket), "--service", "imap"], said, 0)
    assert done.returncode == 2


def become(
    world: World, login: str, password: str, tmp_path: Path, *options: str
) -> tuple[str, dict[str, str], list[str]]:
    """Where the program begins, with which environment and arguments."""
    words = ["checkpassword", "--socket", str(world.socket), "--service", "pop3", *options]
    program = [sys.executable, "-c", TELLING, str(tmp_path / "told"), "--socket", "its own"]
    said = f"{login}\0{password}\0\0".encode()
    done = started([*words, *program], said, 3, HOME="/root", EXTRA="kept")
    assert done.returncode == 0, done
    where, environment, arguments = json.loads((tmp_path / "told").read_text())
    return where, environment, arguments


@pytest.mark.parametrize("login", ["ALICE@example.test", CHINESE])
def test_what_it_becomes(world: World, tmp_path: Path, login: str) -> None:
    password = world.app if login.isascii() else OTHER_WEB
    where, environment, words = become(world, login, password, tmp_path)
    assert environment["USER"] == login.lower()
    assert environment["EXTRA"] == "kept"
    assert "HOME" not in environment
    assert where == str(Path.cwd())
    assert words[-2:] == ["--socket", "its own"]
    assert password not in repr((environment, words))


def test_its_home(world: World, tmp_path: Path) -> None:
    place = tmp_path / "example.test" / "alice"
    place.mkdir(parents=True)
    where, environment, _ = become(world, ALICE, world.app, tmp_path, "--home", f"{tmp_path}/{{domain}}/{{local}}")
    assert (where, environment["HOME"]) == (str(place), str(place))
    for home in (f"{tmp_path}/nothing", "/\0"):
        words = ["checkpassword", "--socket", str(world.socket), "--service", "pop3", "--home", home.replace("\0", "%")]
        done = started([*words, "true"], f"{ALICE}\0{world.app}\0\0".encode(), 3)
        assert (done.returncode, b"cannot be started" in done.stderr) == (111, True)


def test_a_name_that_is_no_folder_s_is_not_put_into_a_path(world: World) -> None:
    login = world.site.add("a/b@example.test", WEB)
    words = ["checkpassword", "--socket", str(world.socket), "--service", "pop3"]
    said = f"{login}\0{WEB}\0\0".encode()
    assert started([*words, "--home", "/tmp", "true"], said, 3).returncode == 0
    assert started([*words, "--home", "/tmp/{local}", "true"], said, 3).returncode == 111


def test_a_program_that_is_not_there(world: World) -> None:
    words = ["checkpassword", "--socket", str(world.socket), "--service", "pop3", "/nonexistent/program"]
    done = started(words, f"{ALICE}\0{world.app}\0\0".encode(), 3)
    assert (done.returncode, b"/nonexistent/program cannot be started" in done.stderr) == (111, True)


def test_what_it_becomes_dies_of_a_closed_pipe_as_programs_do(world: World) -> None:
    words = ["checkpassword", "--socket", str(world.socket), "--service", "pop3", "grep", "SigIgn", "/proc/self/status"]
    done = started(words, f"{ALICE}\0{world.app}\0\0".encode(), 3)
    ignored = int(done.stdout.split()[1], 16)  # what the tests themselves ignore is no business of ours
    assert not ignored & 1 << signal.SIGPIPE - 1


def test_the_socket_is_found_by_the_configuration(world: World, tmp_path: Path) -> None:
    said = f"{ALICE}\n{world.app}\n".encode()
    words = ["helper", "--service", "imap", "--config"]
    assert started([*words, str(world.site.config)], said, 0).returncode == 0
    assert started([*words, str(tmp_path / "none")], said, 0).returncode == 2
    text = world.site.config.read_text().partition("[[bridge]]")[0]
    other = world.site.folder / "other.toml"
    other.write_text(text)
    done = started([*words, str(other)], said, 0)
    assert (done.returncode, b"dovecot-auth" in done.stderr) == (2, True)


@each_kind
def test_forty_at_once_half_of_them_wrong(world: World, kind: str) -> None:
    """By the client itself: forty processes would only measure the machine."""
    answers: dict[int, bytes | None] = {}

    def one(number: int) -> None:
        password = world.app if number % 2 else f"wrong {number}"
        answers[number] = asking.ask(str(world.socket), Shown(ALICE.encode(), password.encode(), "imap", "", True))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[number] for number in range(40)] == [None, ALICE.encode()] * 20


# ---- what a server may say


@contextlib.contextmanager
def server(said: bytes, answer: bytes | None) -> Iterator[str]:
    """Says this, reads one request, and answers so; None: says nothing more, and stays."""
    with tempfile.TemporaryDirectory(prefix="chk", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{folder}/s")
        sock.listen()
        over = threading.Event()

        def serve() -> None:
            peer, _ = sock.accept()
            with peer, contextlib.suppress(OSError):
                peer.sendall(said)
                heard = b""
                while b"\tresp=" not in heard and (part := peer.recv(4096)):
                    heard += part
                if answer is None:
                    over.wait(30)
                else:
                    peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"{folder}/s"
        finally:
            over.set()
            thread.join()


GREETING = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0\nDONE\n"
SHOWN = Shown(ALICE.encode(), b"secret", "imap", "", False)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"OK\t1\tuser=alice@example.test\n", ALICE.encode()),
        (b"OK\t1\tother=x\tuser=a\xc3\xa4@example.test\n", b"a\xc3\xa4@example.test"),
        (b"FAIL\t1\tuser=x\n", None),
        (b"FAIL\t1\tuser=x\tcode=user_disabled\treason=temp\n", None),
        (b"FAIL\t1\n", None),
    ],
)
def test_a_clear_answer(answer: bytes, told: bytes | None) -> None:
    with server(GREETING, answer) as path:
        assert asking.ask(path, SHOWN) == told


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"\n", b"OK\t1\n", b"OK\t1\tuser=a\tuser=b\n", b"OK\t2\tuser=a\n", b"OK\t1\tuser=a", b"OK\n"),
        *(b"FAIL\t1\tuser=x\tcode=temp_fail\ttemp\n", b"FAIL\t1\ttemp\n", b"FAIL\t1\tcode=temp_fail\n"),
        *(b"FAIL\t2\n", b"FAIL\t1", b"CONT\t1\t\n", b"x" * 10_000 + b"\n"),
    ],
)
def test_whatever_else_is_said_judges_nobody(answer: bytes) -> None:
    with server(GREETING, answer) as path, pytest.raises(NotJudged):
        asking.ask(path, SHOWN)


@pytest.mark.parametrize("greeting", [b"VERSION\t2\t0\nDONE\n", b"HTTP/1.1 200 OK\n" * 200, b"VERSION\t1\t2\n", b""])
def test_another_server(greeting: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_S", 0.2)
    with server(greeting, b"") as path, pytest.raises(NotJudged):
        asking.ask(path, SHOWN)


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_S", 0.2)
    with server(GREETING, None) as path, pytest.raises(NotJudged):
        asking.ask(path, SHOWN)


@each_kind
def test_a_start_costs_little(kind: str) -> None:
    """What takes long to import, or is no business of a program that only asks."""
    code = (
        "import sys\n"
        "before = set(sys.modules)  # whoever measures what is run loads much\n"
        "from mailauth.cli.main import cli\n"
        f"cli.get_command(None, {kind!r})\n"
        "import mailauth.cli.asking\n"
        "print(*sys.modules.keys() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {
        "sqlalchemy",
        "nacl",
        "asyncio",
        "ssl",
        "sqlite3",
        "uvloop",
        "pymap",
        "cryptography",
        "psycopg",
    }
    assert "mailauth.config" not in done.stdout.split()
