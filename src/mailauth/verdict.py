"""What an attempt came to: Accept, Reject or Defer.

Rule: a verdict is matched, never tested. Every dataclass is truthy, so `if verdict:` would let everybody in:
`bool(verdict)` raises. Defer says that the password *was not judged*; it is never an answer about the password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, NoReturn


class Reason(StrEnum):
    """Why an attempt was refused: for the audit log and the owner, never for the client."""

    UNKNOWN_LOGIN = "unknown-login"
    AUTHZID = "authzid"  # asked to act for somebody else
    DISABLED = "disabled"
    DOMAIN_DISABLED = "domain-disabled"
    CLIENT_LOGON_OFF = "client-logon-off"
    SERVICE_OFF = "service-off"
    SUSPENDED = "app-password-suspended"
    EXPIRED = "app-password-expired"
    OTHER_SERVICE = "app-password-other-service"
    OTHER_NETWORK = "app-password-other-network"
    REVOKED = "app-password-revoked"
    CLIENT_PASSWORDS_ONLY = "client-passwords-only"  # the mode is on, and this is no app password
    WRONG_PASSWORD = "wrong-password"  # noqa: S105


class Cause(StrEnum):
    """Why an attempt could not be judged."""

    STORE = "store-unavailable"
    RECORD = "unreadable-record"
    KEY = "unknown-key"
    BUSY = "hash-queue-full"
    HASH = "hash-unavailable"
    SOURCE = "source-unavailable"
    BUG = "internal-error"
    THROTTLED = "throttled"
    LATE = "missed-its-tick"
    SHUTDOWN = "shutting-down"
    CHANGED = "changed-meanwhile"
    BACKEND = "back-end-unavailable"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who got in. credential_id: the app password's id; None means the web password."""

    account_id: int
    login: str
    credential_id: int | None


class Stay(NamedTuple):
    """What an Accept stands on, so that a session can be ended with it.

    mark: see interfaces.Changes. web_changed_at: when the web password was last changed. until: epoch seconds at
    which it ends by itself, None: never.
    """

    mark: int
    domain_id: int
    web_changed_at: float | None
    until: float | None


class Verdict:
    """Base of the three; closed: match on Accept, Reject, Defer and end with assert_never."""

    __slots__ = ()

    def __bool__(self) -> NoReturn:
        raise TypeError("a Verdict has no truth value: match on Accept, Reject and Defer")


@dataclass(frozen=True, slots=True)
class Accept(Verdict):
    """The attempt is who it says it is, and may come in. stay: None when sessions are not followed."""

    principal: Principal
    stay: Stay | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Reject(Verdict):
    """Judged and refused. credential_id: the app password concerned, if one was recognised."""

    reason: Reason
    credential_id: int | None = None


@dataclass(frozen=True, slots=True)
class Defer(Verdict):
    """Not judged. retry_after_s: when a try may do better, if that is known."""

    cause: Cause
    retry_after_s: float | None = None


Outcome = Accept | Reject | Defer
