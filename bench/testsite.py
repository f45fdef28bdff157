"""A whole site in a folder of its own: key, certificate, and a store full of app passwords; and `mailauth serve` on it.

Rule: made as an administrator makes one, through what the commands call; every record is a real Argon2id hash of the
default cost, and what is served is the product as it is, with its own process.
"""

from __future__ import annotations

import itertools
import sqlite3
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailauth.accounts.apppasswords import mint
from mailauth.accounts.changes import AccountChange
from mailauth.accounts.mailboxes import add_account, set_account
from mailauth.founding.site import Layout, found
from mailauth.hashing.argon2id import Argon2id
from mailauth.keys import KeyRing
from mailauth.store.engine import Store, open_store
from processes import Server, free_ports

APP_PASSWORDS = 10  # of each account: as many as it may have
ACTOR = "bench"
THREADS = 2
CONNECTIONS = 100_000  # all of them come from one source here
LAG = Path(__file__).with_name("lag.py")
VICTIMS = 8
LISTENERS = {"imap": ("imap", "off"), "imaps": ("imap", "implicit"), "pop3": ("pop3", "off"), "smtp": ("smtp", "off")}

CONFIGURATION = """\
[store]
url = "sqlite:///{layout.store.name}"

[key]
file = "{layout.keys.name}"

[tls]
certificate = "{layout.certificate.name}"
key = "{layout.certificate_key.name}"

[throttle]
enabled = {throttled}
max_connections_per_source = {connections}

[replies]
refusal_delay_s = {refusal_delay_s}

[limits]
login_s = 600

[log]
file = "login.log"
"""
BRIDGE = "auth.sock"
BRIDGED = f"""
[[bridge]]
kind = "dovecot-auth"
address = "unix:{BRIDGE}"
"""
BEHIND = """
[mailbox]
kind = "backend"

[backends.bench]
imap = "127.0.0.1:{port}"
pop3 = "127.0.0.1:{port}"
smtp = "127.0.0.1:{port}"
tls = "off"
user = "proxy"
password_file = "master"
origin = "none"
"""
LISTEN = """
[[listen]]
service = "{service}"
address = "127.0.0.1:{port}"
tls = "{tls}"
"""


@dataclass(frozen=True)
class Account:
    """One account, mode on. passwords, records: its app passwords and their hashes, oldest first."""

    login: str
    passwords: tuple[str, ...]
    records: tuple[str, ...]


@dataclass(frozen=True)
class Running:
    """A server and where it listens, by the keys of LISTENERS. auth_socket: Dovecot's own."""

    server: Server
    ports: dict[str, int]
    auth_socket: Path | None = None


@dataclass(frozen=True)
class Site:
    """The files and the accounts. victims: accounts with a web password and mode off: each guess costs a hash."""

    layout: Layout
    accounts: tuple[Account, ...]
    victims: tuple[str, ...]

    def configure(
        self, *, throttled: bool = True, refusal_delay_s: float = 2.0, behind: int | None = None
    ) -> dict[str, int]:
        """Write the configuration anew; the ports, by the keys of LISTENERS."""
        ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
        head = CONFIGURATION.format(
            layout=self.layout,
            throttled=str(throttled).lower(),
            connections=CONNECTIONS,
            refusal_delay_s=refusal_delay_s,
        )
        tables = [
            LISTEN.format(service=service, tls=tls, port=ports[name]) for name, (service, tls) in LISTENERS.items()
        ]
        if behind is not None:
            (self.layout.folder / "master").write_text("anything\n")
            tables.append(BEHIND.format(port=behind))
        self.layout.config.write_text(head + "".join(tables) + BRIDGED)
        return ports

    def command(self, *words: str) -> tuple[str, ...]:
        """A command line of `mailauth` on this site."""
        return (sys.executable, "-m", "mailauth", *words, "--config", str(self.layout.config))

    @contextmanager
    def serve(
        self,
        *,
        throttled: bool = True,
        refusal_delay_s: float = 2.0,
        probe: Path | None = None,
        behind: int | None = None,
    ) -> Iterator[Running]:
        """A new `mailauth serve`, which knows no proof yet. probe: where it tells how it is (lag.py); None: nowhere.

        behind: the port of a server that has the mailboxes; None: they are here. Raises DidNotStart.
        """
        ports = self.configure(throttled=throttled, refusal_delay_s=refusal_delay_s, behind=behind)
        launcher = () if probe is None else (sys.executable, str(LAG), str(probe))
        command = (*launcher, *self.command("serve"))
        with Server(command, list(ports.values()), self.layout.folder / "serve.out") as server:
            yield Running(server, ports)


def make(folder: Path, account_count: int, tell: Callable[[str], None]) -> Site:
    """A new site in this folder; `tell` hears how far it has come."""
    layout = found(folder)
    ring, store = KeyRing.load(layout.keys), open_store(f"sqlite:///{layout.store}")
    logins = [f"user{number:04d}@example.test" for number in range(account_count)]
    done = itertools.count(1)

    def fill(login: str) -> tuple[str, ...]:
        passwords = _fill(store, ring, login)
        tell(f"{next(done)} of {account_count} accounts, {APP_PASSWORDS} app passwords each")
        return passwords

    with ThreadPoolExecutor(THREADS) as pool:
        passwords = list(pool.map(fill, logins))
    victims = tuple(f"victim{number}@example.test" for number in range(VICTIMS))
    for login in victims:
        add_account(store, login, Argon2id().hash(b"correct horse battery"), actor=ACTOR)
    store.close()
    records = _records(layout.store)
    accounts = tuple(Account(login, mine, records[login]) for login, mine in zip(logins, passwords, strict=True))
    return Site(layout, accounts, victims)


def _fill(store: Store, ring: KeyRing, login: str) -> tuple[str, ...]:
    add_account(store, login, None, actor=ACTOR)
    set_account(store, login, AccountChange(mode=True), actor=ACTOR)
    hasher = Argon2id()
    return tuple(
        mint(store, ring, hasher, login, label=f"Device {number}", actor=ACTOR).password
        for number in range(APP_PASSWORDS)
    )


def _records(store: Path) -> dict[str, tuple[str, ...]]:
    rows = "SELECT login, record FROM app_passwords JOIN accounts ON accounts.id = account_id ORDER BY app_passwords.id"
    records: dict[str, tuple[str, ...]] = {}
    with closing(sqlite3.connect(store)) as connection:
        for login, record in connection.execute(rows):
            records[login] = (*records.get(login, ()), record)
    return records
