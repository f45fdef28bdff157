"""A mail server's own programs, asked for its version and its configuration.

Rule: they are asked, never started as servers; what they say beside the point goes nowhere, and no secret is among
their arguments.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence

from mailauth.setup.plan import CannotSetUp

PLACES = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin", "/usr/local/bin")  # root's, which not every PATH has
PATIENCE_S = 60.0
VERSION = re.compile(r"\d+(?:\.\d+)+")


def found(*names: str) -> str | None:
    """The first of these programs that is installed; None: none is."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *PLACES])
    return next((place for name in names if (place := shutil.which(name, path=path))), None)


def said(words: Sequence[str], *, errors: bool = False) -> str:
    """What a program says on standard output; errors: on standard error, too. Raises CannotSetUp."""
    try:
        done = subprocess.run(  # noqa: S603  a list of words, and no shell
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors else subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotSetUp(f"{words[0]} cannot be run: {type(error).__name__}; is it installed as a whole?") from None
    if done.returncode != 0:
        told = " ".join((done.stderr or done.stdout).split())
        raise CannotSetUp(f"`{' '.join(words)}` says: {told}")
    return done.stdout


def version_in(text: str, program: str) -> str:
    """The first version in what a program says. Raises CannotSetUp."""
    match = VERSION.search(text)
    if match is None:
        raise CannotSetUp(f"{program} does not tell its version; say it with --version")
    return match[0]


def numbers(version: str) -> tuple[int, ...]:
    """A version to be compared: its first two numbers. Raises CannotSetUp."""
    match = VERSION.match(version)
    if match is None:
        raise CannotSetUp(f"{version!r} is no version, such as 2.3.19")
    return tuple([int(number) for number in match[0].split(".")[:2]])


def missing(host: str, package: str) -> CannotSetUp:
    """What is said where the host is not on this machine."""
    return CannotSetUp(
        f"{host} is not installed here (on Debian: apt install {package}); if it runs elsewhere, say its version with "
        "--version, and take what is printed there"
    )
