"""Administrating through the API: what is changed of accounts, domains and the site.

Rule: one operation for each verb, done as on the portal but for the fresh proof, which was given for the token. A code
that opens an account is shown to nobody who could have it mailed to its owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from mailauth.accounts import administration
from mailauth.accounts.apppasswords import Revoked
from mailauth.accounts.deeds import Reset
from mailauth.accounts.recovery import masked
from mailauth.accounts.roles import Verb
from mailauth.accounts.throttled import Cleared
from mailauth.accounts.views import AccountView, DomainView, SiteView
from mailauth.portal.api.administering import within_reach
from mailauth.portal.api.own import Deleted, SignedOut
from mailauth.portal.api.table import BASE, Answer, Call, Ended, Letter, ended
from mailauth.portal.language import DEFAULT
from mailauth.portal.pages.webpassword import RESET
from mailauth.store.changes import Effect

LETTER = "password-reset"


@dataclass(frozen=True, slots=True)
class AccountChanged(Ended):
    """The account as it is now."""

    account: AccountView


@dataclass(frozen=True, slots=True)
class DomainChanged(Ended):
    """The domain as it is now."""

    domain: DomainView


@dataclass(frozen=True, slots=True)
class SiteChanged(Ended):
    """The site as it is now."""

    site: SiteView


@dataclass(frozen=True, slots=True)
class FactorsReset(Ended):
    """The kinds of factors that there were."""

    factors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Erased(Ended):
    """The name by which the audit log knows the account now."""

    pseudonym: str


@dataclass(frozen=True, slots=True)
class DomainRemoved(Ended):
    """How many accounts went with it."""

    accounts: int


@dataclass(frozen=True, slots=True)
class ThrottleCleared(Ended):
    """What was forgotten."""

    cleared: Cleared


@dataclass(frozen=True, slots=True)
class EnrolmentCode:
    """A code by which the owner enrols a second factor, once. It is shown this once."""

    code: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class PasswordReset:
    """A reset link that is good once. mailed_to: masked; null: it is not on its way. link: null, but where there is no
    recovery address: then a site administrator hands it to the owner."""

    mailed_to: str | None
    link: str | None
    expires_at: float


@dataclass(frozen=True, slots=True)
class Exported:
    """Everything that is kept about an account and its owner."""

    personal_data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewAlias:
    """An alias in its one spelling."""

    alias: str


@dataclass(frozen=True, slots=True)
class NewDomain:
    """A domain in its one spelling."""

    name: str


def _do(call: Call, verb: Verb, name: str, change: Any = None) -> tuple[Any, dict[str, Any]]:
    """What came of it, and the fields of Ended."""
    effect = Effect()
    who = call.administrator
    done = administration.perform_for(call.means, who, verb, name, change, now=call.now, effect=effect)
    return done, dict(ended(effect))


@within_reach
def add_account(call: Call) -> Answer:
    """Add one."""
    given = {"recovery_address": call.body.get("recovery_address")}
    added, _ = _do(call, Verb.ADD_ACCOUNT, call.body["login"], given)
    return Answer(added, location=_at("accounts", added.login))


@within_reach
def set_account(call: Call) -> Answer:
    """Change one."""
    view, rest = _do(call, Verb.SET_ACCOUNT, call.path["login"], call.body)
    return Answer(AccountChanged(**rest, account=view))


@within_reach
def remove_account(call: Call) -> Answer:
    """Remove one."""
    return Answer(Ended(**_do(call, Verb.REMOVE_ACCOUNT, call.path["login"])[1]))


@within_reach
def erase_account(call: Call) -> Answer:
    """Forget one."""
    pseudonym, rest = _do(call, Verb.ERASE_ACCOUNT, call.path["login"])
    return Answer(Erased(**rest, pseudonym=pseudonym))


@within_reach
def export_account(call: Call) -> Answer:
    """Tell everything of one."""
    return Answer(Exported(_do(call, Verb.EXPORT_ACCOUNT, call.path["login"])[0]))


@within_reach
def set_role(call: Call) -> Answer:
    """Give a role."""
    _do(call, Verb.SET_ROLE, call.path["login"], call.body)
    return Answer()


@within_reach
def set_recovery_address(call: Call) -> Answer:
    """Write a recovery address."""
    _do(call, Verb.SET_RECOVERY_ADDRESS, call.path["login"], call.body)
    return Answer()


@within_reach
def reset_password(call: Call) -> Answer:
    """Have the owner choose another web password."""
    reset: Reset = _do(call, Verb.RESET_PASSWORD, call.path["login"])[0]
    voucher, address = reset.voucher, reset.recovery_address
    link = f"{call.house.origin}{RESET}?" + urlencode({"code": voucher.code})
    if address is None:  # deeds give that to site administrators only
        return Answer(PasswordReset(None, link, voucher.expires_at))
    language = reset.language if reset.language and reset.language in call.house.texts else DEFAULT
    values = {"login": voucher.login, "link": link, "expires_at": repr(voucher.expires_at)}
    by_mail = PasswordReset(masked(address), None, voucher.expires_at)
    lost = PasswordReset(None, None, voucher.expires_at)
    return Answer(lost, letter=Letter(address, language, LETTER, values, by_mail))


@within_reach
def reset_factors(call: Call) -> Answer:
    """Forget all factors."""
    kinds, rest = _do(call, Verb.RESET_FACTORS, call.path["login"])
    return Answer(FactorsReset(**rest, factors=tuple(kinds)))


@within_reach
def enrolment_code(call: Call) -> Answer:
    """Make a code to enrol with."""
    voucher, _ = _do(call, Verb.ENROLMENT_CODE, call.path["login"])
    return Answer(EnrolmentCode(voucher.code, voucher.expires_at))


@within_reach
def revoke(call: Call) -> Answer:
    """Revoke one app password, or all."""
    change = {"ids": [call.path["id"]]} if "id" in call.path else None
    revoked: list[Revoked]
    revoked, rest = _do(call, Verb.REVOKE, call.path["login"], change)
    return Answer(Deleted(**rest, deleted=tuple(revoked)))


@within_reach
def revoke_api_token(call: Call) -> Answer:
    """Revoke one of its API tokens."""
    _do(call, Verb.REVOKE_TOKEN, call.path["login"], {"id": call.path["id"]})
    return Answer()


@within_reach
def close_connections(call: Call) -> Answer:
    """End all mail connections."""
    return Answer(Ended(**_do(call, Verb.CLOSE_SESSIONS, call.path["login"])[1]))


@within_reach
def sign_out(call: Call) -> Answer:
    """Sign all browsers out."""
    return Answer(SignedOut(_do(call, Verb.SIGN_OUT, call.path["login"])[0]))


@within_reach
def add_alias(call: Call) -> Answer:
    """Give another address."""
    alias, _ = _do(call, Verb.ADD_ALIAS, call.path["login"], call.body)
    return Answer(NewAlias(alias))


@within_reach
def remove_alias(call: Call) -> Answer:
    """Take it away."""
    _do(call, Verb.REMOVE_ALIAS, call.path["alias"])
    return Answer()


def add_domain(call: Call) -> Answer:
    """Add one."""
    name, _ = _do(call, Verb.ADD_DOMAIN, call.body["name"])
    return Answer(NewDomain(name), location=_at("domains", name))


@within_reach
def set_domain(call: Call) -> Answer:
    """Change one."""
    view, rest = _do(call, Verb.SET_DOMAIN, call.path["name"], call.body)
    return Answer(DomainChanged(**rest, domain=view))


@within_reach
def remove_domain(call: Call) -> Answer:
    """Remove one."""
    count, rest = _do(call, Verb.REMOVE_DOMAIN, call.path["name"], call.query)
    return Answer(DomainRemoved(**rest, accounts=count))


def set_site(call: Call) -> Answer:
    """Change the site."""
    view, rest = _do(call, Verb.SET_SITE, "", call.body)
    return Answer(SiteChanged(**rest, site=view))


@within_reach
def clear_throttle(call: Call) -> Answer:
    """Forget what was counted."""
    cleared, rest = _do(call, Verb.CLEAR_THROTTLE, call.query.get("subject", ""))
    return Answer(ThrottleCleared(**rest, cleared=cleared))


def _at(what: str, name: str) -> str:
    return f"{BASE}/{what}/{quote(name, safe='@')}"
