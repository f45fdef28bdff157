"""`mailauth account`."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from commandline import Cli, minted


def test_an_account_brings_its_domain_along_and_says_so(mailauth: Cli) -> None:
    said = mailauth("account", "add", "Alice@Example.COM", "--password-stdin", stdin="her own secret\n")
    assert said.code == 0
    assert said.out == "added domain example.com, which is new\nadded account alice@example.com\n"
    said = mailauth("account", "add", "bob@example.com", "--no-password", "--json")
    assert said.json == {"login": "bob@example.com", "domain": "example.com", "domain_added": False}


def test_a_new_account_has_everything_on_and_its_mode_off(mailauth: Cli, alice: str) -> None:
    view = mailauth("account", "show", alice, "--json").json
    assert view["client_logon"] is True
    assert view["services"] == ["imap", "pop3", "smtp"]
    assert (view["mode"], view["effective_mode"]) == ("off", "off")
    assert view["has_web_password"] is True
    assert view["created_at"].endswith("Z")


def verdict(mailauth: Cli, login: str, password: str | bytes, service: str = "imap") -> int:
    return mailauth("verify", login, "--service", service, stdin=password).code


@pytest.mark.parametrize("stdin", ["eight ch", "eight ch\n", "eight ch\r\n", "eight ch\nsecond line\n"])
def test_the_password_is_the_first_line_of_standard_input_without_its_end(mailauth: Cli, stdin: str) -> None:
    assert mailauth("account", "add", "a@example.com", "--password-stdin", stdin=stdin).code == 0
    assert verdict(mailauth, "a@example.com", "eight ch") == 0
    assert verdict(mailauth, "a@example.com", "eight c") == 77


def test_white_space_belongs_to_a_web_password(mailauth: Cli) -> None:
    mailauth("account", "add", "a@example.com", "--password-stdin", stdin="  two spaces \n")
    assert verdict(mailauth, "a@example.com", "  two spaces \n") == 0
    assert verdict(mailauth, "a@example.com", "two spaces") == 77


@pytest.mark.parametrize(
    ("stdin", "told"),
    [
        ("", "the password is empty"),
        ("\n", "the password is empty"),
        ("short", "a web password has 8 to 1024 bytes"),
        ("x" * 1025, "a web password has 8 to 1024 bytes"),
        ("nul\0inside", "a password with a NUL cannot be sent"),
        (b"latin \xe9\xe9\xe9\xe9", "the password is not UTF-8 text"),
    ],
)
def test_a_password_that_cannot_be_one_is_refused_and_nothing_is_added(
    mailauth: Cli, stdin: str | bytes, told: str
) -> None:
    said = mailauth("account", "add", "a@example.com", "--password-stdin", stdin=stdin)
    assert said.code == 65
    assert told in said.err
    assert said.err.endswith("; nothing was changed\n")
    assert mailauth("domain", "list", "--json").json == []


def test_the_longest_password_is_taken(mailauth: Cli) -> None:
    mailauth("account", "add", "a@example.com", "--password-stdin", stdin="x" * 1024 + "\n")
    assert verdict(mailauth, "a@example.com", "x" * 1024) == 0


def test_without_a_terminal_the_password_must_be_asked_for_from_standard_input(mailauth: Cli) -> None:
    said = mailauth("account", "add", "a@example.com", stdin="her own secret\n")
    assert said.code == 64
    assert "there is no terminal to ask for the password; use --password-stdin" in said.err
    assert mailauth("account", "add", "a@example.com", "--password-stdin", "--no-password").code == 64


@pytest.mark.parametrize(
    ("address", "code", "told"),
    [
        ("alice@example.com", 65, "there is an account alice@example.com already"),
        ("alice", 65, "is no mail address"),
        ("a b@example.com", 65, "cannot stand before the @"),
    ],
)
def test_an_address_that_cannot_be_added(mailauth: Cli, alice: str, address: str, code: int, told: str) -> None:
    said = mailauth("account", "add", address, "--no-password")
    assert said.code == code
    assert told in said.err


@pytest.mark.parametrize(
    "command",
    [
        ["account", "show", "nobody@example.com"],
        ["account", "set", "nobody@example.com", "--mode", "on"],
        ["account", "passwd", "nobody@example.com"],
        ["account", "remove", "nobody@example.com"],
        ["account", "list", "--domain", "example.net"],
        ["account", "alias-add", "nobody@example.com", "x@example.com"],
        ["account", "alias-remove", "x@example.com"],
        ["app-password", "add", "nobody@example.com", "--label", "x"],
        ["app-password", "list", "nobody@example.com"],
        ["app-password", "revoke", "nobody@example.com", "--all"],
        ["app-password", "rename", "alice@example.com", "--id", "7", "--label", "x"],
        ["app-password", "revoke", "alice@example.com", "--id", "7"],
        ["app-password", "revoke", "alice@example.com", "--label", "x"],
        ["domain", "show", "example.net"],
        ["domain", "set", "example.net", "--policy", "observe"],
        ["domain", "remove", "example.net"],
    ],
)
def test_what_is_not_there_is_66(mailauth: Cli, alice: str, command: list[str]) -> None:
    said = mailauth(*command, stdin="another secret\n")
    assert said.code == 66
    assert "no" in said.err


SWITCHES = [
    ("--mode", "on", "mode", "on"),
    ("--client-logon", "off", "client_logon", False),
    ("--imap", "off", "imap", False),
    ("--pop3", "off", "pop3", False),
    ("--smtp", "off", "smtp", False),
    ("--enabled", "off", "enabled", False),
    ("--policy", "observe", "policy", "observe"),
    ("--two-factor", "required", "two_factor", True),
    ("--max-app-passwords", "3", "max_app_passwords", 3),
]


@pytest.mark.parametrize(("option", "value", "field", "expected"), SWITCHES)
def test_every_switch_of_an_account(
    mailauth: Cli, alice: str, option: str, value: str, field: str, expected: object
) -> None:
    before = mailauth("account", "show", alice, "--json").json
    said = mailauth("account", "set", alice, option, value, "--json")
    assert said.code == 0
    assert said.json[field] == expected != before[field]
    assert mailauth("account", "show", alice, "--json").json == said.json
    assert option.removeprefix("--").replace("-", "_") in mailauth("audit", alice).out


@pytest.mark.parametrize(
    ("options", "password", "code"),
    [
        (["--client-logon", "off"], "her own secret", 77),
        (["--imap", "off"], "her own secret", 77),
        (["--pop3", "off"], "her own secret", 0),
        (["--mode", "on"], "her own secret", 77),
        (["--policy", "enforced"], "her own secret", 77),
        (["--policy", "enforced", "--enforce-from", "2999-01-01"], "her own secret", 0),
        (["--two-factor", "required"], "her own secret", 77),
        (["--enabled", "off"], "her own secret", 77),
    ],
)
def test_a_switch_has_its_effect(mailauth: Cli, alice: str, options: list[str], password: str, code: int) -> None:
    assert verdict(mailauth, alice, password) == 0
    mailauth("account", "set", alice, *options)
    assert verdict(mailauth, alice, password) == code


def test_an_enforced_policy_locks_the_switch(mailauth: Cli, alice: str) -> None:
    assert mailauth("account", "set", alice, "--policy", "enforced", "--mode", "on").code == 0
    said = mailauth("account", "set", alice, "--mode", "off")
    assert said.code == 65
    assert "locked by policy (enforced by account)" in said.err


@pytest.mark.parametrize(
    ("written", "zone", "instant"),
    [
        ("2999-01-02", "UTC", "2999-01-02T00:00:00Z"),
        ("2999-01-02", "Asia/Shanghai", "2999-01-01T16:00:00Z"),
        ("2999-01-02T03:04", "Asia/Shanghai", "2999-01-02T03:04:00Z"),
        ("2999-01-02T03:04:05Z", "UTC", "2999-01-02T03:04:05Z"),
        ("2999-01-02T03:04+08:00", "UTC", "2999-01-01T19:04:00Z"),
        ("29990102T030405Z", "UTC", "2999-01-02T03:04:05Z"),
    ],
)
def test_a_start_is_utc_unless_it_says_otherwise_and_a_bare_date_begins_at_its_start(
    mailauth: Cli, site: Path, alice: str, written: str, zone: str, instant: str
) -> None:
    file = site / "mailauth.toml"
    file.write_text(file.read_text().replace('timezone = "UTC"', f'timezone = "{zone}"'))
    said = mailauth("account", "set", alice, "--policy", "enforced", "--enforce-from", written, "--json")
    assert said.json["enforce_from"] == instant


def test_a_start_needs_something_that_starts(mailauth: Cli, alice: str) -> None:
    said = mailauth("account", "set", alice, "--enforce-from", "2999-01-02")
    assert said.code == 65
    assert "a start date needs something that starts" in said.err


def test_accounts_are_listed_for_people_and_programs(mailauth: Cli, alice: str) -> None:
    mailauth("account", "add", "zoe@example.net", "--no-password")
    assert [view["login"] for view in mailauth("account", "list", "--json").json] == [alice, "zoe@example.net"]
    assert [view["login"] for view in mailauth("account", "list", "--domain", "example.net", "--json").json] == [
        "zoe@example.net"
    ]
    heading, first, second = mailauth("account", "list").out.splitlines()
    assert heading.split()[:2] == ["LOGIN", "ENABLED"]
    assert first.split()[0] == alice
    assert second.split()[0] == "zoe@example.net"


def test_an_empty_list_is_no_error(mailauth: Cli) -> None:
    said = mailauth("account", "list")
    assert (said.code, said.out) == (0, "")
    assert "`mailauth account add` adds one" in said.err


def test_a_new_web_password_revokes_the_app_passwords(mailauth: Cli, alice: str) -> None:
    phone = minted(mailauth, alice)
    said = mailauth("account", "passwd", alice, "--password-stdin", stdin="another secret\n")
    assert said.out == "web password changed; app passwords revoked: 1\n"
    assert verdict(mailauth, alice, phone) == 77
    assert verdict(mailauth, alice, "her own secret") == 77
    assert verdict(mailauth, alice, "another secret") == 0


def test_a_new_web_password_may_keep_them(mailauth: Cli, alice: str) -> None:
    phone = minted(mailauth, alice)
    said = mailauth("account", "passwd", alice, "--keep-app-passwords", stdin="another secret\n")
    assert said.out == "web password changed; app passwords stay as they are\n"
    assert verdict(mailauth, alice, phone) == 0


def test_a_bad_new_password_changes_nothing(mailauth: Cli, alice: str) -> None:
    phone = minted(mailauth, alice)
    assert mailauth("account", "passwd", alice, "--password-stdin", stdin="short\n").code == 65
    assert verdict(mailauth, alice, phone) == 0
    assert verdict(mailauth, alice, "her own secret") == 0


def test_a_removed_account_is_gone_and_its_log_stays(mailauth: Cli, alice: str) -> None:
    phone = minted(mailauth, alice)
    assert mailauth("account", "remove", alice).out == f"removed account {alice}\n"
    assert verdict(mailauth, alice, phone) == 77
    assert "account-removed" in mailauth("audit", alice).out


def test_aliases_are_added_shown_and_removed(mailauth: Cli, alice: str) -> None:
    assert mailauth("account", "alias-add", alice, "Post@Example.com").out == "added alias post@example.com\n"
    assert mailauth("account", "show", alice, "--json").json["aliases"] == ["post@example.com"]
    assert mailauth("account", "alias-add", alice, "post@example.com").code == 65
    assert mailauth("account", "alias-add", alice, "post@elsewhere.example").code == 65
    assert mailauth("account", "alias-remove", "post@example.com").out == f"removed alias post@example.com of {alice}\n"
    assert mailauth("account", "show", alice, "--json").json["aliases"] == []


def test_an_alias_logs_in_only_if_the_configuration_says_so(mailauth: Cli, site: Path, alice: str) -> None:
    mailauth("account", "alias-add", alice, "post@example.com")
    assert verdict(mailauth, "post@example.com", "her own secret") == 77
    file = site / "mailauth.toml"
    file.write_text(file.read_text().replace("aliases_log_in = false", "aliases_log_in = true"))
    assert verdict(mailauth, "post@example.com", "her own secret") == 0


def at_a_terminal(args: list[str], *answers: tuple[bytes, bytes]) -> tuple[int, bytes]:
    """Run a command as somebody sitting there: each prompt is waited for before it is answered."""
    ours, theirs = pty.openpty()

    def take_the_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    command = [sys.executable, "-m", "mailauth", *args]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=take_the_terminal) as process:  # noqa: PLW1509  single-threaded
        os.close(theirs)
        seen = b""
        for prompt, answer in answers:
            while not seen.endswith(prompt):
                seen += os.read(ours, 1024)
            os.write(ours, answer + b"\n")
        while True:
            try:
                more = os.read(ours, 1024)
            except OSError:  # the other end is closed
                break
            seen += more
    os.close(ours)
    return process.returncode, seen


@pytest.mark.slow
def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown(mailauth: Cli, site: Path) -> None:
    add = ["account", "add", "a@example.com"]
    code, seen = at_a_terminal(add, (b"New password: ", b"her own secret"), (b"Once more: ", b"her other secret"))
    assert code == 65
    assert b"the two passwords differ; nothing was changed" in seen
    code, seen = at_a_terminal(add, (b"New password: ", b"her own secret"), (b"Once more: ", b"her own secret"))
    assert code == 0
    assert b"secret" not in seen
    code, seen = at_a_terminal(["verify", "a@example.com", "--service", "imap"], (b"Password: ", b"her own secret"))
    assert code == 0
    assert b"secret" not in seen
