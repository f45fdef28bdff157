"""Dovecot 2.4 asks by the script that is shipped: the verdicts arrive as they are, and one device can be shown out."""

from __future__ import annotations

import contextlib
import imaplib
import poplib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from dovecot24 import Dovecot24
from served import nothing_to_catch_up_with

from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from site_of_tests import ACTOR, REFUSED, WAYS, WRONG_PASSWORD_WORDS, Client, Site, free_ports, said

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("dovecot-2.4")]

IMAP, POP3 = Service.IMAP, Service.POP3
ALICE, CHINESE, OFF = "alice@example.test", "\u738b\u5c0f\u660e@example.test", "off@example.test"
WEB = "correct horse battery"
OTHER_WEB = '\u6b63\u786e\u7684\u5bc6\u7801 p\u00e4ss%w+rd&="\\' + "x" * 900
TOKEN, KEY = "a-token-that-dovecot-has", "a key of doveadm's"
PATIENCE_S = 30.0
ENTERED = {IMAP: b"OK ", POP3: b"+OK"}

each_service = pytest.mark.parametrize("service", [IMAP, POP3], ids=str)


@dataclass
class Pair:
    """A site, and the Dovecot that asks it."""

    site: Site
    dovecot: Dovecot24

    @contextlib.contextmanager
    def client(self, service: Service) -> Iterator[Client]:
        port = self.dovecot.ports[service]
        client: Client
        if service is IMAP:
            client = imaplib.IMAP4("127.0.0.1", port, timeout=PATIENCE_S)
        else:
            client = poplib.POP3("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            yield client
        finally:
            (client.shutdown if isinstance(client, imaplib.IMAP4) else client.close)()

    def ask(self, service: Service, login: str, password: str, way: str = "sasl") -> bytes:
        """What is answered to one login on a connection of its own."""
        with self.client(service) as client:
            return WAYS[way](client, login, password)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    (port,) = free_ports(1)
    dovecot = Dovecot24(port, TOKEN, KEY)
    keys = (
        f'[[bridge]]\nkind = "dovecot-lua"\naddress = "127.0.0.1:{port}"\nallow_tcp = true\ntoken_file = "token"\n'
        f'doveadm_url = "http://127.0.0.1:{dovecot.doveadm_port}"\ndoveadm_key_file = "doveadm.key"\n'
        'kick_by = "app-password"\n'
    )
    site = Site(tmp_path_factory.mktemp("dovecot24"), sections=f"[throttle]\nenabled = false\n{keys}")
    (site.folder / "token").write_text(TOKEN + "\n")
    (site.folder / "doveadm.key").write_text(KEY + "\n")
    site.add(ALICE, WEB, mode=True)
    site.add(CHINESE, OTHER_WEB)
    site.add(OFF, WEB, client_logon=False)
    nothing_to_catch_up_with(site)
    with site.serving(), dovecot.running():
        yield Pair(site, dovecot)
        for secret in (TOKEN, KEY, WEB, OTHER_WEB):
            assert secret not in dovecot.log


@each_service
@pytest.mark.parametrize("way", WAYS)
def test_the_truth_table(pair: Pair, service: Service, way: str) -> None:
    live, revoked = pair.site.mint(ALICE, label=f"live {way}"), pair.site.mint(ALICE, label=f"revoked {way}")
    apppasswords.revoke(pair.site.store, ALICE, ids=[revoked.id], actor=ACTOR)
    assert pair.ask(service, ALICE, live.password, way).startswith(ENTERED[service])
    for login, password in ((ALICE, "wrong"), (ALICE, revoked.password), (ALICE, WEB), (OFF, WEB)):
        assert pair.ask(service, login, password, way) == REFUSED[service]
    assert pair.ask(service, CHINESE, OTHER_WEB).startswith(ENTERED[service])
    apppasswords.revoke(pair.site.store, ALICE, ids=[live.id], actor=ACTOR)
    assert pair.ask(service, ALICE, live.password, way) == REFUSED[service]


def test_whose_and_from_where_is_on_record(pair: Pair) -> None:
    app = pair.site.mint(ALICE, label="on record")
    assert pair.ask(POP3, ALICE, app.password).startswith(b"+OK")
    line = pair.site.logged(
        f"login service=pop3 login={ALICE} peer=127.0.0.1 tls=no verdict=accept credential={app.id}"
    )
    assert line


def assert_told(pair: Pair, command: subprocess.CompletedProcess[str], which: str) -> None:
    """Dovecot may say that there is nothing, and know better half a second later: then the log tells."""
    assert command.returncode == 0
    if f"ended what was open of {ALICE}, {which}" not in command.stderr:
        assert "note:" not in command.stderr
        pair.site.logged(f"what was open of {ALICE} has been ended")


def test_a_revoked_password_ends_what_its_own_device_has_open(pair: Pair) -> None:
    phone, laptop = pair.site.mint(ALICE, label="phone"), pair.site.mint(ALICE, label="laptop")
    with pair.client(IMAP) as imap, pair.client(POP3) as pop3, pair.client(IMAP) as stays:
        for client, app in ((imap, phone), (stays, laptop)):
            assert said(client, ALICE, app.password).startswith(b"OK ")
            client.select()
            client.send(b"x IDLE\r\n")
            assert client.readline().startswith(b"+ ")
        assert said(pop3, ALICE, phone.password).startswith(b"+OK")
        revoked = pair.site.run("app-password", "revoke", ALICE, "--label", "phone")
        assert imap.readline().startswith(b"* BYE ")
        assert pop3.file.readline().startswith(b"-ERR [SYS/TEMP]")
        assert_told(pair, revoked, "by these app passwords")
        stays.send(b"DONE\r\n")
        assert stays.readline().startswith(b"x OK")
        closed = pair.site.run("sessions", "close", ALICE)
        assert stays.readline().startswith(b"* BYE ")
        assert_told(pair, closed, "by whatever password")
    again = pair.site.run("app-password", "revoke", ALICE, "--label", "laptop")
    assert "Dovecot" not in again.stderr  # it had left: there was nothing to end


@each_service
def test_a_fault_is_no_wrong_password(pair: Pair, service: Service) -> None:
    app = pair.site.mint(ALICE, label=f"fault {service}")
    token = pair.dovecot.root / pair.dovecot.home.lstrip("/") / "token"
    try:
        token.write_text("another\n")
        for password in (app.password, "wrong"):
            reply = pair.ask(service, ALICE, password)
            assert not reply.startswith(ENTERED[service])
            assert not any(words in reply for words in WRONG_PASSWORD_WORDS), reply
    finally:
        token.write_text(TOKEN + "\n")
    assert pair.ask(service, ALICE, app.password).startswith(ENTERED[service])
