"""`mailauth completion`, and what the shells ask for behind it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from commandline import run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    said = run("completion", shell)
    assert said.code == 0
    assert "_MAILAUTH_COMPLETE" in said.out


def test_other_shells_are_wrong_usage() -> None:
    assert run("completion", "csh").code == 64


def completed(*words: str) -> list[str]:
    environment = {**os.environ, "_MAILAUTH_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(["mailauth", *words])}
    environment["COMP_CWORD"] = str(len(words))
    done = subprocess.run(
        [sys.executable, "-m", "mailauth"], env=environment, capture_output=True, text=True, check=True
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_and_options_are_completed() -> None:
    assert completed("ac") == ["account"]
    assert completed("account", "pas") == ["passwd"]
    assert completed("account", "set", "--mo") == ["--mode"]
    assert completed("account", "set", "--mode", "o") == ["on", "off"]
    assert completed("--v") == ["--version"]


@pytest.mark.system
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_takes_the_script() -> None:
    script = run("completion", "bash").out
    done = subprocess.run(["bash", "-c", f"{script}\ncomplete -p mailauth"], capture_output=True, text=True, check=True)
    assert "mailauth" in done.stdout
