"""A site of its own for each test, and the command line as a function."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mailauth.cli.main import cli
from mailauth.founding.site import found


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Said]


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `mailauth init` writes, with the cheapest hashes that the configuration takes."""
    folder = tmp_path_factory.mktemp("founded")
    config = found(folder).config
    text = (
        config.read_text().replace("time_cost = 2", "time_cost = 1").replace("memory_kib = 19456", "memory_kib = 7168")
    )
    config.write_text(text)
    return folder


@pytest.fixture
def site(founded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where commands find it."""
    folder = tmp_path / "site"
    shutil.copytree(founded, folder)
    monkeypatch.setenv("MAILAUTH_CONFIG", str(folder / "mailauth.toml"))
    return folder


@pytest.fixture
def mailauth(site: Path) -> Cli:
    """Run one command on it."""
    return run


def run(*args: str, stdin: str | bytes = "") -> Said:
    result = CliRunner().invoke(cli, list(args), input=stdin)
    assert isinstance(result.exception, SystemExit | None), result.exception
    if result.exit_code not in {0, 75, 77}:
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "Traceback" not in result.output
    return Said(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def alice(mailauth: Cli) -> str:
    """An account whose web password is `her own secret`."""
    login = "alice@example.com"
    assert mailauth("account", "add", login, "--password-stdin", stdin="her own secret\n").code == 0
    return login


def minted(mailauth: Cli, login: str, *options: str, label: str = "Phone") -> str:
    said = mailauth("app-password", "add", login, "--label", label, *options)
    assert said.code == 0, said.err
    return said.out.splitlines()[-1]
