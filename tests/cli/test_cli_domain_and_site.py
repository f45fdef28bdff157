"""`mailauth domain` and `mailauth site`."""

from __future__ import annotations

import pytest

from commandline import Cli


def test_a_domain_is_added_listed_shown_and_removed(mailauth: Cli) -> None:
    assert mailauth("domain", "add", "Example.ORG").out == "added domain example.org\n"
    assert mailauth("domain", "add", "example.org").code == 65
    assert mailauth("domain", "add", "no_domain!").code == 65
    (view,) = mailauth("domain", "list", "--json").json
    assert (view["name"], view["accounts"], view["enabled"]) == ("example.org", 0, True)
    assert mailauth("domain", "show", "EXAMPLE.org", "--json").json == view
    assert mailauth("domain", "list").out.splitlines()[1].split()[0] == "example.org"
    assert mailauth("domain", "remove", "example.org").out == "removed domain example.org\n"
    assert mailauth("domain", "list", "--json").json == []


def test_a_domain_with_accounts_goes_only_if_they_are_meant_too(mailauth: Cli, alice: str) -> None:
    said = mailauth("domain", "remove", "example.com")
    assert said.code == 65
    assert "--with-accounts" in said.err
    assert mailauth("domain", "remove", "example.com", "--with-accounts").out == (
        "removed domain example.com and its 1 accounts\n"
    )
    assert mailauth("account", "show", alice).code == 66


@pytest.mark.parametrize(
    ("options", "field", "expected", "code"),
    [
        (["--imap", "off"], "imap", False, 77),
        (["--enabled", "off"], "enabled", False, 77),
        (["--pop3", "off"], "pop3", False, 0),
        (["--smtp", "off"], "smtp", False, 0),
        (["--policy", "enforced"], "policy", "enforced", 77),
        (["--policy", "observe"], "policy", "observe", 0),
        (["--two-factor", "required"], "two_factor", True, 77),
        (["--max-app-passwords", "2"], "max_app_passwords", 2, 0),
    ],
)
def test_what_is_set_for_a_domain_counts_for_its_accounts(
    mailauth: Cli, alice: str, options: list[str], field: str, expected: object, code: int
) -> None:
    assert mailauth("domain", "set", "example.com", *options, "--json").json[field] == expected
    assert mailauth("verify", alice, "--service", "imap", stdin="her own secret").code == code


@pytest.mark.parametrize(
    ("options", "field", "expected", "code"),
    [
        (["--policy", "enforced"], "policy", "enforced", 77),
        (["--policy", "enforced", "--enforce-from", "2999-01-01"], "enforce_from", "2999-01-01T00:00:00Z", 0),
        (["--two-factor", "required"], "two_factor", True, 77),
        (["--max-app-passwords", "2"], "max_app_passwords", 2, 0),
    ],
)
def test_what_is_set_for_the_site_counts_for_everybody(
    mailauth: Cli, alice: str, options: list[str], field: str, expected: object, code: int
) -> None:
    said = mailauth("site", "set", *options, "--json")
    assert said.json[field] == expected
    assert mailauth("site", "show", "--json").json == said.json
    assert mailauth("verify", alice, "--service", "imap", stdin="her own secret").code == code


def test_the_maximum_of_the_site_holds_for_every_account(mailauth: Cli, alice: str) -> None:
    mailauth("site", "set", "--max-app-passwords", "1")
    assert mailauth("app-password", "add", alice, "--label", "one").code == 0
    said = mailauth("app-password", "add", alice, "--label", "two")
    assert said.code == 65
    assert "1 is the most" in said.err


def test_an_account_may_be_allowed_more_than_the_default_of_ten(mailauth: Cli, alice: str) -> None:
    mailauth("account", "set", alice, "--max-app-passwords", "11")
    for number in range(11):
        assert mailauth("app-password", "add", alice, "--label", str(number)).code == 0
    assert mailauth("app-password", "add", alice, "--label", "one too many").code == 65


def test_a_change_that_changes_nothing_is_a_slip(mailauth: Cli, alice: str) -> None:
    for command in (["site", "set"], ["domain", "set", "example.com"], ["account", "set", alice]):
        said = mailauth(*command)
        assert said.code == 64
        assert "say what to change" in said.err


def test_for_people_there_is_a_line_for_each_field(mailauth: Cli) -> None:
    lines = dict(line.split("  ", 1) for line in mailauth("site", "show").out.splitlines())
    assert lines["policy"].strip() == "optional"
    assert lines["enforce from"].strip() == "-"
