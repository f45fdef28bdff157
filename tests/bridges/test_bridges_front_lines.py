"""Our IMAP and POP3 in front of Debian's Dovecot, set up as docs/backend.md has it: what clients of it get to see."""

from __future__ import annotations

import contextlib
import imaplib
import itertools
import json
import os
import poplib
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from http_daemons import Dovecot, need_dovecot
from mail_daemons import PATIENCE_S, adapted, documented, public_folder

from mail_programs import READERS, Visit, need
from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from site_of_tests import ACTOR, DEFERRED, REFUSED, WRONG_PASSWORD_WORDS, Site, free_ports, said, said_plainly
from stage import bytewise, whole

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mail-daemons")]

ALICE, CHINESE = "alice@example.test", "王小明@example.test"
AWAY, MISTAKEN, SILENT, STARRED = "a@away.test", "a@mistaken.test", "a@silent.test", "a*b@example.test"
WEB = "correct horse battery"
MASTER_PASSWORD = "the proxy's own, which no client says"
LINES = (Service.IMAP, Service.POP3)
PORTS_TOO = "login_log_format_elements = user=<%u> method=%m rip=%r rport=%b lip=%l lport=%a %c session=<%{session}>\n"
DOORS = list(itertools.product(LINES, ("implicit", "starttls", "off")))
MESSAGE = b"From: <bob@example.test>\r\nSubject: dots\r\n\r\n.\r\n..\r\n.one\r\n"
CUT_S = 3.0  # after a revocation: 1 s is promised, and the machine may be busy

each_door = pytest.mark.parametrize("door", DOORS, ids="-".join)


class ByTheBook(Dovecot):
    """As the page has it, but for ports and files."""

    def text(self) -> str:
        changes = {
            "10143": str(self.ports[Service.IMAP]),
            "10110": str(self.ports[Service.POP3]),
            "/etc/dovecot/mailauth-masters": f"{self.folder.parent}/masters",
            "/var/spool/postfix/private/auth": f"{self.folder.parent}/asked",
            "user = postfix": "user = root",
            "group = postfix": "group = root",
        }
        return adapted(super().text(), changes)


@dataclass
class World:
    """A site in front of Dovecot."""

    site: Site
    dovecot: Dovecot

    @contextlib.contextmanager
    def imap(self, login: str = ALICE, tls: str = "off") -> Iterator[imaplib.IMAP4]:
        with self.site.client(Service.IMAP, tls) as client:
            assert isinstance(client, imaplib.IMAP4)
            assert said(client, login, WEB).startswith(b"OK ")
            yield client

    @contextlib.contextmanager
    def raw(self, service: Service) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.site.ports[service, "off"]), PATIENCE_S) as sock:
            yield sock

    def dovecot_says(self, pattern: str, since: int = 0) -> str:
        """The first line of Dovecot's log in which this is found; it has a while to come."""
        give_up_at = time.monotonic() + PATIENCE_S
        while not (found := re.search(f"^.*{pattern}.*$", self.dovecot.log.read_text()[since:], re.MULTILINE)):
            assert time.monotonic() < give_up_at, self.dovecot.log.read_text()[since:]
            time.sleep(0.02)
        return found[0]

    def judged(self, login: str) -> set[str]:
        """What the audit log says of this account's logins, once it says of a refusal; it is written behind."""
        give_up_at = time.monotonic() + PATIENCE_S
        while "reject" not in (outcomes := {row["outcome"] for row in self.audit(login)}):
            assert time.monotonic() < give_up_at, outcomes
            time.sleep(0.1)
        return outcomes

    def audit(self, login: str) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = json.loads(self.site.run("audit", login, "--json").stdout)
        return rows

    @property
    def written(self) -> int:
        return len(self.dovecot.log.read_text())


def configured(dovecot: Dovecot, silent: int) -> str:
    """As the page has it, but for ports and files; and back ends of which one or the other is wrong."""
    (dovecot.folder.parent / "secret").write_text(MASTER_PASSWORD + "\n")
    (dovecot.folder.parent / "mistaken").write_text("another\n")
    changes = {
        "10143": str(dovecot.ports[Service.IMAP]),
        "10110": str(dovecot.ports[Service.POP3]),
        "/etc/mailauth/master": f"{dovecot.folder.parent}/secret",
    }
    toml = adapted(documented("[mailbox]\n", "backend.md"), changes)
    nobody = free_ports(1)[0]
    ports = {
        "away": (nobody, nobody),
        "silent": (silent, silent),
        "mistaken": (dovecot.ports[Service.IMAP], dovecot.ports[Service.POP3]),
    }
    return toml + "".join(
        f'[backends.{name}]\nimap = "127.0.0.1:{imap}"\npop3 = "127.0.0.1:{pop3}"\ntls = "off"\nuser = "proxy"\n'
        f'password_file = "{dovecot.folder.parent}/{"mistaken" if name == "mistaken" else "secret"}"\n'
        f'domains = ["{name}.test"]\n'
        for name, (imap, pop3) in ports.items()
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    need_dovecot()
    with public_folder() as folder, socket.create_server(("127.0.0.1", 0)) as silent:
        (folder / "masters").write_text(f"proxy:{{PLAIN}}{MASTER_PASSWORD}\n")
        by_the_book = documented("# Who may log in as somebody else", "backend.md")
        dovecot = ByTheBook(folder / "dovecot", LINES, PORTS_TOO + by_the_book)
        site = Site(
            tmp_path_factory.mktemp("front"),
            "[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\nmax_connections_per_source = 1000\n"
            + configured(dovecot, silent.getsockname()[1]),
            tls_off=True,
        )
        for login in (ALICE, CHINESE, AWAY, MISTAKEN, SILENT, STARRED):
            site.add(login, WEB)
        with dovecot.running(), site.serving():
            yield World(site, dovecot)


def clear(world: World, login: str) -> None:
    """Empty this mailbox."""
    shutil.rmtree(world.dovecot.folder / "mail" / login, ignore_errors=True)


def filled(world: World, login: str, *messages: bytes) -> None:
    clear(world, login)
    with world.imap(login) as client:
        for message in messages:
            assert client.append("INBOX", None, None, message)[0] == "OK"


# ---- clients


@pytest.mark.parametrize("login", [ALICE, CHINESE])
@pytest.mark.parametrize("tls", ["implicit", "starttls", "off"])
def test_imap_is_dovecots_from_login_on(world: World, tls: str, login: str) -> None:
    clear(world, login)
    with world.imap(login, tls) as client:
        assert b"ESORT" in client.capability()[1][-1]  # none of ours
        assert client.append("INBOX", None, None, MESSAGE)[0] == "OK"
        assert client.select() == ("OK", [b"1"])
        assert client.fetch("1", "(BODY[])")[1][0][1] == MESSAGE


@pytest.mark.parametrize("login", [ALICE, CHINESE])
@pytest.mark.parametrize("tls", ["implicit", "starttls", "off"])
def test_pop3_is_dovecots_from_login_on(world: World, tls: str, login: str) -> None:
    filled(world, login, MESSAGE)
    with world.site.client(Service.POP3, tls) as client:
        assert isinstance(client, poplib.POP3)
        assert "UIDL" not in client.capa()
        assert said_plainly(client, login, WEB).startswith(b"+OK") if login.isascii() else said(client, login, WEB)
        assert "UIDL" in client.capa()
        assert client.stat()[0] == 1
        assert b"\r\n".join(client.retr(1)[1]) + b"\r\n" == MESSAGE
        assert client.quit().startswith(b"+OK")


@pytest.mark.parametrize(
    ("reader", "tls"),
    [*((reader, "implicit") for reader in READERS), ("mbsync", "starttls"), ("curl-pop3", "starttls")],
)
def test_programs_read_through_us(world: World, tmp_path: Path, reader: str, tls: str) -> None:
    need(reader.partition("-")[0])
    filled(world, ALICE, MESSAGE, MESSAGE)
    ended, mails = READERS[reader](Visit(world.site, tmp_path, tls, ALICE, WEB))
    assert ended.code == 0, ended.output
    assert len(mails) == 2, ended.output
    assert all(b"Subject: dots" in mail for mail in mails)


@pytest.mark.parametrize("service", LINES)
def test_dovecot_knows_where_the_client_is(world: World, service: Service) -> None:
    since = world.written
    with socket.create_connection(
        ("127.0.0.1", world.site.ports[service, "off"]), PATIENCE_S, source_address=("127.0.0.7", 0)
    ) as sock:
        sock.sendall(
            f"a LOGIN {ALICE} {{{len(WEB)}+}}\r\n{WEB}\r\n".encode()
            if service is Service.IMAP
            else f"USER {ALICE}\r\nPASS {WEB}\r\n".encode()
        )
        line = world.dovecot_says(rf"{service}-login: Info: Login: user=<{ALICE}>", since)
        assert f"rip=127.0.0.7, rport={sock.getsockname()[1]}, " in line
    if service is Service.IMAP:  # in POP3, Dovecot 2.3 takes it nowhere
        assert f"lip=127.0.0.1, lport={world.site.ports[service, 'off']}, " in line


LOGINS = {
    "login": (Service.IMAP, f'a LOGIN {ALICE} "{WEB}"\r\n'.encode()),
    "literals": (Service.IMAP, f"a LOGIN {{{len(ALICE)}+}}\r\n{ALICE} {{{len(WEB)}+}}\r\n{WEB}\r\n".encode()),
    "pass": (Service.POP3, f"USER {ALICE}\r\nPASS {WEB}\r\n".encode()),
}
BEHIND = {
    Service.IMAP: (b"b SELECT INBOX\r\nc APPEND INBOX {3+}\r\nA:B\r\nd LOGOUT\r\n", b"\r\nd OK "),
    Service.POP3: (b"NOOP\r\nSTAT\r\nQUIT\r\n", b"+OK Logging out"),
}


@pytest.mark.parametrize("at_once", [True, False], ids=["in one segment", "byte by byte"])
@pytest.mark.parametrize("way", LOGINS)
def test_what_is_sent_behind_the_login_is_done(world: World, way: str, at_once: bool) -> None:
    service, login = LOGINS[way]
    commands, last = BEHIND[service]
    with world.raw(service) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in (whole if at_once else bytewise)(login + commands):
            sock.sendall(part)
        heard = b""
        while more := sock.recv(65536):
            heard += more
    assert last in heard
    assert b"BAD" not in heard
    assert b"-ERR" not in heard


def test_idle_is_passed_through(world: World) -> None:
    clear(world, ALICE)
    with world.imap(tls="implicit") as idling, world.imap() as other:
        idling.select()
        idling.send(b"i IDLE\r\n")
        assert idling.readline().startswith(b"+ ")
        other.append("INBOX", None, None, MESSAGE)
        assert idling.readline() == b"* 1 EXISTS\r\n"
        idling.send(b"DONE\r\n")
        while not (line := idling.readline()).startswith(b"i OK"):
            assert line.startswith(b"* "), line


def test_twenty_mebibytes_go_both_ways(world: World) -> None:
    clear(world, ALICE)
    lines = Random(1).randbytes(20 * 2**20 // 2).hex().encode()
    big = b"Subject: big\r\n\r\n" + b"\r\n".join(lines[at : at + 998] for at in range(0, len(lines), 998)) + b"\r\n"
    with world.imap(tls="implicit") as client:
        assert client.append("INBOX", None, None, big)[0] == "OK"
        client.select()
        assert (client.fetch("1", "(BODY[])")[1][0][1] == big) is True
    clear(world, ALICE)


def test_forty_come_at_once(world: World) -> None:
    def visit(number: int) -> str:
        with world.imap(ALICE if number % 2 else CHINESE, "implicit" if number % 3 else "off") as client:
            return str(client.select()[0])

    with ThreadPoolExecutor(40) as pool:
        assert list(pool.map(visit, range(40))) == ["OK"] * 40


# ---- who gets in


@pytest.mark.parametrize("login", [AWAY, MISTAKEN, SILENT, STARRED])
def test_a_back_end_that_fails_is_no_wrong_password(world: World, login: str) -> None:
    def visit(service: Service) -> list[bytes]:
        with world.site.client(service, "off") as client:
            later = [said(client, login, WEB) for _ in range(1 if login == SILENT else 3)]
            assert said(client, login, "wrong horse battery") == REFUSED[service]
            return later

    with ThreadPoolExecutor(len(LINES)) as pool:
        for service, later in zip(LINES, pool.map(visit, LINES), strict=True):
            assert all(heard.startswith(DEFERRED[service]) for heard in later)
            assert not any(word in heard for word in WRONG_PASSWORD_WORDS for heard in later)
            assert f"{service}: {login} is told to try later: " in world.site.log
    assert {"accept", "reject"} <= (outcomes := world.judged(login))
    assert "defer" not in outcomes


def test_dovecot_takes_nobodys_own_password(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.dovecot.ports[Service.IMAP]), PATIENCE_S) as sock:
        sock.sendall(f'a LOGIN {ALICE} "{WEB}"\r\nb LOGOUT\r\n'.encode())
        heard = b""
        while more := sock.recv(65536):
            heard += more
    assert b"a NO [AUTHENTICATIONFAILED]" in heard


# ---- the end


@pytest.mark.parametrize("tls", ["implicit", "off"])
def test_a_revocation_cuts_an_idling_client_and_its_session_at_dovecot(world: World, tls: str) -> None:
    login = world.site.add(f"revoked-{tls}@example.test", WEB)
    minted, since = world.site.mint(login), world.written
    with world.site.client(Service.IMAP, tls) as client:
        assert isinstance(client, imaplib.IMAP4)
        client.login(login, minted.password)
        client.select()
        client.send(b"i IDLE\r\n")
        assert client.readline().startswith(b"+ ")
        shown = json.loads(world.site.run("sessions", login, "--json").stdout)
        assert [(one["login"], one["service"], one["app_password"]) for one in shown] == [(login, "imap", minted.id)]
        apppasswords.revoke(world.site.store, login, ids=[minted.id], actor=ACTOR)
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError, imaplib.IMAP4.abort):
            assert client.readline() == b""  # not a word
        assert time.monotonic() - began < CUT_S
    world.dovecot_says(rf"imap\({login}\).*(Connection closed|Disconnected)", since)
    assert json.loads(world.site.run("sessions", login, "--json").stdout) == []


def test_a_pop3_session_ends_when_its_service_is_switched_off(world: World) -> None:
    login = world.site.add("switched@example.test", WEB)
    with world.site.client(Service.POP3, "implicit") as client:
        assert isinstance(client, poplib.POP3)
        assert said(client, login, WEB).startswith(b"+OK")
        world.site.change(login, pop3=False)
        with pytest.raises((poplib.error_proto, OSError)):
            while True:
                client.noop()
                time.sleep(0.01)


def keeper_of(world: World) -> int:
    """The keeper's process id."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"mailauth.keeper.process" in words and str(world.site.config).encode() in words:
                return int(entry.name)
    raise AssertionError("there is no keeper")


def test_a_keeper_that_dies_costs_nobody_a_session_and_nobody_a_wrong_password(world: World) -> None:
    with world.imap(tls="implicit") as client:
        died = keeper_of(world)
        os.kill(died, signal.SIGKILL)
        assert client.select()[0] == "OK"
        give_up_at = time.monotonic() + PATIENCE_S
        while not (heard := world.site.ask(Service.IMAP, ALICE, WEB)).startswith(b"OK "):
            assert heard.startswith(DEFERRED[Service.IMAP]), heard
            assert time.monotonic() < give_up_at
        assert client.noop()[0] == "OK"
    assert keeper_of(world) != died
    assert "there is a keeper again" in world.site.log


def test_a_server_that_stops_leaves_nobody_at_dovecot(tmp_path: Path) -> None:
    need_dovecot()
    with public_folder() as folder, socket.create_server(("127.0.0.1", 0)) as silent:
        (folder / "masters").write_text(f"proxy:{{PLAIN}}{MASTER_PASSWORD}\n")
        dovecot = ByTheBook(folder / "dovecot", LINES, documented("# Who may log in as somebody else", "backend.md"))
        site = Site(tmp_path, configured(dovecot, silent.getsockname()[1]), tls_off=True)
        site.add(ALICE, WEB)
        world = World(site, dovecot)
        with dovecot.running():
            with site.serving(), site.client(Service.IMAP) as client:
                assert said(client, ALICE, WEB).startswith(b"OK ")
            world.dovecot_says(rf"imap\({ALICE}\).*(Connection closed|Disconnected|Logged out)")
