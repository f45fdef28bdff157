"""What people are shown of a site, a domain, an account and an app password, and the same for programs, as JSON.

Rule: values only, and nothing in them opens anything: no record, no selector.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from mailauth.attempt import Service
from mailauth.interfaces import BadRecord, Demand, PolicyLevel
from mailauth.store.engine import Row
from mailauth.store.rows import SERVICES, demand_from

DEFAULT_MOST_APP_PASSWORDS = 10
LEVELS = (("site", "site_"), ("domain", "domain_"), ("account", ""))  # with the prefix of each one's columns
DEMAND_COLUMNS = ("policy", "enforce_from", "policy_reached", "two_factor", "two_factor_from", "two_factor_reached")


@dataclass(frozen=True, slots=True)
class SiteView:
    """The site's policy. enforce_from, two_factor_from: None means at once. max_app_passwords: None means 10."""

    policy: str
    enforce_from: float | None
    two_factor: bool
    two_factor_from: float | None
    max_app_passwords: int | None
    created_at: float


@dataclass(frozen=True, slots=True)
class DomainView:
    """A domain. accounts: how many. The rest as in SiteView, of this level alone."""

    name: str
    enabled: bool
    imap: bool
    pop3: bool
    smtp: bool
    policy: str
    enforce_from: float | None
    two_factor: bool
    two_factor_from: float | None
    max_app_passwords: int | None
    accounts: int
    created_at: float


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account.

    mode: as stored, "on" or "off"; effective_mode: what counts now, and why ("stored", "enforced by site", "second
    factor demanded by domain"). imap, pop3, smtp, policy, two_factor, max_app_passwords: the account's own;
    services: on for account and domain; effective_policy, most_app_passwords: the strictest of the three levels now.
    app_passwords: how many there are, expired ones included.
    """

    login: str
    domain: str
    enabled: bool
    domain_enabled: bool
    client_logon: bool
    imap: bool
    pop3: bool
    smtp: bool
    services: tuple[str, ...]
    mode: str
    effective_mode: str
    why: str
    policy: str
    enforce_from: float | None
    effective_policy: str
    two_factor: bool
    two_factor_from: float | None
    max_app_passwords: int | None
    most_app_passwords: int
    app_passwords: int
    has_web_password: bool
    web_changed_at: float | None
    aliases: tuple[str, ...]
    created_at: float
    role: str
    has_second_factor: bool


@dataclass(frozen=True, slots=True)
class AppPasswordView:
    """A live app password. networks: CIDRs, empty means anywhere; expires_at: None means never."""

    id: int
    label: str
    services: tuple[str, ...]
    networks: tuple[str, ...]
    created_at: float
    created_by: str
    expires_at: float | None
    expired: bool
    suspended: bool
    last_used_at: float | None
    last_used_peer: str | None
    last_used_service: str | None
    last_used_client: str | None


def as_json(view: Any) -> dict[str, Any]:
    """A view (or an AuditRow) as JSON holds it: times, which are epoch seconds in fields named so, in ISO 8601."""
    told = {}
    for field in fields(view):
        value = getattr(view, field.name)
        is_time = field.name == "at" or field.name.endswith(("_at", "_from"))
        told[field.name] = moment(value) if is_time and value is not None else value
    return told


def moment(epoch_s: float) -> str:
    """ISO 8601, UTC, seconds."""
    try:
        return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # beyond the years that a calendar has
        return f"{epoch_s:.0f} s after 1970"


def site_view(row: Row) -> SiteView:
    """row: of statements.SITE."""
    return SiteView(**_policy(row), created_at=row["created_at"])


def domain_view(row: Row) -> DomainView:
    """row: of statements.DOMAIN. Raises BadRecord."""
    return DomainView(
        name=row["name"],
        enabled=bool(row["enabled"]),
        **_switches(row["services"]),
        **_policy(row),
        accounts=row["accounts"],
        created_at=row["created_at"],
    )


def account_view(row: Row, aliases: tuple[str, ...], now: float) -> AccountView:
    """row: of statements.ACCOUNT. Raises BadRecord."""
    why = locked_by(row, now)
    return AccountView(
        login=row["login"],
        domain=row["domain"],
        enabled=bool(row["enabled"]),
        domain_enabled=bool(row["domain_enabled"]),
        client_logon=bool(row["client_logon"]),
        **_switches(row["services"]),
        services=service_names(row["services"] & row["domain_services"]),
        mode=_on(row["mode_on"]),
        effective_mode=_on(row["mode_on"] or why),
        why=why or "stored",
        **_policy(row),
        effective_policy=_effective_policy(row, now),
        most_app_passwords=most_app_passwords(row),
        app_passwords=row["app_passwords"],
        has_web_password=bool(row["has_web_password"]),
        web_changed_at=row["web_changed_at"],
        aliases=aliases,
        created_at=row["created_at"],
        role=row["role"],
        has_second_factor=bool(row["has_factor"]),
    )


def app_password_view(row: Row, now: float) -> AppPasswordView:
    """row: of statements.APP_PASSWORDS. Raises BadRecord."""
    return AppPasswordView(
        id=row["id"],
        label=row["label"],
        services=service_names(row["services"]),
        networks=tuple(row["networks"].split()),
        created_at=row["created_at"],
        created_by=row["created_by"],
        expires_at=row["expires_at"],
        expired=row["expires_at"] is not None and now >= row["expires_at"],
        suspended=bool(row["suspended"]),
        last_used_at=row["last_used_at"],
        last_used_peer=row["last_used_peer"],
        last_used_service=row["last_used_service"],
        last_used_client=row["last_used_client"],
    )


def locked_by(row: Row, now: float) -> str:
    """What switches the mode on whatever the account says, such as "enforced by site"; "": nothing does."""
    demands = [(level, _demand(row, prefix)) for level, prefix in LEVELS]
    for level, demand in demands:
        if _enforced(demand, now):
            return f"enforced by {level}"
    for level, demand in demands:
        if demand.two_factor and _started(demand.two_factor_from, demand.two_factor_reached, now):
            return f"second factor demanded by {level}"
    return ""


def second_factor_since(row: Row, now: float) -> float | None:
    """Since when a second factor is demanded; None: none is, now. Minus infinity: nobody knows since when.

    row: with the policies of all three levels, as in statements.ACCOUNT. Raises BadRecord.
    """
    demands = [_demand(row, prefix) for _, prefix in LEVELS]
    starts = [
        float("-inf") if demand.two_factor_from is None else demand.two_factor_from
        for demand in demands
        if demand.two_factor and _started(demand.two_factor_from, demand.two_factor_reached, now)
    ]
    return min(starts, default=None)


def app_passwords_only_from(row: Row, now: float) -> float | None:
    """When the mode is switched on by policy, if that is to come; None: it is not. row: as above. Raises BadRecord."""
    demands = [_demand(row, prefix) for _, prefix in LEVELS]
    starts = [demand.enforce_from for demand in demands if demand.policy is PolicyLevel.ENFORCED]
    starts += [demand.two_factor_from for demand in demands if demand.two_factor]
    return min([start for start in starts if start is not None and start > now], default=None)


def most_app_passwords(row: Row) -> int:
    """The strictest of what the three levels say, 10 if none says anything."""
    said = [row[f"{prefix}max_app_passwords"] for _, prefix in LEVELS]
    return min([number for number in said if number is not None], default=DEFAULT_MOST_APP_PASSWORDS)


def service_names(mask: int) -> tuple[str, ...]:
    """In the order imap, pop3, smtp. Raises BadRecord."""
    services = SERVICES.get(mask)
    if services is None:
        raise BadRecord("a row's services cannot be understood")
    return tuple([str(service) for service in Service if service in services])


def _effective_policy(row: Row, now: float) -> str:
    demands = [_demand(row, prefix) for _, prefix in LEVELS]
    if any(_enforced(demand, now) for demand in demands):
        return str(PolicyLevel.ENFORCED)
    watched = any(demand.policy is not PolicyLevel.OPTIONAL for demand in demands)
    return str(PolicyLevel.OBSERVE if watched else PolicyLevel.OPTIONAL)


def _enforced(demand: Demand, now: float) -> bool:
    return demand.policy is PolicyLevel.ENFORCED and _started(demand.enforce_from, demand.reached, now)


def _started(start: float | None, reached: bool, now: float) -> bool:
    return reached or start is None or start <= now


def _demand(row: Row, prefix: str) -> Demand:
    try:
        return demand_from([row[f"{prefix}{name}"] for name in DEMAND_COLUMNS])
    except ValueError:
        raise BadRecord("a policy in the store cannot be understood") from None


def _policy(row: Row) -> dict[str, Any]:
    return {
        "policy": row["policy"],
        "enforce_from": row["enforce_from"],
        "two_factor": bool(row["two_factor"]),
        "two_factor_from": row["two_factor_from"],
        "max_app_passwords": row["max_app_passwords"],
    }


def _switches(mask: int) -> dict[str, Any]:
    on = service_names(mask)
    return {str(service): str(service) in on for service in Service}


def _on(value: object) -> str:
    return "on" if value else "off"
