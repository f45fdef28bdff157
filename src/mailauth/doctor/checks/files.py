"""The rights of the key file, of other files with secrets, and of the configuration itself.

Rule: nobody but the owner reads the key file; other secrets and private keys may be shared with a group, since a mail
server has to read the same; what is configured is not for others to change.
"""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Iterator
from pathlib import Path

from mailauth.config.values import Secret
from mailauth.doctor.case import Case
from mailauth.doctor.finding import Check, Finding, ok, problem
from mailauth.doctor.rights import READ, obstacle, told
from mailauth.keeper.configured import doveadms_of
from mailauth.keys import KeyFileError, KeyRing

OTHERS, OTHERS_WRITE = 0o007, 0o022


def _examine(case: Case) -> Iterator[Finding]:
    settings = case.settings
    try:
        KeyRing.load(settings.key.file)
        yield ok(f"key file {settings.key.file}", "its owner alone can read it")
    except KeyFileError as error:
        yield problem(f"key file {settings.key.file}", str(error), f"chmod 600 {settings.key.file}, or as it says")
    yield from _readable(case, "key file", settings.key.file)
    for secret in dict.fromkeys(_secrets(settings)):
        if not secret.source.startswith("env:"):
            yield from _private(case, "secret file", Path(secret.source), OTHERS)
    if settings.tls is not None:
        yield from _private(case, "private key", settings.tls.key, OTHERS)
    yield from _private(case, "configuration", settings.source, OTHERS_WRITE)


def _private(case: Case, what: str, path: Path, forbidden: int) -> Iterator[Finding]:
    subject = f"{what} {path}"
    try:
        status = path.stat()
    except OSError as error:
        yield problem(subject, f"it cannot be looked at: {error.strerror}", "put it there, or name another")
        return
    if status.st_mode & forbidden:
        mode = stat.S_IMODE(status.st_mode) & ~forbidden
        doing = "change" if forbidden == OTHERS_WRITE else "use"
        yield problem(subject, f"others may {doing} it ({told(status)})", f"chmod {mode:04o} {path}")
    else:
        yield ok(subject, f"others cannot {'change' if forbidden == OTHERS_WRITE else 'use'} it")
    if path not in _keepers(case):
        yield from _readable(case, what, path)


def _keepers(case: Case) -> set[Path]:
    """What a keeper that runs as a user of its own reads, and `mailauth serve` need not."""
    settings = case.settings
    if settings.keeper.address is None:
        return set()
    keys = [key for _, key in doveadms_of(settings).values()]
    return {Path(secret.source) for secret in (*_secrets(settings.backends), *keys)}


def _readable(case: Case, what: str, path: Path) -> Iterator[Finding]:
    """Silent where it can be read."""
    hindered = obstacle(case.server, path.absolute(), READ)
    if hindered is not None:
        mend = f"let {case.server.name} read it: chown {case.server.name} {hindered.place}"
        yield problem(f"{what} {path}", f"{hindered.what}, and `mailauth serve` needs it", mend)


def _secrets(value: object) -> Iterator[Secret]:
    """All that the configuration names, wherever they stand in it."""
    if isinstance(value, Secret):
        yield value
    elif dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            yield from _secrets(getattr(value, each.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _secrets(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _secrets(item)


CHECK = Check(20, "files with secrets", _examine)
