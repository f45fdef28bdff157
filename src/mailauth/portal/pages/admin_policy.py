"""The two demands that stop mail programs with the web password: the policy, and a second factor for everybody.

Rule: nobody comes to `enforced` without having been told whom it stops. Where nothing has been observed yet, the page
leads through `observe`; a date of enforcement leaves people the time to change their programs.
"""

from __future__ import annotations

from urllib.parse import urlencode

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import observations, overseeing
from mailauth.accounts.administration import Administrator
from mailauth.accounts.overseeing import Report
from mailauth.accounts.roles import Role
from mailauth.interfaces import PolicyLevel
from mailauth.portal.guards import Page
from mailauth.portal.pages.admin_entry import REPORT, asked, page, permit
from mailauth.portal.pages.admin_levels import (
    Kind,
    Level,
    day_of,
    day_problem,
    level_of,
    pages,
    start_change,
)
from mailauth.portal.visit import Visit
from mailauth.store.observations import Kind as Seen
from mailauth.store.upkeep import DAY_S

REPORT_DAYS = 30
SHOWN_ROWS = 10


# ---- the policy


async def show_policy(kind: Kind, visit: Visit, who: Administrator) -> Response:
    """The form; also once more, for one that was out of date."""
    level = await _permitted(kind, visit, who)
    if visit.stale:
        return await _policy_page(visit, who, level, 403, visit.text("errors.stale_text"))
    return await _policy_page(visit, who, level)


async def set_policy(kind: Kind, visit: Visit, who: Administrator) -> Response:
    """Begin the proof, unless there is something to be said first."""
    level = await _permitted(kind, visit, who)
    policy, day = visit.form.text("instead") or visit.form.text("policy"), visit.form.text("day")
    if policy not in list(PolicyLevel):
        return await _policy_page(visit, who, level, 422, visit.text("admin_policy.missing"))
    if policy != PolicyLevel.ENFORCED:
        day = ""
    if problem := day_problem(visit, day):
        return await _policy_page(visit, who, level, 422, day_error=problem)
    if (policy, day) == (level.view.policy, day_of(visit, level.view.enforce_from)):
        return visit.go(level.at, "admin.nothing_changed")
    if policy == PolicyLevel.ENFORCED and not day and not visit.form.has("anyway"):
        report = await _report(visit, who, level)
        if not level.is_observed or report.programs:
            return await _policy_page(visit, who, level, 409, stops=True)
    change = {"policy": policy, **start_change(visit, day)}
    response, problem = await asked(visit, level.verb, level.name, change)
    return response or await _policy_page(visit, who, level, 409, problem)


async def _policy_page(
    visit: Visit,
    who: Administrator,
    level: Level,
    status: int = 200,
    problem: Markup | str = "",
    *,
    day_error: Markup | str = "",
    stops: bool = False,
) -> Response:
    """stops: what would stop is to be agreed to first."""
    sent = visit.request.method == "POST"
    chosen = visit.form.text("policy") if sent else visit.query("policy") or level.view.policy
    day = visit.form.text("day") if sent else day_of(visit, level.view.enforce_from)
    return page(
        visit,
        "admin_policy",
        level.tab,
        status,
        level=level,
        policies=list(PolicyLevel),
        chosen=chosen,
        day=day,
        problem=problem,
        day_error=day_error,
        stops=stops,
        report=await _report(visit, who, level),
        report_at=report_at(visit, level),
        days=REPORT_DAYS,
    )


# ---- the second factor


async def show_second(kind: Kind, visit: Visit, who: Administrator) -> Response:
    """The form; also once more, for one that was out of date."""
    level = await _permitted(kind, visit, who)
    if visit.stale:
        return await _second_page(visit, who, level, 403, visit.text("errors.stale_text"))
    return await _second_page(visit, who, level)


async def set_second(kind: Kind, visit: Visit, who: Administrator) -> Response:
    """Begin the proof, unless there is something to be said first."""
    level = await _permitted(kind, visit, who)
    is_wanted = visit.form.has("demand")
    day = visit.form.text("day") if is_wanted else ""
    if problem := day_problem(visit, day):
        return await _second_page(visit, who, level, 422, day_error=problem)
    if (is_wanted, day) == (level.view.two_factor, day_of(visit, level.view.two_factor_from)):
        return visit.go(level.at, "admin.nothing_changed")
    if is_wanted and not day and not visit.form.has("anyway"):
        return await _second_page(visit, who, level, 409, stops=True)
    response, problem = await asked(
        visit, level.verb, level.name, {"two_factor": is_wanted, **start_change(visit, day)}
    )
    return response or await _second_page(visit, who, level, 409, problem)


async def _second_page(
    visit: Visit,
    who: Administrator,
    level: Level,
    status: int = 200,
    problem: Markup | str = "",
    *,
    day_error: Markup | str = "",
    stops: bool = False,
) -> Response:
    sent = visit.request.method == "POST"
    return page(
        visit,
        "admin_second",
        level.tab,
        status,
        level=level,
        is_wanted=visit.form.has("demand") if sent else level.view.two_factor,
        day=visit.form.text("day") if sent else day_of(visit, level.view.two_factor_from),
        problem=problem,
        day_error=day_error,
        stops=stops,
        report=await _report(visit, who, level),
        report_at=report_at(visit, level),
        days=REPORT_DAYS,
        enrolment_days=round(visit.means.rules.enrolment_days),
    )


# ---- what both stop


async def _permitted(kind: Kind, visit: Visit, who: Administrator) -> Level:
    level = await level_of(kind, visit, who)
    await permit(visit, who, level.verb, level.name)
    return level


async def _report(visit: Visit, who: Administrator, level: Level) -> Report:
    """The programs that would stop here, the first of them as rows."""
    since = visit.now - REPORT_DAYS * DAY_S
    if level.kind is Kind.ACCOUNT:
        seen = await visit.look(observations.observed, level.name)
        rows = tuple([view for view in seen if view.kind is Seen.WOULD_BREAK and view.last_at >= since])
        return Report(rows[:SHOWN_ROWS], None, len(rows), 1 if rows else 0, is_more=False)
    return await visit.ask(overseeing.report, who, level.name, since=since, limit=SHOWN_ROWS, now=visit.now)


def report_at(visit: Visit, level: Level) -> str:
    """The address of the whole of it; "": there is none, or not for who asks."""
    match level.kind:
        case Kind.DOMAIN:
            return f"{REPORT}?{urlencode({'domain': level.name})}"
        case Kind.SITE:
            return REPORT if visit.me.role != Role.DOMAIN_ADMIN else ""
        case _:
            return ""


PAGES: tuple[Page, ...] = (*pages("/policy", show_policy, set_policy), *pages("/second-step", show_second, set_second))
