"""The second step of signing in: which way, having a code sent, and the answer.

Rule: until it is right, these pages are all that opens.
"""

from __future__ import annotations

from starlette.responses import Response

from mailauth.accounts import secondfactor
from mailauth.accounts.signin import SignedIn
from mailauth.accounts.steps import Question as Put
from mailauth.accounts.steps import Refusal, Wait
from mailauth.portal import cookies
from mailauth.portal.guards import SECOND, Entry, Page
from mailauth.portal.pages import asking, ways_back
from mailauth.portal.pages.signin import enter, with_next
from mailauth.portal.visit import Visit, local

PLACE = "sign-in"


async def choose(visit: Visit) -> Response:
    """The ways there are; if nobody asked for all of them, the first at once."""
    ways = await visit.ask(secondfactor.ways, visit.me, now=visit.now)
    wanted = local(visit.query("next"))
    if ways and not visit.query("all"):
        return visit.go(with_next(f"{SECOND}/{ways[0]}", wanted))
    return visit.page("second_choose", ways=ways, next=wanted)


async def show(visit: Visit) -> Response:
    """One way."""
    return await _page(visit)


async def again(visit: Visit) -> Response:
    """The same, for a form that was out of date."""
    return await _page(visit, 403, visit.text("errors.again_text"))


async def answer(visit: Visit) -> Response:
    """Have a code sent or a question put; or judge the answer."""
    kind = visit.path("kind")
    wanted = local(visit.form.raw("next"))
    if visit.form.has("send"):
        use = secondfactor.challenge
        said = await visit.settle(use, visit.me, kind, language=visit.language.code, now=visit.now)
        if isinstance(said, Put):
            path = asking.asked_at(f"{SECOND}/{kind}", said.id)
            response = visit.go(path if wanted == "/" else f"{path}&next={wanted}")
            ways_back.remember(visit, response, said.id, PLACE)
            return response
    else:
        said = await judged(visit, kind, asking.answer(visit), visit.form.raw("question"))
    if isinstance(said, SignedIn):
        return entered(visit, said, wanted)
    return await refusal(visit, kind, said)


async def judged(visit: Visit, kind: str, given: dict[str, str], question_id: str) -> SignedIn | Refusal | Wait:
    """What an answer comes to."""
    device = visit.house.jar.get(visit.request, cookies.DEVICE)
    options = {"question_id": question_id, "device": device, "now": visit.now}
    said: SignedIn | Refusal | Wait = await visit.settle(secondfactor.check, visit.me, kind, given, **options)
    return said


def entered(visit: Visit, opened: SignedIn, wanted: str) -> Response:
    """Signed in: on to where somebody wanted to go."""
    response = visit.go(wanted)
    enter(visit, response, opened)
    return response


async def refusal(visit: Visit, kind: str, said: Refusal | Wait) -> Response:
    """The page once more, with what was wrong."""
    return await _page(visit, 429 if isinstance(said, Wait) else 422, asking.refused(visit, kind, said), kind)


async def _page(visit: Visit, status: int = 200, problem: str = "", kind: str = "") -> Response:
    kind = kind or visit.path("kind")
    ways = await visit.ask(secondfactor.ways, visit.me, now=visit.now)
    if kind not in ways:
        return visit.go(f"{SECOND}?all=1")
    question = await asking.question(visit, kind, secondfactor.question)
    wanted = local(visit.form.raw("next") or visit.query("next"))
    return visit.page("second", status, question=question, problem=problem, ways=ways, next=wanted)


PAGES = (
    Page(SECOND, Entry.SECOND, choose),
    Page(SECOND + "/{kind}", Entry.SECOND, show, answer, again),
)
