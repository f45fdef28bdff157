"""Administrating through the API: what is read of accounts, domains and the site, and lists.

Rule: the role is judged by the use case, in its transaction. A name that is not there tells a domain administrator no
more than one that is not his.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import Any

from mailauth.accounts import administration, levels, overseeing, searching
from mailauth.accounts.administration import Denied
from mailauth.accounts.history import AuditRow
from mailauth.accounts.levels import DomainDetails, SiteDetails
from mailauth.accounts.observations import ObservationView
from mailauth.accounts.overseeing import SlowedDown
from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.roles import Denial, Verb
from mailauth.accounts.searching import AccountDetails
from mailauth.accounts.sessions import live_sessions
from mailauth.accounts.views import AccountView, DomainView
from mailauth.portal.api.keys import LIMIT, MOST_ROWS, Instant, key_of, next_of
from mailauth.portal.api.own import Connections
from mailauth.portal.api.shapes import DOMAIN, LOGIN, Field, Moment, Text, Whole
from mailauth.portal.api.table import Answer, Call, Handler, Operation, reads
from mailauth.store.upkeep import DAY_S

WORD = Text(least=0, most=200)
IN_PATH = Field("login", LOGIN, "The account.", example="bob@example.com")
NAME_IN_PATH = Field("name", DOMAIN, "The domain.", example="example.com")
REPORTED_DAYS = 30


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts by login."""

    accounts: tuple[AccountView, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Domains:
    """Domains by name."""

    domains: tuple[DomainView, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Observed:
    """Programs that get in with the web password now, and would not if what is only observed were enforced.

    programs, accounts: how many there are in all, or, if is_more, at least.
    """

    observed: tuple[ObservationView, ...]
    programs: int
    accounts: int
    is_more: bool
    next: str | None


@dataclass(frozen=True, slots=True)
class Audit:
    """Rows of the audit log, the latest first."""

    rows: tuple[AuditRow, ...]
    next: str | None


def within_reach(handler: Handler) -> Handler:
    """For operations that name an account, an alias or a domain: what is not there is told only to whom it could be."""

    @wraps(handler)
    def careful(call: Call) -> Answer:
        try:
            return handler(call)
        except NoSuch:
            _require_within_reach(call)
            raise

    return careful


def _require_within_reach(call: Call) -> None:
    named = [values[name] for values in (call.path, call.query, call.body) for name in NAMES & values.keys()]
    own = searching.domains_of(call.means, call.administrator)
    if own is not None and not all(name.rpartition("@")[2] in own for name in named):
        raise Denied(Denial.NOT_YOUR_DOMAIN) from None


NAMES = frozenset({"login", "name", "alias", "domain", "subject"})


@within_reach
def accounts(call: Call) -> Answer:
    """Find some."""
    page = searching.found(
        call.means,
        call.administrator,
        call.query.get("begins", ""),
        domain=call.query.get("domain"),
        after=call.query.get("next", ("",))[0],
        limit=call.query.get("limit", MOST_ROWS),
        now=call.now,
    )
    return Answer(Accounts(page.accounts, key_of(page.following) if page.following else None))


@within_reach
def account(call: Call) -> Answer:
    """One."""
    return Answer(searching.details(call.means, call.administrator, call.path["login"], now=call.now))


@within_reach
def connections(call: Call) -> Answer:
    """Who reads and sends its mail now."""
    who = call.administrator
    with administration.reading(call.means, who, Verb.SHOW_ACCOUNT, call.path["login"], now=call.now) as (_, row):
        login = row["login"]
    found = live_sessions(call.means.store, login, actor=who.actor, now=call.now)
    return Answer(Connections(found.sessions, found.silent))


def domains(call: Call) -> Answer:
    """All."""
    after, limit = call.query.get("next", ("",))[0], call.query.get("limit", MOST_ROWS)
    page = levels.domains(call.means, call.administrator, after=after, limit=limit, now=call.now)
    return Answer(Domains(page.domains, key_of(page.following) if page.following else None))


@within_reach
def domain(call: Call) -> Answer:
    """One."""
    return Answer(levels.domain(call.means, call.administrator, call.path["name"], now=call.now))


def site(call: Call) -> Answer:
    """The site."""
    return Answer(levels.site(call.means, call.administrator, now=call.now))


@within_reach
def report(call: Call) -> Answer:
    """Whom `enforced` would lock out."""
    page = overseeing.report(
        call.means,
        call.administrator,
        call.query.get("domain", ""),
        since=call.query.get("since", call.now - REPORTED_DAYS * DAY_S),
        after=call.query.get("next"),
        limit=call.query.get("limit", MOST_ROWS),
        now=call.now,
    )
    following = key_of(*page.following) if page.following else None
    return Answer(Observed(page.rows, page.programs, page.accounts, page.is_more, following))


def throttle(call: Call) -> Answer:
    """Who is slowed down."""
    return Answer(overseeing.slowed_down(call.means, call.administrator, now=call.now))


@within_reach
def audit(call: Call) -> Answer:
    """The audit log."""
    page = overseeing.audited(
        call.means,
        call.administrator,
        call.query.get("login", ""),
        before=call.query.get("next"),
        limit=call.query.get("limit", MOST_ROWS),
        now=call.now,
    )
    return Answer(Audit(page.rows, key_of(*page.following) if page.following else None))


def _read(path: str, name: str, summary: str, verb: Verb, handler: Handler, **more: Any) -> Operation:
    return Operation("GET", path, name, summary, reads(verb), handler, **more)


BEGINS = Field("begins", Text(least=0, most=254), "Only those whose login begins so.")
OF_DOMAIN = Field("domain", DOMAIN, "Only of this domain.", example="example.com")
OF_LOGIN = Field("login", LOGIN, "Only of this account, which need not be there any more.", example="bob@example.com")
SINCE = Field("since", Moment(), f"Only what was seen after this; {REPORTED_DAYS} days if it is not said.")
OBSERVATION_KEY = next_of(Whole(), WORD, WORD, WORD, WORD, Whole())

OPERATIONS = (
    _read(
        "/accounts",
        "list-accounts",
        "Find accounts",
        Verb.LIST_ACCOUNTS,
        accounts,
        answers=Accounts,
        query=(BEGINS, OF_DOMAIN, LIMIT, next_of(Text(most=254))),
    ),
    _read(
        "/accounts/{login}",
        "show-account",
        "Everything of an account",
        Verb.SHOW_ACCOUNT,
        account,
        answers=AccountDetails,
        params=(IN_PATH,),
    ),
    _read(
        "/accounts/{login}/connections",
        "list-connections",
        "Who reads and sends its mail now",
        Verb.SHOW_ACCOUNT,
        connections,
        answers=Connections,
        params=(IN_PATH,),
    ),
    _read(
        "/domains",
        "list-domains",
        "Domains",
        Verb.SHOW_DOMAIN,
        domains,
        answers=Domains,
        query=(LIMIT, next_of(Text(most=253))),
    ),
    _read(
        "/domains/{name}",
        "show-domain",
        "A domain",
        Verb.SHOW_DOMAIN,
        domain,
        answers=DomainDetails,
        params=(NAME_IN_PATH,),
    ),
    _read("/site", "show-site", "The site, and who has a role", Verb.SHOW_SITE, site, answers=SiteDetails),
    _read(
        "/report",
        "show-report",
        "Whom `enforced` would lock out",
        Verb.SHOW_REPORT,
        report,
        answers=Observed,
        query=(OF_DOMAIN, SINCE, LIMIT, OBSERVATION_KEY),
    ),
    _read("/throttle", "show-throttle", "Who is slowed down now", Verb.SHOW_THROTTLE, throttle, answers=SlowedDown),
    _read(
        "/audit",
        "show-audit",
        "The audit log",
        Verb.SHOW_AUDIT,
        audit,
        answers=Audit,
        query=(OF_LOGIN, LIMIT, next_of(Instant(), Whole())),
    ),
)
