"""Whether the key file is the one this store's app passwords were made under, and which of its keys is to be used.

Rule: with another file every app password would look wrong, and nobody would know why; so it is checked by value,
and a program that finds another file does not start. A key is in use when the store has it; until then every running
process has not read it yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mailauth.keys import KeyRing
from mailauth.store.engine import Row, Store, Transaction

# Changes that every process acts on: it is to read this key, to move app passwords to it, to forget it.
KEY_ADDED, KEY_IN_USE, KEY_REMOVED = "key-added", "key-in-use", "key-removed"


class WrongKey(Exception):
    """The key file does not belong to this store. The text says what is missing and what to do."""


def keys_of(store: Store, path: Path) -> KeyRing:
    """The keys of this key file as the store uses them; see require_key. Raises KeyFileError too."""
    ring = KeyRing.load(path)
    try:
        return require_key(store, ring)
    except WrongKey:
        again = KeyRing.load(path)
        if again.keys == ring.keys:  # otherwise they were rotated between the two looks
            raise
    return require_key(store, again)


def require_key(store: Store, ring: KeyRing) -> KeyRing:
    """The keys of a key file as this store uses them: its newest is the newest in use.

    Raises WrongKey unless with them all app passwords can be recognised and all that is sealed be opened;
    StoreUnavailable.
    """
    from mailauth.store.resealing import sealed_under_each  # noqa: PLC0415  brings a cipher, which few commands need

    with store.reading() as tx:
        _, known = site_keys(store, tx, ring)
        in_use = {row["key_id"]: row["app_passwords"] for row in tx.rows(store.sql.KEYS_IN_USE)}
        sealed = sealed_under_each(store, tx)
    for key_id in sorted(in_use.keys() | sealed.keys() | known):
        if key_id not in ring.ids:
            counts = f"{in_use.get(key_id, 0)} app passwords (deleted ones counted)"
            counts += f" and {sealed[key_id]} second factors" if key_id in sealed else ""
            is_needed = key_id in in_use or key_id in sealed
            made = f"under which {counts} were made" if is_needed else "which is in use"
            raise WrongKey(
                f"the key file has no key {key_id}, {made} in "
                f"{store.driver.name}: if `mailauth key rotate` was run on another host, copy the key file from there, "
                "else restore it from your backup"
            )
    return ring.using(max(known))


def site_keys(store: Store, tx: Transaction, ring: KeyRing) -> tuple[str, set[int]]:
    """The store's id, and the keys in use, after comparing those that the file has too. Raises WrongKey."""
    return _checked(store, tx, tx.rows(store.sql.SERVER_KEYS), ring)


def key_for_new(store: Store, tx: Transaction, ring: KeyRing) -> int:
    """The key that an app password is to be made under in this transaction: the newest in use. Raises WrongKey."""
    _, known = _checked(store, tx, tx.rows(store.sql.KEEP_SERVER_KEYS), ring)
    here = known & set(ring.ids)
    if not here:
        raise WrongKey(_foreign(store, ring.newest))
    return max(here)


def announced(ring: KeyRing, store_id: str, key_id: int) -> dict[str, Any]:
    """What those changes carry: no secret, but enough to see that another key file has the same key."""
    return {"key": key_id, "store_id": store_id, "check_value": ring.check_value(store_id, key_id)}


def fits(ring: KeyRing, told: Mapping[str, Any]) -> bool:
    """Whether the key that was announced is among these."""
    return told["key"] in ring.ids and announced(ring, told["store_id"], told["key"]) == told


def _checked(store: Store, tx: Transaction, rows: list[Row], ring: KeyRing) -> tuple[str, set[int]]:
    site = tx.row(store.sql.SITE)
    if site is None:
        raise WrongKey(f"{store.driver.name} was not made to its end: run `mailauth init` again")
    known = {row["id"]: row["check_value"] for row in rows}
    for key_id in ring.ids:
        if key_id in known and known[key_id] != ring.check_value(site["store_id"], key_id):
            raise WrongKey(_foreign(store, key_id))
    if not known:
        raise WrongKey(f"{store.driver.name} has lost its list of server keys: restore a backup of it")
    return site["store_id"], set(known)


def _foreign(store: Store, key_id: int) -> str:
    return (
        f"key {key_id} of the key file is not the one that {store.driver.name} was made with: "
        "check [key] file and [store] url, or restore the key file that belongs to this store from your backup"
    )
