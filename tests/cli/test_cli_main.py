"""The command line as a whole: overview, help, exit codes, one line for each error, and nothing loaded in vain."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from commandline import Cli, run
from mailauth.cli import exits
from mailauth.cli.main import PURPOSES, cli


def every_command() -> list[tuple[str, click.Command]]:
    context = click.Context(cli)
    found = [(name, cli.get_command(context, name)) for name in cli.list_commands(context)]
    groups = [(name, command) for name, command in found if isinstance(command, click.Group)]
    return found + [(f"{name} {sub}", command) for name, group in groups for sub, command in group.commands.items()]


COMMANDS = dict(every_command())
LEAVES = {name: command for name, command in COMMANDS.items() if not isinstance(command, click.Group)}


def test_mailauth_alone_prints_every_command_by_purpose() -> None:
    said = run()
    assert said.code == 0
    for purpose, names in PURPOSES.items():
        assert f"{purpose}:" in said.out
        for name in names:
            assert re.search(rf"^  {name} +\S", said.out, re.M), name
    assert "77 password refused" in said.out
    assert len(said.out.splitlines()) <= 60


@pytest.mark.parametrize("name", LEAVES)
def test_each_help_teaches_by_an_example(name: str) -> None:
    said = run(*name.split(), "--help")
    assert said.code == 0
    assert f"mailauth {name}" in said.out.partition("Usage:")[2].partition("\n")[2]
    for option in LEAVES[name].params:
        assert not isinstance(option, click.Option) or option.help, option.name


@pytest.mark.parametrize("name", sorted(LEAVES.keys() - {"demo", "init", "completion"}))
def test_every_command_that_works_on_a_site_takes_a_configuration(name: str) -> None:
    assert "--config" in [option for param in LEAVES[name].params for option in param.opts]


@pytest.mark.parametrize("name", LEAVES.keys())
def test_no_password_is_an_argument(name: str) -> None:
    for param in LEAVES[name].params:
        if "password" in (param.name or "") and param.name != "max_app_passwords":
            assert isinstance(param, click.Option)
            assert param.is_flag


def test_a_group_alone_shows_its_commands() -> None:
    said = CliRunner().invoke(cli, ["account"])
    assert said.exit_code == 0
    assert "passwd" in said.stdout


def test_version() -> None:
    assert re.fullmatch(r"mailauth \d+\.\d+\.\d+\n", run("--version").out)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["acount"], "mailauth: no such command 'acount'"),
        (["account", "ad"], "mailauth account: no such command 'ad'"),
        (
            ["account", "add"],
            "mailauth account add: missing argument 'ADDRESS' (`mailauth account add --help` shows how)",
        ),
        (["account", "add", "a@b", "c"], "mailauth account add: got unexpected extra argument"),
        (["site", "set", "--policy", "strict"], "mailauth site set: invalid value for '--policy': 'strict' is not one"),
        (
            ["site", "set", "--enforce-from", "soon"],
            "mailauth site set: invalid value for '--enforce-from': 'soon' is",
        ),
        (["--nonsense"], "mailauth: no such option"),
        (["init", "--port-offset", "70000"], "mailauth init: invalid value for '--port-offset': 70000 is not in"),
    ],
)
def test_wrong_usage_is_one_line_and_64(args: list[str], told: str) -> None:
    said = run(*args)
    assert said.code == 64
    assert said.err.startswith(told)


def test_every_error_that_has_an_exit_code_exists() -> None:
    for name in exits.MEANING:
        module, _, kind = name.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), kind), Exception), name


def test_a_subclass_ends_like_its_base() -> None:
    class Special(importlib.import_module("mailauth.interfaces").StoreUnavailable):
        pass

    assert exits.explained(Special("the store is gone")) == (69, "mailauth: the store is gone")


def test_a_bug_is_one_line_that_tells_where_but_not_what(monkeypatch: pytest.MonkeyPatch, mailauth: Cli) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("hush hush")

    monkeypatch.setattr("mailauth.accounts.site.show_site", broken)
    said = mailauth("site", "show")
    assert said.code == 70
    assert re.match(r"mailauth: internal error: RuntimeError at test_cli_main\.py:\d+; MAILAUTH_DEBUG=1", said.err)
    assert "hush" not in said.err
    monkeypatch.setenv("MAILAUTH_DEBUG", "1")
    shown = CliRunner().invoke(cli, ["site", "show"])
    assert shown.exit_code == 70  # never 1, which is said of a wrong password
    assert "RuntimeError: hush hush\n" in shown.stderr


def test_an_error_of_many_lines_is_still_one(monkeypatch: pytest.MonkeyPatch, mailauth: Cli) -> None:
    def broken(*_: object) -> None:
        raise importlib.import_module("mailauth.interfaces").StoreUnavailable("first\nsecond")

    monkeypatch.setattr("mailauth.accounts.site.show_site", broken)
    assert mailauth("site", "show").err == "mailauth: first second\n"


def test_an_interrupt_is_no_bug(monkeypatch: pytest.MonkeyPatch, mailauth: Cli) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mailauth.accounts.site.show_site", interrupted)
    said = mailauth("site", "show")
    assert (said.code, said.err.strip()) == (130, "mailauth: interrupted")


def test_no_configuration_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAILAUTH_CONFIG", raising=False)
    monkeypatch.setattr("mailauth.config.reading.PLACES", (Path("mailauth.toml"),))
    said = run("site", "show")
    assert said.code == 78
    assert "run `mailauth init`, or name a file with --config" in said.err


LOADED = """
import sys
from mailauth.cli.main import cli
try:
    cli.main(sys.argv[1:])
except SystemExit as ended:
    assert ended.code == 0, ended.code
print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "args", [["account", "list"], ["site", "show"], ["app-password", "list", "alice@example.com"], ["audit"]]
)
def test_a_command_that_only_touches_the_store_loads_nothing_slow(site: Path, alice: str, args: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, *args], capture_output=True, text=True, check=True)
    slow = {"sqlalchemy", "alembic", "cryptography", "nacl", "passlib", "pymap", "uvloop", "difflib"}
    assert not slow & set(done.stderr.split())


def test_a_reader_that_has_seen_enough_is_told_nothing(site: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "mailauth", "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert done.stderr == ""


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "mailauth", "acount"], capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert done.stderr.startswith("mailauth: no such command 'acount'")
