"""Message files of a Maildir: their names, how they are written for good, and their bytes as the wire wants them.

Source: the Maildir page (cr.yp.to/proto/maildir.html) for names and the way through tmp; Dovecot's documentation of the
Maildir format for the sizes S= (file) and W= (wire) in a name.
Rule: wire form has no LF without a CR before it. A file whose name says S=n,W=n holds wire form, whole lines only, and
is never read to learn its size; every other file may hold anything and is brought into wire form as it is read.
"""

# Paths are plain strings here: a folder of thousands is listed, renamed and unlinked message by message.
# ruff: noqa: PTH102, PTH104, PTH108, PTH112, PTH120

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import BinaryIO, NamedTuple

TEMPORARY = "tmp"
SUBDIRECTORIES = (TEMPORARY, "new", "cur")  # cur last: a Maildir is there once cur is
CHUNK_BYTES = 65_536
ABANDONED_S = 36 * 3600  # the Maildir page: a file in tmp not touched for 36 hours is a failed delivery

_FILE_SIZE = re.compile(r",S=(\d+)")
_WIRE_SIZE = re.compile(r",W=(\d+)")
_HOST = socket.gethostname().replace("/", "\\057").replace(":", "\\072").replace(",", "\\054")
_deliveries = count(1)


class Name(NamedTuple):
    """A file name taken apart. unique: up to the colon, never changes; letters: the flags behind `:2,`."""

    unique: str
    letters: str


class Size(NamedTuple):
    """octets: of the wire form; whole_lines: whether it ends in CRLF (or is empty)."""

    octets: int
    whole_lines: bool


def parse_name(name: str) -> Name:
    """Take a file name of `cur` or `new` apart; other info than the `2,` of flags is no flags."""
    unique, _, info = name.partition(":")
    return Name(unique, info[2:].partition(",")[0] if info.startswith("2,") else "")


def mint_unique(content: bytes) -> str:
    """A name that no other delivery on any host has, telling the sizes when `content` is wire form in whole lines."""
    now_us = time.time_ns() // 1000
    second, microsecond = divmod(now_us, 1_000_000)
    origin = f"M{microsecond:06d}P{os.getpid()}Q{next(_deliveries)}R{secrets.token_hex(4)}"
    unique = f"{second}.{origin}.{_HOST}"
    if content.endswith(b"\r\n") and is_wire_form(content):
        return f"{unique},S={len(content)},W={len(content)}"
    return unique


def mint_copy(unique: str) -> str:
    """A new unique name for the content of another message; the sizes it tells are kept."""
    told = told_size(unique)
    return mint_unique(b"") + (f",S={told},W={told}" if told is not None else "")


def told_size(unique: str) -> int | None:
    """The octets of a file in wire form, as its name tells; None: it tells none, or the file is not in wire form."""
    size, wire = _FILE_SIZE.search(unique), _WIRE_SIZE.search(unique)
    return int(wire[1]) if size and wire and size[1] == wire[1] else None


def is_wire_form(content: bytes) -> bool:
    """Whether every LF has its CR."""
    return content.count(b"\n") == content.count(b"\r\n")


def to_wire_form(content: bytes) -> bytes:
    """The same lines with CRLF ends. A CR alone is an octet like any other; nothing is added at the end."""
    return content if is_wire_form(content) else content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def wire_chunks(file: BinaryIO, unique: str) -> Iterator[bytes]:
    """The wire form of an open message file, in pieces of about CHUNK_BYTES. Blocks."""
    as_it_is = told_size(unique) is not None
    after_cr = False
    while chunk := file.read(CHUNK_BYTES):
        if as_it_is:
            yield chunk
            continue
        wired = to_wire_form(chunk)
        if after_cr and chunk.startswith(b"\n"):
            wired = wired[1:]  # its CR was the last octet of the chunk before
        after_cr = chunk.endswith(b"\r")
        yield wired


def measure(file: BinaryIO, unique: str) -> Size:
    """The size of an open message file in wire form, found by reading it. Blocks."""
    octets, ending = 0, b""
    for chunk in wire_chunks(file, unique):
        octets += len(chunk)
        ending = (ending + chunk[-2:])[-2:]
    return Size(octets, whole_lines=not octets or ending == b"\r\n")


def write_temporary(maildir: str, unique: str, content: bytes, mtime_s: float | None = None) -> str:
    """Write a new file into `tmp`, down to the disk; returns its path. On any failure nothing is left. Blocks."""
    path = f"{maildir}/{TEMPORARY}/{unique}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if mtime_s is not None:
                os.utime(descriptor, (mtime_s, mtime_s))
            os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    return path


def move_for_good(path: str, target: str) -> None:
    """Rename a finished file into place, down to the disk. On failure neither name is left. Blocks."""
    try:
        os.rename(path, target)
        sync_directory(os.path.dirname(target))
    except BaseException:
        for leftover in (path, target):
            with suppress(OSError):
                os.unlink(leftover)
        raise


def sync_directory(path: str) -> None:
    """Make a directory's entries survive a crash. Blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as refused:
        if refused.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems know no such thing
            raise
    finally:
        os.close(descriptor)


def make_maildir(path: str) -> None:
    """Make a Maildir, and the directories above it, for our eyes only; what is there stays as it is. Blocks."""
    for name in SUBDIRECTORIES:
        _make_directory(f"{path}/{name}")


def _make_directory(path: str) -> None:
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    if above != path:
        _make_directory(above)
    with suppress(FileExistsError):  # somebody was faster
        os.mkdir(path, 0o700)
    sync_directory(above)


def sweep_temporary(maildir: str) -> None:
    """Remove what failed deliveries left behind long ago. Blocks."""
    old = time.time() - ABANDONED_S
    with suppress(OSError), os.scandir(f"{maildir}/{TEMPORARY}") as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < old:
                    os.unlink(entry.path)
