"""What administrators look at before they act: whom `enforced` would lock out, who is slowed down, the audit log.

Rule: a domain administrator sees what is of his domains, read as he asks; every page is one range of an index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mailauth.accounts.administration import Administrator, actor_of, allowed_verbs, reading, require_verb, target_of
from mailauth.accounts.finding import domain_row, folded_domain
from mailauth.accounts.history import AuditRow
from mailauth.accounts.means import Means
from mailauth.accounts.observations import BEFORE_ALL, ObservationView, observation_view
from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.roleholders import domain_names
from mailauth.accounts.roles import SITE, Role, Target, Verb
from mailauth.accounts.throttled import ThrottledView, throttled_in
from mailauth.accounts.unit import Unit, looking
from mailauth.guessing import ACCOUNT
from mailauth.names import MAX_LOGIN_BYTES
from mailauth.store.observations import KEY, Kind

REPORT_ROWS = 50
DOWNLOAD_ROWS = 1000
MOST_COUNTED = 10_000
AUDIT_ROWS = 50
LAST = (1e18, 2**62)  # behind every row of the audit log


@dataclass(frozen=True, slots=True)
class Report:
    """Programs that get in with the web password now, and would not if what is only observed were enforced.

    rows: of this page; following: begins the next one, None: there is none. programs, accounts: how many there are in
    all, or, if is_more, at least.
    """

    rows: tuple[ObservationView, ...]
    following: tuple[Any, ...] | None
    programs: int
    accounts: int
    is_more: bool


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Rows of the audit log, the latest first. following: begins the next page, None: there is none."""

    rows: tuple[AuditRow, ...]
    following: tuple[float, int] | None


@dataclass(frozen=True, slots=True)
class Slowed:
    """Somebody who has to wait. may_clear: whether who asks may end that."""

    view: ThrottledView
    may_clear: bool


@dataclass(frozen=True, slots=True)
class SlowedDown:
    """All who are, the longest to wait first. may_clear_all: whether who asks may end it for everybody at once."""

    listed: tuple[Slowed, ...]
    may_clear_all: bool


def report(
    means: Means,
    who: Administrator,
    domain: str = "",
    *,
    since: float,
    after: tuple[Any, ...] | None = None,
    limit: int = REPORT_ROWS,
    now: float | None = None,
) -> Report:
    """A page of the report; of one domain, or of all. since: only what was seen after this, epoch seconds.

    Raises Denied, NoSuch, Refused, StoreUnavailable.
    """
    with looking(means.store, now) as unit:
        chosen = _reported(unit, who, domain, since)
        begin = BEFORE_ALL if after is None else dict(zip(KEY, after, strict=True))
        rows = unit.tx.rows(unit.sql.REPORT, page=limit + 1, **begin, **chosen)
        counts = unit.tx.row(unit.sql.REPORT_COUNTS, page=MOST_COUNTED + 1, **BEFORE_ALL, **chosen) or {}
    following = tuple([rows[limit - 1][name] for name in KEY]) if len(rows) > limit else None
    views = tuple([observation_view(row) for row in rows[:limit]])
    programs = int(counts["programs"])
    return Report(views, following, min(programs, MOST_COUNTED), int(counts["accounts"]), programs > MOST_COUNTED)


def whole_report(
    means: Means, who: Administrator, domain: str = "", *, since: float, now: float | None = None
) -> Iterator[tuple[ObservationView, ...]]:
    """The same from its first row to its last, some thousand at a time; who asks is asked for his role each time.

    Raises Denied, NoSuch, Refused, StoreUnavailable.
    """
    begin: Mapping[str, Any] | None = BEFORE_ALL
    while begin is not None:
        with looking(means.store, now) as unit:
            chosen = _reported(unit, who, domain, since)
            rows = unit.tx.rows(unit.sql.REPORT, page=DOWNLOAD_ROWS, **begin, **chosen)
        begin = {name: rows[-1][name] for name in KEY} if len(rows) == DOWNLOAD_ROWS else None
        yield tuple([observation_view(row) for row in rows])


def audited(
    means: Means,
    who: Administrator,
    login: str = "",
    *,
    domain: str = "",
    before: tuple[float, int] | None = None,
    limit: int = AUDIT_ROWS,
    now: float | None = None,
) -> AuditPage:
    """A page of the audit log: of one login, which need not exist any more, of all logins of a domain, or of all.

    A domain administrator names an account or a domain of his; of a domain are those since it was added.
    Raises Denied, NoSuch, Refused, StoreUnavailable.
    """
    at, row_id = LAST if before is None else before
    with looking(means.store, now) as unit:
        which, whose = _audited_domain(unit, who, domain) if domain else _audited(unit, who, login)
        rows = unit.tx.rows(unit.sql.AUDIT_BACKWARDS[which], at=at, row_id=row_id, page=limit + 1, **whose)
    shown = tuple([AuditRow(**row) for row in rows[:limit]])
    return AuditPage(shown, (shown[-1].at, shown[-1].id) if len(rows) > limit else None)


def audited_account(
    means: Means, who: Administrator, login: str, *, limit: int, now: float | None = None
) -> tuple[AuditRow, ...]:
    """The latest rows of an account that is there, and of none before it. Raises Denied, NoSuch, Refused."""
    at, row_id = LAST
    with reading(means, who, Verb.SHOW_AUDIT, login, now=now) as (unit, row):
        whose = {"login": row["login"], "account_id": row["id"]}
        rows = unit.tx.rows(unit.sql.AUDIT_BACKWARDS["account"], at=at, row_id=row_id, page=limit, **whose)
    return tuple([AuditRow(**row) for row in rows])


def slowed_down(means: Means, who: Administrator, *, now: float | None = None) -> SlowedDown:
    """Who is slowed down now; a domain administrator sees the accounts of his domains.

    Raises Denied, StoreUnavailable.
    """
    with looking(means.store, now) as unit:
        actor = actor_of(unit, who)
        if actor.role is Role.DOMAIN_ADMIN:
            names = domain_names(unit, who.account_id)
            views = [view for view in throttled_in(unit, None) if _is_account_of(view, names)]
        else:
            require_verb(unit, who, Verb.SHOW_THROTTLE)
            views = throttled_in(unit, None)
        listed = [Slowed(view, Verb.CLEAR_THROTTLE in _allowed(unit, who, view)) for view in views]
        return SlowedDown(tuple(listed), Verb.CLEAR_THROTTLE in allowed_verbs(unit, who, SITE))


def _reported(unit: Unit, who: Administrator, domain: str, since: float) -> dict[str, Any]:
    domain_id = 0
    if domain:
        domain_id = domain_row(unit, folded_domain(domain))["id"]
    require_verb(unit, who, Verb.SHOW_REPORT, Target(domain_id=domain_id) if domain else SITE)
    return {"of_kind": str(Kind.WOULD_BREAK), "of_domain": domain_id, "since": since}


def _audited(unit: Unit, who: Administrator, login: str) -> tuple[str, dict[str, Any]]:
    """A key of AUDIT_BACKWARDS, and its parameters."""
    login = login.strip().lower()
    if actor_of(unit, who).role is Role.DOMAIN_ADMIN and "@" in login:
        target, row = target_of(unit, Verb.SHOW_AUDIT, login)
        require_verb(unit, who, Verb.SHOW_AUDIT, target)
        return "account", {"login": row["login"], "account_id": row["id"]}
    require_verb(unit, who, Verb.SHOW_AUDIT)
    return ("login", {"login": login[:MAX_LOGIN_BYTES]}) if login else ("everybody", {})


def _audited_domain(unit: Unit, who: Administrator, domain: str) -> tuple[str, dict[str, Any]]:
    """The same, of a domain: whoever had the name before it was added has nothing to do with it."""
    row = domain_row(unit, folded_domain(domain))
    require_verb(unit, who, Verb.SHOW_AUDIT, Target(domain_id=row["id"]))
    return "domain", {"domain": row["name"], "since": row["created_at"]}


def _is_account_of(view: ThrottledView, domains: tuple[str, ...]) -> bool:
    return view.kind == ACCOUNT.kind and view.subject.rpartition("@")[2] in domains


def _allowed(unit: Unit, who: Administrator, view: ThrottledView) -> frozenset[Verb]:
    if view.kind != ACCOUNT.kind:
        return allowed_verbs(unit, who, SITE)
    try:
        target, _ = target_of(unit, Verb.CLEAR_THROTTLE, view.subject)
    except NoSuch:  # removed meanwhile
        return frozenset()
    return allowed_verbs(unit, who, target)
