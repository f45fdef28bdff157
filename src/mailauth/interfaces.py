"""The few interfaces between rooms, and the values that cross them.

Rule: Protocols and frozen values only. `lookup` may find nothing (None); a fault is always an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mailauth.attempt import Attempt, Service
from mailauth.verdict import Outcome


class StoreUnavailable(Exception):
    """The store could not be read or written. Never means "no such row"."""


class BadRecord(Exception):
    """A stored record (hash, policy value, key id) cannot be understood. Deferred, with an alarm."""


class UnknownKey(BadRecord):
    """A record made under a server key that is not in the key file."""


class HashUnavailable(Exception):
    """The hash could not be computed (no memory, no library). Says nothing about the password."""


class PoolBusy(Exception):
    """The hash queue is full or its deadline passed. Says nothing about the password."""


class PolicyLevel(StrEnum):
    """What an administrator decided at one level (site, domain, account); the strictest level counts."""

    OPTIONAL = "optional"
    OBSERVE = "observe"
    ENFORCED = "enforced"


@dataclass(frozen=True, slots=True)
class Demand:
    """One level's policy. enforce_from: epoch seconds, None means at once; reached: the start has been seen to pass.

    two_factor_from / two_factor_reached: the same for a demanded second factor.
    """

    policy: PolicyLevel
    enforce_from: float | None
    reached: bool
    two_factor: bool
    two_factor_from: float | None
    two_factor_reached: bool


@dataclass(frozen=True, slots=True)
class StoredAppPassword:
    """One app password (or, when `revoked`, the tombstone of one) whose selector the presented secret hit.

    record: the hash; a tombstone keeps it, so that a stale device is told apart from a chance hit of 16 bits.
    networks: CIDR texts, empty means anywhere. expires_at: epoch seconds, None means never.
    """

    id: int
    record: str
    services: frozenset[Service]
    networks: tuple[str, ...]
    expires_at: float | None
    suspended: bool
    revoked: bool


@dataclass(frozen=True, slots=True)
class Account:
    """One account as one login needs it: standing, effective policy, and the secrets that may match.

    login: the account's own (canonical) login. services: those on for both account and domain.
    web_record: the web password's stored hash; None when none is set. hits: by selector, oldest first.
    """

    id: int
    login: str
    enabled: bool
    domain_enabled: bool
    client_logon: bool
    services: frozenset[Service]
    mode_on: bool
    demands: tuple[Demand, ...]
    web_record: str | None
    hits: tuple[StoredAppPassword, ...]


class Authenticator(Protocol):
    """The one interface of every door."""

    async def authenticate(self, attempt: Attempt) -> Outcome:
        """Judge one attempt. Never raises but CancelledError: a fault is a Defer."""


Selectors = Sequence[tuple[int, int]]  # (server key id, first 16 bits of the keyed digest), one per key in the file


class Keys(Protocol):
    """The server keys, as far as a login needs them."""

    def selectors(self, login: str, cleaned: str) -> Selectors:
        """The selector of this app password under each key."""


class Passdb(Protocol):
    """Where accounts are read at login: one query, on the primary."""

    async def lookup(self, login: str, selectors: Selectors) -> Account | None:
        """Read one account with the app passwords and tombstones that carry one of these selectors.

        login: folded by names.fold. None: there is no such login.
        Raises StoreUnavailable (cannot say), UnknownKey and BadRecord (cannot understand).
        """

    async def canonical(self, alias: str) -> str | None:
        """The login of the account that owns this alias; None: nobody's. Raises StoreUnavailable."""

    async def replace_web_record(self, account_id: int, old: str, new: str) -> None:
        """Put a stronger hash of the same web password in place of `old`, unless it has changed meanwhile."""


class Claim(Protocol):
    """An admitted guess."""

    def settle(self, outcome: Outcome) -> None:
        """Say what came of it. Not told (the client left meanwhile), it counts as a guess."""


class Throttle(Protocol):
    """Who may guess now. Counts Rejects, never Defers."""

    def claim(self, attempt: Attempt, login: str, account_id: int | None) -> Claim | float:
        """Admit one guess, or say after how many seconds to come back.

        account_id: the account whose web password is going to be judged; None: none is.
        """


class Directory(Protocol):
    """What submission asks about addresses."""

    async def recipient(self, address: str) -> str | None:
        """The login of the local account that this address (login or alias) delivers to; None: not local.

        Raises StoreUnavailable.
        """

    async def may_send_as(self, account_id: int, address: str) -> bool:
        """Whether this address is the account's own login or one of its aliases. Raises StoreUnavailable."""

    async def is_local_domain(self, domain: str) -> bool:
        """Whether this domain's mail is ours. Raises StoreUnavailable."""
