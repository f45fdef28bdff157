"""Our submission server before Debian's Postfix: by XCLIENT LOGIN, and over TLS by a master login at Dovecot's SASL.

What Postfix takes it holds, so that a test can look at what it knows of a message, and from whom it thinks it is.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from http_daemons import Dovecot, need_dovecot
from mail_daemons import PATIENCE_S, Postfix, documented, need_postfix, public_folder

from mail_programs import SENDERS, Visit, need
from mailauth.attempt import Service
from mailauth.founding import certificates
from site_of_tests import Site, free_ports, said

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mail-daemons")]

XCLIENT, MASTER, AWAY = "alice@example.test", "alice@example.org", "alice@example.net"
CHINESE = "王小明@example.test"
BOB = "bob@elsewhere.test"
WEB = "correct horse battery"
MASTER_PASSWORD = "the proxy's own, which no client says"
PEER = "127.0.0.9"
HOLD = "smtpd_data_restrictions=check_sender_access,static:HOLD"
MESSAGE = (
    b"From: <alice@example.test>\r\nTo: <bob@elsewhere.test>\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n"
    b"Message-ID: <1@client.example.test>\r\nSubject: dots\r\n\r\n.\r\n..\r\n.one\r\n\r\nFrom here on\r\n"
)
BODY = MESSAGE.partition(b"\r\n\r\n")[2].decode().replace("\r\n", "\n")
ENDED = b"421 4.7.0 This session was ended: its password or its access was withdrawn\r\n"


@dataclass
class World:
    """A site in front of Postfix, which has a door for each way to log in."""

    site: Site
    postfix: Postfix

    @contextlib.contextmanager
    def client(self, login: str = "", peer: str = PEER) -> Iterator[smtplib.SMTP]:
        """A client from this address, logged in where a login is given."""
        port = self.site.ports[Service.SMTP, "off"]
        client = smtplib.SMTP("127.0.0.1", port, "laptop.example", PATIENCE_S, (peer, 0))
        try:
            client.ehlo()
            if login:
                assert said(client, login, WEB).startswith(b"235 ")
            yield client
        finally:
            client.close()

    def held(self, answer: bytes) -> tuple[dict[str, str], str]:
        """What Postfix knows of the message that it took with this answer, and its content."""
        queued = re.search(rb"queued as (\w+)", answer)
        assert queued, answer
        return self.queued(queued[1].decode())

    def queued(self, name: str) -> tuple[dict[str, str], str]:
        shown = subprocess.run(
            ["/usr/sbin/postcat", "-c", self.postfix.config, "-ebhq", name], capture_output=True, text=True, check=True
        ).stdout
        envelope, _, content = shown.partition("*** MESSAGE CONTENTS")
        facts = [line.removeprefix("named_attribute: ") for line in envelope.splitlines()]
        known = dict(re.split(r": +|=", fact, maxsplit=1) for fact in facts if re.match(r"\w+(: |=)", fact))
        return known, content.partition("***\n")[2].partition("*** HEADER EXTRACTED")[0]

    @property
    def log(self) -> str:
        return self.postfix.log.read_text()

    def newly_queued(self, since: int) -> list[str]:
        """The names of what was taken since so many characters of Postfix's log; the first has a while to come."""
        give_up_at = time.monotonic() + PATIENCE_S
        while not (names := re.findall(r"cleanup\[\d+\]: (\w+): message-id=", self.log[since:])):
            assert time.monotonic() < give_up_at, self.log[since:]
            time.sleep(0.01)
        return names


def dovecot_for(folder: Path) -> Dovecot:
    """A Dovecot that lets the master user in as anybody, and judges for Postfix."""
    masters = folder / "masters"
    masters.write_text(f"proxy:{{PLAIN}}{MASTER_PASSWORD}\n")
    return Dovecot(
        folder / "dovecot",
        (Service.IMAP, Service.POP3),
        f"passdb {{\n  driver = passwd-file\n  args = {masters}\n  master = yes\n}}\n"
        "passdb {\n  driver = static\n  args = nopassword=y\n}\n"
        f"service auth {{\n  unix_listener {folder}/asked {{\n    mode = 0666\n  }}\n}}\n",
    )


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A chain and its key; the authority is in ca.pem."""
    made = certificates.make()
    for name, content in (("ca.pem", made.authority), ("server.pem", made.server), ("server.key", made.key)):
        (folder / name).write_bytes(content)
    return folder / "server.pem", folder / "server.key"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    need_postfix()
    need_dovecot()
    with public_folder() as folder:
        dovecot = dovecot_for(folder)
        by_the_book = " ".join(re.findall(r"-o (\S+)", documented("127.0.0.1:10587", "backend.md")))
        doors = {
            "xclient": by_the_book.replace("private/auth", f"{folder}/asked") + f" {HOLD}",
            "master": f"smtpd_sasl_path={folder}/asked smtpd_tls_wrappermode=yes {HOLD}",
        }
        postfix = Postfix(folder / "postfix", doors, certificate=_certificate(folder))
        mailboxes = "".join(f'{service} = "127.0.0.1:{port}"\n' for service, port in dovecot.ports.items())
        (folder / "master").write_text(MASTER_PASSWORD)
        proxy = f'user = "proxy"\npassword_file = "{folder}/master"\n'
        site = Site(
            tmp_path_factory.mktemp("front"),
            "[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\nmax_connections_per_source = 1000\n"
            '[mailbox]\nkind = "backend"\n'
            f'[backends.xclient]\nsmtp = "127.0.0.1:{postfix.ports["xclient"]}"\ntls = "off"\nlogin = "xclient"\n'
            'domains = ["example.test"]\n'
            f'[backends.master]\nsmtp = "localhost:{postfix.ports["master"]}"\ntls_ca = "{folder}/ca.pem"\n{proxy}'
            'domains = ["example.org"]\n'
            f'[backends.mailboxes]\ntls = "off"\n{proxy}{mailboxes}'
            f'[backends.away]\nsmtp = "127.0.0.1:{free_ports(1)[0]}"\n{proxy}domains = ["example.net"]\n',
            tls_off=True,
        )
        for login in (XCLIENT, MASTER, AWAY, CHINESE):
            site.add(login, WEB)
        (folder / "master").chmod(0o600)
        with dovecot.running(), postfix.running(), site.serving():
            yield World(site, postfix)


def submitted(client: smtplib.SMTP, login: str, content: bytes = MESSAGE, *recipients: str) -> bytes:
    """One transaction; the reply to its message."""
    assert client.mail(login)[0] == 250
    for recipient in recipients or (BOB,):
        assert client.rcpt(recipient)[0] == 250
    code, text = client.data(content)
    assert code == 250, text
    return text


@pytest.mark.parametrize("login", [XCLIENT, MASTER])
@pytest.mark.parametrize("program", sorted(SENDERS))
def test_programs_send_through_us_in_their_user_s_name(world: World, tmp_path: Path, program: str, login: str) -> None:
    need(program)
    since = len(world.log)
    ended = SENDERS[program](Visit(world.site, tmp_path, "implicit", login, WEB), BOB, MESSAGE)
    assert ended.code == 0, ended.output
    (name,) = world.newly_queued(since)
    known, content = world.queued(name)
    assert (known["sender"], known["original_recipient"]) == (login, BOB)
    assert known["sasl_username"] == login
    assert known["log_client_address"] in {"127.0.0.1", "::1"}
    assert content.endswith(BODY) or program == "mutt"  # which ends lines its own way
    assert content.count("\nReceived:") + content.startswith("Received:") == 1  # Postfix's alone


@pytest.mark.parametrize(("login", "method"), [(XCLIENT, "XCLIENT"), (MASTER, "PLAIN")])
def test_postfix_knows_who_sends_and_from_where(world: World, login: str, method: str) -> None:
    with world.client(login) as client:
        known, content = world.held(submitted(client, login, MESSAGE, BOB, "carol@elsewhere.test"))
        assert client.sock is not None
        port = str(client.sock.getsockname()[1])
    assert (known["sasl_username"], known["sasl_method"]) == (login, method)
    assert (known["log_client_address"], known["log_client_port"]) == (PEER, port)
    assert known["log_helo_name"] == "laptop.example"
    assert content.endswith(BODY)
    assert f"from laptop.example (unknown [{PEER}])" in content


@pytest.mark.parametrize("login", [XCLIENT, MASTER])
def test_another_s_address_is_refused_by_us(world: World, login: str) -> None:
    since = len(world.log)
    with world.client(login) as client:
        assert client.mail("bob@example.test") == (553, b"5.7.1 The sender address is not one of this account's")
        world.held(submitted(client, login))
    assert "bob@example.test" not in world.log[since:]


@pytest.mark.parametrize("login", [XCLIENT, MASTER])
@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n"])
def test_nobody_becomes_somebody_else(world: World, login: str, end: bytes) -> None:
    """Pipelined behind MAIL, RCPT and DATA, in a line of its own or of another's, and behind what is no end of data."""
    xclient = b"XCLIENT ADDR=192.0.2.66 LOGIN=bob@example.test"
    mail = b"MAIL FROM:<" + login.encode() + b">"
    with world.client(login) as client:
        assert client.sock is not None
        lines = [xclient, mail, xclient, b"NOOP x\n" + xclient, b"RCPT TO:<" + BOB.encode() + b">", xclient, b"DATA"]
        client.sock.sendall(b"\r\n".join([*lines, b"body" + end + xclient, b"MAIL FROM:<bob@example.test>", b".", b""]))
        replies = [client.getreply() for _ in range(len(lines) + 1)]
        assert [code for code, _ in replies] == [500, 250, 500, 500, 250, 500, 354, 250]
        known, content = world.held(replies[-1][1])
        assert (known["sender"], known["sasl_username"], known["log_client_address"]) == (login, login, PEER)
        assert "XCLIENT ADDR=192.0.2.66" in content  # it is text, and nothing else
        assert client.docmd(xclient.decode())[0] == 500
        known, _ = world.held(submitted(client, login))
        assert (known["sasl_username"], known["log_client_address"]) == (login, PEER)
    assert "192.0.2.66" not in world.log
    assert "sasl_username=bob" not in world.log


def test_what_both_offer_is_offered_and_what_goes_beyond_is_refused(world: World) -> None:
    with world.client(XCLIENT) as client:
        client.ehlo()
        assert set(client.esmtp_features) == {
            *("size", "8bitmime", "smtputf8", "pipelining", "enhancedstatuscodes", "auth")
        }
        assert client.esmtp_features["size"] == "10240000"  # Postfix's own; ours is more
        assert client.mail(XCLIENT, ["SIZE=20000000"])[0] == 552
        assert client.mail(XCLIENT, ["RET=HDRS"])[0] == 555
        known, content = world.held(_eight_bits(client))
        assert known["encoding"] == "8bit"
        assert "Grüße" in content


def _eight_bits(client: smtplib.SMTP) -> bytes:
    assert client.mail(XCLIENT, ["BODY=8BITMIME", "SMTPUTF8"])[0] == 250
    assert client.docmd("RCPT", f"TO:<{BOB}>")[0] == 250
    code, text = client.data("Subject: Grüße\r\n\r\nGrüße\r\n".encode())
    assert code == 250, text
    return text


def test_addresses_beyond_ascii_arrive(world: World) -> None:
    with world.client(CHINESE) as client:
        client.command_encoding = "utf-8"
        assert client.mail(CHINESE, ["SMTPUTF8"])[0] == 250
        assert client.rcpt("ü@elsewhere.test")[0] == 250
        known, _ = world.held(client.data(b"Subject: x\r\n\r\nbody\r\n")[1])
    assert (known["sender"], known["original_recipient"]) == (CHINESE, "ü@elsewhere.test")


def test_postfix_s_own_refusals_are_the_client_s(world: World) -> None:
    with world.client(XCLIENT) as client:
        client.mail(XCLIENT)
        code, text = client.rcpt("nobody@[not.an.address]")
        assert (code, text[:3]) == (501, b"5.1")
        assert client.docmd("VRFY", BOB)[0] == 252
        assert client.rset()[0] == 250
        world.held(submitted(client, XCLIENT))


@pytest.mark.parametrize("login", [XCLIENT, MASTER])
def test_ten_megabytes_less_a_bit_go_through_and_more_does_not(world: World, login: str) -> None:
    with world.client(login) as client:
        content = b"Subject: big\r\n\r\n" + (b".x" * 38 + b"\r\n") * 125_000
        known, _ = world.held(submitted(client, login, content))
        assert int(known["message_size"].split()[0]) > 9_700_000
        assert client.mail(login)[0] == client.rcpt(BOB)[0] == 250
        code, text = client.data(content + content[:1_000_000])
        assert (code, text[:5]) == (552, b"5.3.4")
        world.held(submitted(client, login))


def test_a_postfix_stopped_in_the_middle_of_data_is_a_fault_and_not_the_end(world: World) -> None:
    with world.client(XCLIENT) as client, world.client() as other:
        assert client.sock is not None
        assert client.mail(XCLIENT)[0] == client.rcpt(BOB)[0] == 250
        assert client.docmd("DATA")[0] == 354
        client.sock.sendall(b"Subject: half\r\n\r\n")
        with world.postfix.stopped():
            client.sock.sendall(b"y" * 76 + b"\r\n.\r\n")
            assert client.getreply()[0] == 451
            assert client.mail(XCLIENT)[0] == 451
            assert said(other, XCLIENT, WEB).startswith(b"454 4.7.0 ")
        assert world.held(submitted(client, XCLIENT))[0]["sasl_username"] == XCLIENT
        assert said(other, XCLIENT, WEB).startswith(b"235 ")


def test_a_back_end_that_is_away_is_never_a_wrong_password(world: World) -> None:
    since = len(world.site.log)
    with world.client() as client:
        for _ in range(3):
            assert said(client, AWAY, WEB).startswith(b"454 4.7.0 ")
        assert said(client, AWAY, "wrong").startswith(b"535 5.7.8 ")
        assert client.mail(AWAY)[0] == 530
    log = world.site.logged(f"login={AWAY}", count=4, since=since)
    assert log.count("back end away, smtp at 127.0.0.1:") == 3
    verdicts = re.findall(rf"login={AWAY} .*verdict=(\w+)", log)  # what is known of the passwords
    assert verdicts == [*3 * ["accept"], "reject"]


def test_a_revoked_app_password_ends_the_session_on_both_sides(world: World) -> None:
    phone = world.site.mint(XCLIENT)
    with world.client() as client:
        assert said(client, XCLIENT, phone.password).startswith(b"235 ")
        assert client.mail(XCLIENT)[0] == client.rcpt(BOB)[0] == 250
        assert client.docmd("DATA")[0] == 354
        since = len(world.log)
        client.send(b"Subject: never\r\n\r\n")
        done = world.site.run("app-password", "revoke", XCLIENT, "--id", str(phone.id))
        assert done.returncode == 0, done.stderr
        assert client.file is not None
        assert client.file.read() == ENDED
    give_up_at = time.monotonic() + PATIENCE_S
    while "lost connection after DATA" not in world.log[since:]:
        assert time.monotonic() < give_up_at, world.log[since:]
        time.sleep(0.01)


def test_forty_at_once(world: World) -> None:
    def one(number: int) -> tuple[str, str]:
        login = MASTER if number % 2 else XCLIENT
        with world.client(login) as client:
            known, _ = world.held(submitted(client, login, MESSAGE, f"{number}@elsewhere.test"))
            client.quit()
        return known["sasl_username"], known["original_recipient"]

    with ThreadPoolExecutor(40) as threads:
        told = list(threads.map(one, range(40)))
    assert told == [(MASTER if n % 2 else XCLIENT, f"{n}@elsewhere.test") for n in range(40)]


def test_the_proxy_s_password_is_in_no_log(world: World) -> None:
    assert MASTER_PASSWORD not in world.site.log
    assert WEB not in world.site.log
