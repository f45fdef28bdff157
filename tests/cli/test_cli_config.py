"""`mailauth config check`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from commandline import Cli
from mailauth.cli.main import cli


def test_a_right_configuration(mailauth: Cli, site: Path) -> None:
    assert mailauth("config", "check").out == f"{site}/mailauth.toml is right\n"
    assert mailauth("config", "check", "--json").json == {
        "file": f"{site}/mailauth.toml",
        "right": True,
        "problems": [],
    }


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "[store]",
            "[stroe]",
            "section [stroe]: is unknown to this version; did you mean section [store]?",
        ),
        ("timeout_s = 20.0", 'timeout_s = "5"', "mailauth.toml: [store] timeout_s: must be a number, 0.1 to"),
        ("[store]", "[store", "mailauth.toml: is not valid TOML: "),
        ('file = "mailauth.keys"', 'file = "lost.keys"', "site/lost.keys: it is missing; restore it from your backup"),
        ('"server.pem"', '"lost.pem"', "site/lost.pem: no such file; [tls] certificate must name a PEM file"),
        ('key = "server.key"', 'key = "mailauth.keys"', "not a PEM certificate chain with its own key"),
        ("#password_file", 'password_file = "lost"\n#', "[store] password_file: cannot read"),
        ('#file = ""', 'file = "lost/mailauth.log"', "[log] file: cannot write"),
    ],
)
def test_what_is_wrong_is_one_line_and_78(mailauth: Cli, site: Path, old: str, new: str, told: str) -> None:
    file = site / "mailauth.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    said = mailauth("config", "check")
    assert said.code == 78
    assert told in said.err
    assert said.out == ""


def test_everything_wrong_is_told_at_once(mailauth: Cli, site: Path) -> None:
    (site / "mailauth.keys").chmod(0o644)
    (site / "server.key").unlink()
    said = CliRunner().invoke(cli, ["config", "check", "--json"])
    assert said.exit_code == 78
    assert len(said.stderr.splitlines()) == 2
    assert "run: chmod 600" in said.stderr
    assert "server.key: no such file" in said.stderr


def test_a_world_readable_key_is_refused_by_commands_too(mailauth: Cli, site: Path) -> None:
    (site / "mailauth.keys").chmod(0o644)
    said = mailauth("key", "status")
    assert said.code == 78
    assert f"run: chmod 600 {site}/mailauth.keys" in said.err
