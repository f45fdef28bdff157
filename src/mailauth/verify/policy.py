"""Who gets in: the rules, as pure functions, in the order in which `verifier` asks them.

Rule: values in, values out. Time comes in as epoch seconds.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from mailauth.attempt import Credential, Service
from mailauth.interfaces import Account, BadRecord, Demand, PolicyLevel, StoredAppPassword
from mailauth.names import NotALogin, fold
from mailauth.verdict import Principal, Reason, Stay


def acts_for_itself(credential: Credential, login: str) -> bool:
    """Whether the authorization identity is empty or the login itself (RFC 4616 section 2; mbsync sends it so)."""
    if not credential.authzid or credential.authzid == credential.authcid:
        return True
    try:
        return fold(credential.authzid) == login
    except NotALogin:
        return False


def standing(account: Account, service: Service) -> Reason | None:
    """Why nobody may come in on this account and service, whatever the secret; None: go on."""
    if not account.enabled:
        return Reason.DISABLED
    if not account.domain_enabled:
        return Reason.DOMAIN_DISABLED
    if not account.client_logon:
        return Reason.CLIENT_LOGON_OFF
    if service not in account.services:
        return Reason.SERVICE_OFF
    return None


def scope(stored: StoredAppPassword, service: Service, peer: str, now: float) -> Reason | None:
    """Why this app password, though right, does not open this service to this peer; None: it does."""
    if stored.revoked:
        return Reason.REVOKED
    if stored.suspended:
        return Reason.SUSPENDED
    if stored.expires_at is not None and now >= stored.expires_at:
        return Reason.EXPIRED
    if service not in stored.services:
        return Reason.OTHER_SERVICE
    if stored.networks and not _within(peer, stored.networks):
        return Reason.OTHER_NETWORK
    return None


def app_passwords_only(account: Account, now: float) -> bool:
    """Whether the client-password mode is effectively on: stored, enforced, or a demanded second factor has started."""
    return account.mode_on or any(enforced(demand, now) for demand in account.demands)


def would_break(account: Account, now: float) -> bool:
    """Whether a web password that gets in now is one of those that an administrator wants to hear of: the policy is
    `observe`, or `enforced` from a later date."""
    return not app_passwords_only(account, now) and any(
        demand.policy is not PolicyLevel.OPTIONAL for demand in account.demands
    )


def stays_until(account: Account, stored: StoredAppPassword | None, now: float) -> float | None:
    """When a session opened now by this app password (None: by the web password) ends by itself; None: never."""
    if stored is not None:
        return stored.expires_at
    starts = [
        start
        for demand in account.demands
        for applies, start in (
            (demand.policy is PolicyLevel.ENFORCED, demand.enforce_from),
            (demand.two_factor, demand.two_factor_from),
        )
        if applies and start is not None and start > now
    ]
    return min(starts, default=None)


def may_stay(
    account: Account | None, principal: Principal, stay: Stay, *, service: Service, peer: str, now: float
) -> bool:
    """Whether the login that opened a session would be let in again. account: as it stands now, see Passdb.session."""
    if account is None or standing(account, service) is not None:
        return False
    if principal.credential_id is not None:
        return any(scope(stored, service, peer, now) is None for stored in account.hits)
    return account.web_changed_at == stay.web_changed_at and not app_passwords_only(account, now)


def enforced(demand: Demand, now: float) -> bool:
    """Whether this level switches the mode on now. A start once reached stays reached, whatever the clock does."""
    if demand.policy is PolicyLevel.ENFORCED and _started(demand.enforce_from, demand.reached, now):
        return True
    return demand.two_factor and _started(demand.two_factor_from, demand.two_factor_reached, now)


def _started(start: float | None, reached: bool, now: float) -> bool:
    return reached or start is None or now >= start


def _within(peer: str, networks: tuple[str, ...]) -> bool:
    try:
        allowed = [ip_network(network) for network in networks]
    except ValueError:
        raise BadRecord("an app password's network cannot be read") from None
    try:
        address = ip_address(peer)
    except ValueError:  # no address (a UNIX socket): it is in no network
        return False
    return any(address in network for network in allowed)
