"""Who gets in where another server stands behind us: the same table as at our own mailboxes, and nobody else behind."""

from __future__ import annotations

import base64
import contextlib
import itertools
import socketserver
import threading
from collections.abc import Iterator

import pytest
from test_truth_table import CLOSED, MODES, SECRETS, Person, everybody, expected

from mailauth.attempt import Service
from site_of_tests import ACCEPTED, REFUSED, Site, free_ports

MASTER_PASSWORD = "the proxy's own, which no client says"
LINES = (Service.IMAP, Service.POP3)
DOORS = list(itertools.product(LINES, ("implicit", "starttls")))


class Behind(socketserver.ThreadingTCPServer):
    """A server that lets the master user in as anybody, and remembers whom."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, service: Service) -> None:
        super().__init__(("127.0.0.1", 0), Imap if service is Service.IMAP else Pop3)
        self.let_in: list[str] = []


class Talk(socketserver.StreamRequestHandler):
    greeting = b""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.wfile.write(self.greeting)
            for line in self.rfile:
                self.answer(line.strip())

    def answer(self, line: bytes) -> None:
        raise NotImplementedError

    def let_in(self, initial: bytes) -> None:
        account, user, password = base64.b64decode(initial).decode().split("\0")
        assert (user, password) == ("proxy", MASTER_PASSWORD)
        self.server.let_in.append(account)  # type: ignore[attr-defined]


class Imap(Talk):
    greeting = b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] there\r\n"

    def answer(self, line: bytes) -> None:
        tag, name, *rest = line.split()
        if name == b"AUTHENTICATE":
            self.let_in(rest[1])
            self.wfile.write(tag + b" OK [CAPABILITY IMAP4rev1] in\r\n")
        else:
            self.wfile.write(b"* BYE\r\n" * (name == b"LOGOUT") + tag + b" OK done\r\n")


class Pop3(Talk):
    greeting = b"+OK there\r\n"

    def answer(self, line: bytes) -> None:
        name = line.split()[0]
        if name == b"CAPA":
            self.wfile.write(b"+OK\r\nSASL PLAIN\r\n.\r\n")
            return
        if name == b"AUTH":
            self.wfile.write(b"+ \r\n")
            self.let_in(self.rfile.readline())
        self.wfile.write(b"+OK\r\n")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, Person], dict[Service, Behind]]]:
    folder = tmp_path_factory.mktemp("behind")
    (folder / "secret").write_text(MASTER_PASSWORD)
    with contextlib.ExitStack() as stack:
        behind = {service: stack.enter_context(Behind(service)) for service in LINES}
        for server in behind.values():
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        ports = "".join(f'{service} = "127.0.0.1:{server.server_address[1]}"\n' for service, server in behind.items())
        site = Site(
            folder,
            "[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\n"
            f'[mailbox]\nkind = "backend"\n[backends.one]\n{ports}smtp = "127.0.0.1:{free_ports(1)[0]}"\n'
            'tls = "off"\nuser = "proxy"\npassword_file = "secret"\norigin = "none"\n',
        )
        people = everybody(site)
        with site.serving():
            yield site, people, behind


@pytest.mark.parametrize(("mode", "secret", "door"), list(itertools.product(MODES, SECRETS, DOORS)), ids=str)
def test_a_secret_opens_what_it_should_and_nothing_else(served, mode, secret, door):
    site, people, behind = served
    before, who = len(behind[door[0]].let_in), people[mode]
    reply = site.ask(door[0], who.login, who.secrets[secret], tls=door[1])
    gets_in = expected(door, secret, MODES[mode][1])
    assert reply.startswith(ACCEPTED[door[0]]) if gets_in else reply == REFUSED[door[0]]
    assert behind[door[0]].let_in[before:] == [who.login] * gets_in


@pytest.mark.parametrize("secret", ["app", "web"])
@pytest.mark.parametrize("door", DOORS, ids="-".join)
@pytest.mark.parametrize("state", [*CLOSED, "domain-disabled"])
def test_what_is_switched_off_beats_every_secret(served, state, door, secret):
    site, people, behind = served
    before, who = len(behind[door[0]].let_in), people[state]
    reply = site.ask(door[0], who.login, who.secrets[secret], tls=door[1])
    closes_one = state.removesuffix("-off")
    open_here = closes_one in set(Service) and closes_one != door[0].value
    assert reply.startswith(ACCEPTED[door[0]]) if open_here else reply == REFUSED[door[0]]
    assert behind[door[0]].let_in[before:] == [who.login] * open_here
