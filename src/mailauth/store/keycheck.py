"""Whether the key file is the one this store's app passwords were made under.

Rule: with another file every app password would look wrong, and nobody would know why; so it is checked by value,
and a program that finds another file does not start.
"""

from __future__ import annotations

from mailauth.keys import KeyRing
from mailauth.store.engine import Store, Transaction


class WrongKey(Exception):
    """The key file does not belong to this store. The text says what is missing and what to do."""


def require_key(store: Store, ring: KeyRing) -> None:
    """Raise WrongKey unless all app passwords can be recognised with this key file; StoreUnavailable."""
    with store.reading() as tx:
        _, known = _checked(store, tx, ring)
        in_use = {row["key_id"]: row["app_passwords"] for row in tx.rows(store.sql.KEYS_IN_USE)}
    if known.isdisjoint(ring.ids):
        raise WrongKey(_foreign(store, ring.newest))
    for key_id, count in in_use.items():
        if key_id not in ring.ids:
            raise WrongKey(
                f"the key file has no key {key_id}, under which {count} app passwords (deleted ones counted) in "
                f"{store.driver.name} were made: restore the key file from your backup"
            )


def record_keys(store: Store, tx: Transaction, ring: KeyRing) -> None:
    """Write down the check values of keys that are new in the file, so that no other key can take their ids.

    Called whenever an app password is made. Raises WrongKey.
    """
    store_id, known = _checked(store, tx, ring)
    for key_id in ring.ids:
        if key_id not in known:
            tx.write(store.sql.ADD_SERVER_KEY, id=key_id, check_value=ring.check_value(store_id, key_id))


def _checked(store: Store, tx: Transaction, ring: KeyRing) -> tuple[str, set[int]]:
    """The store's id, and the ids of the keys it knows, after comparing those that the file has too."""
    site = tx.row(store.sql.SITE)
    if site is None:
        raise WrongKey(f"{store.driver.name} was not made to its end: run `mailauth init` again")
    known = {row["id"]: row["check_value"] for row in tx.rows(store.sql.SERVER_KEYS)}
    for key_id in ring.ids:
        if key_id in known and known[key_id] != ring.check_value(site["store_id"], key_id):
            raise WrongKey(_foreign(store, key_id))
    return site["store_id"], set(known)


def _foreign(store: Store, key_id: int) -> str:
    return (
        f"key {key_id} of the key file is not the one that {store.driver.name} was made with: "
        "check [key] file and [store] url, or restore the key file that belongs to this store from your backup"
    )
