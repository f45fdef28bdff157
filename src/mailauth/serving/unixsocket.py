"""A listening UNIX socket with its owner and mode from its first moment on, and gone when we are.

Source: unix(7), rename(2). It is made under another name, given its group and mode, and only then moved to where it is
looked for: nobody finds it half made, and one that nobody listens on any more is replaced without a gap.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mailauth.serving.accept import BACKLOG
from mailauth.serving.listen import CannotListen

ADVICE = {
    errno.ENOENT: "its folder is not there; make it, or choose another path",
    errno.EACCES: "not permitted; let the user that mailauth runs as write into its folder",
    errno.EPERM: "not permitted; the user that mailauth runs as must be a member of socket_group",
    errno.EROFS: "its folder cannot be written to; choose another path",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """One that is bound and listens. inode: by which it is known to be ours; None: somebody else takes it away."""

    path: Path
    sock: socket.socket
    inode: tuple[int, int] | None = None

    def remove(self) -> None:
        """Take the file away, unless another process has put its own there."""
        if self.inode is not None:
            with suppress(OSError):
                if _inode(self.path.lstat()) == self.inode:
                    self.path.unlink()


def bind_unix(path: Path, mode: int, group: int | None = None) -> UnixSocket:
    """A bound, listening, non-blocking UNIX socket. group: its number; None: our own. Raises CannotListen."""
    _require_free(path)
    making = path.with_name(f".{secrets.token_hex(4)}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(os.fspath(making))
        making.chmod(0)
        if group is not None:
            os.chown(making, -1, group)
        making.chmod(mode)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        inode = _inode(making.lstat())
        making.replace(path)
    except OSError as error:
        sock.close()
        with suppress(OSError):
            making.unlink()
        raise CannotListen(f"cannot listen on {path}: {_advice(error)}") from None
    return UnixSocket(path, sock, inode)


def _require_free(path: Path) -> None:
    """Raises CannotListen when what is there is not a socket that was left behind."""
    if path.exists() and not stat.S_ISSOCK(path.lstat().st_mode):
        raise CannotListen(f"cannot listen on {path}: there is a file that is no socket; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        try:
            trial.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as error:
            if error.errno != errno.EAGAIN:  # its queue is full: somebody listens
                raise CannotListen(f"cannot listen on {path}: {_advice(error)}") from None
    raise CannotListen(f"cannot listen on {path}: another process does; stop it, or choose another path")


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _advice(error: OSError) -> str:
    if error.errno is None:  # longer than sun_path, which is 104 to 108 bytes
        return "the path is too long for a UNIX socket; choose one below 100 bytes"
    return ADVICE.get(error.errno, error.strerror or str(error))
