"""Setting up a second factor: beginning, and confirming that it works; by whoever is in, or must before he is.

Rule: the same two pages under both addresses. A secret is shown while its enrolment is open, and never again.
"""

from __future__ import annotations

from starlette.responses import Response

from mailauth.accounts import enrolment
from mailauth.accounts.enrolment import Bound
from mailauth.accounts.freshproof import Action, NotProven
from mailauth.accounts.portalsessions import Stage
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.steps import Question as Put
from mailauth.accounts.steps import Refusal, Wait
from mailauth.factors import telephone
from mailauth.portal import cookies
from mailauth.portal.guards import ENROL, Entry, Page
from mailauth.portal.pages import asking, ways_back
from mailauth.portal.pages.proof import gone
from mailauth.portal.pages.security import SECURITY
from mailauth.portal.pages.signin import enter, first_wanted
from mailauth.portal.visit import Visit

PLACE = "enrol"
TYPED = ("number", "name", "code", "credential")
STYLES = (("svg", "qr"), ("codes", "codes"), ("options", "passkey"), ("url", "way"))  # by what the factor shows


async def choose(visit: Visit) -> Response:
    """What can be set up; or, where it is too late for that, the administrator's code."""
    return await _choice(visit)


async def admit(visit: Visit) -> Response:
    """Judge the administrator's code."""
    if visit.me.stage is not Stage.CODE:
        return visit.go(ENROL)
    if await visit.ask(enrolment.admit, visit.me, visit.form.raw("code"), now=visit.now):
        return visit.go(ENROL)
    return await _choice(visit, 422, visit.text("enrol.code_wrong"))


async def _choice(visit: Visit, status: int = 200, problem: str = "") -> Response:
    needs_code = visit.me.stage is Stage.CODE
    until = None if needs_code else await visit.ask(enrolment.ends_at, visit.me, now=visit.now)
    kinds = [kind for kind, factor in visit.means.factors.items() if factor.nature.alone]
    return visit.page(
        "enrol_code" if needs_code else "enrol",
        status,
        kinds=kinds,
        at_once=asking.AT_ONCE,
        until=until,
        problem=problem,
    )


def _base(visit: Visit) -> str:
    return SECURITY if visit.me.stage is Stage.IN else ENROL


# ---- beginning


async def perform(visit: Visit, proof: str, action: Action) -> Response:
    """Begin, now that there is proof."""
    kind = str(action.params["factor"])
    if kind in asking.AT_ONCE:
        return await _begun(visit, kind, proof)
    return visit.go(f"{SECURITY}/{kind}/begin?proof={proof}")


async def show_begin(visit: Visit) -> Response:
    """What has to be known beforehand: a number, a name; also once more, for a form that was out of date."""
    if visit.stale:
        return _begin_page(visit, visit.path("kind"), 403, visit.text("errors.again_text"))
    return _begin_page(visit, visit.path("kind"))


async def begin(visit: Visit) -> Response:
    """Begin, with what was typed."""
    return await _begun(visit, visit.path("kind"), visit.form.raw("proof") or None)


async def _begun(visit: Visit, kind: str, proof: str | None) -> Response:
    question, given = visit.form.raw("question"), _typed(visit)
    if question and not given.get("number"):
        given["number"] = visit.house.jar.get(visit.request, cookies.NUMBER)
    options = {"token": proof, "question_id": question, "language": visit.language.code, "now": visit.now}
    try:
        said = await visit.settle(enrolment.begin, visit.me, kind, given, **options)
    except (NotProven, Refused):
        return await gone(visit, proof or "") if visit.me.stage is Stage.IN else visit.go(ENROL)
    if not isinstance(said, Put):
        status = 429 if isinstance(said, Wait) else 422
        return _begin_page(visit, kind, status, asking.refused(visit, kind, said))
    response = visit.go(f"{_base(visit)}/{kind}/confirm?question={said.id}&now=1")
    ways_back.remember(visit, response, said.id, PLACE)
    if given.get("number"):
        visit.house.jar.set(response, cookies.NUMBER, given["number"].encode("ascii", "ignore").decode()[:40])
    return response


def _begin_page(visit: Visit, kind: str, status: int = 200, problem: str = "") -> Response:
    factor = visit.means.factor(kind)
    numbers = getattr(factor, "numbers", ())  # of text messages; no other kind has any
    return visit.page(
        "factor_begin",
        status,
        kind=kind,
        base=_base(visit),
        needs_number=kind == asking.MOBILE,
        mainland_only=numbers == (telephone.MAINLAND_CHINA,),
        outside=factor.nature.outside,
        proof=visit.form.raw("proof") or visit.query("proof"),
        question=visit.form.raw("question") or visit.query("question"),
        typed=_typed(visit),
        problem=problem,
    )


# ---- confirming


async def show_confirm(visit: Visit) -> Response:
    """The secret, the field for the code, or the way to the provider; also for a form that was out of date."""
    problem = visit.text("errors.again_text") if visit.stale else ""
    return await _confirm_page(visit, visit.path("kind"), 403 if visit.stale else 200, problem)


async def confirm(visit: Visit) -> Response:
    """Judge the proof that it works."""
    kind, question = visit.path("kind"), visit.form.raw("question")
    return await _judged(visit, kind, _typed(visit), question)


async def came_back(visit: Visit, kind: str, given: dict[str, str], question: str) -> Response:
    """The answer of a provider to an enrolment."""
    return await _judged(visit, kind, given, question)


async def _judged(visit: Visit, kind: str, given: dict[str, str], question: str) -> Response:
    device = visit.house.jar.get(visit.request, cookies.DEVICE)
    options = {"question_id": question, "device": device, "now": visit.now}
    said = await visit.settle(enrolment.confirm, visit.me, kind, given, **options)
    if isinstance(said, Bound):
        return _done(visit, said)
    return await _refusal(visit, kind, said, question)


def _done(visit: Visit, bound: Bound) -> Response:
    if bound.signed_in is None:
        key = "security.codes_made" if bound.kind not in _alone(visit) else "security.added"
        response = visit.go(SECURITY, "security.added_mode_on" if bound.turned_on else key)
    else:
        response = visit.go(first_wanted(visit), "enrol.done")
        enter(visit, response, bound.signed_in)
    visit.house.jar.drop(response, cookies.NUMBER)
    return response


def _alone(visit: Visit) -> set[str]:
    return {kind for kind, factor in visit.means.factors.items() if factor.nature.alone}


async def _refusal(visit: Visit, kind: str, said: Refusal | Wait, question: str) -> Response:
    status = 429 if isinstance(said, Wait) else 422
    return await _confirm_page(visit, kind, status, asking.refused(visit, kind, said), question)


async def _confirm_page(visit: Visit, kind: str, status: int = 200, problem: str = "", question: str = "") -> Response:
    question = question or visit.form.raw("question") or visit.query("question")
    try:
        shown = await visit.ask(enrolment.question, visit.me, kind, question, now=visit.now)
    except NoSuch:  # confirmed, spent by a wrong answer, or too late
        return visit.page("factor_over", 410, kind=kind, base=_base(visit), problem=problem)
    asked = asking.Question(
        kind=kind,
        style=next((style for key, style in STYLES if key in shown), "code"),
        shown=shown,
        id=question,
    )
    return visit.page("factor_confirm", status, asked=asked, base=_base(visit), typed=_typed(visit), problem=problem)


def _typed(visit: Visit) -> dict[str, str]:
    return {name: visit.form.raw(name)[: asking.MAX_ANSWER_CHARACTERS] for name in TYPED if visit.form.has(name)}


PAGES = (
    Page(ENROL, Entry.DEMANDED, choose, admit),
    Page(ENROL + "/{kind}/begin", Entry.ENROLLING, show_begin, begin, again=show_begin),
    Page(ENROL + "/{kind}/confirm", Entry.ENROLLING, show_confirm, confirm, again=show_confirm),
    Page(SECURITY + "/{kind}/begin", Entry.MEMBER, show_begin, begin, again=show_begin),
    Page(SECURITY + "/{kind}/confirm", Entry.MEMBER, show_confirm, confirm, again=show_confirm),
)
