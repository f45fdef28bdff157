"""A backup of an SQLite store, and a configuration to run commands on."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

Restore = Callable[[], None]


def sqlite_backup(path: Path, copy: Path) -> Restore:
    """As docs/backup.md has it."""
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("VACUUM INTO ?", [str(copy)])

    def restore() -> None:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(copy, path)
        path.chmod(0o600)

    return restore


def configured(folder: Path, url: str, key_file: Path) -> Path:
    """A configuration of this store with this key file, with the quickest hashes that it takes."""
    config = folder / "mailauth.toml"
    config.write_text(
        f'[store]\nurl = "{url}"\n[key]\nfile = "{key_file}"\n[hashing]\ntime_cost = 1\nmemory_kib = 7168\n'
        "[throttle]\nenabled = false\n[replies]\nrefusal_delay_s = 0\n"
    )
    return config
