"""A whole site for tests: served by `mailauth serve` in a process of its own, tried with the real clients of Python."""

from __future__ import annotations

import base64
import contextlib
import imaplib
import os
import poplib
import secrets
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mailauth import config
from mailauth.accounts import apppasswords, mailboxes
from mailauth.accounts.changes import AccountChange
from mailauth.attempt import Service
from mailauth.founding import certificates
from mailauth.hashing.argon2id import Argon2id
from mailauth.keys import KeyRing
from mailauth.store.engine import Store, open_store
from mailauth.store.upgrade import create

ACTOR = "test"
QUICK = Argon2id(1, 8, 1)  # weak on purpose: tests measure behaviour, not strength
SERVING_S = 30.0

PORTS, WORKERS = range(16_000, 32_000), 8  # below those that systems give to outgoing connections
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_given: deque[int] = deque(maxlen=500)

DOORS = tuple((service, tls) for service in Service for tls in ("implicit", "starttls"))
Client = imaplib.IMAP4 | poplib.POP3 | smtplib.SMTP


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, and that nobody else gets soon: no other test, no worker, no outgoing connection."""
    ports: list[int] = []
    while len(ports) < count:
        port = secrets.choice(PORTS[WORKER % WORKERS :: WORKERS])
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            if port not in _given:
                _given.append(port)
                ports.append(port)
    return ports


@dataclass
class Site:
    """One site in one folder.

    sections: TOML to add or to override the defaults with; timeout_s: of the store; launcher: what starts the server.
    """

    folder: Path
    sections: str = "[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\n"
    url: str = ""
    tls_off: bool = False
    timeout_s: float = 5.0
    launcher: tuple[str, ...] = ()
    ports: dict[tuple[Service, str], int] = field(init=False)
    ring: KeyRing = field(init=False)
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        modes = (*DOORS, *((service, "off") for service in Service)) if self.tls_off else DOORS
        self.ports = dict(zip(modes, free_ports(len(modes)), strict=True))
        self.url = self.url or f"sqlite:///{self.folder}/mailauth.db"
        self.ring = KeyRing.create(self.folder / "mailauth.key")
        made = certificates.make()
        (self.folder / "ca.pem").write_bytes(made.authority)
        (self.folder / "server.pem").write_bytes(made.server)
        (self.folder / "server.key").write_bytes(made.key)
        self.store = open_store(self.url)
        create(self.store, self.ring)
        self.config.write_text(self._toml())

    @property
    def config(self) -> Path:
        return self.folder / "mailauth.toml"

    def _toml(self) -> str:
        listeners = "".join(
            f'[[listen]]\nservice = "{service}"\naddress = "127.0.0.1:{port}"\ntls = "{tls}"\n'
            for (service, tls), port in self.ports.items()
        )
        return (
            f'[store]\nurl = "{self.url}"\ntimeout_s = {self.timeout_s}\n[key]\nfile = "mailauth.key"\n'
            '[tls]\ncertificate = "server.pem"\nkey = "server.key"\n[submission]\nhostname = "localhost"\n'
            f"{self.sections}{listeners}"
        )

    @property
    def settings(self) -> config.Settings:
        return config.load(self.config)

    @property
    def client_tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.folder / "ca.pem")

    # ---- accounts

    def add(self, login: str, password: str | None = None, **changes: object) -> str:
        record = None if password is None else QUICK.hash(password.encode())
        mailboxes.add_account(self.store, login, record, actor=ACTOR)
        if changes:
            self.change(login, **changes)
        return login

    def change(self, login: str, **changes: object) -> None:
        change = AccountChange(**changes)  # type: ignore[arg-type]
        mailboxes.set_account(self.store, login, change, actor=ACTOR)

    def mint(self, login: str, **terms: object) -> apppasswords.Minted:
        terms.setdefault("label", "test")
        return apppasswords.mint(self.store, self.ring, QUICK, login, actor=ACTOR, **terms)  # type: ignore[arg-type]

    # ---- serving

    @contextlib.contextmanager
    def serving(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """`mailauth serve`, from all listeners ready to a clean end."""
        with self._log_file.open("a") as log:
            written = len(self.log)
            process = subprocess.Popen(
                [*self.launcher, sys.executable, "-m", "mailauth", "serve", "--config", self.config],
                env=os.environ | environment,
                stderr=log,
            )
        try:
            self.logged("listening ", count=len(self.ports), since=written, process=process)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(SERVING_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
        assert code == 0, self.log

    @property
    def _log_file(self) -> Path:
        return self.folder / "serve.log"

    @property
    def log(self) -> str:
        """What `mailauth serve` has written so far."""
        return self._log_file.read_text()

    def logged(
        self, text: str, *, count: int = 1, since: int = 0, process: subprocess.Popen[bytes] | None = None
    ) -> str:
        """The log from `since` characters on, once it holds this text so often; it has a while to come."""
        give_up_at = time.monotonic() + SERVING_S
        while (log := self.log[since:]).count(text) < count:
            assert time.monotonic() < give_up_at, f"{text!r} was not logged: {log}"
            assert process is None or process.poll() is None, log
            time.sleep(0.005)
        return log

    def run(self, *arguments: str, password: str | None = None) -> subprocess.CompletedProcess[str]:
        """One `mailauth` command on this site."""
        return subprocess.run(
            [sys.executable, "-m", "mailauth", *arguments],
            env={**os.environ, "MAILAUTH_CONFIG": str(self.config)},
            input=None if password is None else password + "\n",
            stdin=subprocess.DEVNULL if password is None else None,
            capture_output=True,
            text=True,
            check=False,
        )

    # ---- clients

    def imap(self, tls: str = "implicit") -> imaplib.IMAP4:
        port = self.ports[Service.IMAP, tls]
        if tls == "implicit":
            return imaplib.IMAP4_SSL("localhost", port, ssl_context=self.client_tls, timeout=20)
        client = imaplib.IMAP4("localhost", port, timeout=20)
        if tls == "starttls":
            client.starttls(self.client_tls)
        return client

    def pop3(self, tls: str = "implicit") -> poplib.POP3:
        port = self.ports[Service.POP3, tls]
        if tls == "implicit":
            return poplib.POP3_SSL("localhost", port, context=self.client_tls, timeout=20)
        client = poplib.POP3("localhost", port, timeout=20)
        if tls == "starttls":
            client.stls(self.client_tls)
        return client

    def smtp(self, tls: str = "implicit") -> smtplib.SMTP:
        port = self.ports[Service.SMTP, tls]
        if tls == "implicit":
            return smtplib.SMTP_SSL("localhost", port, context=self.client_tls, timeout=20)
        client = smtplib.SMTP("localhost", port, timeout=20)
        if tls == "starttls":
            client.starttls(context=self.client_tls)
        client.ehlo()
        return client

    @contextlib.contextmanager
    def client(self, service: Service, tls: str = "implicit") -> Iterator[Client]:
        """A client, connected; at the end it leaves without a goodbye."""
        client: Client = getattr(self, service.value)(tls)
        try:
            yield client
        finally:
            (client.shutdown if isinstance(client, imaplib.IMAP4) else client.close)()

    def ask(self, service: Service, login: str, password: str, way: str = "sasl", tls: str = "implicit") -> bytes:
        """What the server answers to one login on a connection of its own. way: of WAYS."""
        with self.client(service, tls) as client:
            return WAYS[way](client, login, password)


def said(client: Client, login: str, password: str) -> bytes:
    """What the server answers to one login, in SASL PLAIN (so that any octets can be sent)."""
    initial = b"\0".join([b"", login.encode(), password.encode()])
    if isinstance(client, imaplib.IMAP4):
        try:
            return b"OK " + client.authenticate("PLAIN", lambda _: initial)[1][0]
        except imaplib.IMAP4.error as refused:
            text = refused.args[0]
            return b"NO " + (text if isinstance(text, bytes) else text.encode())
    encoded = base64.b64encode(initial)
    if isinstance(client, poplib.POP3):
        try:
            return client._shortcmd(f"AUTH PLAIN {encoded.decode()}")  # type: ignore[attr-defined,no-any-return]
        except poplib.error_proto as refused:
            return refused.args[0]  # type: ignore[no-any-return]
    client.ehlo_or_helo_if_needed()
    return b"%d %b" % client.docmd("AUTH", f"PLAIN {encoded.decode()}")


def said_plainly(client: Client, login: str, password: str) -> bytes:
    """The same, by the protocol's own command: LOGIN, USER and PASS; SMTP has none, there it is SASL LOGIN."""
    if isinstance(client, imaplib.IMAP4):
        try:
            return b"OK " + client.login(login, password)[1][0]
        except imaplib.IMAP4.error as refused:
            return b"NO " + refused.args[0]
    if isinstance(client, poplib.POP3):
        try:
            client.user(login)
            return client.pass_(password)
        except poplib.error_proto as refused:
            return refused.args[0]  # type: ignore[no-any-return]
    client.ehlo_or_helo_if_needed()
    for words in ("AUTH LOGIN", *[base64.b64encode(shown.encode()).decode() for shown in (login, password)]):
        code, text = client.docmd(words)
        if code != 334:
            break
    return b"%d %b" % (code, text)


WAYS: dict[str, Callable[[Client, str, str], bytes]] = {"sasl": said, "plain": said_plainly}


ACCEPTED = {Service.IMAP: b"OK ", Service.POP3: b"+OK", Service.SMTP: b"235 2.7.0"}
REFUSED = {
    Service.IMAP: b"NO [AUTHENTICATIONFAILED] Authentication failed.",
    Service.POP3: b"-ERR [AUTH] Authentication failed.",
    Service.SMTP: b"535 5.7.8 Authentication failed.",
}
DEFERRED = {Service.IMAP: b"NO [UNAVAILABLE]", Service.POP3: b"-ERR [SYS/TEMP]", Service.SMTP: b"454 4.7.0"}
WRONG_PASSWORD_WORDS = (b"AUTHENTICATIONFAILED", b"[AUTH]", b"535")
