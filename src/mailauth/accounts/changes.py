"""What an administrator may change of a site, a domain or an account, and what such a change comes to.

Rule: None leaves a thing as it is. A new policy takes its start with it: nothing is left over from the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mailauth.accounts.refusals import Refused
from mailauth.accounts.views import moment
from mailauth.attempt import Service
from mailauth.interfaces import PolicyLevel
from mailauth.store.engine import Row
from mailauth.store.rows import BIT

MOST_APP_PASSWORDS = 100  # a login compares selectors of 16 bits: with many more, wrong passwords would cost hashes
POLICY_COLUMNS = (
    *("policy", "enforce_from", "policy_reached", "two_factor", "two_factor_from", "two_factor_reached"),
    "max_app_passwords",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChange:
    """Of the site. enforce_from: epoch seconds, of what this same change sets, else of the policy there is."""

    policy: PolicyLevel | None = None
    enforce_from: float | None = None
    two_factor: bool | None = None
    max_app_passwords: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainChange:
    """Of a domain. A service is on for an account if it is on for its domain too."""

    policy: PolicyLevel | None = None
    enforce_from: float | None = None
    two_factor: bool | None = None
    max_app_passwords: int | None = None
    enabled: bool | None = None
    imap: bool | None = None
    pop3: bool | None = None
    smtp: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChange:
    """Of an account. mode: the stored client-password mode; client_logon: whether mail programs get in at all."""

    policy: PolicyLevel | None = None
    enforce_from: float | None = None
    two_factor: bool | None = None
    max_app_passwords: int | None = None
    enabled: bool | None = None
    imap: bool | None = None
    pop3: bool | None = None
    smtp: bool | None = None
    mode: bool | None = None
    client_logon: bool | None = None


class _OfPolicy(Protocol):
    @property
    def policy(self) -> PolicyLevel | None: ...
    @property
    def enforce_from(self) -> float | None: ...
    @property
    def two_factor(self) -> bool | None: ...
    @property
    def max_app_passwords(self) -> int | None: ...


class _OfServices(Protocol):
    @property
    def imap(self) -> bool | None: ...
    @property
    def pop3(self) -> bool | None: ...
    @property
    def smtp(self) -> bool | None: ...


def policy_values(row: Row, change: _OfPolicy, now: float) -> dict[str, Any]:
    """All policy columns as they are after the change. Raises Refused."""
    values = {name: row[name] for name in POLICY_COLUMNS}
    if change.policy is not None:
        values |= {"policy": str(change.policy), "enforce_from": None, "policy_reached": 0}
    if change.two_factor is not None and not (change.two_factor and _is_demanded(values, now)):
        start = now if change.two_factor else None  # how long somebody may enrol without more is counted from it
        values |= {"two_factor": int(change.two_factor), "two_factor_from": start, "two_factor_reached": 0}
    if change.enforce_from is not None:
        _start(values, change, change.enforce_from)
    if change.max_app_passwords is not None:
        if not 0 <= change.max_app_passwords <= MOST_APP_PASSWORDS:
            raise Refused(f"the most app passwords of an account can be 0 to {MOST_APP_PASSWORDS}", "most-out-of-range")
        values["max_app_passwords"] = change.max_app_passwords
    if values["policy"] == PolicyLevel.ENFORCED and _past(values["enforce_from"], now):
        values["policy_reached"] = 1
    if values["two_factor"] and _past(values["two_factor_from"], now):
        values["two_factor_reached"] = 1
    return values


def services_mask(mask: int, change: _OfServices) -> int:
    """The stored services after the change."""
    for service, on in ((Service.IMAP, change.imap), (Service.POP3, change.pop3), (Service.SMTP, change.smtp)):
        if on is not None:
            mask = mask | BIT[service] if on else mask & ~BIT[service]
    return mask


def differences(row: Row, values: Mapping[str, Any]) -> str:
    """What these values change in the row, for people; "" when nothing."""
    told = []
    for name, new in values.items():
        old = row[name]
        if old == new or name.endswith("_reached"):
            continue
        if name == "services":
            told.extend(_services_told(old, new))
        else:
            told.append(f"{name}: {_told(name, old)} -> {_told(name, new)}")
    return "; ".join(told)


def changed(row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that get another value, with that."""
    return {name: new for name, new in values.items() if row[name] != new}


def _start(values: dict[str, Any], change: _OfPolicy, at: float) -> None:
    starts_policy = change.policy == PolicyLevel.ENFORCED
    if change.policy is None and change.two_factor is None:
        starts_policy = values["policy"] == PolicyLevel.ENFORCED
    if not starts_policy and not change.two_factor:
        raise Refused("a start date needs something that starts: policy enforced, or two-factor required")
    if starts_policy:
        values |= {"enforce_from": at, "policy_reached": 0}
    if change.two_factor:
        values |= {"two_factor_from": at, "two_factor_reached": 0}


def _is_demanded(values: Mapping[str, Any], now: float) -> bool:
    """Whether a second factor is demanded already, since a time that is known."""
    since = values["two_factor_from"]
    return bool(values["two_factor"]) and since is not None and _past(since, now)


def _past(start: float | None, now: float) -> bool:
    return start is None or start <= now


def _services_told(old: int, new: int) -> list[str]:
    return [
        f"{service}: {'off -> on' if new & bit else 'on -> off'}" for service, bit in BIT.items() if (old ^ new) & bit
    ]


def _told(name: str, value: Any) -> str:
    if name.endswith("_from"):
        return "at once" if value is None else moment(value)
    if name == "max_app_passwords":
        return "as above" if value is None else str(value)
    return {0: "off", 1: "on"}.get(value, str(value))
