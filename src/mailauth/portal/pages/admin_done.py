"""Acts of administration, done: in the answer to the post that completed the proof, and what is said afterwards.

Rule: what opens something, an enrolment code or a reset link, is in one answer and nowhere else; and the link is only
shown to a site administrator, and only if there is no address that it could be mailed to.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import administration
from mailauth.accounts.administration import Denied
from mailauth.accounts.freshproof import Action
from mailauth.accounts.recovery import masked
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.roles import Verb
from mailauth.portal.language import DEFAULT
from mailauth.portal.pages.admin_entry import (
    ACCOUNTS,
    DOMAINS,
    SITE,
    THROTTLE,
    account_at,
    denied,
    domain_at,
    page,
    refusal_text,
)
from mailauth.portal.pages.admin_words import act_words
from mailauth.portal.pages.closing import went
from mailauth.portal.pages.proof import PROOF
from mailauth.portal.pages.webpassword import RESET
from mailauth.portal.visit import Visit
from mailauth.store.changes import Effect
from mailauth.store.faults import Clash

LETTER = "password-reset"


@dataclass(frozen=True, slots=True)
class Done:
    """What was done. result: of administration.perform."""

    visit: Visit
    verb: Verb
    name: str
    change: Mapping[str, Any]
    result: Any
    effect: Effect


async def perform(visit: Visit, proof: str, action: Action) -> Response:
    """Do it, and say what came of it."""
    verb, name = Verb(action.params["verb"]), str(action.params["name"])
    if verb is Verb.EXPORT_ACCOUNT and not visit.form.has("download"):
        return page(visit, "admin_export", "accounts", address=f"{PROOF}/{proof}", login=name, at=account_at(name))
    effect = Effect()
    try:
        result = await visit.ask(administration.perform, visit.me, proof, now=visit.now, effect=effect)
    except Denied as denial:
        return denied(visit, denial.why)
    except NoSuch:
        return _over(visit, action, visit.text("admin.gone"))
    except Refused as refusal:
        return _over(visit, action, refusal_text(visit, refusal.why))
    except Clash:
        return _over(visit, action, visit.text("errors.conflict_text"))
    done = Done(visit, verb, name, action.params["change"], result, effect)
    return await ANSWERS.get(verb, _changed)(done)


def _over(visit: Visit, action: Action, why: Markup) -> Response:
    """It could not be done after all, because of what happened since it was asked for."""
    return page(visit, "admin_over", "", 409, what=act_words(visit, action), why=why, back=_place(action.params))


def _place(params: Mapping[str, Any]) -> str:
    """Where somebody looks who wants to know how it stands."""
    verb, name = Verb(params["verb"]), str(params["name"])
    if verb in administration.OF_DOMAIN:
        return domain_at(name)
    if verb in administration.OF_SITE:
        return DOMAINS if verb is Verb.ADD_DOMAIN else SITE
    if verb is Verb.CLEAR_THROTTLE:
        return THROTTLE
    return ACCOUNTS if verb in {Verb.ADD_ACCOUNT, Verb.REMOVE_ALIAS} else account_at(name)


def _go(done: Done, path: str, key: str, **values: object) -> Response:
    """There, with the sentence."""
    return went(done.visit, path, done.effect, key, **{"name": done.name, **values})


async def _changed(done: Done) -> Response:
    """Settings of an account, a domain or the site."""
    key = {Verb.SET_DOMAIN: "admin_done.domain", Verb.SET_SITE: "admin_done.site"}.get(done.verb, "admin_done.account")
    return _go(done, _place({"verb": done.verb, "name": done.name}), key)


async def _account_added(done: Done) -> Response:
    return _go(done, account_at(done.result.login), "admin_done.account-added", name=done.result.login)


async def _account_removed(done: Done) -> Response:
    return _go(done, ACCOUNTS, "admin_done.account-removed")


async def _account_erased(done: Done) -> Response:
    return _go(done, ACCOUNTS, "admin_done.account-erased", pseudonym=done.result)


async def _account_exported(done: Done) -> Response:
    content = json.dumps(done.result, ensure_ascii=False, indent=2)
    name = quote(f"{done.name}.json", safe="@")
    disposition = {"content-disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(content, media_type="application/json", headers=disposition)


async def _role_set(done: Done) -> Response:
    role = done.visit.text(f"admin_role.{done.change['role']}")
    return _go(done, account_at(done.name), "admin_done.role", role=role)


async def _recovery_set(done: Done) -> Response:
    return _go(done, account_at(done.name), "admin_done.recovery")


async def _revoked(done: Done) -> Response:
    return _go(done, account_at(done.name), "admin_done.revoked", count=len(done.result))


async def _token_revoked(done: Done) -> Response:
    return _go(done, account_at(done.name), "admin_done.token-revoked", label=done.result.label)


async def _sessions_closed(done: Done) -> Response:
    return _go(done, account_at(done.name), "admin_done.sessions-closed")


async def _signed_out(done: Done) -> Response:
    return _go(done, account_at(done.name), "admin_done.signed-out", count=done.result)


async def _factors_reset(done: Done) -> Response:
    return _go(done, account_at(done.name), "admin_done.factors-reset" if done.result else "admin_done.no-factors")


async def _alias_added(done: Done) -> Response:
    return _go(done, account_at(done.name), "admin_done.alias-added", alias=done.result)


async def _alias_removed(done: Done) -> Response:
    return _go(done, account_at(done.result), "admin_done.alias-removed", alias=done.name, name=done.result)


async def _throttle_cleared(done: Done) -> Response:
    key = "admin_done.throttle-cleared" if done.name else "admin_done.throttle-all"
    return _go(done, THROTTLE, key, count=done.result.counts)


async def _domain_added(done: Done) -> Response:
    return _go(done, domain_at(done.result), "admin_done.domain-added", name=done.result)


async def _domain_removed(done: Done) -> Response:
    return _go(done, DOMAINS, "admin_done.domain-removed", count=done.result)


async def _code_made(done: Done) -> Response:
    """The code, this once."""
    voucher = done.result
    told = {"secret": voucher.code, "expires_at": voucher.expires_at}
    return _once(done, "admin_code", **told)


async def _password_reset(done: Done) -> Response:
    """The link is mailed; or, where there is no address for it, shown this once."""
    reset, visit = done.result, done.visit
    link = visit.house.origin + RESET + "?" + urlencode({"code": reset.voucher.code})
    if reset.recovery_address is None:  # deeds give that to site administrators only
        return _once(done, "admin_link", secret=link, expires_at=reset.voucher.expires_at)
    address = masked(reset.recovery_address)
    post = visit.house.post
    language = reset.language if reset.language in visit.house.texts else DEFAULT
    values = {"login": done.name, "link": link, "expires_at": repr(reset.voucher.expires_at)}
    is_sent = post is not None and await post(reset.recovery_address, language, LETTER, **values)
    return _go(
        done, account_at(done.name), "admin_done.link-mailed" if is_sent else "admin_done.link-lost", address=address
    )


def _once(done: Done, template: str, **values: Any) -> Response:
    return page(done.visit, template, "", leaves_nothing=True, login=done.name, at=account_at(done.name), **values)


ANSWERS: Mapping[Verb, Callable[[Done], Awaitable[Response]]] = {
    Verb.ADD_ACCOUNT: _account_added,
    Verb.REMOVE_ACCOUNT: _account_removed,
    Verb.ERASE_ACCOUNT: _account_erased,
    Verb.EXPORT_ACCOUNT: _account_exported,
    Verb.SET_ROLE: _role_set,
    Verb.SET_RECOVERY_ADDRESS: _recovery_set,
    Verb.RESET_PASSWORD: _password_reset,
    Verb.RESET_FACTORS: _factors_reset,
    Verb.ENROLMENT_CODE: _code_made,
    Verb.REVOKE: _revoked,
    Verb.REVOKE_TOKEN: _token_revoked,
    Verb.CLOSE_SESSIONS: _sessions_closed,
    Verb.SIGN_OUT: _signed_out,
    Verb.ADD_ALIAS: _alias_added,
    Verb.REMOVE_ALIAS: _alias_removed,
    Verb.CLEAR_THROTTLE: _throttle_cleared,
    Verb.ADD_DOMAIN: _domain_added,
    Verb.REMOVE_DOMAIN: _domain_removed,
}
