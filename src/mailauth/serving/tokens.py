"""The token that a host shows, compared with those in a file in constant time.

Rule: each line of the file is one, so that a new one can be added before the old one goes; it is read again when it has
changed. A file that cannot be read admits nobody.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from pathlib import Path

MIN_TOKEN_BYTES = 16

log = logging.getLogger(__name__)


class Tokens:
    """source: an absolute path, or env:NAME; read: its first line, or why it cannot be used (an exception)."""

    def __init__(self, source: str, read: Callable[[], str]) -> None:
        self._path = None if source.startswith("env:") else Path(source)
        first = read()  # says what is wrong with it, in the words of the configuration
        self._tokens: tuple[bytes, ...] = (first.encode(),)
        self._changed_at: object = None
        self._told = False

    def admits(self, shown: bytes) -> bool:
        """Whether this is one of them. All are compared, and each as a whole."""
        self._read_again()
        found = [hmac.compare_digest(shown, token) for token in self._tokens]
        return any(found)

    def _read_again(self) -> None:
        if self._path is None:
            return
        try:
            status = self._path.stat()
            changed_at = (status.st_mtime_ns, status.st_size, status.st_ino)
            if changed_at != self._changed_at:
                lines = self._path.read_bytes().split(b"\n")
                self._tokens = tuple([line.strip() for line in lines if len(line.strip()) >= MIN_TOKEN_BYTES])
                self._changed_at, self._told = changed_at, False
        except OSError as error:
            self._tokens, self._changed_at = (), None
            if not self._told:
                log.error("%s: nobody is admitted by a token: %s", self._path, error.strerror)
                self._told = True
