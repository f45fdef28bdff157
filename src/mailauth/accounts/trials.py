"""A trial: an app password that is minted to try the doors, revoked in the end, and then forgotten altogether.

Rule: what is on record of it (audit, notices to the owner) stays; what would be taken for a device of the owner's, its
tombstone and what was observed of it, goes.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from mailauth.accounts import apppasswords
from mailauth.accounts.apppasswords import Hasher, Minted
from mailauth.accounts.finding import folded, locked_account_row
from mailauth.accounts.unit import changing
from mailauth.keys import KeyRing
from mailauth.store.changes import Effect
from mailauth.store.engine import Store

LABEL = "mailauth doctor"
LIFE_S = 900.0  # though nobody should be left to revoke it


def begin(store: Store, ring: KeyRing, hasher: Hasher, login: str, *, alphabet: str, actor: str) -> Minted:
    """Mint one, after those that an interrupted trial has left behind. Raises what apppasswords.mint does."""
    left = [view.id for view in apppasswords.listed(store, login) if view.label == LABEL and view.expired]
    if left:
        apppasswords.revoke(store, login, ids=left, actor=actor)
    expires_at = time.time() + LIFE_S
    return apppasswords.mint(
        store, ring, hasher, login, label=LABEL, expires_at=expires_at, alphabet=alphabet, actor=actor
    )


def end(store: Store, minted: Minted, *, actor: str) -> Effect:
    """Revoke it; once this returns, no process of ours lets it in. Raises NoSuch, StoreUnavailable."""
    effect = Effect()
    apppasswords.revoke(store, minted.login, ids=[minted.id], actor=actor, effect=effect)
    return effect


def clear(store: Store, minted: Minted, networks: Collection[str], since: float, *, actor: str) -> None:
    """Delete what is left of it, revoking it first if it lives.

    networks: from which it was tried, as observations hold them; since: epoch seconds. Raises NoSuch, Refused,
    StoreUnavailable.
    """
    with changing(store, actor, None) as unit:
        account = locked_account_row(unit, folded(minted.login))
        live = [row for row in apppasswords.live_rows(unit, account) if row["id"] == minted.id]
        apppasswords.revoke_rows(unit, account, live)
        for network in networks:
            unit.tx.write(
                unit.sql.FORGET_OBSERVATIONS,
                account_id=account["id"],
                since=since,
                credential_id=minted.id,
                network=network,
            )
        unit.tx.write(unit.sql.FORGET_APP_PASSWORD, row_id=minted.id)
        unit.record("app-password-forgotten", account, credential_id=minted.id, label=minted.label)
