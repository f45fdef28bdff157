"""The rows of one lookup become an Account.

Rule: a value that no version of ours writes (a policy we do not know, a flag of 2) is a BadRecord, never a guess.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from mailauth.attempt import Service
from mailauth.interfaces import Account, BadRecord, Demand, PolicyLevel, StoredAppPassword, UnknownKey

T = TypeVar("T")

# How services are stored: the sum of these.
BIT = {Service.IMAP: 1, Service.POP3: 2, Service.SMTP: 4}
SERVICES = {mask: frozenset(service for service, bit in BIT.items() if mask & bit) for mask in range(8)}
ALL_SERVICES = 7

Standing = tuple[bool, bool, bool, bool, frozenset[Service], tuple[Demand, ...]]
Terms = tuple[frozenset[Service], tuple[str, ...], float | None, bool, bool]
MAX_REMEMBERED = 4096  # distinct ones of each: a site has a handful, but for start dates and expiries
_standings: dict[str, Standing] = {}
_terms: dict[str, Terms] = {}


def mask_of(services: Iterable[Service]) -> int:
    """How a set of services is stored."""
    return sum(BIT[service] for service in set(services))


def account_from(rows: Sequence[tuple[Any, ...]]) -> Account:
    """rows: at least one, of one of statements.LOOKUPS or of SESSION. Raises BadRecord and UnknownKey."""
    account_id, login, domain_id, web_record, web_changed_at, unknown_key, packed, credential_id, _, _, _ = rows[0]
    if unknown_key:
        raise UnknownKey(f"account {account_id} has app passwords under a server key that is not in the key file")
    if web_record is not None and type(web_record) is not str:
        raise BadRecord(f"the web password's hash of account {account_id} is no text")
    enabled, domain_enabled, client_logon, mode_on, services, demands = _standings.get(packed) or _understood(
        _standings, _standing, packed, f"account {account_id}"
    )
    hits: tuple[StoredAppPassword, ...] = ()
    if credential_id is not None:
        hits = tuple([_app_password(row) for row in (rows if len(rows) == 1 else sorted(rows, key=_credential_id))])
    switches = (enabled, domain_enabled, client_logon, services, mode_on)
    return Account(account_id, login, domain_id, *switches, demands, web_record, web_changed_at, hits)


def again(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """What AGAIN reads as long as nothing changes. row: of a lookup that was understood, with an app password."""
    _, login, domain_id, _, web_changed_at, _, standing, _, key_id, record, terms = row
    return login, domain_id, web_changed_at, key_id, record, f"{standing[:-1]},{terms[1:]}"


def prospect_from(login: str, domain_id: int, packed: str) -> Account:
    """The account that would be made for this login. packed: of source_statements.PROSPECT. Raises BadRecord."""
    standing = _standings.get(packed) or _understood(
        _standings, _standing, packed, f"a new account of domain {domain_id}"
    )
    enabled, domain_enabled, client_logon, mode_on, services, demands = standing
    stand_in = -1 - int.from_bytes(hashlib.blake2b(login.encode(), digest_size=6).digest(), "big")
    switches = (enabled, domain_enabled, client_logon, services, mode_on)
    return Account(stand_in, login, domain_id, *switches, demands, None, None, ())


def removed_digest(login: str) -> str:
    """How a removed login is remembered. Who reads it learns no name, but can try one."""
    return hashlib.sha256(login.encode()).hexdigest()


def _app_password(row: tuple[Any, ...]) -> StoredAppPassword:
    row_id, key_id, record, packed = row[7:]
    terms = _terms.get(packed) or _understood(_terms, _term, packed, f"app password {row_id}")
    services, networks, expires_at, suspended, revoked = terms
    if type(record) is not str or not record:
        raise BadRecord(f"app password {row_id} has no hash")
    return StoredAppPassword(row_id, key_id, record, services, networks, expires_at, suspended, revoked)


def _credential_id(row: tuple[Any, ...]) -> int:
    return row[7]  # type: ignore[no-any-return]


def _understood(known: dict[str, T], understand: Callable[[list[Any]], T], packed: str, whose: str) -> T:
    try:
        value = understand(json.loads(packed))
    except (ValueError, TypeError, KeyError):
        raise BadRecord(f"the row of {whose} (or of its domain, or of the site) cannot be understood") from None
    if len(known) >= MAX_REMEMBERED:
        known.clear()
    known[packed] = value
    return value


def _standing(values: list[Any]) -> Standing:
    enabled, domain_enabled, client_logon, mode_on = [_flag(value) for value in values[:4]]
    services = SERVICES[values[4]] & SERVICES[values[5]]
    demands = tuple([demand_from(values[start : start + 6]) for start in (6, 12, 18)])
    return enabled, domain_enabled, client_logon, mode_on, services, demands


def _term(values: list[Any]) -> Terms:
    mask, networks, expires_at, suspended, revoked_at = values
    if not (_is_time(expires_at) and _is_time(revoked_at)):
        raise ValueError("not a time")
    return SERVICES[mask], tuple(networks.split()), expires_at, _flag(suspended), revoked_at is not None


def demand_from(values: Sequence[Any]) -> Demand:
    """values: of statements.POLICY. Raises ValueError."""
    policy, enforce_from, reached, two_factor, two_factor_from, two_factor_reached = values
    if not (_is_time(enforce_from) and _is_time(two_factor_from)):
        raise ValueError("not a time")
    return Demand(
        PolicyLevel(policy),
        enforce_from,
        _flag(reached),
        _flag(two_factor),
        two_factor_from,
        _flag(two_factor_reached),
    )


def _flag(value: Any) -> bool:
    if type(value) is not int or value not in (0, 1):
        raise ValueError("not a flag")
    return bool(value)


def _is_time(value: Any) -> bool:
    """Whether this is epoch seconds or None. NaN is not: no start date would ever come. True is not either."""
    return value is None or (type(value) in (float, int) and math.isfinite(value))
