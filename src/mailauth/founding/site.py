"""What `init` and `demo` write: configuration, server key, certificates and an empty store; all of it, or nothing.

Rule: nothing that is there is ever overwritten, and what an unsuccessful run has written is taken away again.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mailauth.config.settings import Policy
from mailauth.config.writing import render
from mailauth.founding import certificates
from mailauth.founding.ports import LISTENERS, LOOPBACK, PORTAL
from mailauth.founding.stores import create_store
from mailauth.interfaces import StoreUnavailable
from mailauth.keys import KeyRing
from mailauth.store.engine import open_store


class AlreadyThere(Exception):
    """A file that would be written is there. The text names it and what to do."""


class CannotWrite(Exception):
    """The folder, or a file in it, cannot be made. The text names it and what to do."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a site's files are."""

    folder: Path

    @property
    def config(self) -> Path:
        """The configuration: written last, so where it is, everything is."""
        return self.folder / "mailauth.toml"

    @property
    def keys(self) -> Path:
        """The server key."""
        return self.folder / "mailauth.keys"

    @property
    def store(self) -> Path:
        """The SQLite store."""
        return self.folder / "mailauth.db"

    @property
    def authority(self) -> Path:
        """The certificate that clients are told to trust."""
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The server's certificate."""
        return self.folder / "server.pem"

    @property
    def certificate_key(self) -> Path:
        """Its private key."""
        return self.folder / "server.key"

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file that `found` writes."""
        return (self.config, self.keys, self.store, self.authority, self.certificate, self.certificate_key)


def found(folder: Path, port_offset: int = 0) -> Layout:
    """Write a new site into this folder, which is made if it is not there.

    Raises AlreadyThere, CannotWrite, StoreUnavailable; then the folder is as it was.
    """
    layout = Layout(folder)
    for path in layout.all:
        if path.exists() or path.is_symlink():
            raise AlreadyThere(f"{path} is there already and is left as it is; choose another --dir, or move it away")
    with ExitStack() as undo:
        try:
            _make_folder(folder, undo)
            _write(layout, port_offset, undo)
        except OSError as error:
            place = error.filename or folder
            raise CannotWrite(
                f"{place}: {error.strerror}; nothing was written; choose another --dir, or make it writable"
            ) from None
        undo.pop_all()
    return layout


def _make_folder(folder: Path, undo: ExitStack) -> None:
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(0o700)
        undo.callback(place.rmdir)


def _write(layout: Layout, port_offset: int, undo: ExitStack) -> None:
    made = certificates.make()
    _write_new(layout.certificate_key, made.key, 0o600, undo)
    _write_new(layout.certificate, made.server, 0o644, undo)
    _write_new(layout.authority, made.authority, 0o644, undo)
    undo.callback(layout.keys.unlink, missing_ok=True)
    ring = KeyRing.create(layout.keys)
    for suffix in ("", "-wal", "-shm"):
        undo.callback(layout.store.with_name(layout.store.name + suffix).unlink, missing_ok=True)
    _create_store(layout, ring)
    _write_new(layout.config, configuration(layout, port_offset).encode(), 0o644, undo)


def _create_store(layout: Layout, ring: KeyRing) -> None:
    store = open_store(f"sqlite:///{layout.store}")
    try:
        create_store(store, ring, Policy())
    except StoreUnavailable as fault:
        raise StoreUnavailable(f"{fault}; nothing was written") from None
    finally:
        store.close()


def configuration(layout: Layout, port_offset: int) -> str:
    """The text of the configuration. Its paths are relative, so that the folder may be moved as a whole."""
    return render(
        {
            "store": {"url": f"sqlite:///{layout.store.name}"},
            "key": {"file": layout.keys.name},
            "tls": {"certificate": layout.certificate.name, "key": layout.certificate_key.name},
            "listen": [
                {"service": service, "address": f"{LOOPBACK}:{port + port_offset}", "tls": tls}
                for service, tls, port in LISTENERS
            ],
            "portal": {
                "address": f"{LOOPBACK}:{PORTAL + port_offset}",
                "public_url": f"http://localhost:{PORTAL + port_offset}",
            },
        }
    )


def _write_new(path: Path, contents: bytes, mode: int, undo: ExitStack) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    undo.callback(path.unlink, missing_ok=True)
    with open(descriptor, "wb") as file:
        file.write(contents)
