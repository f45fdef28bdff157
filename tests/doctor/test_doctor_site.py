"""A site alone: files, store, processes, clock, certificates, its own doors; each as it should be, and broken."""

from __future__ import annotations

import contextlib
import http.server
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from cryptography import x509
from examined import doctor
from mail_daemons import public_folder

from commandline import run
from mailauth.accounts import apppasswords, observations, trials
from mailauth.accounts.history import audit
from mailauth.attempt import Service
from mailauth.doctor.case import Case
from mailauth.doctor.checks import caches, clock
from mailauth.doctor.checks.certificate import dated, names
from mailauth.doctor.hosts import cyrus
from mailauth.doctor.hosts.host import Door, Host
from mailauth.doctor.rights import User
from mailauth.founding import certificates
from mailauth.interfaces import StoreUnavailable
from mailauth.keys import KeyRing
from site_of_tests import ACTOR, QUICK, Site, free_ports

ALICE, BOB, CAROL = "alice@example.test", "bob@example.test", "carol@example.test"
WEB = "correct horse battery"
PORTAL = '[portal]\naddress = "127.0.0.1:{}"\npublic_url = "http://localhost:{}"\nimap_server = "{}:993"\n'
PATIENCE_S = 30.0

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the loopback has one address, a proxy's too")


def made(folder: Path, sections: str = "[replies]\nrefusal_delay_s = 0\n") -> Site:
    site = Site(folder, sections=sections)
    (folder / "server.key").chmod(0o600)
    return site


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = made(tmp_path_factory.mktemp("site"))
    site.add(ALICE, WEB, mode=True)
    site.add(BOB, WEB, imap=False)
    site.add(CAROL, WEB)
    with site.serving():
        yield site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """One that nobody serves."""
    return made(tmp_path)


def execute(site: Site, statement: str) -> list[tuple[Any, ...]]:
    """Behind the store's back."""
    with contextlib.closing(
        sqlite3.connect(site.folder / "mailauth.db", isolation_level=None, timeout=10)
    ) as connection:
        return connection.execute(statement).fetchall()


# ---- the command


@linux
def test_a_site_that_is_right_has_no_problem(running: Site) -> None:
    seen = doctor(running, options=("--account", ALICE))
    assert seen.code == 0
    assert seen.of(level="problem") == []
    checks = {one["check"] for one in seen.findings if one["level"] == "ok"}
    assert {"configuration", "files", "store", "serving", "writable", "certificate", "offers", "logins"} <= checks
    assert len([one for one in seen.findings if one["check"] == "logins"]) == len(running.ports)


def test_what_is_found_is_said_in_lines_with_what_to_do(site: Site) -> None:
    said = run("doctor", "--config", str(site.config), "--only", "serving", "--only", "clock")
    assert said.code == 78
    assert said.out.splitlines() == [
        "PROBLEM      mailauth serve: no process serves this store",
        "             -> start it: `mailauth serve`, or its systemd unit",
        "not checked  clock: no other clock was asked",
        "             -> --clock-from https://HOST asks one by its Date header",
        "ok: 0, warning: 0, problem: 1, not checked: 1",
    ]
    assert said.err == "mailauth: 1 problem to mend\n"


def test_progress_is_shown_on_a_terminal_alone(site: Site) -> None:
    words = [sys.executable, "-m", "mailauth", "doctor", "--config", str(site.config), "--only", "clock"]
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=theirs, check=True, timeout=PATIENCE_S)
        assert b"looking at the clock ..." in os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"looking" not in done.stdout
    piped = subprocess.run(words, capture_output=True, check=True, timeout=PATIENCE_S)
    assert piped.stderr == b""


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--host", "http://localhost", "is no door; write imap://HOST:PORT"),
        ("--host", "imap://localhost:x", "is no door"),
        ("--host", "imap://alice@localhost", "is no door"),
        ("--server", "qmail", "names no mail server; write postfix, dovecot"),
        ("--only", "weather", "'weather' is none of configuration, files, store"),
        ("--clock-from", "ntp.example.org", "is no URL; write https://HOST"),
    ],
)
def test_wrong_options_are_usage(site: Site, option: str, value: str, told: str) -> None:
    said = run("doctor", "--config", str(site.config), option, value)
    assert said.code == 64
    assert told in said.err


# ---- configuration and files


def test_a_bridge_that_cannot_be_understood_is_found(site: Site) -> None:
    site.config.write_text(site.config.read_text() + '[[bridge]]\nkind = "dovecat"\naddress = "unix:x"\n')
    assert "there is no bridges plug-in named 'dovecat'" in doctor(site, "configuration").one(level="problem")["found"]


def test_a_key_file_that_others_can_read_is_found(site: Site) -> None:
    key = site.folder / "mailauth.key"
    assert doctor(site, "files").levels("key file") == {"ok"}
    key.chmod(0o644)
    found = doctor(site, "files").one("key file")
    assert found["level"] == "problem"
    assert f"chmod 600 {key}" in found["mend"]


def test_secrets_private_keys_and_the_configuration_are_not_for_others(site: Site) -> None:
    secret = site.folder / "token"
    secret.write_text("a token of this bridge's own\n")
    secret.chmod(0o640)
    table = '[[bridge]]\nkind = "http"\naddress = "127.0.0.1:8410"\nallow_tcp = true\ntoken_file = "token"\n'
    site.config.write_text(site.config.read_text() + table)
    site.config.chmod(0o644)
    assert doctor(site, "files").levels() == {"ok"}
    secret.chmod(0o644)
    (site.folder / "server.key").chmod(0o604)
    site.config.chmod(0o666)
    seen = doctor(site, "files")
    assert seen.one("secret file")["mend"] == f"chmod 0640 {secret}"
    assert "others may use it (mode 0604" in seen.one("private key")["found"]
    assert "others may change it (mode 0666" in seen.one("configuration")["found"]
    secret.unlink()
    assert "cannot be looked at: No such file" in doctor(site, "files").one("secret file")["found"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_socket_that_systemd_has_made_needs_no_folder_to_write_to() -> None:
    with public_folder() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        (folder / "private").mkdir(mode=0o700)
        (folder / "site").mkdir(mode=0o755)
        path = folder / "private" / "socket"
        site = made(folder / "site", f'[[bridge]]\nkind = "dovecot-auth"\naddress = "unix:{path}"\n')
        os.chown(folder / "site" / "mailauth.key", 65534, 65534)
        assert (
            f"may not write {folder}/private" in doctor(site, "writable").one("a socket's folder", "problem")["found"]
        )
        sock.bind(str(path))
        assert not doctor(site, "writable").of("a socket's folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_the_server_s_user_cannot_read_or_write_is_found() -> None:
    with public_folder() as folder:
        site = made(folder)
        os.chown(folder / "mailauth.key", 65534, 65534)  # nobody serves: its owner is who will
        seen = doctor(site, "files", "writable")
    assert "`mailauth serve` needs it" in seen.one("private key", "problem")["found"]
    assert re.search("may not write .*mailauth.db", seen.one("store ", "problem")["found"])
    assert f"may not write {folder}" in seen.one("mailboxes", "problem")["found"]
    assert "chown" in seen.one("the store's folder", "problem")["mend"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_a_keeper_of_its_own_reads_is_not_for_the_server() -> None:
    table = '[mailbox]\nkind = "backend"\n[backends.here]\nimap = "127.0.0.1:993"\npassword_file = "master"\n'
    with public_folder() as folder:
        site = made(folder)
        os.chown(folder / "mailauth.key", 65534, 65534)
        (folder / "master").write_text("secret\n")
        (folder / "master").chmod(0o600)
        site.config.write_text(site.config.read_text() + table)
        assert "`mailauth serve` needs it" in doctor(site, "files").one("/master", "problem")["found"]
        site.config.write_text(site.config.read_text() + '[keeper]\naddress = "unix:keeper"\n')
        assert doctor(site, "files").levels("/master") == {"ok"}


# ---- the store


def test_a_store_that_is_away_is_one_problem_and_the_rest_goes_on(site: Site) -> None:
    (site.folder / "mailauth.db").rename(site.folder / "away.db")
    seen = doctor(site, options=("--account", ALICE))
    problems = [one for one in seen.findings if one["level"] == "problem" and one["check"] == "store"]
    assert "there is no store" in problems[0]["found"]
    assert [one["level"] for one in seen.findings if one["check"] in {"serving", "logins"}] == ["not checked"] * 2
    assert {one["check"] for one in seen.findings} >= {"files", "certificate", "offers"}


def test_tables_of_another_version_are_found(site: Site) -> None:
    execute(site, "UPDATE mailauth_version SET version_num = '0001'")
    assert "`mailauth db upgrade`" in doctor(site, "store").one(level="problem")["mend"]


def test_another_key_file_is_found(site: Site) -> None:
    (site.folder / "mailauth.key").unlink()
    KeyRing.create(site.folder / "mailauth.key")
    found = doctor(site, "store").one("key file", "problem")
    assert "is not the one that" in found["found"]


def test_a_restored_backup_is_found(site: Site) -> None:
    database = site.folder / "mailauth.db"
    execute(site, f"VACUUM INTO '{site.folder}/backup.db'")
    run("account", "add", ALICE, "--password-stdin", "--config", str(site.config), stdin=f"{WEB}\n")
    for name in ("mailauth.db-wal", "mailauth.db-shm"):
        (site.folder / name).unlink(missing_ok=True)
    shutil.copy(site.folder / "backup.db", database)
    found = doctor(site, "store").one("store ", "problem")
    assert "an older backup seems to have been restored" in found["found"]
    assert "mailauth db restored" in found["mend"]


@pytest.mark.parametrize(("free", "level"), [(10 << 20, "problem"), (500 << 20, "warning"), (5 << 30, "ok")])
def test_room_for_the_store(site: Site, monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    status = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_files=100, f_favail=50)
    monkeypatch.setattr(os, "statvfs", lambda folder: status)
    found = doctor(site, "store").one("room in")
    assert found["level"] == level
    assert f"{free >> 20} MiB are free" in found["found"]


# ---- the process


def test_a_process_that_hangs_is_found(site: Site) -> None:
    with site.serving() as process:
        assert "answers" in doctor(site, "serving").one()["found"]
        process.send_signal(signal.SIGSTOP)
        try:
            found = doctor(site, "serving").one(level="problem")
        finally:
            process.send_signal(signal.SIGCONT)
    assert f"process {process.pid} at" in found["found"]
    assert "does not answer" in found["found"]
    assert "no process serves" in doctor(site, "serving").one(level="problem")["found"]


# ---- the clock


def test_the_clock_is_held_against_that_of_postgresql(postgres_database: Any, ring: KeyRing, tmp_path: Path) -> None:
    site = made(tmp_path)
    site.config.write_text(site.config.read_text().replace(site.url, postgres_database.url))
    seen = doctor(site, "clock")
    assert seen.one("clock, beside that of PostgreSQL")["level"] == "ok"


class Dated(http.server.BaseHTTPRequestHandler):
    offset = timedelta()

    def do_HEAD(self) -> None:
        self.send_response_only(200)
        self.send_header("Date", format_datetime(datetime.now(UTC) + type(self).offset, usegmt=True))
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@contextlib.contextmanager
def web_server(offset: timedelta) -> Iterator[str]:
    handler = type("Handler", (Dated,), {"offset": offset})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("ahead_s", "level"), [(0, "ok"), (12, "warning"), (-300, "problem")])
def test_the_clock_is_held_against_a_web_server_s_if_asked(site: Site, ahead_s: int, level: str) -> None:
    with web_server(timedelta(seconds=ahead_s)) as url:
        found = doctor(site, "clock", options=("--clock-from", url)).one("clock")
    assert found["level"] == level
    (port,) = free_ports(1)
    unasked = doctor(site, "clock", options=("--clock-from", f"http://127.0.0.1:{port}")).one()
    assert unasked["level"] == "not checked"


def test_a_clock_far_off_is_told_by_its_direction() -> None:
    assert clock._compared("clock", 100.0, 0.0).found.startswith("this machine is 100.0 s ahead: codes")


# ---- certificates


def replace_certificate(site: Site, **changes: datetime) -> None:
    new = certificates.make(**changes)
    (site.folder / "server.pem").write_bytes(new.server)
    (site.folder / "server.key").write_bytes(new.key)


def test_an_expired_certificate_is_found(site: Site) -> None:
    replace_certificate(site, now=datetime.now(UTC) - timedelta(days=900))
    found = doctor(site, "certificate").one("server.pem", "problem")
    assert "its time was over on" in found["found"]


def test_dates_of_a_certificate() -> None:
    certificate = x509.load_pem_x509_certificate(certificates.make().server)
    ends = certificate.not_valid_after_utc
    for now, level in ((ends - timedelta(days=15), "ok"), (ends - timedelta(days=13), "warning"), (ends, "warning")):
        assert dated("it", certificate, now).level == level
    for now in (ends + timedelta(seconds=1), certificate.not_valid_before_utc - timedelta(seconds=1)):
        assert dated("it", certificate, now).level == "problem"
    assert names(certificate, "LOCALHOST")
    assert names(certificate, "127.0.0.1")
    assert not names(certificate, "mail.example.test")
    assert not names(certificate, "192.0.2.1")


def test_a_key_of_another_certificate_is_found(site: Site) -> None:
    (site.folder / "server.key").write_bytes(certificates.make().key)
    assert "not a PEM certificate chain with its own key" in doctor(site, "certificate").one(level="problem")["found"]


def test_a_name_that_the_certificate_lacks_is_found(site: Site) -> None:
    port = free_ports(1)[0]
    standing = site.config.read_text()
    site.config.write_text(standing + PORTAL.format(port, port, "localhost"))
    assert doctor(site, "certificate").of(level="problem") == []
    site.config.write_text(standing + PORTAL.format(port, port, "mail.example.test"))
    assert "it is not for mail.example.test" in doctor(site, "certificate").one(level="problem")["found"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param((b"\x01\x01\xff", b"\x01\x01\x00"), id="a default that is written"),
        pytest.param((b"\x82\x09localhost", b"\x82\x09local\xffost"), id="a name that is no ASCII"),
    ],
)
def test_a_certificate_that_openssl_takes_and_others_do_not_is_found(site: Site, damage: tuple[bytes, bytes]) -> None:
    file, port = site.folder / "server.pem", free_ports(1)[0]
    site.config.write_text(site.config.read_text() + PORTAL.format(port, port, "localhost"))
    der = ssl.PEM_cert_to_DER_cert(file.read_text())
    damaged = der.replace(*damage, 1)
    assert damaged != der
    file.write_text(ssl.DER_cert_to_PEM_cert(damaged))
    named = f"imaps://localhost:{site.ports[Service.IMAP, 'implicit']}"
    with site.serving():
        seen = doctor(site, "certificate", options=("--host", named))
    assert seen.code == 78
    assert "not written as RFC 5280 wants it" in seen.one("server.pem", "problem")["found"]
    assert "not written as RFC 5280 wants it" in seen.one("shown at --host", "problem")["found"]


def test_a_certificate_that_was_renewed_and_not_read_again_is_found(site: Site) -> None:
    port = free_ports(1)[0]
    table = f'[portal]\naddress = "127.0.0.1:{port}"\npublic_url = "https://localhost:{port}"\n'
    site.config.write_text(site.config.read_text() + table)
    with site.serving() as process:
        shown = doctor(site, "certificate")
        assert shown.levels("certificate shown at") == {"ok"}
        replace_certificate(site)
        stale = doctor(site, "certificate")
        assert stale.levels("certificate shown at") == {"problem"}
        assert len(stale.of("certificate shown at the portal")) == 1
        assert "kill -HUP" in stale.of("certificate shown")[0]["mend"]
        process.send_signal(signal.SIGHUP)
        give_up_at = time.monotonic() + PATIENCE_S
        while doctor(site, "certificate").levels("certificate shown at") != {"ok"}:
            assert time.monotonic() < give_up_at


# ---- doors of our own


def test_nobody_listens_at_our_own_doors(site: Site) -> None:
    seen = doctor(site, "offers")
    assert seen.levels() == {"problem"}
    assert "start mailauth" in seen.findings[0]["mend"]


def test_two_servers_that_claim_one_port_are_both_seen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    port = site.ports[Service.IMAP, "starttls"]
    claimed = [Door(owner, Service.IMAP, "127.0.0.1", port) for owner in ("Dovecot", "Dovecot", "Cyrus IMAP")]
    monkeypatch.setattr(Case, "known", tuple([Host(door.owner, "", (door,)) for door in claimed]))
    subjects = [one["subject"] for one in doctor(site, "offers").of(f"imap://127.0.0.1:{port}")]
    assert subjects == [f"{owner} imap://127.0.0.1:{port}" for owner in ("mailauth", "Dovecot", "Cyrus IMAP")]
    named = doctor(site, "offers", options=("--host", f"imap://127.0.0.1:{port}"))
    assert [one["subject"] for one in named.of(f"imap://127.0.0.1:{port}")] == [f"--host imap://127.0.0.1:{port}"]


def test_doors_behind_a_proxy_and_without_tls(tmp_path: Path) -> None:
    site = Site(tmp_path, tls_off=True)
    with site.serving():
        seen = doctor(site, "offers")
        clear = [one for one in seen.findings if "it has no TLS, and lets clients log in" in one["found"]]
        assert {one["level"] for one in clear} == {"warning"}
        assert len(clear) == 3
    site.config.write_text(site.config.read_text().replace('tls = "', 'proxy_from = ["10.0.0.0/8"]\ntls = "'))
    assert {one["found"] for one in doctor(site, "offers").findings} == {"connections begin with a PROXY header"}


# ---- sockets of bridges


def listening_at(path: Path, stack: contextlib.ExitStack) -> None:
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    sock.bind(str(path))
    sock.listen()
    path.chmod(0o666)


def bridging(folder: Path, table: str) -> Site:
    (folder / "site").mkdir(mode=0o700)
    site = made(folder / "site")
    (site.folder / "token").write_text("a token of this bridge's own\n")
    site.config.write_text(site.config.read_text() + f"[[bridge]]\n{table}")
    return site


def test_a_bridge_by_tcp_is_listened_on_or_not(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f'address = "127.0.0.1:{server.getsockname()[1]}"\nallow_tcp = true\ntoken_file = "token"\n'
        site = bridging(tmp_path, f'kind = "http"\n{address}')
        options = ("--server", "cyrus")
        assert doctor(site, "sockets", options=options).one()["level"] == "ok"
    assert "nobody listens" in doctor(site, "sockets", options=options).one(level="problem")["found"]


def test_who_asks_there_is_known_from_the_bridge_and_from_the_mail_server(monkeypatch: pytest.MonkeyPatch) -> None:
    somebody = User("somebody", 12345, (12345,))
    monkeypatch.setattr(cyrus, "user_named", lambda name: somebody)
    with public_folder() as folder, contextlib.ExitStack() as stack:
        ours, other, file = folder / "mux", folder / "other", folder / "imapd.conf"
        listening_at(ours, stack)
        listening_at(other, stack)
        lines = "sasl_pwcheck_method: saslauthd\nsasl_saslauthd_path: "
        file.write_text(f"{lines}{ours}\n")
        site = bridging(folder, f'kind = "saslauthd"\naddress = "unix:{ours}"\n')
        options = ("--server", f"cyrus={file}")
        turned_away = doctor(site, "sockets", options=options).one(level="problem")
        assert "a process of somebody gets there and is turned away" in turned_away["found"]
        assert 'users = ["somebody"]' in turned_away["mend"]
        file.write_text(f"{lines}{other}\n")
        astray = doctor(site, "sockets", options=options)
        assert "which is no [[bridge]] of this configuration" in astray.one("sasl_saslauthd_path")["found"]
        assert "nobody but root" in astray.one("bridge saslauthd")["found"]
        site.config.write_text(site.config.read_text() + 'users = ["nobody"]\n')
        assert doctor(site, "sockets", options=options).one("for nobody")["level"] == "ok"


# ---- logins


@linux
def test_an_account_that_may_not_is_no_problem_of_the_site(running: Site) -> None:
    seen = doctor(running, "logins", options=("--account", BOB))
    (imap, imaps) = [one for one in seen.findings if " imap" in one["subject"]]
    assert imap["level"] == imaps["level"] == "not checked"
    assert "the account may not log in there (service-off)" in imap["found"]
    assert seen.levels("pop3") == {"ok"}


def test_without_an_account_and_with_one_that_is_not_there(running: Site) -> None:
    assert doctor(running, "logins").one()["found"] == "no account was named"
    found = doctor(running, "logins", options=("--account", "nobody@example.test")).one(level="problem")
    assert "nobody@example.test" in found["found"]


@linux
def test_a_trial_leaves_no_device_behind(running: Site) -> None:
    """Neither what it showed nor what it was: but all of it is on record."""
    store = running.store
    left = trials.begin(store, running.ring, QUICK, ALICE, alphabet="abcdefghjkmn", actor=ACTOR)
    execute(running, f"UPDATE app_passwords SET expires_at = 1 WHERE id = {left.id}")
    before = execute(running, "SELECT count(*) FROM app_passwords")[0][0]
    assert doctor(running, "logins", options=("--account", ALICE)).levels() == {"ok"}
    assert apppasswords.listed(store, ALICE) == []
    assert execute(running, "SELECT count(*) FROM app_passwords")[0][0] == before  # the leftover's tombstone
    assert observations.observed(store, ALICE) == []
    kinds = [row.kind for row in audit(store, ALICE)]
    assert kinds.count("app-password-added") == kinds.count("app-password-revoked")
    assert "app-password-forgotten" in kinds


def test_a_store_that_is_lost_on_the_way_is_told_with_what_is_left(
    running: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(trials, "end", lost)
        found = doctor(running, "logins", options=("--account", CAROL)).one(level="problem")
    assert "the store was lost on the way: gone; the app password 'mailauth doctor' ends by itself" in found["found"]
    assert run(*shlex.split(found["mend"])[1:], "--config", str(running.config)).code == 0
    assert apppasswords.listed(running.store, CAROL) == []


class Scripted:
    """An IMAP server in a thread that says what the test says. answer: to a login; None: it never answers."""

    def __init__(self, answer: Callable[[], bytes | None], offer: bytes = b"AUTH=PLAIN") -> None:
        self._answer, self._offer = answer, offer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"imap://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._open.append(client)
                thread = threading.Thread(target=self._serve, args=[client])
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rwb", buffering=0) as file, contextlib.suppress(OSError):
            file.write(b"* OK ready\r\n")
            while line := file.readline():
                if b"CAPABILITY" in line:
                    file.write(b"* CAPABILITY IMAP4rev1 " + self._offer + b"\r\nt OK\r\n")
                elif b"AUTHENTICATE" in line:
                    file.write(b"+ \r\n")
                elif line.startswith(b"t "):
                    file.write(b"* BYE\r\nt OK\r\n")
                else:
                    answer = self._answer()
                    if answer is not None:
                        file.write(answer + b"\r\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for client in self._open:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"t OK whoever you are", "a wrong password lets in"),
        (b"t NO [AUTHENTICATIONFAILED] no", "it answers 't NO [AUTHENTICATIONFAILED] no'; mailauth was not asked"),
        (b"t NO [UNAVAILABLE] later", "it answers 't NO [UNAVAILABLE] later'; it could not ask mailauth"),
    ],
)
def test_a_server_that_judges_by_something_else_is_found(running: Site, answer: bytes, told: str) -> None:
    with Scripted(lambda: answer) as server:
        seen = doctor(running, "logins", options=("--account", ALICE, "--host", server.url))
    found = seen.of(server.url.removeprefix("imap://"), "problem")
    assert any(told in one["found"] for one in found)


def test_a_door_without_any_mechanism_is_found(running: Site) -> None:
    with Scripted(lambda: None, b"LOGINDISABLED AUTH=GSSAPI") as server:
        seen = doctor(running, "offers", "logins", options=("--account", ALICE, "--host", server.url))
    (tried,) = [one for one in seen.of(f":{server.port}") if one["check"] == "logins"]
    assert tried["found"] == "it offers neither PLAIN nor LOGIN"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_trial_leaves_nothing_alive(running: Site, number: signal.Signals) -> None:
    def live() -> list[str]:
        return [view.label for view in apppasswords.listed(running.store, ALICE)]

    asked = threading.Event()

    def never() -> None:
        asked.set()

    words = [sys.executable, "-m", "mailauth", "doctor", "--config", str(running.config), "--only", "logins"]
    with Scripted(never) as server:
        process = subprocess.Popen(
            [*words, "--account", ALICE, "--host", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert asked.wait(PATIENCE_S)
        assert live() == ["mailauth doctor"]
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert said.strip() == b"mailauth: interrupted"
    assert live() == []
    changes = [row.kind for row in audit(running.store, ALICE) if row.actor.startswith("cli:")]
    assert changes[-2:] == ["app-password-revoked", "app-password-forgotten"]
    assert observations.observed(running.store, ALICE) == []


# ---- what is remembered


def test_a_saslauthd_that_remembers_is_known_by_its_words(tmp_path: Path) -> None:
    for number, words in ((10, "saslauthd\0-c\0-m\0/run"), (11, "/usr/sbin/saslauthd\0-a\0pam"), (12, "python3\0-c")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "cmdline").write_text(words)
    found = list(caches.running("saslauthd", tmp_path))
    assert [words[0] for words in found] == ["saslauthd", "/usr/sbin/saslauthd"]
    assert [caches.remembers(words) for words in found] == [True, False]
