"""Fresh proof, on a page of its own: what is about to be done, and the way to show who one is; then it is done.

Rule: the act is carried out in the answer to the post that completes its proof, or by one more post after a proof given
elsewhere; never by a GET.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import assert_never

from starlette.responses import Response

from mailauth.accounts import freshproof, proving
from mailauth.accounts.freshproof import ENROLMENT_CODE, WEB_PASSWORD, Act, Action, NotProven
from mailauth.accounts.proving import NoProof, Proven
from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.steps import Question as Put
from mailauth.accounts.steps import Refusal, Wait
from mailauth.accounts.terms import MAX_LABEL_CHARACTERS
from mailauth.interfaces import WebMatch
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages import asking, ways_back
from mailauth.portal.pages.passwords import label_problem
from mailauth.portal.pages.signin import judged, noted
from mailauth.portal.visit import Visit

PROOF = "/proof"
SECURITY = "/security"
# Where who does not want it goes; else security.
BACK = {Act.APP_PASSWORD: "/passwords", Act.MODE_OFF: "/passwords", Act.ADMINISTRATION: "/admin/accounts"}
PLACE = "proof:"  # and the token, as ways_back has it

Perform = Callable[[Visit, str, Action], Awaitable[Response]]
PERFORM: dict[Act, Perform] = {}  # by act; filled in by `pages`, which knows all of them
Last = Callable[[Visit, str, Action, int, str], Response | None]
LAST: dict[Act, Last] = {}  # the same, of acts for which something is asked after the proof: its page, if it is missing
WORDS: dict[Act, Callable[[Visit, Action], str]] = {}  # the same, of acts that one sentence is not enough for


async def show(visit: Visit) -> Response:
    """What is to be proven, and how."""
    return await _page(visit)


async def again(visit: Visit) -> Response:
    """The same, for a form that was out of date."""
    return await _page(visit, 403, visit.text("errors.again_text"))


async def prove(visit: Visit) -> Response:
    """One step of the proof; and, when it is complete, the act."""
    try:
        return await _step(visit, visit.path("proof"), visit.form.text("way"))
    except (NoSuch, NotProven, NoProof):
        return await gone(visit, visit.path("proof"))


async def _step(visit: Visit, proof: str, way: str) -> Response:
    if visit.form.has("perform"):
        return await _performed(visit, proof)
    if visit.form.has("renew"):
        return visit.go(f"{PROOF}/{await _renewed(visit, proof)}")
    if _is_complete(await visit.ask(freshproof.action, visit.me, proof, now=visit.now)):
        return visit.go(f"{PROOF}/{proof}")  # proven in another tab, or the button was pressed twice
    if way == WEB_PASSWORD:
        return await _by_password(visit, proof)
    if way == ENROLMENT_CODE:
        code = visit.form.raw("code")
        if await visit.ask(proving.prove_by_code, visit.me, proof, code, now=visit.now):
            return await _performed(visit, proof)
        return await _page(visit, 422, visit.text("enrol.code_wrong"), way)
    if visit.form.has("send"):
        language = visit.language.code
        said = await visit.settle(proving.challenge, visit.me, proof, way, language=language, now=visit.now)
        if isinstance(said, Put):
            response = visit.go(asking.asked_at(f"{PROOF}/{proof}", said.id) + f"&way={way}")
            ways_back.remember(visit, response, said.id, PLACE + proof)
            return response
    else:
        question = visit.form.raw("question")
        given = asking.answer(visit)
        said = await visit.settle(proving.check, visit.me, proof, way, given, question_id=question, now=visit.now)
    if isinstance(said, Proven):
        return await _next(visit, proof)
    return await _refusal(visit, way, said)


async def _renewed(visit: Visit, proof: str) -> str:
    label = "" if label_problem(visit) else visit.form.text("label")
    try:
        return await visit.ask(freshproof.renew, visit.me, proof, label=label, now=visit.now)
    except NoSuch:  # not too late, or done
        return proof


async def _by_password(visit: Visit, proof: str) -> Response:
    match = await judged(visit, visit.me.login, visit.form.raw("password"))
    match match:
        case WebMatch():
            await visit.ask(proving.prove_by_password, visit.me, proof, match, now=visit.now)
            return await _next(visit, proof)
        case None:
            page = await _page(visit, 422, visit.text("reason.wrong_password"), WEB_PASSWORD)
            return noted(visit, page, visit.me.login)
        case float() | int():
            problem = visit.text("signin.wait", wait=visit.language.wait(match))
            return await _page(visit, 429, problem, WEB_PASSWORD)
        case _:
            assert_never(match)


async def came_back(visit: Visit, kind: str, given: dict[str, str], question: str, proof: str) -> Response:
    """The answer of a provider to a question that was put for an act."""
    try:
        said = await visit.settle(proving.check, visit.me, proof, kind, given, question_id=question, now=visit.now)
        if isinstance(said, Proven):
            return visit.go(f"{PROOF}/{proof}")
        return await _page(visit, 422, asking.refused(visit, kind, said), kind, proof)
    except (NoSuch, NotProven, NoProof):
        return await gone(visit, proof)


async def _next(visit: Visit, proof: str) -> Response:
    """On: to what else is needed, or to the act itself."""
    action = await visit.ask(freshproof.action, visit.me, proof, now=visit.now)
    return await _performed(visit, proof) if _is_complete(action) else visit.go(f"{PROOF}/{proof}")


def _is_complete(action: Action) -> bool:
    return action.is_proven and not action.needs_password


async def _performed(visit: Visit, proof: str) -> Response:
    action = await visit.ask(freshproof.action, visit.me, proof, now=visit.now)
    if not _is_complete(action):
        raise NotProven
    perform = PERFORM.get(action.kind)
    return await gone(visit, proof) if perform is None else await perform(visit, proof, action)


async def _refusal(visit: Visit, way: str, said: Refusal | Wait) -> Response:
    return await _page(visit, 429 if isinstance(said, Wait) else 422, asking.refused(visit, way, said), way)


async def _page(visit: Visit, status: int = 200, problem: str = "", way: str = "", proof: str = "") -> Response:
    proof = proof or visit.path("proof")
    try:
        action = await visit.ask(freshproof.action, visit.me, proof, now=visit.now)
    except NoSuch:
        return await gone(visit, proof)
    last = LAST.get(action.kind) if _is_complete(action) else None
    if last is not None and (page := last(visit, proof, action, status, problem)) is not None:
        return page
    way = way or visit.query("way")
    if action.needs_password and way not in action.ways:
        way = WEB_PASSWORD
    elif way not in action.ways:
        way = next(iter(action.ways), "")
    question = None
    if way and way not in {WEB_PASSWORD, ENROLMENT_CODE} and not action.is_proven:
        question = await asking.question(visit, way, proving.question, proof)
    return visit.page(
        "proof",
        status,
        action=action,
        act=act_text(visit, action),
        back=BACK.get(action.kind, SECURITY),
        way=way,
        question=question,
        problem=problem,
        address=f"{PROOF}/{proof}",
    )


def act_text(visit: Visit, action: Action) -> str:
    """What is about to be done, as a sentence."""
    words, params = WORDS.get(action.kind), action.params
    if words is not None:
        return visit.text(f"act.{action.kind}", what=words(visit, action))
    if action.kind is Act.APP_PASSWORD and not params.get("label"):
        return visit.text("act.unnamed")
    factor = str(params.get("factor") or params.get("kind") or "")
    named = visit.text(f"factor.{factor}") if visit.language.has(f"factor.{factor}") else factor
    return visit.text(f"act.{action.kind}", label=params.get("label", ""), factor=named)


async def gone(visit: Visit, proof: str) -> Response:
    """It is too late, or done: what was only too late can be begun once more, with all that was typed for it."""
    found = await visit.ask(freshproof.lapsed, visit.me, proof, now=visit.now)
    if found is None:
        return visit.page("proof_gone", 410, act=None)
    label = visit.form.text("label")
    if len(label) <= MAX_LABEL_CHARACTERS:  # given too late
        found = replace(found, params={"label": label, **found.params})
    return visit.page("proof_gone", 410, act=act_text(visit, found), label=label, address=f"{PROOF}/{proof}")


PAGES = (Page(PROOF + "/{proof}", Entry.MEMBER, show, prove, again),)
