"""The server key file: the secrets under which selectors and check values are made, and their subkeys by purpose.

Source: RFC 5869 (HKDF). The file: one key a line, `id created secret` (decimal from 1, ISO 8601, 32 bytes in base64);
empty lines and lines that begin with # do not count.
Rule: nobody but the owner can read the file, it is never overwritten in place, one program at a time changes it, and
no text of ours shows a secret.
"""

from __future__ import annotations

import base64
import fcntl
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from mailauth.apppassword import selector

SECRET_BYTES = 32
MAX_FILE_BYTES = 65536  # anything longer is another file
MAX_KEYS = 64  # a login computes a selector under each
HKDF_SALT = b"mailauth"
HEAD = (
    "# The server keys of mailauth: without them no app password can be recognised. Keep this file secret (mode 0600)\n"
    "# and backed up, apart from the store. The newest key makes new app passwords; `mailauth key rotate` adds one.\n"
)
REMOVE = "`mailauth key remove` takes out those that nothing was made under"
RESTORE = "restore it from your backup; when there is none, `mailauth key replace --help` says what is left to do"

_LINE = re.compile(r"([1-9][0-9]{0,8}) (\S{1,40}) ([A-Za-z0-9+/]{43}=)", re.ASCII)


class KeyFileError(Exception):
    """The key file cannot be used. The text is one line: the file, what is wrong, what to do."""


@dataclass(frozen=True, slots=True)
class Key:
    """One server key. id: from 1, never given twice; created: ISO 8601."""

    id: int
    created: str
    secret: bytes = field(repr=False)


class KeyRing:
    """The keys of one file. Immutable but for its memory of subkeys.

    newest: the one that new things are made under; as loaded, the newest of the file.
    """

    __slots__ = ("_selector_subkeys", "_subkeys", "keys", "newest")

    def __init__(self, keys: Iterable[Key], newest: int | None = None) -> None:
        self.keys = tuple(sorted(keys, key=lambda key: key.id))
        if not self.keys:
            raise ValueError("a key ring holds at least one key")
        self.newest = self.keys[-1].id if newest is None else newest
        self._subkeys: dict[tuple[str, int], bytes] = {}
        self._selector_subkeys = tuple([(key.id, self.subkey("selector", key.id)) for key in self.keys])

    def __repr__(self) -> str:
        return f"KeyRing(ids={self.ids})"

    @classmethod
    def create(cls, path: Path, key_id: int = 1) -> Self:
        """Write a new file with one key. Raises FileExistsError, or OSError; leaves no half-written file."""
        ring = cls([_new_key(key_id)])
        _write_new(path, ring.keys)
        _sync_folder(path)
        return ring

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file. Raises KeyFileError."""
        return cls(_parse(path, _read_private(path)))

    @classmethod
    def rotate(cls, path: Path) -> Self:
        """Add a key to a file, whole or not at all. Raises KeyFileError."""
        with _alone(path) as place:
            old = cls.load(place)
            if len(old.keys) >= MAX_KEYS:
                raise KeyFileError(f"key file {path}: it holds {MAX_KEYS} keys, the most there can be; {REMOVE}")
            ring = cls([*old.keys, _new_key(old.newest + 1)])
            _replace(place, ring.keys)
        return ring

    @classmethod
    def remove(cls, path: Path, key_id: int) -> Self:
        """Take a key out of a file, if it is there. Raises KeyFileError.

        The newest one stays, so that no id is ever given twice: ValueError.
        """
        with _alone(path) as place:
            old = cls.load(place)
            ring = old.without(key_id)
            if ring.ids != old.ids:
                _replace(place, ring.keys)
        return ring

    def using(self, newest: int) -> Self:
        """These keys, with new things made under this one, since a later one is not known everywhere yet."""
        return type(self)(self.keys, newest)

    def without(self, key_id: int) -> Self:
        """These keys but for one. ValueError for the newest."""
        if key_id == self.newest:
            raise ValueError("the newest key is not removed")
        return type(self)([key for key in self.keys if key.id != key_id], self.newest)

    @property
    def ids(self) -> tuple[int, ...]:
        """Ascending."""
        return tuple([key.id for key in self.keys])

    def subkey(self, purpose: str, key_id: int | None = None) -> bytes:
        """32 bytes for one purpose, from this key (None: the newest). Raises KeyError for an id that is not here."""
        wanted = (purpose, self.newest if key_id is None else key_id)
        known = self._subkeys.get(wanted)
        if known is not None:
            return known
        secret = {key.id: key.secret for key in self.keys}[wanted[1]]
        return self._subkeys.setdefault(wanted, hkdf(secret, HKDF_SALT, purpose.encode(), SECRET_BYTES))

    def selectors(self, login: str, cleaned: str) -> tuple[tuple[int, int], ...]:
        """(key id, selector) under every key, ascending. login: folded; cleaned: by apppassword.clean."""
        return tuple([(key_id, selector(subkey, login, cleaned)) for key_id, subkey in self._selector_subkeys])

    def check_value(self, store_id: str, key_id: int) -> str:
        """Hex text that proves a store to belong to this key and tells nothing about it. Raises KeyError."""
        return hmac.digest(self.subkey("check-value", key_id), store_id.encode(), "sha256").hex()


def hkdf(secret: bytes, salt: bytes, info: bytes, length_bytes: int) -> bytes:
    """HKDF-SHA256, RFC 5869 section 2: at most 8160 bytes."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    block, output = b"", b""
    for counter in range(1, -(-length_bytes // 32) + 1):
        block = hmac.digest(extracted, block + info + bytes([counter]), "sha256")
        output += block
    return output[:length_bytes]


def _new_key(key_id: int) -> Key:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Key(key_id, created, secrets.token_bytes(SECRET_BYTES))


@contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """Where the file really is, for one program at a time to change; the lock goes with the program, however it ends.

    Raises KeyFileError, also for whatever goes wrong with the file in the block.
    """
    try:
        place = path.resolve(strict=True)  # a link stays a link
        with _opened(place) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(descriptor), place.stat()):  # replaced before it was locked
                raise BlockingIOError
            yield place
    except FileNotFoundError:
        raise KeyFileError(f"key file {path}: it is missing; {RESTORE}") from None
    except BlockingIOError:
        raise KeyFileError(f"key file {path}: another command is changing it; run this one again") from None
    except OSError as fault:
        raise KeyFileError(f"key file {path}: it cannot be changed: {fault.strerror}") from None


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not hold us up
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _replace(path: Path, keys: Iterable[Key]) -> None:
    """Put a file with these keys in the place of the one that is there, whole or not at all; its owner stays."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)  # of a program that was killed: we are alone
    _write_new(draft, keys)
    try:
        standing = path.stat()
        with suppress(PermissionError):  # the owner's own, in a group that is none of the owner's
            os.chown(draft, standing.st_uid, standing.st_gid)
        draft.replace(path)
    except BaseException:
        draft.unlink()
        raise
    _sync_folder(path)


def _write_new(path: Path, keys: Iterable[Key]) -> None:
    lines = [f"{key.id} {key.created} {base64.b64encode(key.secret).decode()}\n" for key in keys]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            os.fchmod(descriptor, 0o600)  # whatever the umask took away
            file.writelines([HEAD, *lines])
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink()
        raise


def _sync_folder(path: Path) -> None:
    """Make the file's name as durable as its contents."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_private(path: Path) -> bytes:
    """The contents of a regular file that is its owner's alone. Raises KeyFileError."""
    try:
        with _opened(path) as descriptor:
            standing = os.fstat(descriptor)
            if not stat.S_ISREG(standing.st_mode):
                raise KeyFileError(f"key file {path}: it is not a regular file; {RESTORE}")
            if standing.st_mode & 0o077:
                mode = stat.S_IMODE(standing.st_mode)
                raise KeyFileError(f"key file {path}: others may use it (mode {mode:04o}); run: chmod 600 {path}")
            return os.read(descriptor, MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise KeyFileError(f"key file {path}: it is missing; {RESTORE}") from None
    except OSError as fault:
        raise KeyFileError(f"key file {path}: {fault.strerror}; make it readable for this user alone") from None


def _parse(path: Path, contents: bytes) -> list[Key]:
    keys: dict[int, Key] = {}
    for number, line in enumerate(contents[:MAX_FILE_BYTES].decode("ascii", "replace").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None or not _is_time(match[2]):
            raise KeyFileError(f"key file {path}: line {number} is no key (id, time, secret); {RESTORE}")
        key = Key(int(match[1]), match[2], base64.b64decode(match[3]))
        if key.id in keys:
            raise KeyFileError(f"key file {path}: line {number} has id {key.id} again; {RESTORE}")
        keys[key.id] = key
    if not 0 < len(keys) <= MAX_KEYS or len(contents) > MAX_FILE_BYTES:
        raise KeyFileError(f"key file {path}: it is no key file; {RESTORE}")
    return list(keys.values())


def _is_time(text: str) -> bool:
    try:
        return bool(datetime.fromisoformat(text))
    except ValueError:
        return False
