"""The few interfaces between rooms, and the values that cross them.

Rule: Protocols and frozen values only; those that are made at each login are named tuples, which are made in a
quarter of the time. `lookup` may find nothing (None); a fault is always an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple, Protocol

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


class SourceUnavailable(Exception):
    """A password source could not be asked, or its answer not be understood. Says nothing about the password."""


class Lane(IntEnum):
    """In which order hashes are computed while they have to wait."""

    FIRST = 0  # asked for by a source that got into this account lately
    ORDINARY = 1
    LAST = 2  # nobody waits for it


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


class StoredAppPassword(NamedTuple):
    """One app password (or, when `revoked`, the tombstone of one) whose selector the presented secret hit.

    key_id: of the server key that its selector was made under. record: the hash; a tombstone keeps it, so that a stale
    device is told apart from a chance hit of 16 bits.
    networks: CIDR texts, empty means anywhere. expires_at: epoch seconds, None means never.
    """

    id: int
    key_id: int
    record: str
    services: frozenset[Service]
    networks: tuple[str, ...]
    expires_at: float | None
    suspended: bool
    revoked: bool


class Account(NamedTuple):
    """One account as one login needs it: standing, effective policy, and the secrets that may match.

    id: below zero while there is none yet, see verify.outside. login: the account's own (canonical) login. services:
    those on for both account and domain. web_record: the web password's stored hash; None when none is set.
    web_changed_at: epoch seconds, None when none was ever set; a stronger hash of the same password does not move it.
    hits: by selector, oldest first.
    """

    id: int
    login: str
    domain_id: int
    enabled: bool
    domain_enabled: bool
    client_logon: bool
    services: frozenset[Service]
    mode_on: bool
    demands: tuple[Demand, ...]
    web_record: str | None
    web_changed_at: float | None
    hits: tuple[StoredAppPassword, ...]


class Authenticator(Protocol):
    """The one interface of every door."""

    async def authenticate(self, attempt: Attempt) -> Outcome:
        """Judge one attempt. Raises CancelledError alone: a fault is a Defer. May be begun outside of a task."""


Selectors = Sequence[tuple[int, int]]  # (server key id, first 16 bits of the keyed digest), one per key in the file


class Keys(Protocol):
    """The server keys, as far as a login needs them."""

    @property
    def newest(self) -> int:
        """The id of the newest key that selectors may be made under."""

    def selectors(self, login: str, cleaned: str) -> Selectors:
        """The selector of this app password under each key."""


class Passdb(Protocol):
    """Where accounts are read at login: one query, on the primary."""

    async def lookup(self, login: str, selectors: Selectors) -> Account | None:
        """Read one account with the app passwords and tombstones that carry one of these selectors.

        login: folded by names.fold. None: there is no such login.
        Raises StoreUnavailable (cannot say), UnknownKey and BadRecord (cannot understand).
        """

    async def session(self, account_id: int, credential_id: int | None) -> Account | None:
        """The account of a live session as it stands now; hits: the app password with this id, also if it is revoked.

        None: there is no such account any more. Raises StoreUnavailable and BadRecord.
        """

    async def let_in(
        self, account: Account, service: Service, peer: str, since: float
    ) -> tuple[float, int | None] | None:
        """The newest login from there on record, since then (epoch seconds): when, and by which app password's id.

        None for an id: by the web password; for all: there is none. Raises StoreUnavailable.
        """

    async def canonical(self, alias: str) -> str | None:
        """The login of the account that owns this alias; None: nobody's. Raises StoreUnavailable."""

    async def replace_web_record(self, account_id: int, old: str, new: str) -> None:
        """Put a stronger hash of the same web password in place of `old`, unless it has changed meanwhile."""

    async def reselect(self, credential_id: int, old_key: int, new_key: int, selector: int) -> None:
        """Put an app password under another server key, unless it was revoked or moved meanwhile.

        One that has the same selector as another stays where it is. Raises StoreUnavailable.
        """


class PasswordSource(Protocol):
    """Where web passwords are checked that are not in our store. It decides nothing else."""

    async def check(self, login: str, password: bytes) -> bool:
        """Whether this is the web password of this login. login: folded; password: never empty, and without NUL.

        Raises SourceUnavailable; BadRecord, HashUnavailable and PoolBusy where it keeps hashes.
        """

    async def close(self) -> None:
        """Let go of what is open."""


class Claim(Protocol):
    """An admitted guess. guess: a number that equal secrets for one login share for a while."""

    @property
    def guess(self) -> int:
        """See above."""

    def settle(self, outcome: Outcome) -> None:
        """Say what came of it. Not told (the client left meanwhile), it counts as a guess."""


class Throttle(Protocol):
    """Who may guess now. Counts Rejects, never Defers."""

    def claim(
        self, attempt: Attempt, login: str, account_id: int | None, *, web: bool, device: str = ""
    ) -> Claim | float:
        """Admit one guess, or say after how many seconds to come back.

        account_id: None when there is no such account. web: whether a web password is going to be judged. device: a
        witness of the web portal that somebody got in from it before, "" for none.
        """

    def welcome(self, peer: str, account_id: int, device: str = "") -> None:
        """Somebody got into this account from this address, and with this witness, see claim."""

    def knows(self, peer: str, account_id: int) -> bool:
        """Whether somebody got into this account from this address lately: their hash goes first."""


class Reported(Protocol):
    """Logins that somebody else judges, by passwords of its own. In place of the password is a hash of it, or ""."""

    def wait_s(self, attempt: Attempt) -> float:
        """How long whoever tries this has to wait first; 0: not at all. Counts nothing."""

    def note(self, attempt: Attempt, accepted: bool | None) -> None:
        """Take in what came of it. None: it was not judged."""


@dataclass(frozen=True, slots=True)
class Change:
    """One numbered change of the store. account_id, domain_id: whom it touches; both None: everybody.

    takes: a JSON object, what it takes away, or what it is about.
    """

    number: int
    kind: str
    account_id: int | None = None
    domain_id: int | None = None
    takes: str = ""


# Before each line of a report that is for whoever made the change: what was ended at another server, and what was not.
ELSEWHERE, NOT_YET = "elsewhere: ", "elsewhere, not yet: "


@dataclass(frozen=True, slots=True)
class Answer:
    """What this process says to a change: how many sessions it ended, and what was asked for, in JSON."""

    ended: int = 0
    report: str = ""


class Changes(Protocol):
    """What has been changed by others meanwhile, as far as this process has applied it ("register, then read")."""

    def mark(self) -> int:
        """To be asked for before an account is read: what is applied from here on may touch it."""

    def touched(self, mark: int, account_id: int, domain_id: int) -> bool:
        """Whether anything that touches this account was applied since: what was read is out of date."""

    async def current(self) -> None:
        """Come back when this process is up to date with the store: at once, unless it lost it meanwhile.

        Raises StoreUnavailable when it cannot come up to date: then it must let nobody in.
        """


@dataclass(frozen=True, slots=True)
class WebMatch:
    """Whose web password it was. web_changed_at: when it was set, epoch seconds; another means another password."""

    account_id: int
    login: str
    web_changed_at: float | None = None


class WebPasswords(Protocol):
    """Where the web portal has web passwords judged, within the limits that mail clients have."""

    async def check(self, login: str, password: str, peer: str, device: str = "") -> WebMatch | float | None:
        """Whose this is; None: wrong, or nobody's who may sign in; a float: not judged, come back in so many seconds.

        device: see Throttle.claim. Raises StoreUnavailable, BadRecord, HashUnavailable, PoolBusy.
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
