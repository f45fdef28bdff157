"""Files put in place, each with a copy of what was there; and all put back when they turn out not to be right.

Rule: nothing is overwritten without a copy beside it, and no file is ever there in part: it is written under another
name, given its owner and mode, and moved.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from mailauth.setup.plan import CannotSetUp, File

SUFFIX = ".before-mailauth"
FOLDER_MODE = 0o755


@dataclass(frozen=True, slots=True)
class Written:
    """One file that was put in place. copy: of what was there; None: nothing was."""

    path: Path
    copy: Path | None


def install(files: Iterable[File], check: Callable[[], object]) -> list[Written]:
    """Put in place what is not there yet, and check it: if that raises, all is as it was before.

    Raises CannotSetUp, and whatever `check` raises.
    """
    written = []
    with ExitStack() as undo:
        for file in files:
            if file.is_there:
                continue
            try:
                written.append(_put(file, undo))
            except OSError as error:
                advice = "; run this as root" if isinstance(error, PermissionError) else ""
                place = error.filename or file.path
                raise CannotSetUp(f"{place}: {error.strerror}; nothing was changed{advice}") from None
        check()
        undo.pop_all()
    return written


def _put(file: File, undo: ExitStack) -> Written:
    path = file.path.resolve()  # a link stays one
    _make_folder(path.parent, undo)
    try:
        before = path.stat()
    except FileNotFoundError:
        before = None
    copy = None
    if before is not None:
        copy = _free_name(path)
        _create(copy, path.read_bytes(), before, file)
        undo.callback(copy.replace, path)
    else:
        undo.callback(path.unlink, missing_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    _create(draft, file.text.encode(), before, file)
    draft.replace(path)
    return Written(file.path, copy)


def _make_folder(folder: Path, undo: ExitStack) -> None:
    for place in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
        place.mkdir(FOLDER_MODE)
        undo.callback(place.rmdir)


def _create(path: Path, contents: bytes, as_before: os.stat_result | None, new: File) -> None:
    """A new file with the owner and mode of what was there, else with those of `new`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as out:
            owner, group, mode = _ownership(as_before, new)
            os.fchown(out.fileno(), owner, group)
            os.fchmod(out.fileno(), mode)
            out.write(contents)
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def _ownership(as_before: os.stat_result | None, new: File) -> tuple[int, int, int]:
    if as_before is not None:
        return as_before.st_uid, as_before.st_gid, stat.S_IMODE(as_before.st_mode)
    owner, group = -1, -1
    if new.like is not None and os.geteuid() == 0:
        status = new.like.stat()
        owner, group = status.st_uid, status.st_gid
    return owner, group if new.group is None else new.group, new.mode


def _free_name(path: Path) -> Path:
    """Where the copy goes: no earlier copy is lost."""
    number, copy = 1, path.with_name(path.name + SUFFIX)
    while copy.exists() or copy.is_symlink():
        number += 1
        copy = path.with_name(f"{path.name}{SUFFIX}-{number}")
    return copy
