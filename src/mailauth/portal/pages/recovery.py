"""The recovery address: where the owner is told of changes, and gets a reset link.

Rule: whoever reads mail there can set the web password, so another one takes a fresh proof.
"""

from __future__ import annotations

from starlette.responses import Response

from mailauth.accounts import recovery
from mailauth.accounts.freshproof import Action
from mailauth.accounts.refusals import Refused
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.proof import PROOF
from mailauth.portal.pages.security import SECURITY
from mailauth.portal.visit import Visit

ADDRESS = SECURITY + "/recovery-address"


async def show(visit: Visit) -> Response:
    """The form; also once more, for one that was out of date."""
    present = await visit.ask(recovery.shown, visit.me)
    typed = visit.form.text("address") if visit.stale else present or ""
    return visit.page("recovery_address", 403 if visit.stale else 200, typed=typed, error="", stale=visit.stale)


async def ask(visit: Visit) -> Response:
    """Begin the proof for another one, or for none."""
    typed = visit.form.text("address")
    try:
        proof = await visit.ask(recovery.ask_to_set, visit.me, typed or None, now=visit.now)
    except Refused:  # no address, or the account's own
        error = visit.text("security.recovery_bad")
        return visit.page("recovery_address", 422, typed=typed, error=error, stale=False)
    return visit.go(f"{PROOF}/{proof}")


async def perform(visit: Visit, proof: str, action: Action) -> Response:
    """Write it."""
    await visit.ask(recovery.set_own, visit.me, proof, now=visit.now)
    is_set = bool(action.params["address"])
    return visit.go(SECURITY, "security.recovery_set" if is_set else "security.recovery_gone")


PAGES = (Page(ADDRESS, Entry.MEMBER, show, ask, again=show),)
