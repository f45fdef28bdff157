"""Two processes of `mailauth serve` on one store, clients that stay connected, and the words they are ended with."""

from __future__ import annotations

import base64
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

import commandline
import postgres
from mailauth.accounts import mailboxes
from mailauth.attempt import Service
from site_of_tests import ACTOR, QUICK, Site, free_ports

PATIENCE_S = 60.0  # only what is broken takes so long
WITHDRAWN = b"This session was ended: its password or its access was withdrawn"
BYE = {
    Service.IMAP: b"* BYE " + WITHDRAWN + b".\r\n",
    Service.POP3: b"-ERR [SYS/TEMP] " + WITHDRAWN + b".\r\n",
    Service.SMTP: b"421 4.7.0 " + WITHDRAWN + b"\r\n",
}
WEB = "correct horse battery"


class Twin(Site):
    """Another process on the store of a site, on ports of its own."""

    def __init__(self, site: Site) -> None:
        for name in ("folder", "sections", "url", "tls_off", "timeout_s", "launcher", "ring", "store"):
            setattr(self, name, getattr(site, name))
        self.ports = dict(zip(site.ports, free_ports(len(site.ports)), strict=True))
        self.config.write_text(self._toml())

    @property
    def config(self) -> Path:
        return self.folder / "twin.toml"

    @property
    def _log_file(self) -> Path:
        return self.folder / "twin.log"


class Client:
    """One connection, logged in and in one of the STATES; told goodbye or not."""

    def __init__(self, site: Site, service: Service, tls: str = "implicit") -> None:
        self.service = service
        sock = socket.create_connection(("localhost", site.ports[service, tls]), PATIENCE_S)
        self._sock = site.client_tls.wrap_socket(sock, server_hostname="localhost") if tls == "implicit" else sock
        self._buffer = b""
        self.marker = secrets.token_hex(16).encode()
        self.line()

    def line(self) -> bytes:
        """The next line; b"": the server has closed."""
        while b"\n" not in self._buffer:
            try:
                data = self._sock.recv(65536)
            except (ConnectionResetError, ssl.SSLEOFError):
                data = b""
            if not data:
                rest, self._buffer = self._buffer, b""
                return rest
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"

    def say(self, data: bytes) -> None:
        self._sock.sendall(data)

    def ask(self, data: bytes, end: Callable[[bytes], bool]) -> bytes:
        """Say this, and hear the first line that is its end."""
        self.say(data)
        while not end(line := self.line()):
            assert line, f"closed after {data!r}"
        return line

    def log_in(self, login: str, password: str) -> bool:
        """By the protocol's own command. Whether it got in."""
        if self.service is Service.IMAP:
            line = b'a LOGIN %b "%b"\r\n' % (login.encode(), password.encode())
            return self.ask(line, lambda said: said.startswith(b"a ")).startswith(b"a OK")
        if self.service is Service.POP3:
            self.ask(b"USER %b\r\n" % login.encode(), bool)
            return self.ask(b"PASS %b\r\n" % password.encode(), bool).startswith(b"+OK")
        self.ask(b"EHLO program.example.test\r\n", lambda said: said.startswith(b"250 "))
        shown = base64.b64encode(b"\0%b\0%b" % (login.encode(), password.encode()))
        return self.ask(b"AUTH PLAIN %b\r\n" % shown, bool).startswith(b"235")

    def go_into(self, state: str, login: str) -> None:
        """state: of STATES, of this service."""
        if state in {"imap selected", "imap in IDLE"}:
            self.ask(b"s SELECT INBOX\r\n", lambda said: said.startswith(b"s OK"))
        if state == "imap in IDLE":
            self.ask(b"i IDLE\r\n", lambda said: said.startswith(b"+ "))
        elif state == "pop3 in its maildrop":
            self.ask(b"STAT\r\n", lambda said: said.startswith(b"+OK"))
        elif state == "smtp within DATA":
            self.ask(b"MAIL FROM:<%b>\r\n" % login.encode(), lambda said: said.startswith(b"250"))
            self.ask(b"RCPT TO:<%b>\r\n" % login.encode(), lambda said: said.startswith(b"250"))
            self.ask(b"DATA\r\n", lambda said: said.startswith(b"354"))
            self.say(b"Subject: %b\r\n\r\nHalf of it.\r\n" % self.marker)
        self.state = state

    def goodbye(self) -> bytes:
        """Everything that is still said, until the server closes; the client leaves then."""
        heard = b""
        while line := self.line():
            heard += line
        self._sock.close()
        return heard

    def goes_on(self) -> bool:
        """Whether the session is as it was: what it was about is answered."""
        said, end = {
            "imap": (b"n NOOP\r\n", b"n OK"),
            "imap selected": (b"n NOOP\r\n", b"n OK"),
            "imap in IDLE": (b"DONE\r\n", b"i OK"),
            "pop3": (b"CAPA\r\nNOOP\r\n", b"+OK"),
            "pop3 in its maildrop": (b"STAT\r\n", b"+OK"),
            "smtp": (b"NOOP\r\n", b"250"),
            "smtp within DATA": (b"The other half.\r\n.\r\n", b"250"),
        }[self.state]
        with suppress(AssertionError, OSError):
            return self.ask(said, lambda line: line.startswith((end, BYE[self.service][:6]))).startswith(end)
        return False

    def leave(self) -> None:
        self._sock.close()


STATES = {
    "imap": Service.IMAP,
    "imap selected": Service.IMAP,
    "imap in IDLE": Service.IMAP,
    "pop3": Service.POP3,
    "pop3 in its maildrop": Service.POP3,
    "smtp": Service.SMTP,
    "smtp within DATA": Service.SMTP,
}


class Pair:
    """Both processes, by number, and the administrator's commands. Clients come to the first in TLS."""

    numbers = (0, 1)

    def __init__(self, one: Site, two: Twin) -> None:
        self.site = one
        self._sites = (one, two)

    def account(self, login: str) -> str:
        return self.site.add(login, WEB)

    def port(self, number: int, service: Service) -> int:
        """Where passwords may come in clear."""
        return self._sites[number].ports[service, "off"]

    def connected(self, number: int, service: Service) -> Client:
        """A client that has been greeted."""
        return Client(self._sites[number], service, ("implicit", "off")[number])

    def opened(self, number: int, state: str, login: str, password: str) -> Client:
        """A client that is in, in this state."""
        client = self.connected(number, STATES[state])
        assert client.log_in(login, password), f"{login} did not get in"
        client.go_into(state, login)
        return client

    def lets_in(self, number: int, service: Service, login: str, password: str) -> bool:
        """Whether a new login succeeds."""
        client = self.connected(number, service)
        try:
            return client.log_in(login, password)
        finally:
            client.leave()

    def run(self, *words: str, stdin: str = "") -> commandline.Said:
        """One command of `mailauth`, in another process than those that serve."""
        return commandline.run(*words, "--config", str(self.site.config), stdin=stdin)

    def delivered(self, marker: bytes) -> bool:
        """Whether this message is in anybody's mailbox."""
        return any(
            marker in file.read_bytes()
            for file in (self.site.folder / "mail").rglob("*")
            if file.is_file() and file.parent.name in {"new", "cur"}
        )

    def set_web_password(self, login: str, password: str) -> None:
        record = QUICK.hash(password.encode())
        mailboxes.set_web_password(self.site.store, login, record, keep_app_passwords=True, actor=ACTOR)


@contextmanager
def url_of(kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty place for a store. kind: sqlite or postgresql."""
    if kind == "sqlite":
        yield ""
        return
    with postgres.database(request.getfixturevalue("postgres_server")) as url:
        yield url.replace("postgres:@", "postgres@")


@contextmanager
def served_pair(folder: Path, url: str) -> Iterator[Pair]:
    """Two processes that serve."""
    one = Site(folder, url=url, tls_off=True)
    two = Twin(one)
    with ExitStack() as stack:
        stack.callback(one.store.close)
        stack.enter_context(one.serving())
        stack.enter_context(two.serving())
        yield Pair(one, two)


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what others do by themselves."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)
