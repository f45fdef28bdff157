"""`mailauth audit` and `mailauth account observations`: for people a line a row, for programs JSON lines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commandline import Cli, minted
from mailauth.accounts.history import note
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import LoginJudged
from mailauth.store.engine import Store, open_store
from mailauth.store.writebehind import WriteBehind
from mailauth.verdict import Accept, Principal, Reason, Reject

HOSTILE = "x\r\n2027-01-01T00:00:00Z  login  accept  root@example.com\x1b[2J\u2028\u202e" + "y" * 10_000


@pytest.fixture
def store(site: Path) -> Store:
    return open_store(f"sqlite:///{site / 'mailauth.db'}")


def test_the_log_is_in_order_and_can_be_cut(mailauth: Cli, alice: str) -> None:
    minted(mailauth, alice)
    rows = mailauth("audit", "--json-lines").json_lines
    assert [row["kind"] for row in rows] == ["domain-added", "account-added", "app-password-added"]
    assert mailauth("audit", "--limit", "1", "--json-lines").json_lines == rows[-1:]
    assert mailauth("audit", "--since", "2999-01-01", "--json-lines").json_lines == []
    assert mailauth("audit", "--since", "2020-01-01", "--json-lines").json_lines == rows
    assert mailauth("audit", "ALICE@example.com", "--json-lines").json_lines == rows[1:]
    assert mailauth("audit", "nobody@example.com").err.strip() == "the audit log has nothing of that"
    assert mailauth("audit", "nonsense").code == 65


def test_for_people_it_is_a_line_a_row(mailauth: Cli, alice: str) -> None:
    minted(mailauth, alice)
    heading, *lines = mailauth("audit", alice).out.splitlines()
    assert heading.split()[:4] == ["AT", "WHAT", "OUTCOME", "ACCOUNT"]
    assert "1 Phone" in lines[-1]
    assert "imap,pop3,smtp" in lines[-1]


def test_people_are_shown_the_latest_and_an_export_holds_all(mailauth: Cli, store: Store) -> None:
    with store.transaction() as tx:
        tx.write_each(store.sql.ADD_AUDIT, [row(number) for number in range(1500)])
    lines = mailauth("audit").out.splitlines()
    assert len(lines) == 1001
    assert " 500 " in lines[1] and " 1499 " in lines[-1]
    assert [row["detail"] for row in mailauth("audit", "--json-lines").json_lines] == [str(n) for n in range(1500)]
    assert len(mailauth("audit", "--limit", "1200").out.splitlines()) == 1201
    assert len(mailauth("audit", "--limit", "3", "--json-lines").json_lines) == 3


def row(number: int, **values: object) -> dict[str, object]:
    told = {"at": 1.8e9 + number, "actor": "client", "kind": "login", "login": "a@example.com", "account_id": 1}
    told |= {"service": "imap", "peer": "192.0.2.1", "credential_id": None, "label": None, "outcome": "reject"}
    return told | {"detail": str(number), "count": 1, "client": "Mail"} | values


def test_an_export_says_who_did_what_when_and_from_where(mailauth: Cli, alice: str, store: Store) -> None:
    minted(mailauth, alice, label="手机")
    attempt = Attempt(Credential(alice), Service.SMTP, "2001:db8::1", True, "Mail")
    behind = WriteBehind(store, clock=lambda: 4e9)
    for _ in range(3):
        behind(LoginJudged(attempt, Accept(Principal(1, alice, 1)), alice, 1, 1.0))
    assert behind.close()
    (login,) = [row for row in mailauth("audit", alice, "--json-lines").json_lines if row["kind"] == "login"]
    assert login | {"id": 0} == {
        "id": 0,
        "at": "2096-10-02T07:06:40Z",
        "actor": "client",
        "kind": "login",
        "login": alice,
        "account_id": 1,
        "service": "smtp",
        "peer": "2001:db8::1",
        "credential_id": 1,
        "label": "手机",
        "outcome": "accept",
        "detail": "app-password",
        "count": 3,
        "client": "Mail",
    }


def test_nothing_that_stands_in_the_log_can_look_like_another_row(mailauth: Cli, alice: str, store: Store) -> None:
    names = ("actor", "kind", "login", "service", "peer", "label", "outcome", "detail", "client")
    with store.transaction() as tx:
        tx.write(store.sql.ADD_AUDIT, **row(1, credential_id=1) | dict.fromkeys(names, HOSTILE))
    before = [line["kind"] for line in mailauth("audit", alice, "--json-lines").json_lines]
    said = mailauth("audit")
    lines = said.out.split("\n")[1:-1]
    assert len(lines) == len(before) + 2  # the new domain's, and the hostile one
    assert all(character.isprintable() for line in lines for character in line)
    exported = mailauth("audit", "--json-lines").out
    assert exported.isascii() and exported.count("\n") == len(lines)
    assert [line["client"] for line in map(json.loads, exported.splitlines())].count(HOSTILE) == 1


def test_what_an_owner_is_shown(mailauth: Cli, site: Path, alice: str, store: Store) -> None:
    for age in (91, 89):
        note(store, "verify", actor=str(age), login=alice, account_id=1, now=now(store) - age * 86400)
    shown = mailauth("audit", alice, "--activity", "--json-lines").json_lines
    assert [row["kind"] for row in shown] == ["verify", "account-added"]
    file = site / "mailauth.toml"
    file.write_text(file.read_text().replace("activity_days = 90", "activity_days = 365"))
    assert len(mailauth("audit", alice, "--activity", "--json-lines").json_lines) == 3
    assert len(mailauth("audit", alice, "--activity", "--limit", "1").out.splitlines()) == 2
    assert mailauth("audit", "nobody@example.com", "--activity").code == 66
    assert mailauth("audit", "--activity").code == 64
    assert mailauth("audit", alice, "--activity", "--since", "2020-01-01").code == 64


def now(store: Store) -> float:
    """When the account was added."""
    with store.reading() as tx:
        (row,) = tx.rows("SELECT created_at FROM accounts")
    return float(row["created_at"])


PROGRAM = """
import resource, sys
from mailauth.cli.main import cli
try:
    cli.main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="counts memory in other units")
def test_an_export_is_not_held_in_memory(site: Path, store: Store) -> None:
    """Not even as text, which is the least that it could take."""
    with store.transaction() as tx:
        tx.write_each(store.sql.ADD_AUDIT, [row(n, detail="x" * 300, client="y" * 200) for n in range(50_000)])
    peaks_kib = []
    for options in (["--limit", "1"], []):
        command = [sys.executable, "-c", PROGRAM, "audit", "--json-lines", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks_kib.append(int(done.stderr))
    assert len(done.stdout) > 35_000_000
    assert peaks_kib[1] - peaks_kib[0] < 15_000


# ---- observations


def observe(store: Store, alice: str, *outcomes: object, client: str = "Foxmail", would_break: bool = False) -> None:
    behind = WriteBehind(store)
    attempt = Attempt(Credential(alice), Service.IMAP, "203.0.113.77", True, client)
    for outcome in outcomes:
        behind(LoginJudged(attempt, outcome, alice, 1, 1.0, would_break=would_break))  # type: ignore[arg-type]
    assert behind.close()


def test_a_device_with_a_deleted_app_password_is_told_of(mailauth: Cli, alice: str, store: Store) -> None:
    minted(mailauth, alice, label="old iPhone")
    mailauth("app-password", "revoke", alice, "--label", "old iPhone")
    observe(store, alice, *[Reject(Reason.REVOKED, 1)] * 2)
    (line,) = mailauth("account", "observations", alice).out.splitlines()
    assert line.startswith("Foxmail at 203.0.113.0/24 still sends the deleted app password 'old iPhone' by IMAP; last ")
    assert line.endswith("delete the account there or put in a new one")
    (view,) = mailauth("account", "observations", alice, "--json-lines").json_lines
    assert (view["label"], view["credential_id"], view["count"]) == ("old iPhone", 1, 2)
    assert "is_web_password" not in view


def test_what_enforcement_would_break_is_told_of_every_account(mailauth: Cli, alice: str, store: Store) -> None:
    observe(store, alice, Accept(Principal(1, alice, None)), would_break=True)
    observe(store, alice, Reject(Reason.CLIENT_PASSWORDS_ONLY))
    every = ["account", "observations", "--all"]
    (line,) = mailauth(*every, "--kind", "would-break").out.splitlines()
    assert line.startswith(f"{alice}: Foxmail at 203.0.113.0/24 gets in with the web password by IMAP; last seen ")
    kinds = [view["kind"] for view in mailauth(*every, "--json-lines").json_lines]
    assert kinds == ["web-password-refused", "would-break"]
    of_domain = mailauth("account", "observations", "--domain", "example.com", "--json-lines")
    assert of_domain.out == mailauth(*every, "--json-lines").out
    of_kind = mailauth("account", "observations", alice, "--kind", "web-password-refused", "--json-lines").json_lines
    assert [view["kind"] for view in of_kind] == ["web-password-refused"]


def test_what_a_client_calls_itself_cannot_steer_a_terminal(mailauth: Cli, alice: str, store: Store) -> None:
    observe(store, alice, Reject(Reason.CLIENT_PASSWORDS_ONLY), client=HOSTILE)
    for options in ([alice], ["--all"]):
        out = mailauth("account", "observations", *options).out
        assert out.count("\n") == 1 and out.removesuffix("\n").isprintable()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 64),
        (["alice@example.com", "--all"], 64),
        (["--all", "--domain", "example.com"], 64),
        (["--all", "--kind", "nonsense"], 64),
        (["nobody@example.com"], 66),
        (["--domain", "example.net"], 66),
        (["nonsense"], 65),
    ],
)
def test_whose_observations_must_be_said(mailauth: Cli, alice: str, options: list[str], code: int) -> None:
    assert mailauth("account", "observations", *options).code == code


def test_nothing_seen_is_said_so(mailauth: Cli, alice: str) -> None:
    said = mailauth("account", "observations", alice)
    assert (said.code, said.out, said.err) == (0, "", "nothing of that has been seen\n")
    assert mailauth("account", "observations", "--all", "--json-lines").json_lines == []


def test_json_is_one_array_and_json_lines_are_the_same_rows(mailauth, alice):
    assert mailauth("audit", "--json").json == mailauth("audit", "--json-lines").json_lines != []
    assert mailauth("audit", "--since", "2999-01-01", "--json").json == []
    assert mailauth("account", "observations", alice, "--json").json == []
