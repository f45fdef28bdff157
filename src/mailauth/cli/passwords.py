"""Passwords from a prompt or from standard input, never from an argument: those stand in every process list.

Source: contract 4. Rule: a password is bytes from the first moment on, and is in no text that is printed.
"""

from __future__ import annotations

import sys

import click

MIN_BYTES = 8  # NIST SP 800-63B section 5.1.1.2
MAX_BYTES = 1024  # what the verifier looks at


class Unfit(Exception):
    """This cannot be a web password. The text says why."""


def new(*, from_stdin: bool) -> bytes:
    """A password to be stored: asked for twice, or the first line of standard input. Raises Unfit, click.UsageError."""
    password = _first_line() if from_stdin else _asked_twice()
    if not password:
        raise Unfit("the password is empty; nothing was changed")
    if not MIN_BYTES <= len(password) <= MAX_BYTES:
        raise Unfit(f"a web password has {MIN_BYTES} to {MAX_BYTES} bytes; nothing was changed")
    if b"\0" in password:
        raise Unfit("a password with a NUL cannot be sent by mail programs (RFC 4616); nothing was changed")
    try:
        password.decode("utf-8")
    except UnicodeDecodeError:
        raise Unfit("the password is not UTF-8 text; nothing was changed") from None
    return password


def shown(*, from_stdin: bool) -> bytes:
    """A password to be judged: asked for once at a terminal, else the first line of standard input."""
    return _asked("Password: ") if at_terminal() and not from_stdin else _first_line()


def at_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def _first_line() -> bytes:
    if sys.stdin is None:  # closed by whoever started us
        return b""
    line = sys.stdin.buffer.readline(MAX_BYTES + 3)
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _asked_twice() -> bytes:
    if not at_terminal():
        raise click.UsageError("there is no terminal to ask for the password; use --password-stdin")
    password = _asked("New password: ")
    if password != _asked("Once more: "):
        raise Unfit("the two passwords differ; nothing was changed")
    return password


def _asked(prompt: str) -> bytes:
    from getpass import getpass  # noqa: PLC0415

    return getpass(prompt).encode("utf-8", "surrogateescape")
