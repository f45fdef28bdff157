"""The switch "client passwords only".

Rule: on takes a confirmation, off a fresh proof; locked is locked, whatever a form says.
"""

from __future__ import annotations

from starlette.responses import Response

from mailauth.accounts import clientpasswords
from mailauth.accounts.freshproof import Action
from mailauth.accounts.overview import overview
from mailauth.accounts.refusals import Refused
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.closing import went
from mailauth.portal.pages.passwords import PASSWORDS, advice_texts, by_web_password, lock_text
from mailauth.portal.pages.proof import PROOF
from mailauth.portal.visit import Visit
from mailauth.store.changes import Effect

MODE = "/mode"


async def show(visit: Visit) -> Response:
    """What switching it would mean."""
    return await _page(visit)


async def switch(visit: Visit) -> Response:
    """Switch it on; or begin the proof for switching it off."""
    if visit.form.text("mode") == "on":
        effect = Effect()
        await visit.ask(clientpasswords.turn_on, visit.me, now=visit.now, effect=effect)
        return went(visit, PASSWORDS, effect, "mode.is_on")
    try:
        wanted = visit.form.has("delete_all")
        proof = await visit.ask(clientpasswords.ask_to_turn_off, visit.me, delete_all=wanted, now=visit.now)
    except Refused:  # locked by policy
        return await _page(visit, 409)
    return visit.go(f"{PROOF}/{proof}")


async def perform(visit: Visit, proof: str, action: Action) -> Response:  # noqa: ARG001  its terms are with the proof
    """Switch it off."""
    effect = Effect()
    try:
        await visit.ask(clientpasswords.turn_off, visit.me, proof, now=visit.now, effect=effect)
    except Refused:
        return visit.go(PASSWORDS, "mode.locked")
    return went(visit, PASSWORDS, effect, "mode.is_off")


async def _page(visit: Visit, status: int = 200) -> Response:
    has = await visit.ask(overview, visit.me, now=visit.now)
    return visit.page(
        "mode",
        status,
        mode_on=visit.me.client_passwords_only,
        locked=lock_text(visit.me.locked_by),
        count=len(has.listed),
        advice=advice_texts(visit, by_web_password(has.advice)),
        delete_all=visit.form.has("delete_all"),
    )


PAGES = (Page(MODE, Entry.MEMBER, show, switch),)
