"""`mailauth factor`, `mailauth api-token`, and what `mailauth account` does with roles and personal data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from commandline import Cli
from mailauth.accounts import tokens
from mailauth.accounts.history import audit
from mailauth.keys import KeyRing
from mailauth.store.engine import open_store
from portal_people import means_of, person


@pytest.fixture
def store(site: Path):
    return open_store(f"sqlite:///{site / 'mailauth.db'}")


@pytest.fixture
def bob(site: Path, store):
    """Somebody with an app as his second factor."""
    bob = person(means_of(store, KeyRing.load(site / "mailauth.keys")), "bob@example.com")
    bob.begin()
    bob.enrol_totp()
    return bob


def test_factors_are_listed_and_reset_and_the_mode_stays(mailauth: Cli, store, bob) -> None:
    said = mailauth("factor", "list", "BOB@example.com")
    assert said.out.splitlines()[1].split()[:2] == ["totp", "Phone"]
    (told,) = mailauth("factor", "list", bob.login, "--json").json
    assert (told["kind"], told["name"], told["last_used_at"]) == ("totp", "Phone", None)
    assert bob.secret not in said.out
    assert mailauth("account", "show", bob.login, "--json").json["has_second_factor"] is True
    said = mailauth("factor", "reset", bob.login)
    assert (said.code, said.out) == (0, "forgot totp\n")
    assert bob.stage is None
    view = mailauth("account", "show", bob.login, "--json").json
    assert (view["has_second_factor"], view["mode"]) == (False, "on")
    said = mailauth("factor", "list", bob.login)
    assert (said.out, said.err) == ("", "bob@example.com has no second factor\n")
    assert mailauth("factor", "reset", bob.login).out == "there was none to reset\n"
    assert mailauth("factor", "reset", bob.login, "--json").json == {
        "reset": [],
        "sessions_ended": 0,
        "no_answer_from": [],
    }
    rows = [row for row in audit(store, bob.login) if row.kind == "factors-reset"]
    assert rows[0].detail == "totp" and rows[0].actor.startswith("cli:")


def test_an_enrolment_code_is_shown_once(mailauth: Cli, alice: str) -> None:
    said = mailauth("factor", "enrolment-code", alice)
    assert re.fullmatch(r"([2-9a-z]{6}-){3}[2-9a-z]{6}", said.out.splitlines()[-1])
    told = mailauth("factor", "enrolment-code", alice, "--json").json
    assert told["login"] == alice and told["enrolment_code"] != said.out.splitlines()[-1]


@pytest.mark.parametrize("command", ["list", "reset", "enrolment-code"])
def test_of_nobody_there_are_no_factors(mailauth: Cli, command: str) -> None:
    assert mailauth("factor", command, "nobody@example.com").code == 66
    assert mailauth("factor", command, "no address").code == 65


def test_tokens_are_made_listed_and_revoked(mailauth: Cli, alice: str, store) -> None:
    said = mailauth("api-token", "add", alice, "--label", "Reports", "--scopes", "admin:read, own:read")
    assert said.out.splitlines()[0] == f"API token 1 of {alice}: Reports"
    token = said.out.splitlines()[-1]
    assert tokens.caller(store, token, peer="").login == alice
    webmail = mailauth("api-token", "add", "--label", "Webmail", "--scopes", "own:read", "--json").json
    assert webmail["login"] is None and tokens.caller(store, webmail["token"], peer="").account_id is None
    assert [row["label"] for row in mailauth("api-token", "list", "--json").json] == ["Reports", "Webmail"]
    assert [row["id"] for row in mailauth("api-token", "list", alice, "--json").json] == [1]
    assert token not in mailauth("api-token", "list").out
    assert mailauth("api-token", "revoke", "--id", "1").out == "revoked API token 1: Reports\n"
    assert tokens.caller(store, token, peer="") is None
    assert mailauth("api-token", "revoke", "--id", "1").code == 66
    assert mailauth("api-token", "list", alice).err == "there are no API tokens\n"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--scopes", "everything"], 65),
        (["--scopes", ""], 65),
        ([], 64),
        (["--scopes", "own:read", "--expires", "2001-01-01"], 65),
        (["--scopes", "own:read", "--expires", "soon"], 64),
    ],
)
def test_a_token_of_nonsense_is_refused(mailauth: Cli, alice: str, more: list[str], code: int) -> None:
    assert mailauth("api-token", "add", alice, "--label", "x", *more).code == code


def test_a_role_is_set_alone_or_with_other_things(mailauth: Cli, store, alice: str) -> None:
    assert mailauth("account", "set", alice, "--role", "site-admin", "--json").json["role"] == "site-admin"
    view = mailauth("account", "set", alice, "--role", "domain-admin", "--pop3", "off", "--json").json
    assert (view["role"], view["pop3"]) == ("domain-admin", False)
    assert "site-admin -> domain-admin of example.com" in [row.detail for row in audit(store, alice)]
    assert mailauth("account", "set", alice, "--role", "domain-admin", "--domain", "nowhere.test").code == 66
    assert mailauth("account", "set", alice, "--role", "auditor", "--domain", "example.com").code == 64
    assert mailauth("account", "set", alice, "--domain", "example.com").code == 64
    assert mailauth("account", "set", alice, "--role", "king").code == 64
    assert mailauth("account", "set", alice).code == 64
    assert mailauth("account", "set", alice, "--role", "user", "--json").json["role"] == "user"


def test_everything_about_an_account_is_exported_and_erased(mailauth: Cli, store, bob) -> None:
    data = json.loads(mailauth("account", "export", bob.login).out)
    assert data["account"]["login"] == bob.login and data["second_factors"][0]["kind"] == "totp"
    assert mailauth("account", "export", "nobody@example.com").code == 66
    said = mailauth("account", "remove", bob.login, "--erase")
    known_as = re.search(r"erased:[0-9a-f]{16}", said.out)[0]
    assert mailauth("account", "show", bob.login).code == 66
    assert bob.login not in str(list(audit(store)))
    assert {row.kind for row in audit(store) if row.login == known_as} >= {"factor-added", "account-erased"}


def test_an_account_that_is_only_removed_keeps_its_history(mailauth: Cli, alice: str) -> None:
    assert mailauth("account", "remove", alice).out == f"removed account {alice}\n"
    assert alice in mailauth("audit").out
