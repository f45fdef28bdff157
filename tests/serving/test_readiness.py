"""What a service manager is told, if there is one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mailauth.serving.readiness import READY, VARIABLE, tell


def test_by_path_and_by_an_abstract_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (str(tmp_path / "notify"), f"@mailauth-{tmp_path.name}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
            monkeypatch.setenv(VARIABLE, name)
            tell(READY)
            assert manager.recv(100) == b"READY=1"


def test_who_is_not_there_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    tell(READY)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nobody"))
    tell(READY)
