"""Accounts that are made at their first good login, because a source of web passwords knows them.

Rule: one that was removed is not made again; whoever wants it back adds it.
"""

from __future__ import annotations

from mailauth.accounts.mailboxes import added_account
from mailauth.accounts.unit import changing
from mailauth.store.engine import Store
from mailauth.store.faults import Clash
from mailauth.store.rows import removed_digest


def make_account(store: Store, login: str, source: str, *, now: float | None = None) -> bool:
    """Make it, without a web password of its own; False: there is one already, or it is not to be made any more.

    login: folded. source: its name, for the audit log. Raises StoreUnavailable.
    """
    domain = login.rpartition("@")[2]
    try:
        with changing(store, f"source:{source}", now) as unit:
            unit.tx.row(unit.sql.LOCK_DOMAIN, name=domain)
            if unit.tx.row(unit.sql.PROSPECT, login=login, domain=domain, digest=removed_digest(login)) is None:
                return False
            added_account(unit, login, None)
    except Clash:  # somebody else has made it
        return False
    return True
