"""Which UID each message file of a folder has: the file `dovecot-uidlist`, version 3.

Source: Dovecot's documentation of the Maildir format. A header `3 V<uid validity> N<next uid> G<folder id>`, then one
line for each message, `<uid> :<file name>`, with UIDs that only rise; new lines are appended.
Rule: a UID is used once (RFC 3501 section 2.3.1.1). What cannot be read is not guessed: the folder starts anew under a
higher UID validity; only a last line that a crash cut short is dropped, for its UID was never told to anybody.
Whoever writes holds the folder's lock.
"""

# Paths are plain strings here: a folder of thousands is listed, renamed and unlinked message by message.
# ruff: noqa: PTH104, PTH108, PTH120

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from mailauth.mailbox.messagefile import sync_directory

FILE_NAME = "dovecot-uidlist"
MAX_UID = 2**32 - 1  # RFC 3501 section 2.3.1.1

_last_validity = 0


@dataclass(slots=True)
class UidList:
    """The list of one folder. uids: by unique name; may hold names whose files are gone.

    extras: what else stood in a message's line, kept as it was. torn: a crash cut the last line short; rewrite first.
    """

    validity: int
    next_uid: int
    folder_id: str
    uids: dict[str, int] = field(default_factory=dict)
    extras: dict[str, bytes] = field(default_factory=dict)
    torn: bool = False


def new_validity() -> int:
    """A UID validity higher than any given before on this machine, so long as its clock does not go back."""
    global _last_validity  # noqa: PLW0603  one folder deleted and made again within a second must differ
    _last_validity = max(int(time.time()), _last_validity + 1)
    return _last_validity


def read(path: str) -> UidList | None:
    """The list in this file; None: there is none, or it makes no sense. Blocks."""
    try:
        with open(path, "rb") as file:
            header, *lines = file.read().split(b"\n")
    except FileNotFoundError:
        return None
    found = _parse_header(header)
    if found is None or not lines:
        return None
    found.torn = lines.pop() != b""
    highest = 0
    for line in lines:
        front, colon, name = line.partition(b" :")
        digits, _, extra = front.partition(b" ")
        number = _number(digits)
        if not colon or number <= highest:
            return None
        highest = number
        unique = os.fsdecode(name.partition(b":")[0])
        found.uids[unique] = highest
        if extra:
            found.extras[unique] = extra
    found.next_uid = max(found.next_uid, highest + 1)
    return found


def _parse_header(line: bytes) -> UidList | None:
    version, *words = line.split(b" ")
    values = {word[:1]: word[1:] for word in words}
    validity, next_uid = _number(values.get(b"V", b"")), _number(values.get(b"N", b""))
    if version != b"3" or not validity or not next_uid:
        return None
    folder_id = values.get(b"G", b"").decode("ascii", "replace")
    return UidList(validity, next_uid, folder_id if folder_id.isalnum() else secrets.token_hex(16))


def _number(digits: bytes) -> int:
    """A UID or UID validity; 0: it is none."""
    number = int(digits) if digits.isdigit() and len(digits) <= 10 else 0
    return number if number <= MAX_UID else 0


def fresh() -> UidList:
    """The list of a folder that never had one."""
    return UidList(new_validity(), 1, secrets.token_hex(16))


def append(path: str, names: Iterable[str], listed: UidList) -> None:
    """Give these messages the next UIDs, in order, on disk and in `listed`. Blocks."""
    given = {unique: uid for uid, unique in enumerate(names, listed.next_uid)}
    lines = b"".join(b"%d :%b\n" % (uid, os.fsencode(unique)) for unique, uid in given.items())
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        _write_whole(descriptor, lines)
    finally:
        os.close(descriptor)
    listed.uids |= given
    listed.next_uid += len(given)


def rewrite(path: str, listed: UidList) -> None:
    """Put the whole list in place of the file. Blocks."""
    listed.torn = False
    lines = [b"3 V%d N%d G%b\n" % (listed.validity, listed.next_uid, listed.folder_id.encode())]
    for unique, uid in sorted(listed.uids.items(), key=lambda entry: entry[1]):
        extra = listed.extras.get(unique)
        lines.append(b"%d %b:%b\n" % (uid, extra + b" " if extra else b"", os.fsencode(unique)))
    replace_file(path, b"".join(lines))


def replace_file(path: str, content: bytes) -> None:
    """Put a small file in place of another in one step that survives a crash. Blocks."""
    temporary = f"{path}.{secrets.token_hex(6)}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            _write_whole(descriptor, content)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(path))


def _write_whole(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)
