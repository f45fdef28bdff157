"""A new store, with the site policy that the configuration gives it at its start."""

from __future__ import annotations

from mailauth.accounts.changes import PolicyChange
from mailauth.accounts.site import set_site
from mailauth.config.settings import Policy
from mailauth.keys import KeyRing
from mailauth.store.engine import Store
from mailauth.store.upgrade import create

ACTOR = "init"


def create_store(store: Store, ring: KeyRing, policy: Policy) -> None:
    """Make the store. What is at its default stays unsaid there, so that a domain or an account may say more.

    Raises StoreExists, SchemaMismatch, StoreUnavailable.
    """
    create(store, ring)
    plain = Policy()
    change = PolicyChange(
        policy=None if policy.policy == plain.policy else policy.policy,
        two_factor=None if policy.two_factor == plain.two_factor else policy.two_factor == "required",
        max_app_passwords=None if policy.max_app_passwords == plain.max_app_passwords else policy.max_app_passwords,
    )
    set_site(store, change, actor=ACTOR)
