"""`mailauth app-password`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from commandline import Cli, minted
from mailauth.interfaces import StoreUnavailable


def verdict(mailauth: Cli, login: str, password: str, *options: str) -> int:
    return mailauth("verify", login, "--service", "imap", *options, stdin=password).code


def test_the_password_stands_alone_on_the_last_line(mailauth: Cli, alice: str) -> None:
    said = mailauth("app-password", "add", alice, "--label", "Phone")
    *told, password = said.out.splitlines()
    assert re.fullmatch("[2-9a-hjkmnp-z]{16}", password)
    assert told[0] == f"app password 1 of {alice}: Phone"
    assert told[1] == "for imap, pop3, smtp; from anywhere; without an end"
    assert " ".join(re.findall("....", password)) in told[2]
    assert verdict(mailauth, alice, password) == 0
    assert verdict(mailauth, alice, " ".join(re.findall("....", password)).replace(" ", "-")) == 0


def test_while_the_mode_is_off_it_says_what_that_means(mailauth: Cli, alice: str) -> None:
    assert "--mode on` ends that" in mailauth("app-password", "add", alice, "--label", "Phone").err
    mailauth("account", "set", alice, "--mode", "on")
    assert mailauth("app-password", "add", alice, "--label", "Phone").err == ""


def test_a_store_that_goes_away_afterwards_does_not_take_the_password_along(
    mailauth: Cli, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise StoreUnavailable("the store is gone")

    monkeypatch.setattr("mailauth.cli.app_password.show_account", gone)
    said = mailauth("app-password", "add", alice, "--label", "Phone")
    assert said.code == 69
    assert verdict(mailauth, alice, said.out.splitlines()[-1]) == 0


def test_as_json_it_is_one_object(mailauth: Cli, alice: str) -> None:
    options = ["--services", "SMTP, imap", "--from", "192.0.2.0/24", "--from", "2001:db8::1", "--expires", "2999-12-31"]
    made = mailauth("app-password", "add", alice, "--label", "打印机", *options, "--json").json
    assert len(made["password"]) == 16
    assert made["login"] == alice
    assert made["label"] == "打印机"
    assert made["services"] == ["imap", "smtp"]
    assert made["networks"] == ["192.0.2.0/24", "2001:db8::1"]
    assert made["expires_at"] == "3000-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("written", "zone", "instant"),
    [
        ("2999-01-02", "UTC", "2999-01-03T00:00:00Z"),
        ("2999-01-02", "America/New_York", "2999-01-03T05:00:00Z"),
        ("2999-01-02T10:00", "America/New_York", "2999-01-02T10:00:00Z"),
        ("2999-01-02T10:00-05:00", "UTC", "2999-01-02T15:00:00Z"),
    ],
)
def test_an_end_is_utc_unless_it_says_otherwise_and_a_bare_date_counts_to_its_end(
    mailauth: Cli, site: Path, alice: str, written: str, zone: str, instant: str
) -> None:
    file = site / "mailauth.toml"
    file.write_text(file.read_text().replace('timezone = "UTC"', f'timezone = "{zone}"'))
    made = mailauth("app-password", "add", alice, "--label", "x", "--expires", written, "--json").json
    assert made["expires_at"] == instant


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--label", " "], 65, "a label has 1 to 100 characters"),
        (["--label", "x\ny"], 65, "a label holds no control characters"),
        (["--label", "x", "--expires", "2020-01-01"], 65, "cannot expire in the past"),
        (["--label", "x", "--from", "office"], 65, "is no network"),
        (["--label", "x", "--services", "imap,web"], 64, "'web' is no service; write one or more of imap,pop3,smtp"),
        (["--label", "x", "--services", ""], 64, "'' is no service"),
        (["--label", "x", "--expires", "tomorrow"], 64, "'tomorrow' is no ISO 8601 date or time"),
        ([], 64, "missing option '--label'"),
    ],
)
def test_terms_that_cannot_be(mailauth: Cli, alice: str, options: list[str], code: int, told: str) -> None:
    said = mailauth("app-password", "add", alice, *options)
    assert said.code == code
    assert told in said.err
    assert mailauth("app-password", "list", alice, "--json").json == []


def test_a_label_cannot_steer_the_terminal(mailauth: Cli, alice: str) -> None:
    soft_hyphen_and_colour = "a\u00ad\x1b[31mb"
    assert mailauth("app-password", "add", alice, "--label", soft_hyphen_and_colour).code == 65
    minted(mailauth, alice, label="a\u200bb")  # what nobody sees goes
    assert mailauth("app-password", "list", alice, "--json").json[0]["label"] == "ab"


def test_its_terms_are_held_against_each_login(mailauth: Cli, alice: str) -> None:
    password = minted(mailauth, alice, "--services", "imap", "--from", "192.0.2.0/24")
    assert verdict(mailauth, alice, password, "--from", "192.0.2.9") == 0
    assert verdict(mailauth, alice, password, "--from", "198.51.100.1") == 77
    assert verdict(mailauth, alice, password) == 77
    assert mailauth("verify", alice, "--service", "smtp", "--from", "192.0.2.9", stdin=password).code == 77


def test_the_alphabet_is_the_configurations(mailauth: Cli, site: Path, alice: str) -> None:
    file = site / "mailauth.toml"
    file.write_text(file.read_text().replace("23456789abcdefghjkmnpqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    assert re.fullmatch("[A-Z]{16}", minted(mailauth, alice))


def test_the_list_is_aligned_whatever_the_script(mailauth: Cli, alice: str) -> None:
    minted(mailauth, alice, label="手机")
    minted(mailauth, alice, label="Phone")
    heading, first, second = mailauth("app-password", "list", alice).out.splitlines()
    assert heading.split()[:3] == ["ID", "LABEL", "SERVICES"]
    assert first.index("imap") + 2 == second.index("imap") == heading.index("SERVICES")
    fields = mailauth("app-password", "list", alice, "--json").json[0]
    assert {"id", "label", "services", "created_at", "last_used_at", "last_used_peer"} <= fields.keys()
    assert "record" not in fields


def test_one_is_revoked_by_id_and_every_one_of_a_label(mailauth: Cli, alice: str) -> None:
    first, second, third = (minted(mailauth, alice, label=label) for label in ("Phone", "Phone", "Tablet"))
    said = mailauth("app-password", "revoke", alice, "--id", "1")
    assert said.out.splitlines()[0] == "revoked app password 1: Phone"
    assert said.out.splitlines()[1:] == ["no session was open with it"]
    assert [verdict(mailauth, alice, password) for password in (first, second, third)] == [77, 0, 0]
    assert mailauth("app-password", "revoke", alice, "--label", "Phone", "--json").json["revoked"] == [
        {"id": 2, "label": "Phone"}
    ]
    assert [verdict(mailauth, alice, password) for password in (second, third)] == [77, 0]
    mailauth("app-password", "revoke", alice, "--all")
    assert verdict(mailauth, alice, third) == 77
    assert mailauth("app-password", "revoke", alice, "--all").out == "there was none to revoke\n"


@pytest.mark.parametrize(
    "options", [[], ["--all", "--id", "1"], ["--label", "x", "--id", "1"], ["--all", "--label", ""]]
)
def test_what_to_revoke_is_said_in_one_way(mailauth: Cli, alice: str, options: list[str]) -> None:
    minted(mailauth, alice)
    said = mailauth("app-password", "revoke", alice, *options)
    assert said.code == 64
    assert len(mailauth("app-password", "list", alice, "--json").json) == 1


def test_only_the_label_can_be_changed(mailauth: Cli, alice: str) -> None:
    password = minted(mailauth, alice)
    assert mailauth("app-password", "rename", alice, "--id", "1", "--label", "Old phone").out == (
        "app password 1 is called Old phone now\n"
    )
    assert mailauth("app-password", "list", alice, "--json").json[0]["label"] == "Old phone"
    assert verdict(mailauth, alice, password) == 0


def test_no_password_is_in_the_store_or_the_log(mailauth: Cli, site: Path, alice: str) -> None:
    password = minted(mailauth, alice)
    verdict(mailauth, alice, password)
    kept = b"".join([path.read_bytes() for path in site.iterdir()])
    assert password.encode() not in kept
    assert b"her own secret" not in kept
