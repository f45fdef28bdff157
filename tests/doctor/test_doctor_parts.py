"""What the doctor works out by itself: rights, chroots, configurations as text, answers of servers."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mail_daemons import public_folder

from mailauth.accounts.apppasswords import Minted
from mailauth.accounts.history import AuditRow
from mailauth.attempt import Service
from mailauth.doctor import examination, reaching, talk
from mailauth.doctor.checks import logins, offers, sockets
from mailauth.doctor.hosts import cyrus, dovecot, exim, nginx, postfix
from mailauth.doctor.hosts.host import Asking, CannotRead, Door, output, settings
from mailauth.doctor.rights import READ, WRITE, User, obstacle, seen_from, user_named
from mailauth.doctor.sources import is_here, new_network, source_for
from mailauth.doctor.talk import Answer, Entry, NoTalk, Offer, _meant
from mailauth.doctor.trial import Trial
from mailauth.doctor.trying import Place, Tried
from mailauth.founding import certificates

SOMEBODY = User("somebody", 12345, (12345, 54321))


@pytest.fixture
def folder() -> Iterator[Path]:
    with public_folder() as place:
        yield place


# ---- rights


def test_every_folder_on_the_way_counts(folder: Path) -> None:
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    file = inner / "file"
    file.write_text("")
    file.chmod(0o644)
    assert obstacle(SOMEBODY, file, READ) is None
    hindered = obstacle(SOMEBODY, file, WRITE)
    assert hindered is not None
    assert hindered.what.startswith(f"somebody may not write {file} (mode 0644, of ")
    (folder / "a").chmod(0o700)
    hindered = obstacle(SOMEBODY, file, READ)
    assert hindered is not None
    assert (hindered.place, hindered.is_folder) == (folder / "a", True)
    assert obstacle(User("root", 0, (0,)), file, WRITE) is None
    (folder / "a").chmod(0o755)
    missing = obstacle(SOMEBODY, inner / "lost" / "file", READ)
    assert missing is not None
    assert (missing.place, missing.is_missing) == (inner / "lost", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(("owner", "group", "mode", "may"), [(12345, 0, 0o600, True), (0, 54321, 0o060, True)])
def test_the_owner_s_and_the_group_s_bits(folder: Path, owner: int, group: int, mode: int, may: bool) -> None:
    file = folder / "file"
    file.write_text("")
    os.chown(file, owner, group)
    file.chmod(mode)
    assert (obstacle(SOMEBODY, file, WRITE) is None) is may
    file.chmod(0o006)  # who owns it is not one of the others
    assert obstacle(SOMEBODY, file, WRITE) is not None


def test_links_are_followed_as_they_are_in_the_chroot(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "run" / "socket").write_text("")
    (folder / "var").symlink_to("/run")
    (folder / "up").symlink_to("../../run")
    for name in ("/var/socket", "/up/socket", "/../run/socket", "/run/socket"):
        assert seen_from(folder, Path(name)) == folder / "run" / "socket"
    (folder / "round").symlink_to("round")
    assert obstacle(SOMEBODY, Path("/round/x"), READ, folder) is not None


def test_users_by_name_and_number() -> None:
    root = user_named("root")
    assert root is not None
    assert (root.uid, root.groups[0]) == (0, 0)
    assert user_named("999999") == User("999999", 999999, (999999,))
    assert user_named("no such user") is None


# ---- sockets


@pytest.fixture
def listening(folder: Path) -> Iterator[Path]:
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))
        sock.listen()
        yield path


def test_without_root_reach_is_worked_out(listening: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    asking = Asking("somebody", SOMEBODY, str(listening), "address")
    listening.chmod(0o666)
    reached = reaching.reach(asking)
    assert (reached.said, reached.was_tried, reached.place) == ("in", False, listening)
    listening.chmod(0o660)
    reached = reaching.reach(asking)
    assert reached.hindrance is not None
    assert reached.said != "in"
    assert 'socket_group = "12345"' in sockets._mend(asking, reached)


def test_a_socket_that_was_left_behind_is_told_from_one_that_listens(folder: Path) -> None:
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))
    path.chmod(0o666)
    asking = Asking("somebody", SOMEBODY, str(path), "address")
    reached = reaching.reach(asking)
    assert reached.said == reaching.NOBODY_LISTENS
    assert "nobody listens" in sockets._why(asking, reached)
    assert "start `mailauth serve`" in sockets._mend(asking, reached)


# ---- configurations as text


def test_nginx_s_words() -> None:
    top = nginx.parsed("""user "www data"; # not; this {
        mail { auth_http 'unix:/run/x y:/'; server { listen 993 ssl; protocol imap; }
               server { listen [::]:110; protocol pop3; } server { listen unix:/x; protocol imap; } }""")
    assert top.value("user") == "www data"
    (mail,) = top.inner("mail")
    assert nginx._socket(mail.value("auth_http")) == "/run/x y"
    doors = [door for server in mail.inner("server") for door in nginx._doors(server)]
    assert [(door.service, door.port, door.implicit) for door in doors] == [
        (Service.IMAP, 993, True),
        (Service.POP3, 110, False),
    ]
    by_port = nginx.parsed("server { listen 995; } server { listen 587; ssl off; } server { listen 2525; }")
    doors = [door for server in by_port.inner("server") for door in nginx._doors(server, "on")]
    assert [(door.service, door.port, door.implicit) for door in doors] == [
        (Service.POP3, 995, True),
        (Service.SMTP, 587, False),
    ]
    assert nginx._socket("http://unix:/run/a:/auth") == "/run/a"
    assert nginx._socket("http://127.0.0.1:80/") == ""


# As 2.3.19 and 2.4.1 tell of themselves; the latter leaves out what is built in.
DOVECOT_23 = """
service imap-login {
  inet_listener imap {
    address =
    haproxy = yes
    port = 143
    ssl = no
  }
  inet_listener imaps {
    address = ::1
    port = 993
    ssl = yes
  }
}
"""
DOVECOT_24 = """
service "imap-login" {
  inet_listener imap {
    port = 24928
    listen = 127.0.0.1
  }
  inet_listener more {
    port = 2993
    ssl = yes
  }
}
"""


def test_dovecot_s_blocks() -> None:
    def doors(text: str, **told: str) -> list[tuple[str, int, bool, bool]]:
        ((_, block),) = dovecot.parsed(text)["blocks"]
        found = dovecot._doors("imap", Service.IMAP, block, {"listen": "*, ::", "ssl": "required", **told})
        return [(door.host, door.port, door.implicit, door.everywhere) for door in found]

    assert doors(DOVECOT_23) == [("127.0.0.1", 143, False, True), ("::1", 993, True, False)]
    assert doors(DOVECOT_23, ssl="no") == [("127.0.0.1", 143, False, True)]
    assert doors(DOVECOT_24, listen="") == [
        ("127.0.0.1", 24928, False, False),
        ("127.0.0.1", 993, True, True),
        ("127.0.0.1", 2993, True, True),
    ]
    assert dovecot.parsed(DOVECOT_24)["blocks"][0][0] == 'service "imap-login"'


def test_dovecot_s_cache() -> None:
    assert dovecot._caches({"auth_cache_size": "0"}) == []
    assert dovecot._caches({}) == []
    assert "for 1 mins" in dovecot._caches({"auth_cache_size": "10 M", "auth_cache_ttl": "1 mins"})[0].what


@pytest.mark.parametrize(
    ("line", "name", "jailed", "path"),
    [
        ("smtp inet n - y - - smtpd -o smtpd_sasl_path=private/a -o x=y", "smtp", True, "private/a"),
        ("587 inet n - - - - smtpd -o { smtpd_sasl_path = private/b c }", "587", False, "private/b c"),
        ("::1:465 inet n - n - - smtpd", "::1:465", False, "private/auth"),
    ],
)
def test_postfix_s_services(line: str, name: str, jailed: bool, path: str) -> None:
    found = postfix._service(line, {"compatibility_level": "3.6", "smtpd_sasl_path": "private/auth"})
    assert found is not None
    assert (found.name, found.is_jailed, found.values["smtpd_sasl_path"]) == (name, jailed, path)


@pytest.mark.parametrize(
    ("told", "paths"),
    [
        ("check_policy_service,unix:private/a", ["private/auth", "private/a"]),
        ("reject_x, check_policy_service { unix:private/a, timeout=9s } check_policy_service unix:/b", None),
        ("check_policy_service inet:127.0.0.1:1", ["private/auth"]),
    ],
)
def test_where_postfix_asks(told: str, paths: list[str] | None) -> None:
    values = {"mail_owner": "root", "queue_directory": "/q", "smtpd_sasl_path": "unix:private/auth"}
    service = postfix._Service("587", False, values | {"smtpd_sasl_type": "dovecot", postfix.AT_THE_END: told})
    assert [one.path for one in postfix._asking(service)] == (paths or ["private/auth", "private/a", "/b"])


def test_postfix_s_other_services_and_old_levels() -> None:
    for line in ("qmgr unix n - n 300 1 qmgr", "short line", "10025 inet n - n - - qmqpd"):
        assert postfix._service(line, {}) is None
    old = postfix._service("25 inet n - - - - smtpd", {"compatibility_level": "0"})
    assert old is not None
    assert old.is_jailed


def test_exim_s_lists() -> None:
    assert exim._listed("25 : 587") == ["25", "587"]
    assert exim._listed("<; 127.0.0.1 ; ::1") == ["127.0.0.1", "::1"]
    assert exim._listed("127.0.0.1 : ::::1") == ["127.0.0.1", "::1"]
    assert exim._listed("") == exim._listed("<;") == []
    assert [exim._port(name) for name in ("smtp", "2525", "nothing")] == [25, 2525, None]
    assert exim._sockets("driver = dovecot\nserver_socket = /run/x\nserver_socket =\n") == ["/run/x"]


@pytest.mark.parametrize(
    ("interfaces", "ports", "doors"),
    [
        ("<; ::0 ; 0.0.0.0", "smtp", ["smtp://127.0.0.1:25 everywhere"]),
        (
            "<; 127.0.0.1 ; ::1",
            "25 : 465",
            ["smtp://127.0.0.1:25", "smtps://127.0.0.1:465", "smtp://[::1]:25", "smtps://[::1]:465"],
        ),
        ("0.0.0.0 : 127.0.0.1.26", "25", ["smtp://127.0.0.1:25 everywhere", "smtp://127.0.0.1:26"]),
        ("0.0.0.0.25 : 127.0.0.1.25", "587", ["smtp://127.0.0.1:25 everywhere"]),
        ("127.0.0.1 : ::::1.465", "587", ["smtp://127.0.0.1:587", "smtps://[::1]:465"]),
        (
            "<; [192.0.2.1]:587 ; [2001:db8::1]:465 ; 2001:db8::2.587 ; [192.0.2.2]",
            "25",
            [
                "smtp://192.0.2.1:587 everywhere",
                "smtps://[2001:db8::1]:465 everywhere",
                "smtp://[2001:db8::2]:587 everywhere",
                "smtp://192.0.2.2:25 everywhere",
            ],
        ),
    ],
)
def test_exim_listens_at_each_interface_and_its_own_port(
    monkeypatch: pytest.MonkeyPatch, interfaces: str, ports: str, doors: list[str]
) -> None:
    told = {"local_interfaces": interfaces, "daemon_smtp_ports": ports, "tls_on_connect_ports": "465"}
    monkeypatch.setattr(exim, "program", lambda *names: "exim")
    monkeypatch.setattr(exim, "output", lambda *words: f"{words[-1]} = {told.get(words[-1], '')}\n")
    monkeypatch.setattr(exim, "user_named", lambda name: SOMEBODY)
    host = exim.read("")
    assert host is not None
    assert [f"{door} everywhere" if door.everywhere else str(door) for door in host.doors] == [
        f"Exim {door}" for door in doors
    ]


CYRUS = """
SERVICES {
  imap   cmd="imapd -U 30" prefork=0 listen="imap" maxchild=100
  imaps  cmd="/usr/lib/cyrus/bin/imapd -s -U 30" listen="192.0.2.1:imaps"
  pop3   cmd="pop3d -U 30" listen="localhost:2110"
# pop3s cmd="pop3d -s -U 30" listen="pop3s"
  sieve  cmd="timsieved" listen="localhost:sieve"
  lmtp   cmd="lmtpd" listen="/run/cyrus/socket/lmtp"
}
"""


def test_cyrus_imapd_s_ports_and_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "imapd.conf"
    monkeypatch.setattr(cyrus, "user_named", lambda name: SOMEBODY)
    file.write_text("# sasl_saslauthd_path: /x\nsasl_pwcheck_method: saslauthd\nsasl_saslauthd_path: /run/mux\n")
    host = cyrus.read(str(file))
    assert host is not None
    assert [one.path for one in host.asking] == ["/run/mux"]
    assert host.doors == ()
    (tmp_path / "cyrus.conf").write_text(CYRUS)
    host = cyrus.read(str(file))
    assert host is not None
    assert [(door.service, door.host, door.port, door.implicit, door.everywhere) for door in host.doors] == [
        (Service.IMAP, "127.0.0.1", 143, False, True),
        (Service.IMAP, "192.0.2.1", 993, True, True),
        (Service.POP3, "127.0.0.1", 2110, False, False),
    ]
    file.write_text("sasl_pwcheck_method: auxprop\n")
    host = cyrus.read(str(file))
    assert host is not None
    assert host.asking == ()
    with pytest.raises(CannotRead, match="is not there"):
        cyrus.read(str(tmp_path / "lost"))


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(CannotRead, match=r"failed: .*nowhere"):
        output("ls", "/nowhere")
    with pytest.raises(CannotRead, match="could not be run"):
        output("/nowhere/program")
    assert settings("a = b = c\nnothing\n") == {"a": "b = c"}


# ---- what servers say


@pytest.mark.parametrize(
    ("said", "entry"),
    [
        ("t NO [AUTHENTICATIONFAILED] no", Entry.REFUSED),
        ("t NO no", Entry.REFUSED),
        ("t NO [UNAVAILABLE] later", Entry.LATER),
        ("t BAD internal server error", Entry.LATER),
        ("-ERR [AUTH] no", Entry.REFUSED),
        ("-ERR [SYS/TEMP] later", Entry.LATER),
        ("-ERR internal server error", Entry.LATER),
    ],
)
def test_only_a_clear_refusal_is_one(said: str, entry: Entry) -> None:
    assert _meant(said) is entry


@contextlib.contextmanager
def saying(speak: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server for one client, in a thread; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            client, _ = listening.accept()
            with client, contextlib.suppress(OSError):
                speak(client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def test_a_server_that_says_little_at_a_time_is_not_heard_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "WHOLE_TALK_S", 0.3)

    def drip(client: socket.socket) -> None:
        while True:  # until it leaves
            client.sendall(b"x")
            time.sleep(0.02)

    with (
        saying(drip) as port,
        pytest.raises(NoTalk, match="does not answer"),
        talk.opened(Door("--host", Service.IMAP, "127.0.0.1", port)),
    ):
        pass


def test_a_server_that_greets_by_something_else_is_left_within_tls_too(tmp_path: Path) -> None:
    made = certificates.make()
    (tmp_path / "server.pem").write_bytes(made.server + made.key)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "server.pem")

    def greet(client: socket.socket) -> None:
        with tls.wrap_socket(client, server_side=True) as secure:
            secure.sendall(b"SSH-2.0-mail\r\n")
            secure.recv(1)  # until it leaves

    door = Door("--host", Service.IMAP, "127.0.0.1", 0, implicit=True)
    with (
        saying(greet) as port,
        pytest.raises(NoTalk, match="it greets with"),
        talk.opened(dataclasses.replace(door, port=port)),
    ):
        pass
    gc.collect()  # what is not closed is told here, and fails the test


def test_port_25_offering_auth_is_a_warning_and_without_it_right() -> None:
    door = Door("Postfix", Service.SMTP, "127.0.0.1", 25)
    assert offers._only_after(door, None, Offer(frozenset({"PLAIN"}), False, False)).level == "warning"
    assert offers._only_after(door, None, Offer(frozenset(), False, False)).level == "ok"
    everywhere = offers._without_tls(door, Offer(frozenset({"PLAIN"}), False, False))
    assert everywhere.level == "problem"


def test_doors_here_are_tried_from_elsewhere_on_the_loopback() -> None:
    network = new_network()
    here = Door("x", Service.IMAP, "127.0.0.1", 143)
    assert source_for(here, 7, network) in {f"{network}.7", ""}  # only Linux has all of it
    assert source_for(Door("x", Service.IMAP, "::1", 143)) == ""
    assert is_here("127.0.0.1")
    assert not is_here("192.0.2.1")
    assert not is_here("nowhere.invalid")


# ---- what a trial means

IMAP_DOOR = Door("Dovecot", Service.IMAP, "127.0.0.1", 143)
FAR_DOOR = Door("--host", Service.IMAP, "192.0.2.1", 143, named=True)


def row(peer: str, outcome: str = "accept", credential_id: int | None = 7, detail: str = "") -> AuditRow:
    return AuditRow(
        *(1, 0.0, "client", "login", "alice@example.test", 1, "imap", peer),
        *(credential_id, "mailauth doctor", outcome, detail, 1, ""),
    )


def meant(
    rows: list[AuditRow],
    right: Entry = Entry.IN,
    after: Entry | None = Entry.REFUSED,
    wrong: Entry = Entry.REFUSED,
    door: Door = IMAP_DOOR,
    source: str = "127.80.1.1",
) -> list[tuple[str, str]]:
    """What is found of one door: level and text."""
    place = Place(door, source)

    def one(entry: Entry) -> Tried:
        return Tried(place, Answer(entry, "t said"), source)

    seen = Trial(Minted(7, "", "alice@example.test", "mailauth doctor"), 0.0, [place], [one(wrong)], [one(right)])
    seen.revoked = [] if after is None else [one(after)]
    seen.rows = rows
    return [(str(finding.level), finding.found) for finding in logins._found(seen, seen.wrong[0], seen.right[0])]


def test_a_door_that_is_right_has_nothing_to_be_said() -> None:
    assert meant([row("127.80.1.1")]) == []


@pytest.mark.parametrize(
    ("found", "level", "told"),
    [
        (meant([row("127.0.0.1")]), "problem", "arrives as from 127.0.0.1"),
        (meant([row("bridge:dovecot-auth")]), "problem", "arrives as from bridge:dovecot-auth"),
        (meant([row("bridge:saslauthd")]), "warning", "arrives as from bridge:saslauthd"),
        (meant([]), "problem", "it lets in, and mailauth was not asked"),
        (meant([row("198.51.100.1")], door=FAR_DOOR, source="192.0.2.9"), "warning", "or there is NAT on the way"),
        (meant([row("::1")], source="::1"), "not checked", "it was tried from where a proxy would come from"),
        (meant([row("127.80.1.1")], after=Entry.IN), "problem", "a revoked password still lets in"),
        (meant([row("127.80.1.1")], after=Entry.LATER), "warning", "a revoked password is answered by"),
        (meant([row("127.80.1.1")], after=None), "not checked", "a revoked password"),
        (meant([row("127.80.1.1")], wrong=Entry.LATER), "warning", "a wrong password is answered by"),
        (meant([row("127.80.1.1")], wrong=Entry.IN), "problem", "a wrong password lets in"),
        (meant([], right=Entry.REFUSED), "not checked", "mailauth was not asked"),
        (meant([], right=Entry.REFUSED, door=FAR_DOOR), "problem", "mailauth was not asked"),
        (meant([], right=Entry.LATER), "problem", "it could not ask mailauth"),
        (
            meant([row("127.80.1.1", "reject", None, "other-network")], right=Entry.REFUSED),
            "problem",
            "mailauth judged: reject (other-network)",
        ),
        (meant([row("127.80.1.1", "reject", None, "disabled")], right=Entry.REFUSED), "not checked", "(disabled)"),
    ],
)
def test_what_is_wrong_with_a_door(found: list[tuple[str, str]], level: str, told: str) -> None:
    ((seen, text),) = found
    assert seen == level
    assert told in text


# ---- the checks


def test_every_file_of_the_room_is_a_check_in_an_order_of_its_own() -> None:
    found = examination.every_check()
    files = {path.stem for path in (Path(examination.__file__).parent / "checks").glob("[a-z]*.py")}
    assert {name.replace("-", "_") for name, _ in found} == files
    orders = [check.order for _, check in found]
    assert orders == sorted(set(orders))
    assert all(check.title for _, check in found)


def test_every_check_and_option_is_in_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert rows == [name for name, _ in examination.every_check()]
    for option in ("--account", "--host", "--server", "--only", "--clock-from", "--json"):
        assert option in page
