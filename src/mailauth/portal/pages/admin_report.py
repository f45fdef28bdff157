"""Whom `enforced` would stop: the programs that still get in with the web password, as a page and as a file.

Source: RFC 4180 (CSV). Rule: what programs call themselves is text, also to a spreadsheet.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response, StreamingResponse

from mailauth.accounts import levels, overseeing
from mailauth.accounts.administration import Administrator
from mailauth.accounts.observations import ObservationView
from mailauth.accounts.overseeing import Report
from mailauth.accounts.roles import Role
from mailauth.accounts.views import moment
from mailauth.interfaces import PolicyLevel
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.admin_entry import MAX_NAME_CHARACTERS, REPORT, SITE, administrators, domain_at, page
from mailauth.portal.visit import Visit
from mailauth.store.observations import KEY
from mailauth.store.upkeep import DAY_S

FILE = f"{REPORT}.csv"
DAYS = (7, 30, 90)
USUAL_DAYS = 30
MAX_KEY_CHARACTERS = 1000
MOST_OFFERED = 50
MAX_NUMBER = 2**63
HEAD = (
    "admin_report.account",
    "admin_report.program",
    "admin_report.service",
    "admin_report.network",
    "admin_report.first_seen",
    "admin_report.last_seen",
    "admin_report.count",
)
BYTE_ORDER_MARK = "\ufeff"  # without it, spreadsheets take UTF-8 for something else
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a cell begins with that a spreadsheet would compute


async def show(visit: Visit, who: Administrator) -> Response:
    """A page of it; to somebody of several domains, first the choice of one."""
    offered = [view.name for view in (await visit.ask(levels.domains, who, limit=MOST_OFFERED, now=visit.now)).domains]
    domain, days = _chosen(visit)
    if not domain and visit.me.role == Role.DOMAIN_ADMIN:
        if len(offered) != 1:
            return page(visit, "admin_report_choose", "report", domains=offered, at=REPORT)
        domain = offered[0]
    after = _after(visit.query("after"))
    since = visit.now - days * DAY_S
    report: Report = await visit.ask(overseeing.report, who, domain, since=since, after=after, now=visit.now)
    is_observed = await _is_observed(visit, who, domain)
    said = {**({"domain": domain} if domain else {}), "days": days}
    following = {**said, "after": json.dumps(report.following)} if report.following else {}
    return page(
        visit,
        "admin_report",
        "report",
        report=report,
        domain=domain,
        domains=offered,
        days=days,
        all_days=DAYS,
        is_observed=is_observed,
        is_first=after is None,
        first=f"{REPORT}?{urlencode(said)}",
        following=f"{REPORT}?{urlencode(following)}" if following else "",
        file=f"{FILE}?{urlencode(said)}",
        policy_at=f"{domain_at(domain)}/policy" if domain else f"{SITE}/policy",
        may_set=visit.me.role == Role.SITE_ADMIN or (visit.me.role == Role.DOMAIN_ADMIN and bool(domain)),
    )


async def download(visit: Visit, who: Administrator) -> Response:
    """The whole of it as a file, written as it is read."""
    domain, days = _chosen(visit)
    pages = overseeing.whole_report(visit.means, who, domain, since=visit.now - days * DAY_S, now=visit.now)
    first = await asyncio.to_thread(next, pages)  # which says whether he may have it at all
    head = [str(visit.text(key)) for key in HEAD]
    name = f"mailauth-report{f'-{domain}' if domain.isascii() and domain else ''}.csv".replace('"', "")
    return StreamingResponse(
        _file(head, first, pages),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


async def _file(
    head: list[str], first: tuple[ObservationView, ...], rest: Iterator[tuple[ObservationView, ...]]
) -> AsyncIterator[str]:
    yield BYTE_ORDER_MARK + _lines([head])
    views: tuple[ObservationView, ...] | None = first
    while views is not None:
        yield _lines([_row(view) for view in views])
        views = await asyncio.to_thread(next, rest, None)


def _row(view: ObservationView) -> list[str]:
    seen = (moment(view.first_at), moment(view.last_at), str(view.count))
    return [_cell(text) for text in (view.login, view.client, view.service.upper(), view.network)] + [*seen]


def _lines(rows: Iterable[list[str]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def _chosen(visit: Visit) -> tuple[str, int]:
    """The domain, "" for all, and the days."""
    domain, days = visit.query("domain").strip()[:MAX_NAME_CHARACTERS], visit.query("days")
    return domain, next((number for number in DAYS if str(number) == days), USUAL_DAYS)


def _after(text: str) -> tuple[Any, ...] | None:
    """Where the page begins; None: at the first row."""
    try:
        key = json.loads(text) if len(text) <= MAX_KEY_CHARACTERS else None
    except (ValueError, RecursionError):
        return None
    kinds = (int, str, str, str, str, int)
    if not isinstance(key, list) or [type(part) for part in key] != list(kinds) or len(key) != len(KEY):
        return None
    is_sane = all(abs(part) < MAX_NUMBER if isinstance(part, int) else "\0" not in part for part in key)
    return tuple(key) if is_sane else None


async def _is_observed(visit: Visit, who: Administrator, domain: str) -> bool:
    """Whether it is being written down who gets in with the web password, but for what accounts say themselves."""
    if domain:
        details = await visit.ask(levels.domain, who, domain, now=visit.now)
        return any(view.policy != PolicyLevel.OPTIONAL for view in (details.view, details.site))
    site = await visit.ask(levels.site, who, now=visit.now)
    return bool(site.view.policy != PolicyLevel.OPTIONAL)


PAGES: tuple[Page, ...] = (
    Page(REPORT, Entry.MEMBER, administrators(show)),
    Page(FILE, Entry.MEMBER, administrators(download)),
)
