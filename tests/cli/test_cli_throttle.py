"""`mailauth throttle`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from commandline import Cli
from guessers import HOME, Guessing
from mailauth.store.engine import open_store
from mailauth.store.guesses import SharedGuesses


@pytest.fixture
def attacked(site: Path, alice: str) -> Guessing:
    """A process on this site that one source and many others have guessed at."""
    process = Guessing()
    store = open_store(f"sqlite:///{site}/mailauth.db")
    process.admitted(range(100), peer=HOME, login="nobody@example.com", account=None)
    for n in range(100):
        process.guess(n, peer=f"10.{n}.0.1", login=alice, account=1, web=True)
    process.exchange(SharedGuesses(store, lambda: time.time() + 20.0))  # so that a slow test still sees it
    return process


def test_nobody_is_slowed_down(mailauth: Cli) -> None:
    said = mailauth("throttle", "list")
    assert (said.code, said.out, said.err) == (0, "", "nobody is slowed down\n")
    assert mailauth("throttle", "list", "--json").json == []


def test_who_is_slowed_for_people_and_programs(mailauth: Cli, alice: str, attacked: Guessing) -> None:
    heading, *lines = mailauth("throttle", "list").out.splitlines()
    assert heading.split() == ["KIND", "WHO", "WHY", "SPENT", "UNTIL"]
    assert len(lines) == 2
    views = {view["kind"]: view for view in mailauth("throttle", "list", "--json").json}
    assert views["account"]["subject"] == alice
    assert views["source"]["subject"] == HOME
    assert views["source"]["guesses"] == 33
    assert views["source"]["until_at"].endswith("Z")
    assert "wrong web passwords of this account" in "".join(lines)
    assert [view["subject"] for view in mailauth("throttle", "list", alice, "--json").json] == [alice]
    assert [view["subject"] for view in mailauth("throttle", "list", "192.0.2.0/24", "--json").json] == [HOME]
    assert mailauth("throttle", "list", "192.0.3.1", "--json").json == []


def test_one_is_cleared(mailauth: Cli, alice: str, attacked: Guessing) -> None:
    said = mailauth("throttle", "clear", "Alice@example.com")
    assert (said.code, said.out, said.err) == (0, f"forgot 1 count of {alice}\n", "")
    assert [view["kind"] for view in mailauth("throttle", "list", "--json").json] == ["source"]
    said = mailauth("throttle", "clear", HOME, "--json")
    assert said.json == {"scope": "source", "subject": HOME, "counts": 2, "no_answer_from": []}
    assert mailauth("throttle", "list", "--json").json == []
    assert "throttle-cleared" in mailauth("audit", alice).out


def test_all_are_cleared_and_that_is_said(mailauth: Cli, alice: str, attacked: Guessing) -> None:
    said = mailauth("throttle", "clear")
    assert said.code == 0
    assert said.out == "forgot 3 counts: everything\n"
    assert said.err == "note: neither an account nor an IP address was named, so all counts are forgotten\n"
    assert mailauth("throttle", "list", "--json").json == []
    assert mailauth("throttle", "clear", "--json").json["subject"] is None


def test_a_process_that_does_not_answer_is_named(
    mailauth: Cli, site: Path, attacked: Guessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailauth.store.changes.LEASE_S", 0.0)
    monkeypatch.setattr("mailauth.store.changes.MARGIN_S", 0.0)
    store = open_store(f"sqlite:///{site}/mailauth.db")
    with store.transaction() as tx:
        tx.write(store.sql.ADD_PROCESS, id="x", host="elsewhere", pid=77, started_at=0.0, applied=0)
    said = mailauth("throttle", "clear", HOME)
    assert said.code == 0
    assert said.err == "note: process 77 at elsewhere did not answer; it forgets once it has heard of this\n"


@pytest.mark.parametrize(
    ("subject", "code"), [("nobody@example.com", 66), ("alice", 65), ("192.0.2.300", 65), ("a@b@c", 65)]
)
@pytest.mark.parametrize("command", ["list", "clear"])
def test_what_is_not_there_and_what_is_nothing(
    mailauth: Cli, alice: str, attacked: Guessing, command: str, subject: str, code: int
) -> None:
    said = mailauth("throttle", command, subject)
    assert said.code == code
    assert len(mailauth("throttle", "list", "--json").json) == 2


LOADED = """
import sys
from mailauth.cli.main import cli
try:
    cli.main(sys.argv[1:])
except SystemExit as ended:
    assert ended.code == 0, ended.code
print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["list", "clear"])
def test_nothing_slow_is_loaded(site: Path, alice: str, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "throttle", command], capture_output=True, text=True, check=True
    )
    assert not {"sqlalchemy", "alembic", "cryptography", "nacl", "asyncio"} & set(done.stderr.split())
