"""What all pages of administration have: who comes to them, how they look, and how an act begins there.

Rule: whether somebody may is asked of the store in every request; what he may not is said with its reason.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import administration, searching
from mailauth.accounts.administration import Administrator, Denied
from mailauth.accounts.means import Means
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.roles import Denial, Role, Verb
from mailauth.portal.guards import Handler
from mailauth.portal.pages.proof import PROOF
from mailauth.portal.visit import Visit
from mailauth.store.faults import Clash

ADMIN = "/admin"
ACCOUNTS, DOMAINS, SITE = f"{ADMIN}/accounts", f"{ADMIN}/domains", f"{ADMIN}/site"
REPORT, THROTTLE, AUDIT = f"{ADMIN}/report", f"{ADMIN}/throttle", f"{ADMIN}/audit"
LOGIN, DOMAIN = ACCOUNTS + "/{login:path}", DOMAINS + "/{name}"
TABS = (
    ("accounts", ACCOUNTS),
    ("domains", DOMAINS),
    ("site", SITE),
    ("report", REPORT),
    ("throttle", THROTTLE),
    ("audit", AUDIT),
)
OF_SITE_ONLY = frozenset({"audit"})  # a domain administrator finds it on the page of each account and domain
MAX_NAME_CHARACTERS = 300  # more than any login or domain has
REFUSALS = {
    "no-address": "admin_refused.no-address",
    "no-domain": "admin_refused.no-domain",
    "account-exists": "admin_refused.account-exists",
    "is-alias": "admin_refused.is-alias",
    "is-account": "admin_refused.is-account",
    "alias-taken": "admin_refused.alias-taken",
    "domain-exists": "admin_refused.domain-exists",
    "had-before": "admin_refused.had-before",
    "no-recovery-address": "admin_refused.no-recovery-address",
    "reserved-name": "admin_refused.reserved-name",
    "not-your-domain": "admin_refused.not-your-domain",
    "policy-below-site": "admin_refused.policy-below-site",
    "second-factor-below-site": "admin_refused.second-factor-below-site",
    "most-above-site": "admin_refused.most-above-site",
    "most-out-of-range": "admin_refused.most-out-of-range",
    "over-equals": "admin_refused.over-equals",
    "has-accounts": "admin_refused.has-accounts",
    "own-address": "admin_refused.own-address",
    "no-source": "admin_refused.no-source",
}

AdminHandler = Callable[[Visit, Administrator], Awaitable[Response]]


def administrators(handler: AdminHandler) -> Handler:
    """A handler of a page that only administrators and auditors come to."""

    @functools.wraps(handler)
    async def guarded(visit: Visit) -> Response:
        try:
            return await handler(visit, administration.signed_in(visit.me))
        except Denied as denial:
            return denied(visit, denial.why)
        except (NoSuch, Refused):  # named in the address, and not there, or no name at all
            if await visit.ask(_is_elsewhere, administration.signed_in(visit.me), visit.request.path_params):
                return denied(visit, Denial.NOT_YOUR_DOMAIN)
            return page(visit, "admin_nothing", "", 404)

    return guarded


def _is_elsewhere(means: Means, who: Administrator, named: Mapping[str, Any]) -> bool:
    """Whether a name is outside of the domains of who asks: he is not told what is there, nor what is not."""
    own = searching.domains_of(means, who)
    texts = [str(value) for value in named.values()]
    return own is not None and any(text.rpartition("@")[2].lower() not in own for text in texts if not text.isdigit())


def page(visit: Visit, template: str, tab: str, status: int = 200, **values: Any) -> Response:
    """A page with the tabs of administration. tab: a key of TABS, "" for none."""
    is_of_domain = visit.me.role == Role.DOMAIN_ADMIN
    tabs = [each for each in TABS if not (is_of_domain and each[0] in OF_SITE_ONLY)]
    is_auditor = visit.me.role == Role.AUDITOR
    return visit.page(template, status, tab=tab, tabs=tabs, is_auditor=is_auditor, account_at=account_at, **values)


def denied(visit: Visit, why: Denial) -> Response:
    """The page that says why not; and, to who only has to sign in otherwise, how."""
    is_weak = why is Denial.NO_ROLE and visit.me.role != Role.USER and not visit.me.administers
    return visit.page("admin_denied", 403, why=why, is_weak=is_weak)


def account_at(login: str) -> str:
    """The address of an account's page."""
    return f"{ACCOUNTS}/{quote(login, safe='@')}"


def domain_at(name: str) -> str:
    """The address of a domain's page."""
    return f"{DOMAINS}/{quote(name)}"


async def permit(visit: Visit, who: Administrator, verb: Verb, name: str) -> None:
    """Raise Denied, NoSuch or Refused if an act cannot be begun, before its form is shown."""
    await visit.ask(_permitted, who, verb, name, now=visit.now)


def _permitted(means: Means, who: Administrator, verb: Verb, name: str, *, now: float) -> None:
    with administration.reading(means, who, verb, name, now=now):
        return


async def asked(
    visit: Visit, verb: Verb, name: str, change: Mapping[str, Any] | None = None
) -> tuple[Response | None, Markup]:
    """The way to the proof for an act; or None and why it would be refused. Raises Denied, NoSuch."""
    try:
        proof = await visit.ask(administration.ask, visit.me, verb, name, change, now=visit.now)
    except Refused as refusal:
        return None, refusal_text(visit, refusal.why)
    except Clash:
        return None, visit.text("errors.conflict_text")
    return visit.go(f"{PROOF}/{proof}"), Markup()


def refusal_text(visit: Visit, why: str) -> Markup:
    """In words. why: of Refused."""
    return visit.text(REFUSALS.get(why, "admin_refused.other"))
