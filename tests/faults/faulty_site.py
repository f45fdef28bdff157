"""A served site with one account, asked at every door in every way, while something is broken."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mailauth.attempt import Service
from site_of_tests import ACCEPTED, DEFERRED, REFUSED, WAYS, WRONG_PASSWORD_WORDS, Site

ALICE = "alice@example.test"
WEB, WRONG = "correct horse battery", "incorrect zebra battery"
SECRETS = ("app", "web", "wrong")
NOW_S = 10.0  # a fault that is over is over for everybody within this

Answers = Mapping[tuple[Service, str, str], bytes]  # by service, way and the secret's name


def secrets_of(site: Site, login: str = ALICE) -> dict[str, str]:
    """A new account's: both right ones and a wrong one. The mode is off, so that all have to be judged."""
    site.add(login, WEB)
    return {"app": site.mint(login).password, "web": WEB, "wrong": WRONG}


def answers(site: Site, secrets: Mapping[str, str], login: str = ALICE) -> Answers:
    """What every door says to every secret in every way, all asked at the same time."""
    asked = [(service, way, name) for service in Service for way in WAYS for name in secrets]
    with ThreadPoolExecutor(len(asked)) as threads:
        heard = threads.map(lambda one: site.ask(one[0], login, secrets[one[2]], one[1]), asked)
        return dict(zip(asked, heard, strict=True))


def assert_deferred(heard: Answers) -> None:
    for (service, way, name), reply in heard.items():
        assert not any(words in reply for words in WRONG_PASSWORD_WORDS), (service, way, name, reply)
        assert reply.startswith(DEFERRED[service]), (service, way, name, reply)


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
        if time.monotonic() > give_up_at or not any(
            reply.startswith(DEFERRED[service]) for (service, _, _), reply in heard.items()
        ):
            break
    assert_judged(heard)


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
def serving(site: Site, secrets: Mapping[str, str], *, warm: bool = True) -> Iterator[int]:
    """The process that serves. warm: somebody has logged in already."""
    with site.serving() as process:
        if warm:
            assert_judged(answers(site, secrets))
        yield process.pid
    assert_silent(site, secrets)


# ---- what breaks an SQLite file


def files(site: Site) -> list[Path]:
    """The store's: the file itself first."""
    return sorted(site.folder.glob("mailauth.db*"))


@contextlib.contextmanager
def moved_away(site: Site) -> Iterator[None]:
    away = site.folder / "away"
    away.mkdir()
    for file in files(site):
        file.rename(away / file.name)
    yield
    for file in files(site):
        file.unlink()
    for file in away.iterdir():
        file.rename(site.folder / file.name)


@contextlib.contextmanager
def replaced_by_garbage(site: Site) -> Iterator[None]:
    with moved_away(site):
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
def connected(site: Site) -> Iterator[sqlite3.Connection]:
    """A connection behind the store's back, with no rule of the schema in the way."""
    connection = sqlite3.connect(files(site)[0], isolation_level=None, timeout=10, check_same_thread=False)
    with contextlib.closing(connection):
        connection.execute("PRAGMA ignore_check_constraints = ON")
        yield connection


@contextlib.contextmanager
def locked_out(site: Site) -> Iterator[sqlite3.Connection]:
    """Nobody else reads or writes, until this connection is closed: as `VACUUM` or a backup program does it."""
    with connected(site) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        yield connection
