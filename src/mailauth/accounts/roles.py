"""Who may do what to whom: the roles of the portal and the API, as pure functions.

Rule: what is not allowed here in so many words is denied. No one acts on an account of equal or higher role, and so
not on his own; an auditor reads everything and changes nothing; a domain administrator has his own domains.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Of an account."""

    USER = "user"
    AUDITOR = "auditor"
    DOMAIN_ADMIN = "domain-admin"
    SITE_ADMIN = "site-admin"


class Verb(StrEnum):
    """What somebody does, here for others than himself."""

    LIST_ACCOUNTS = "list-accounts"
    SHOW_ACCOUNT = "show-account"
    SHOW_AUDIT = "show-audit"
    SHOW_DOMAIN = "show-domain"
    SHOW_SITE = "show-site"
    SHOW_REPORT = "show-report"
    SHOW_THROTTLE = "show-throttle"
    SET_ACCOUNT = "set-account"
    ADD_ACCOUNT = "add-account"
    REMOVE_ACCOUNT = "remove-account"
    ERASE_ACCOUNT = "erase-account"
    EXPORT_ACCOUNT = "export-account"
    SET_ROLE = "set-role"
    SET_RECOVERY_ADDRESS = "set-recovery-address"
    SET_PASSWORD = "set-password"  # noqa: S105
    RESET_PASSWORD = "reset-password"  # noqa: S105
    RESET_FACTORS = "reset-factors"
    ENROLMENT_CODE = "enrolment-code"
    REVOKE = "revoke-app-passwords"
    REVOKE_TOKEN = "revoke-api-token"  # noqa: S105
    CLOSE_SESSIONS = "close-sessions"
    SIGN_OUT = "sign-out"
    ADD_ALIAS = "add-alias"
    REMOVE_ALIAS = "remove-alias"
    CLEAR_THROTTLE = "clear-throttle"
    SET_DOMAIN = "set-domain"
    ADD_DOMAIN = "add-domain"
    REMOVE_DOMAIN = "remove-domain"
    SET_SITE = "set-site"


class Denial(StrEnum):
    """Why not."""

    NO_ROLE = "no-role"
    READ_ONLY = "read-only"
    NOT_YOUR_DOMAIN = "not-your-domain"
    EQUAL_OR_HIGHER = "equal-or-higher"
    SITE_ONLY = "site-only"
    NOBODY = "nobody"  # it is not done on the web at all


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. domains: the ids of those a domain administrator has."""

    account_id: int
    role: Role
    domains: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Target:
    """Whom or what it is about: an account (a new one has no id), a domain, or, when all is None, the site."""

    account_id: int | None = None
    role: Role | None = None
    domain_id: int | None = None


SITE = Target()
READING = frozenset({verb for verb in Verb if verb.startswith(("list-", "show-"))})
# What only a site administrator does, however low the account: it concerns the whole site, or a person's data.
OF_SITE = frozenset(
    {
        Verb.ERASE_ACCOUNT,
        Verb.EXPORT_ACCOUNT,
        Verb.SET_ROLE,
        Verb.SET_RECOVERY_ADDRESS,
        Verb.REVOKE_TOKEN,
        Verb.ADD_DOMAIN,
        Verb.REMOVE_DOMAIN,
        Verb.SET_SITE,
    }
)
# An administrator may begin a reset and choose nothing: OWASP ASVS 5.0 section 6.4.6.
OF_NOBODY = frozenset({Verb.SET_PASSWORD})
# An auditor sees everybody's mail programs and audit: whoever could take his account over would, too.
RANK = {Role.USER: 0, Role.AUDITOR: 1, Role.DOMAIN_ADMIN: 1, Role.SITE_ADMIN: 2}


def denied(actor: Actor, verb: Verb, target: Target = SITE) -> Denial | None:
    """Why this actor may not do this; None: he may."""
    if actor.role is Role.USER:
        return Denial.NO_ROLE
    if verb in OF_NOBODY:
        return Denial.NOBODY
    if verb in READING:
        return _unreadable(actor, verb, target)
    if actor.role is Role.AUDITOR:
        return Denial.READ_ONLY
    if verb in OF_SITE and actor.role is not Role.SITE_ADMIN:
        return Denial.SITE_ONLY
    if actor.role is Role.DOMAIN_ADMIN and target.domain_id not in actor.domains:
        return Denial.SITE_ONLY if target.domain_id is None else Denial.NOT_YOUR_DOMAIN
    if target.account_id == actor.account_id:
        return Denial.EQUAL_OR_HIGHER
    if target.role is not None and RANK[target.role] >= RANK[actor.role]:
        return Denial.EQUAL_OR_HIGHER
    return None


def may_give(actor: Actor, role: Role) -> Denial | None:
    """Why this actor may not give somebody this role; None: he may. Nobody gives more than he has."""
    if actor.role is not Role.SITE_ADMIN:
        return Denial.SITE_ONLY
    return Denial.EQUAL_OR_HIGHER if RANK[role] > RANK[actor.role] else None


def outranked(actor: Actor, roles: Iterable[Role]) -> bool:
    """Whether all who have these roles are below this actor."""
    return all(RANK[role] < RANK[actor.role] for role in roles)


def allowed(actor: Actor, target: Target) -> frozenset[Verb]:
    """All that this actor may do to this target, whether it makes sense of it or not."""
    return frozenset([verb for verb in Verb if denied(actor, verb, target) is None])


def _unreadable(actor: Actor, verb: Verb, target: Target) -> Denial | None:
    if actor.role is not Role.DOMAIN_ADMIN or verb is Verb.SHOW_SITE:  # whose policy is above his own
        return None
    if target.domain_id is None:
        return Denial.SITE_ONLY
    return None if target.domain_id in actor.domains else Denial.NOT_YOUR_DOMAIN
