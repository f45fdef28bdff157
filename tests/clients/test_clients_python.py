"""Python's own imaplib, poplib and smtplib at a served site: who gets in, what is sent and read, how sessions end."""

from __future__ import annotations

import contextlib
import itertools
import signal
import smtplib
import socket
import ssl
import time

import pytest
from aiosmtpd.controller import Controller

from mailauth.accounts import aliases, apppasswords
from mailauth.attempt import Service
from mailauth.founding import certificates
from site_of_tests import ACCEPTED, ACTOR, DOORS, REFUSED, WAYS, Client, Site, free_ports

WEB = "correct horse battery"
HOUR_S = 3600.0
ALICE, BOB, SALES = "alice@example.test", "bob@example.test", "sales@example.test"
ALL_LEFT_WITHIN_S = 8.0  # systemd waits 90 s, but whoever restarts a mail server watches it
ADDED_FIELDS = {"Return-Path", "Delivered-To", "Received", "Date", "Message-ID"}


# ---- who gets in

REFUSALS = {
    "wrong": {},
    "revoked": {},
    "expired": {},
    "web-with-mode-on": {"mode": True},
    "app-of-another-service": {},
    "app-of-another-network": {},
    "imap-off": {"imap": False},
    "pop3-off": {"pop3": False},
    "smtp-off": {"smtp": False},
    "client-logon-off": {"client_logon": False},
    "disabled": {"enabled": False},
}


def refused_password(site: Site, why: str, login: str, service: Service) -> str:
    """A password that is refused on this service for this reason alone."""
    if why == "wrong":
        return "wrong horse battery"
    if why == "web-with-mode-on":
        return WEB
    if why == "app-of-another-service":
        return site.mint(login, services=[other for other in Service if other is not service]).password
    if why == "app-of-another-network":
        return site.mint(login, networks=["192.0.2.0/24", "2001:db8::/32"]).password
    if why == "expired":
        return site.mint(login, expires_at=time.time() - HOUR_S, now=time.time() - 2 * HOUR_S).password
    minted = site.mint(login)
    if why == "revoked":
        apppasswords.revoke(site.store, login, ids=[minted.id], actor=ACTOR)
    return minted.password


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A served site, and the password that is refused for each reason on each service."""
    site = Site(tmp_path_factory.mktemp("python"))
    refused = {}
    for why, changes in REFUSALS.items():
        login = site.add(f"{why}@example.test", WEB)
        for service in Service:
            refused[why, service] = login, refused_password(site, why, login, service)
        if changes:
            site.change(login, **changes)
    with site.serving():
        yield site, refused


@pytest.fixture(scope="module")
def site(served):
    return served[0]


@pytest.fixture(scope="module")
def passwords(site):
    """The app passwords of two accounts; the first has an alias."""
    for login in (ALICE, BOB):
        site.add(login, WEB)
    aliases.add_alias(site.store, ALICE, SALES, actor=ACTOR)
    return {login: site.mint(login).password for login in (ALICE, BOB)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("door", DOORS, ids="-".join)
def test_an_app_password_opens_every_door(site, passwords, door, way):
    service, tls = door
    assert site.ask(service, ALICE, passwords[ALICE], way, tls).startswith(ACCEPTED[service])


@pytest.mark.parametrize(
    ("why", "door", "way"),
    [
        (why, door, way)
        for why, door, way in itertools.product(REFUSALS, DOORS, WAYS)
        if not why.endswith("-off") or why in {"client-logon-off", f"{door[0]}-off"}
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_refusal_says_the_same_whatever_its_reason(served, why, door, way):
    site, refused = served
    service, tls = door
    assert site.ask(service, *refused[why, service], way, tls) == REFUSED[service]


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_smtplib_tries_one_mechanism_after_the_other_on_one_connection(site, passwords, tls):
    with site.client(Service.SMTP, tls) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            client.login(ALICE, "wrong horse battery")
        assert b"%d %b" % refused.value.args == REFUSED[Service.SMTP]
        assert client.login(ALICE, passwords[ALICE])[0] == 235


# ---- mail, sent and read

MESSAGES = {
    "plain": b"From: <alice@example.test>\r\nSubject: plain\r\n\r\nHello Bob.\r\n",
    "dots": b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\nb.\r\n.\r\n.\r\n",
    "empty": b"Subject: no body\r\n\r\n",
    "blank-ends": b"Subject: blank lines\r\n\r\n\r\n\r\nbody\r\n\r\n\r\n",
    "long-lines": b"Subject: long\r\n\r\n" + b"x" * 998 + b"\r\n" + b"." * 998 + b"\r\n",
    "eight-bit": "Subject: 邮件\r\n\r\n你好，世界\r\n".encode(),
    "no-text": b"Subject: octets\r\n\r\n" + bytes(octet for octet in range(1, 256) if octet not in b"\r\n") + b"\r\n",
    "own-trace": b"Received: from a\r\n\tby b\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@a>\r\n\r\n",
    "large": b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 65_536,
}


def sent(site: Site, passwords: dict[str, str], message: bytes, sender: str = ALICE, recipient: str = BOB) -> None:
    with site.smtp() as client:
        client.login(ALICE, passwords[ALICE])
        assert client.sendmail(sender, [recipient], message) == {}


def read_by_imap(site: Site, login: str, password: str) -> list[bytes]:
    with site.client(Service.IMAP) as client:
        client.login(login, password)
        client.select("INBOX", readonly=True)
        return [part[1] for part in client.fetch("1:*", "(BODY.PEEK[])")[1] if isinstance(part, tuple)]


def read_by_pop3(site: Site, login: str, password: str) -> list[bytes]:
    with site.client(Service.POP3) as client:
        client.user(login)
        client.pass_(password)
        numbers = [int(line.split()[0]) for line in client.list()[1]]
        return [b"".join(line + b"\r\n" for line in client.retr(number)[1]) for number in numbers]


def newcomer(site: Site, name: str) -> tuple[str, str]:
    """An account with an empty mailbox, and its app password."""
    login = site.add(f"{name}@example.test")
    return login, site.mint(login).password


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_read_as_it_was_sent(site, passwords, name):
    reader = newcomer(site, f"reader-{name}")
    sent(site, passwords, MESSAGES[name], recipient=reader[0])
    (by_imap,) = read_by_imap(site, *reader)
    (by_pop3,) = read_by_pop3(site, *reader)
    assert by_imap == by_pop3
    assert by_imap.endswith(MESSAGES[name])
    added = by_imap.removesuffix(MESSAGES[name]).replace(b"\r\n\t", b" ").decode().splitlines()
    fields = [line.partition(":")[0] for line in added]
    assert set(fields) <= ADDED_FIELDS and len(set(fields)) == len(fields), added
    assert ("Date" in fields) is (b"Date:" not in MESSAGES[name])


def test_pop3_removes_at_quit_and_not_before(site, passwords):
    reader = newcomer(site, "remover")
    for name in ("plain", "dots"):
        sent(site, passwords, MESSAGES[name], recipient=reader[0])

    def doomed(client):
        client.user(reader[0])
        client.pass_(reader[1])
        client.dele(1)

    with site.client(Service.POP3) as client:  # lost without QUIT
        doomed(client)
    assert len(read_by_pop3(site, *reader)) == 2
    with site.client(Service.POP3) as client:
        doomed(client)
        client.rset()
        client.quit()
    assert len(read_by_imap(site, *reader)) == 2
    with site.client(Service.POP3) as client:
        doomed(client)
        client.quit()
    (left,) = read_by_imap(site, *reader)
    assert left.endswith(MESSAGES["dots"])


def test_a_client_that_idles_hears_of_new_mail(site, passwords):
    login, password = newcomer(site, "idler")
    with site.client(Service.IMAP) as client:
        client.login(login, password)
        client.select()
        client.send(b"i1 IDLE\r\n")
        assert client.readline().startswith(b"+ ")
        sent(site, passwords, MESSAGES["plain"], recipient=login)
        assert client.readline() == b"* 1 EXISTS\r\n"
        client.send(b"DONE\r\n")
        last = next(line for line in iter(client.readline, b"") if not line.startswith(b"* "))
        assert last.startswith(b"i1 OK ")


# ---- who may send what to whom


@pytest.mark.parametrize(("sender", "code"), [(ALICE, 250), (SALES, 250), (ALICE.upper(), 250), (BOB, 553)])
def test_a_sender_is_one_of_the_accounts_own_addresses(site, passwords, sender, code):
    with site.smtp() as client:
        client.login(ALICE, passwords[ALICE])
        assert client.mail(sender)[0] == code


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [
        (BOB, b"250 2.1.5 "),
        (SALES, b"250 2.1.5 "),
        ("nobody@example.test", b"550 5.1.1 "),
        ("somebody@elsewhere.test", b"550 5.7.1 "),
    ],
)
def test_a_recipient_is_one_of_ours_without_a_relay(site, passwords, recipient, reply):
    with site.smtp() as client:
        client.login(ALICE, passwords[ALICE])
        client.mail(ALICE)
        assert (b"%d %b" % client.rcpt(recipient)).startswith(reply)


def test_mail_to_an_alias_is_its_owners(site, passwords):
    before = len(read_by_imap(site, ALICE, passwords[ALICE]))
    sent(site, passwords, MESSAGES["plain"], sender=SALES, recipient=SALES)
    messages = read_by_pop3(site, ALICE, passwords[ALICE])
    assert len(messages) == before + 1
    assert messages[-1].startswith(b"Return-Path: <sales@example.test>\r\nDelivered-To: alice@example.test\r\n")


def test_nobody_sends_without_a_login(site):
    with site.smtp() as client:
        client.ehlo()
        assert client.mail(ALICE)[0] == 530


class NextServer:
    """Where the relay goes: takes everything but for one address."""

    def __init__(self):
        self.taken = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("full@"):
            return "552 5.2.2 Mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.taken.append(envelope)
        return "250 OK"


def test_what_is_not_ours_goes_to_the_relay(tmp_path):
    (port,) = free_ports(1)
    relay = f'[relay]\nhost = "127.0.0.1"\nport = {port}\ntls = "off"\n'
    site = Site(tmp_path, sections=relay)
    passwords = {site.add(ALICE): site.mint(ALICE).password}
    next_server = NextServer()
    controller = Controller(next_server, hostname="127.0.0.1", port=port)
    with site.serving(), site.smtp() as client:
        client.login(ALICE, passwords[ALICE])
        with pytest.raises(smtplib.SMTPDataError) as unavailable:
            client.sendmail(ALICE, ["far@elsewhere.test", ALICE], MESSAGES["dots"])
        assert unavailable.value.args[0] == 451
        assert read_by_imap(site, ALICE, passwords[ALICE]) == []
        controller.start()
        try:
            client.sendmail(ALICE, ["far@elsewhere.test", ALICE], MESSAGES["dots"])
            with pytest.raises(smtplib.SMTPDataError) as full:
                client.sendmail(ALICE, ["full@elsewhere.test"], MESSAGES["dots"])
        finally:
            controller.stop()
        (ours,) = read_by_imap(site, ALICE, passwords[ALICE])
    assert full.value.args == (552, b"5.2.2 Mailbox full")
    (envelope,) = next_server.taken
    assert (envelope.mail_from, envelope.rcpt_tos) == (ALICE, ["far@elsewhere.test"])
    assert envelope.content.endswith(MESSAGES["dots"])
    assert ours.endswith(envelope.content)


# ---- certificates, and the end


def presented(site: Site, authority: str) -> bytes:
    """The certificate that a new connection is shown, verified against this authority's."""
    context = ssl.create_default_context(cafile=site.folder / authority)
    with (
        socket.create_connection(("localhost", site.ports[Service.IMAP, "implicit"]), timeout=10) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as tls,
    ):
        return tls.getpeercert(binary_form=True)


def test_a_certificate_is_renewed_under_a_session_and_a_broken_one_is_not_taken(tmp_path):
    site = Site(tmp_path)
    password = site.mint(site.add(ALICE)).password
    with site.serving() as process, site.client(Service.IMAP, "starttls") as client:
        client.login(ALICE, password)
        old = presented(site, "ca.pem")
        renewed = certificates.make()
        (site.folder / "renewed-ca.pem").write_bytes(renewed.authority)
        (site.folder / "server.pem").write_bytes(renewed.server)
        process.send_signal(signal.SIGHUP)  # between the two files: the key is still the old one's
        site.logged("certificate not reloaded, the old one stays in use")
        assert presented(site, "ca.pem") == old
        (site.folder / "server.key").write_bytes(renewed.key)
        process.send_signal(signal.SIGHUP)
        site.logged("certificate reloaded")
        new = presented(site, "renewed-ca.pem")
        assert new == ssl.PEM_cert_to_DER_cert(renewed.server.decode()) != old
        (site.folder / "server.pem").write_text("not a certificate\n")
        process.send_signal(signal.SIGHUP)
        site.logged("certificate not reloaded", count=2)
        assert presented(site, "renewed-ca.pem") == new
        assert client.noop()[0] == "OK"


def sessions(site: Site, password: str, stack: contextlib.ExitStack) -> dict[str, Client]:
    """Clients that are somewhere: before login, in an AUTH exchange, after login, in the middle of a message."""
    clients = {f"{service} before login": stack.enter_context(site.client(service)) for service in Service}
    clients["imap idle"] = idle = stack.enter_context(site.client(Service.IMAP))
    idle.login(ALICE, password)
    idle.select()
    idle.send(b"i1 IDLE\r\n")
    assert idle.readline().startswith(b"+ ")
    clients["imap selected"] = selected = stack.enter_context(site.client(Service.IMAP, "starttls"))
    selected.login(ALICE, password)
    selected.select()
    clients["pop3 in"] = reading = stack.enter_context(site.client(Service.POP3))
    reading.user(ALICE)
    reading.pass_(password)
    reading.stat()
    clients["smtp in AUTH"] = asked = stack.enter_context(site.client(Service.SMTP, "starttls"))
    assert asked.docmd("AUTH", "PLAIN")[0] == 334
    clients["smtp in DATA"] = sending = stack.enter_context(site.client(Service.SMTP))
    sending.login(ALICE, password)
    sending.mail(ALICE)
    sending.rcpt(ALICE)
    assert sending.docmd("DATA")[0] == 354
    sending.send(b"Subject: half a mess")
    return clients


GOODBYES = {"imap": b"* BYE [UNAVAILABLE] ", "pop3": b"-ERR [SYS/TEMP] ", "smtp": b"421 4.3.2 "}


@pytest.mark.parametrize("polite", [True, False], ids=["clients-leave", "clients-stay"])
def test_at_sigterm_every_client_hears_a_goodbye_and_the_end_comes_soon(tmp_path, polite):
    site = Site(tmp_path)
    password = site.mint(site.add(ALICE)).password
    with site.serving() as process, contextlib.ExitStack() as stack:
        clients = sessions(site, password, stack)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        for where, client in clients.items():
            heard = b"".join(iter(lambda client=client: client.sock.recv(4096), b""))
            assert heard.startswith(GOODBYES[where[:4]]), f"{where}: {heard!r}"
            assert heard.endswith(b"\r\n") and heard.count(b"\r\n") == 1, f"{where}: {heard!r}"
        if polite:
            stack.close()
        assert process.wait(ALL_LEFT_WITHIN_S + 10) == 0
        assert time.monotonic() - began < (2.0 if polite else ALL_LEFT_WITHIN_S)
    with site.serving():
        assert read_by_imap(site, ALICE, password) == []  # half a message is none
