"""A served site with one account, asked at every door in every way, while something is broken."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mailauth.attempt import Service
from site_of_tests import ACCEPTED, DEFERRED, REFUSED, WAYS, WRONG_PASSWORD_WORDS, Site
from stores_in_trouble import files, store_away

ALICE = "alice@example.test"
WEB, WRONG = "correct horse battery", "incorrect zebra battery"
SECRETS = ("app", "web", "wrong")
NOW_S = 10.0  # a fault that is over is over for everybody within this
RECOVERS_S = 5.0
AWAY_S = 1.5  # of a fault that is waited for
PATIENCE_S = 30.0  # only a broken process takes so long

AT_THE_DOOR = {  # in place of a greeting, while the store is known to be away
    Service.IMAP: b"* BYE [UNAVAILABLE]",
    Service.POP3: b"-ERR [SYS/TEMP]",
    Service.SMTP: b"421 4.3.2",
}

Answers = Mapping[tuple[Service, str, str], bytes]  # by service, way and the secret's name


def secrets_of(site: Site, login: str = ALICE) -> dict[str, str]:
    """A new account's: both right ones and a wrong one. The mode is off, so that all have to be judged."""
    site.add(login, WEB)
    return {"app": site.mint(login).password, "web": WEB, "wrong": WRONG}


def answers(site: Site, secrets: Mapping[str, str], login: str = ALICE) -> Answers:
    """What every door says to every secret in every way, all asked at the same time."""
    asked = [(service, way, name) for service in Service for way in WAYS for name in secrets]
    with ThreadPoolExecutor(len(asked)) as threads:
        heard = threads.map(lambda one: said_to(site, one[0], login, secrets[one[2]], one[1]), asked)
        return dict(zip(asked, heard, strict=True))


def said_to(site: Site, service: Service, login: str, password: str, way: str = "sasl") -> bytes:
    """What the server says to one login; in place of its greeting, if it does not get further."""
    refused = refused_at_the_door(site, service)
    return refused or site.ask(service, login, password, way)


def refused_at_the_door(site: Site, service: Service) -> bytes | None:
    """What was said in place of a greeting; None: there was one."""
    with (
        socket.create_connection(("localhost", site.ports[service, "implicit"]), timeout=20) as clear,
        site.client_tls.wrap_socket(clear, server_hostname="localhost") as sock,
        sock.makefile("rb") as said,
    ):
        greeting = said.readline()
    return greeting if greeting.startswith(AT_THE_DOOR[service]) else None


def is_deferred(service: Service, reply: bytes) -> bool:
    return reply.startswith((DEFERRED[service], AT_THE_DOOR[service]))


def assert_deferred(heard: Answers) -> None:
    for (service, way, name), reply in heard.items():
        assert not any(words in reply for words in WRONG_PASSWORD_WORDS), (service, way, name, reply)
        assert is_deferred(service, reply), (service, way, name, reply)


def assert_judged(heard: Answers) -> None:
    for (service, way, name), reply in heard.items():
        if name == "wrong":
            assert reply == REFUSED[service], (service, way, name, reply)
        else:
            assert reply.startswith(ACCEPTED[service]), (service, way, name, reply)


def assert_judged_soon(site: Site, secrets: Mapping[str, str]) -> None:
    """It is as before, without a restart and within a moment; until then nobody was told a wrong password."""
    give_up_at = time.monotonic() + NOW_S
    while True:
        heard = answers(site, secrets)
        if time.monotonic() > give_up_at or not any(is_deferred(asked[0], reply) for asked, reply in heard.items()):
            break
    assert_judged(heard)


def wait_until(holds: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come"
        time.sleep(0.02)


def assert_alarmed(site: Site, cause: str) -> None:
    """The operator is told once for each login at least, with a word to look for."""
    log = site.logged(f"cause={cause} ")
    for line in log.splitlines():
        if f"cause={cause} " in line:
            assert line.endswith(" alarm"), line


def assert_silent(site: Site, secrets: Mapping[str, str]) -> None:
    """No password is in the log."""
    for name, secret in secrets.items():
        assert secret not in site.log, name


@contextlib.contextmanager
def serving(site: Site, secrets: Mapping[str, str], *, warm: bool = True, **environment: str) -> Iterator[int]:
    """The process that serves. warm: somebody has logged in already."""
    with site.serving(**environment) as process:
        if warm:
            assert_judged(answers(site, secrets))
        yield process.pid
    assert_silent(site, secrets)


# ---- what breaks an SQLite file


@contextlib.contextmanager
def replaced_by_garbage(site: Site) -> Iterator[None]:
    with store_away(site):
        (site.folder / "mailauth.db").write_bytes(b"no SQLite file" * 4096)
        yield


@contextlib.contextmanager
def overwritten_by_garbage(site: Site) -> Iterator[None]:
    with connected(site) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (file, *_) = files(site)
    content = file.read_bytes()
    with file.open("r+b") as disk:
        disk.write(b"no SQLite file" * (len(content) // 14 + 1))
        yield
        disk.seek(0)
        disk.write(content)
        disk.truncate()


@contextlib.contextmanager
def damaged_page(site: Site, login: str) -> Iterator[None]:
    """The page that holds the account's row is none any more, as after a bad sector."""
    with connected(site) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (record,) = connection.execute("SELECT web_record FROM accounts WHERE login = ?", (login,)).fetchone()
    (file, *_) = files(site)
    begin = file.read_bytes().index(record.encode()) // size * size
    with file.open("r+b") as disk:
        disk.seek(begin)
        page = disk.read(size)
        disk.seek(begin)
        disk.write(b"\xff" * size)
        disk.flush()
        yield
        disk.seek(begin)
        disk.write(page)


@contextlib.contextmanager
def connected(site: Site) -> Iterator[sqlite3.Connection]:
    """A connection behind the store's back, with no rule of the schema in the way."""
    connection = sqlite3.connect(files(site)[0], isolation_level=None, timeout=10, check_same_thread=False)
    with contextlib.closing(connection):
        connection.execute("PRAGMA ignore_check_constraints = ON")
        yield connection


@contextlib.contextmanager
def locked_out(site: Site) -> Iterator[sqlite3.Connection]:
    """A copy in the store's place that nobody else reads or writes until this connection is closed.

    (In WAL mode nobody can lock out a process that has the file open; so only a new file can be met locked.)
    """
    with connected(site) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = site.folder / "copy.db"
    shutil.copy(files(site)[0], copy)
    connection = sqlite3.connect(copy, isolation_level=None, check_same_thread=False)
    with contextlib.closing(connection):
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        for file in files(site)[1:]:
            file.unlink()
        copy.rename(files(site)[0])
        yield connection


# ---- what becomes of a PostgreSQL


@contextlib.contextmanager
def frozen(server: Any) -> Iterator[None]:
    """Every process of the server stands still, as on a machine whose disk or hypervisor does not answer."""
    postmaster = server.get_postmaster_info().process
    postmaster.suspend()  # first: it makes no more children
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()
