"""What an administrator does to somebody else's account, to a domain or to the site, one function for each verb.

Rule: whether he may has been asked; what depends on how far a domain administrator's word goes is asked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from mailauth.accounts import aliases, apppasswords, bindings, domains, erasure, mailboxes, roleholders, site, vouchers
from mailauth.accounts.apppasswords import Revoked
from mailauth.accounts.changes import AccountChange, DomainChange, PolicyChange
from mailauth.accounts.finding import folded, folded_domain
from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import end_all
from mailauth.accounts.recovery import put_recovery_address
from mailauth.accounts.refusals import Refused
from mailauth.accounts.roles import Actor, Role, Target, Verb, denied, may_give, outranked
from mailauth.accounts.sessions import closed_sessions
from mailauth.accounts.throttled import Cleared, cleared
from mailauth.accounts.tokens import TokenView, revoked_of
from mailauth.accounts.unit import Unit
from mailauth.accounts.views import AccountView, DomainView, SiteView
from mailauth.accounts.vouchers import Voucher
from mailauth.interfaces import PolicyLevel
from mailauth.store.engine import Row
from mailauth.store.rows import removed_digest

T = TypeVar("T")
STRICTNESS = {PolicyLevel.OPTIONAL: 0, PolicyLevel.OBSERVE: 1, PolicyLevel.ENFORCED: 2}


@dataclass(frozen=True, slots=True)
class Deed:
    """One act. name: an account's login, an alias, a domain's name, an address, or "" for the site; row: of what it
    names. change: plain JSON, whose keys each function says."""

    unit: Unit
    means: Means
    actor: Actor
    name: str
    row: Row
    change: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reset:
    """A reset code, and where its link is to be mailed; None: the account has no recovery address.

    language: of the account's owner, None: he has chosen none.
    """

    voucher: Voucher
    recovery_address: str | None
    language: str | None = None


def _set_account(deed: Deed) -> AccountView:
    """The fields of changes.AccountChange that are to change."""
    change = _read(AccountChange, deed.change)
    _refuse_below_site(deed, change)
    return mailboxes.changed_account(deed.unit, deed.row, change)


def _add_account(deed: Deed) -> mailboxes.Added:
    """recovery_address, or nothing. It has no web password yet: RESET_PASSWORD has its owner choose one."""
    login = folded(deed.name)
    deed.unit.tx.row(deed.unit.sql.LOCK_DOMAIN, name=login.rpartition("@")[2])  # before the account, as everywhere
    _refuse_of_site(deed, login)
    added = mailboxes.added_account(deed.unit, login, None)
    if deed.change.get("recovery_address"):
        row = deed.unit.tx.row(deed.unit.sql.ACCOUNT, login=login) or {}
        put_recovery_address(deed.unit, row, deed.change["recovery_address"])
    return added


def _refuse_of_site(deed: Deed, address: str) -> None:
    """Raise Refused for what only a site administrator gives to somebody: an address that speaks for its domain
    (aliases.RESERVED), and one that was somebody's, whose mail may still come to it or lie there."""
    if deed.actor.role is Role.SITE_ADMIN:
        return
    if aliases.is_reserved(address):
        raise Refused(f"{address} speaks for its domain: a site administrator can give it to somebody", "reserved-name")
    if _was_somebodys(deed.unit, address):
        raise Refused(f"{address} was somebody's before: a site administrator can give it out again", "had-before")


def _was_somebodys(unit: Unit, login: str) -> bool:
    """Whether there was such an account, and is none now.

    The audit log forgets, above all who was erased, and his mail may be there.
    """
    if unit.tx.row(unit.sql.LOCK_ACCOUNT, login=login) is not None:
        return False
    removed = unit.tx.row(unit.sql.REMOVED, digest=removed_digest(login))
    return removed is not None or bool(unit.tx.row(unit.sql.AUDIT["login"], login=login, at=0.0, row_id=0, page=1))


def _remove_account(deed: Deed) -> None:
    mailboxes.removed_account(deed.unit, deed.row)


def _erase_account(deed: Deed) -> str:
    return erasure.erased(deed.unit, deed.row)


def _export_account(deed: Deed) -> dict[str, Any]:
    deed.unit.record("personal-data-exported", deed.row)
    return erasure.personal_data(deed.unit, deed.row)


def _set_role(deed: Deed) -> None:
    """role, and of a domain administrator `domains`: names."""
    role = roleholders.role_from(deed.change.get("role"))
    why = may_give(deed.actor, role)
    if why is not None:
        raise Refused(f"nobody gives others a higher role than his own ({why})", "higher-role")
    roleholders.put_role(deed.unit, deed.row, role, deed.change.get("domains", ()))


def _set_recovery_address(deed: Deed) -> None:
    """address: None takes it away."""
    put_recovery_address(deed.unit, deed.row, deed.change.get("address"))


def _reset_password(deed: Deed) -> Reset:
    row = deed.unit.tx.row(deed.unit.sql.RECOVERY_ADDRESS, account_id=deed.row["id"])
    address = None if row is None else row["recovery_address"]
    if address is None and deed.actor.role is not Role.SITE_ADMIN:
        raise Refused(f"{deed.row['login']} has no recovery address to mail a reset link to", "no-recovery-address")
    return Reset(vouchers.issue(deed.unit, deed.row, vouchers.Kind.PASSWORD_RESET), address, deed.row["language"])


def _reset_factors(deed: Deed) -> list[str]:
    return bindings.reset(deed.unit, deed.row)


def _enrolment_code(deed: Deed) -> Voucher:
    return vouchers.issue(deed.unit, deed.row, vouchers.Kind.ENROLMENT)


def _revoke(deed: Deed) -> list[Revoked]:
    """ids; without: all."""
    ids = deed.change.get("ids")
    unit = deed.unit
    rows = apppasswords.live_rows(unit, deed.row) if ids is None else apppasswords.chosen_rows(unit, deed.row, ids)
    return apppasswords.revoke_rows(unit, deed.row, rows)


def _revoke_token(deed: Deed) -> TokenView:
    """id; label, for the words of the proof."""
    return revoked_of(deed.unit, deed.row, deed.change["id"])


def _close_sessions(deed: Deed) -> None:
    closed_sessions(deed.unit, deed.row)


def _sign_out(deed: Deed) -> int:
    count = end_all(deed.unit, deed.row["id"])
    deed.unit.record("signed-out", deed.row, detail=f"{count} sessions", service="portal")
    return count


def _add_alias(deed: Deed) -> str:
    """alias."""
    alias = folded(str(deed.change.get("alias", "")))
    domain = deed.unit.tx.row(deed.unit.sql.LOCK_DOMAIN, name=alias.rpartition("@")[2])
    if domain is None or denied(deed.actor, Verb.ADD_ALIAS, Target(domain_id=domain["id"])) is not None:
        raise Refused(f"{alias} is not in one of your domains", "not-your-domain")
    _refuse_of_site(deed, alias)
    aliases.added_alias(deed.unit, deed.row["login"], alias)
    return alias


def _remove_alias(deed: Deed) -> str:
    alias = folded(deed.name)
    domain = deed.unit.tx.row(deed.unit.sql.LOCAL_DOMAIN, name=alias.rpartition("@")[2])
    if domain is None or denied(deed.actor, Verb.REMOVE_ALIAS, Target(domain_id=domain["id"])) is not None:
        raise Refused(f"{alias} is not in one of your domains", "not-your-domain")
    return aliases.removed_alias(deed.unit, alias)


def _clear_throttle(deed: Deed) -> Cleared:
    return cleared(deed.unit, deed.name or None)


def _set_domain(deed: Deed) -> DomainView:
    """The fields of changes.DomainChange that are to change."""
    change = _read(DomainChange, deed.change)
    _refuse_below_site(deed, change)
    if False in (change.enabled, change.imap, change.pop3, change.smtp):
        _refuse_over_equals(deed)
    return domains.changed_domain(deed.unit, deed.row, change)


def _add_domain(deed: Deed) -> str:
    name = folded_domain(deed.name)
    if deed.unit.tx.row(deed.unit.sql.LOCAL_DOMAIN, name=name) is not None:
        raise Refused(f"there is a domain {name} already", "domain-exists")
    domains.added_domain(deed.unit, name)
    return name


def _remove_domain(deed: Deed) -> int:
    """with_accounts: whether they go too."""
    _refuse_over_equals(deed)
    return domains.removed_domain(deed.unit, deed.row, with_accounts=bool(deed.change.get("with_accounts")))


def _set_site(deed: Deed) -> SiteView:
    """The fields of changes.PolicyChange that are to change."""
    return site.changed_site(deed.unit, _read(PolicyChange, deed.change))


DEEDS: Mapping[Verb, Callable[[Deed], Any]] = {
    Verb.SET_ACCOUNT: _set_account,
    Verb.ADD_ACCOUNT: _add_account,
    Verb.REMOVE_ACCOUNT: _remove_account,
    Verb.ERASE_ACCOUNT: _erase_account,
    Verb.EXPORT_ACCOUNT: _export_account,
    Verb.SET_ROLE: _set_role,
    Verb.SET_RECOVERY_ADDRESS: _set_recovery_address,
    Verb.RESET_PASSWORD: _reset_password,
    Verb.RESET_FACTORS: _reset_factors,
    Verb.ENROLMENT_CODE: _enrolment_code,
    Verb.REVOKE: _revoke,
    Verb.REVOKE_TOKEN: _revoke_token,
    Verb.CLOSE_SESSIONS: _close_sessions,
    Verb.SIGN_OUT: _sign_out,
    Verb.ADD_ALIAS: _add_alias,
    Verb.REMOVE_ALIAS: _remove_alias,
    Verb.CLEAR_THROTTLE: _clear_throttle,
    Verb.SET_DOMAIN: _set_domain,
    Verb.ADD_DOMAIN: _add_domain,
    Verb.REMOVE_DOMAIN: _remove_domain,
    Verb.SET_SITE: _set_site,
}


def _read(kind: type[T], change: Mapping[str, Any]) -> T:
    """The change, as a `kind`. Raises Refused for what it has not."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if not change or not change.keys() <= known:
        raise Refused(f"say what to change: {', '.join(sorted(known))}")
    values = dict(change)
    if values.get("policy") is not None:
        try:
            values["policy"] = PolicyLevel(values["policy"])
        except ValueError:
            raise Refused(f"a policy is one of {', '.join(PolicyLevel)}") from None
    return kind(**values)


def _refuse_over_equals(deed: Deed) -> None:
    """Nobody shuts a domain, or a service of it, in which there is somebody of his own role or a higher one, himself
    included: it would be done to that account."""
    rows = deed.unit.tx.rows(deed.unit.sql.ROLES_IN_DOMAIN, domain_id=deed.row["id"])
    if not outranked(deed.actor, [Role(row["role"]) for row in rows]):
        raise Refused(f"{deed.row['name']} has an account of your own role or a higher one", "over-equals")


def _refuse_below_site(deed: Deed, change: AccountChange | DomainChange) -> None:
    """A domain administrator's policy is at least the site's: what is below it would count for nothing in any case."""
    if deed.actor.role is Role.SITE_ADMIN:
        return
    row = deed.unit.tx.row(deed.unit.sql.SITE) or {}
    if change.policy is not None and STRICTNESS[change.policy] < STRICTNESS[PolicyLevel(row["policy"])]:
        raise Refused(f"the policy of the site is {row['policy']}, and yours must not be below it", "policy-below-site")
    if change.two_factor is False and row["two_factor"]:
        raise Refused("the site demands a second factor, and you cannot take that back", "second-factor-below-site")
    most = row["max_app_passwords"]
    if change.max_app_passwords is not None and most is not None and change.max_app_passwords > most:
        raise Refused(f"the site allows {most} app passwords, and you cannot allow more", "most-above-site")


# The same for a rehearsal, of which nothing stays: what costs much and is refused for no more than this is left out.
REHEARSALS: Mapping[Verb, Callable[[Deed], Any]] = {
    **DEEDS,
    Verb.REMOVE_DOMAIN: _refuse_over_equals,
    Verb.REMOVE_ACCOUNT: lambda _: None,
    Verb.ERASE_ACCOUNT: lambda _: None,
    Verb.EXPORT_ACCOUNT: lambda _: None,
}
