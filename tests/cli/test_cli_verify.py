"""`mailauth verify`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from commandline import Cli, minted
from mailauth.cli import rules
from mailauth.interfaces import StoreUnavailable
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject


def test_every_reason_and_cause_has_its_sentence() -> None:
    told = [rules.rule(Reject(reason)) for reason in Reason] + [rules.rule(Defer(cause)) for cause in Cause]
    told += [rules.rule(Accept(Principal(1, "a", credential))) for credential in (None, 1)]
    assert len(set(told)) == len(told) == len(Reason) + len(Cause) + 2
    codes = [rules.code(Reject(reason)) for reason in Reason] + [rules.code(Defer(cause)) for cause in Cause]
    assert codes == [*map(str, Reason), *map(str, Cause)]


def test_an_app_password_is_named(mailauth: Cli, alice: str) -> None:
    password = minted(mailauth, alice)
    said = mailauth("verify", alice, "--service", "imap", "--from", "192.0.2.1", "--json", stdin=password)
    assert said.code == 0
    assert said.json == {
        "verdict": "accept",
        "rule": rules.BY_APP_PASSWORD,
        "code": "app-password",
        "account": alice,
        "credential_id": 1,
        "label": "Phone",
        "detail": None,
    }
    said = mailauth("verify", alice, "--service", "imap", stdin=password)
    assert said.out.splitlines()[0].split() == ["verdict", "accept"]
    assert said.out.splitlines()[-1] == "app password  1 Phone"


def test_the_web_password_is_told_apart(mailauth: Cli, alice: str) -> None:
    said = mailauth("verify", alice, "--service", "pop3", stdin="her own secret\n")
    assert said.code == 0
    assert rules.BY_WEB_PASSWORD in said.out
    assert "secret" not in said.out + said.err


@pytest.mark.parametrize(
    ("change", "address", "password", "code"),
    [
        ([], "alice@example.com", "wrong wrong", "wrong-password"),
        ([], "nobody@example.com", "wrong wrong", "unknown-login"),
        ([], "no address", "wrong wrong", "unknown-login"),
        ([], "alice@example.com", "", "wrong-password"),
        (["account", "set", "alice@example.com", "--mode", "on"], "alice@example.com", "x", "client-passwords-only"),
        (["account", "set", "alice@example.com", "--imap", "off"], "alice@example.com", "x", "service-off"),
        (["account", "set", "alice@example.com", "--enabled", "off"], "alice@example.com", "x", "disabled"),
        (["domain", "set", "example.com", "--enabled", "off"], "alice@example.com", "x", "domain-disabled"),
        (
            ["account", "set", "alice@example.com", "--client-logon", "off"],
            "alice@example.com",
            "x",
            "client-logon-off",
        ),
    ],
)
def test_a_refusal_says_why_and_is_77(
    mailauth: Cli, alice: str, change: list[str], address: str, password: str, code: str
) -> None:
    assert not change or mailauth(*change).code == 0
    said = mailauth("verify", address, "--service", "imap", "--json", stdin=password + "\n")
    assert said.code == 77
    assert (said.json["verdict"], said.json["code"]) == ("reject", code)
    assert said.json["rule"].startswith(rules.REASONS[Reason(code)])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (["account", "set", "alice@example.com", "--mode", "on"], "(the account's mode is on)"),
        (["site", "set", "--policy", "enforced"], "(enforced by site)"),
        (["domain", "set", "example.com", "--two-factor", "required"], "(second factor demanded by domain)"),
    ],
)
def test_what_switched_the_mode_on_is_told(mailauth: Cli, alice: str, change: list[str], why: str) -> None:
    mailauth(*change)
    assert why in mailauth("verify", alice, "--service", "imap", stdin="her own secret\n").out


def test_a_revoked_app_password_is_known_for_what_it_is(mailauth: Cli, alice: str) -> None:
    password = minted(mailauth, alice)
    mailauth("app-password", "revoke", alice, "--all")
    said = mailauth("verify", alice, "--service", "imap", "--json", stdin=password)
    assert said.code == 77
    assert (said.json["code"], said.json["credential_id"]) == ("app-password-revoked", 1)


def test_nothing_is_changed_but_the_audit_log(mailauth: Cli, site: Path, alice: str) -> None:
    password = minted(mailauth, alice)
    file = site / "mailauth.toml"
    file.write_text(file.read_text().replace("time_cost = 1", "time_cost = 3"))  # every record is outdated now
    before = dump(site)
    for secret in (password, "her own secret", "wrong wrong"):
        mailauth("verify", alice, "--service", "imap", stdin=secret)
    assert dump(site) == before
    rows = [row for row in mailauth("audit", alice, "--json").json if row["kind"] == "verify"]
    assert [(row["outcome"], row["detail"], row["label"]) for row in rows] == [
        ("accept", "app-password", "Phone"),
        ("accept", "web-password", None),
        ("reject", "wrong-password", None),
    ]
    assert all(row["actor"].startswith("cli:") and row["service"] == "imap" for row in rows)


def dump(site: Path) -> list[str]:
    with closing(sqlite3.connect(site / "mailauth.db")) as connection:
        return [line for line in connection.iterdump() if "audit" not in line and "sqlite_sequence" not in line]


def test_a_refusal_of_a_stranger_is_on_record_too(mailauth: Cli, alice: str) -> None:
    mailauth("verify", "nobody@example.com", "--service", "smtp", "--from", "2001:db8::7", stdin="x\n")
    (row,) = [row for row in mailauth("audit", "--json").json if row["kind"] == "verify"]
    assert (row["login"], row["peer"], row["outcome"]) == ("(unknown)@example.com", "2001:db8::7", "reject")


def test_a_store_that_is_gone_is_no_refusal(mailauth: Cli, site: Path, alice: str) -> None:
    (site / "mailauth.db").unlink()
    said = mailauth("verify", alice, "--service", "imap", "--json", stdin="her own secret\n")
    assert said.code == 75
    assert (said.json["verdict"], said.json["code"]) == ("defer", "store-unavailable")
    assert "there is no store" in said.json["detail"]


def test_a_verdict_that_cannot_be_written_down_is_not_given(
    mailauth: Cli, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise StoreUnavailable("the store is gone")

    monkeypatch.setattr("mailauth.accounts.history.note", gone)
    said = mailauth("verify", alice, "--service", "imap", stdin="her own secret\n")
    assert (said.code, said.out, said.err) == (69, "", "mailauth: the store is gone\n")


def test_a_record_that_nobody_understands_is_no_refusal(mailauth: Cli, site: Path, alice: str) -> None:
    with closing(sqlite3.connect(site / "mailauth.db", isolation_level=None)) as connection:
        connection.execute("UPDATE accounts SET web_record = '{NEVER-HEARD}x'")
    said = mailauth("verify", alice, "--service", "imap", "--json", stdin="her own secret\n")
    assert said.code == 75
    assert (said.json["verdict"], said.json["code"]) == ("defer", "unreadable-record")


def test_the_password_is_the_first_line_even_if_it_is_not_utf_8(mailauth: Cli, alice: str) -> None:
    assert mailauth("verify", alice, "--service", "imap", stdin=b"\xff\xfe\xff wrong\n").code == 77


@pytest.mark.parametrize("options", [[], ["--service", "web"], ["--service", "imap", "--from", "office"]])
def test_wrong_usage(mailauth: Cli, alice: str, options: list[str]) -> None:
    assert mailauth("verify", alice, *options, stdin="x").code == 64
