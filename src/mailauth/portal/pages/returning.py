"""Where a provider sends the browser back to: one address for each kind of factor, whatever was asked there for.

Rule: the only GET that changes anything. It counts only with an open question of this very session, once.
"""

from __future__ import annotations

from starlette.responses import Response

from mailauth.accounts.portalsessions import Stage
from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.signin import SignedIn
from mailauth.portal import failures
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages import enrol, proof, second, ways_back
from mailauth.portal.pages.signin import first_wanted
from mailauth.portal.visit import Visit

RETURN = "/return"


async def came_back(visit: Visit) -> Response:
    """To whoever asked."""
    kind, given = visit.path("kind"), ways_back.answer(visit)
    question = given.get("state", "")
    place, stage = ways_back.place_of(visit, question), visit.me.stage
    try:
        if stage is Stage.PASSWORD and place == second.PLACE:
            said = await second.judged(visit, kind, given, question)
            return (
                second.entered(visit, said, first_wanted(visit))
                if isinstance(said, SignedIn)
                else await second.refusal(visit, kind, said)
            )
        if place == enrol.PLACE:
            return await enrol.came_back(visit, kind, given, question)
        if place.startswith(proof.PLACE):
            return await proof.came_back(visit, kind, given, question, place.removeprefix(proof.PLACE))
    except NoSuch:
        pass  # a kind that is not offered, or not bound: nobody was sent there
    return failures.page(visit, failures.STALE)


PAGES = (Page(RETURN + "/{kind}", Entry.STARTED, came_back),)
