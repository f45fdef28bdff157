"""A site of its own for each test, and the command line as a function."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from commandline import Cli, run
from mailauth.founding.site import found

DELAY = ("refusal_delay_s = 2.0", "refusal_delay_s = 0.0")


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `mailauth init` writes, with the quickest hashes and refusals that the configuration takes."""
    folder = tmp_path_factory.mktemp("founded")
    config = found(folder).config
    text = config.read_text()
    for slow, quick in (("time_cost = 2", "time_cost = 1"), ("memory_kib = 19456", "memory_kib = 7168"), DELAY):
        text = text.replace(slow, quick)
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


@pytest.fixture
def alice(mailauth: Cli) -> str:
    """An account whose web password is `her own secret`."""
    login = "alice@example.com"
    assert mailauth("account", "add", login, "--password-stdin", stdin="her own secret\n").code == 0
    return login
