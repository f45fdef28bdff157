"""The site that a command is about: its configuration and its store, found, opened and seen to be usable."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailauth import config
from mailauth.config import ConfigError, Settings
from mailauth.keys import KeyRing
from mailauth.store.engine import Store, open_store
from mailauth.store.highwater import HighWater
from mailauth.store.keycheck import keys_of
from mailauth.store.upgrade import require_current

if TYPE_CHECKING:
    from mailauth.hashing.argon2id import Argon2id


@dataclass(frozen=True, slots=True)
class Site:
    """What commands work on."""

    settings: Settings
    store: Store

    @property
    def timezone(self) -> str:
        """In which bare dates begin and end."""
        return self.settings.policy.timezone


@contextmanager
def site(config_file: str | None) -> Iterator[Site]:
    """A site whose store has the tables this program knows. Raises ConfigError, SchemaMismatch, StoreUnavailable."""
    settings = config.load(config.find(config_file))
    store = store_of(settings)
    try:
        require_current(store)
        yield Site(settings, store)
    finally:
        store.close()


def store_of(settings: Settings) -> Store:
    """The store, not yet looked at. Raises ConfigError."""
    password = settings.store.password_file
    try:
        store = open_store(settings.store.url, None if password is None else password.read())
    except ValueError as error:
        raise ConfigError(f"{settings.source}: [store] url: {error}") from None
    store.highwater = HighWater(settings.key.file)
    return store


def actor() -> str:
    """Who gives this command, for the audit log: the user of this process, not what the environment says."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a container without that user
        return f"cli:{os.getuid()}"


def hasher(settings: Settings) -> Argon2id:
    """What makes new hashes."""
    from mailauth.hashing.argon2id import Argon2id  # noqa: PLC0415  most commands hash nothing

    hashing = settings.hashing
    return Argon2id(hashing.time_cost, hashing.memory_kib, hashing.parallelism)


def ring_of(site: Site) -> KeyRing:
    """The server keys, seen to be those of this store. Raises KeyFileError, WrongKey, StoreUnavailable."""
    return keys_of(site.store, site.settings.key.file)


def check_log(settings: Settings) -> None:
    """See that lines can be added to the log. Raises ConfigError."""
    path = settings.log.file
    try:
        if path is not None:
            path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise ConfigError(f"{settings.source}: [log] file: cannot write {path}: {error.strerror}") from None


def check_mailbox(settings: Settings) -> None:
    """See that mail can be kept where the configuration says. Raises ConfigError."""
    if settings.mailbox.kind != "maildir":
        return
    path = settings.mailbox.path
    there = next((place for place in (path, *path.parents) if place.exists()), path)
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        reason = f"{there} must be a folder that this user may write in" if there.exists() else "there is no such place"
        raise ConfigError(f"{settings.source}: [mailbox] path: {reason}")
