"""A site for each test, and the settings of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from asking import Asking

from mailauth import config
from mailauth.founding.site import found
from mailauth.setup.plan import Asked


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `mailauth init` writes."""
    folder = tmp_path_factory.mktemp("founded")
    return found(folder).config


@pytest.fixture
def toml(founded: Path, tmp_path: Path) -> Path:
    """A mailauth.toml of the test's own; its other files are the session's."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "mailauth.toml").write_text(founded.read_text())
    (folder / "mailauth.keys").write_text(founded.with_name("mailauth.keys").read_text())
    return folder / "mailauth.toml"


@pytest.fixture
def asking(toml: Path) -> Asking:
    """What is asked of a host, by the configuration as it is now."""

    def asked(folder: Path | None = None, version: str = "", address: str = "") -> Asked:
        return Asked(config.load(toml), version, folder, address)

    return asked
