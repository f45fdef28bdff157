"""What commands need before they begin: the store's driver, the name of whoever gives the command, an event loop."""

from __future__ import annotations

import asyncio
import os
import pwd
import sys

import pytest

from commandline import Cli
from mailauth.cli import running
from mailauth.cli.opening import actor


def test_a_driver_that_is_not_installed_is_a_matter_of_configuration(
    mailauth: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ValueError("a postgresql URL needs psycopg: pip install 'mailauth[postgresql]'")

    monkeypatch.setattr("mailauth.cli.opening.open_store", missing)
    said = mailauth("account", "list")
    assert said.code == 78
    assert "[store] url: a postgresql URL needs psycopg: pip install" in said.err


def test_changes_are_on_record_under_the_user_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody-else")
    assert actor() == f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nameless)
    assert actor() == f"cli:{os.getuid()}"


def test_the_loop_is_uvloop_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert running.runner().__module__ == "uvloop"
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert running.runner() is asyncio.run
