"""All that is kept about an account and its owner, as a file for him.

Source: GDPR articles 15 and 20, PIPL article 45. Rule: it takes a fresh proof, and nothing in it opens anything.
"""

from __future__ import annotations

import json

from starlette.responses import Response

from mailauth.accounts import erasure
from mailauth.accounts.freshproof import Action
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.proof import PROOF
from mailauth.portal.pages.security import SECURITY
from mailauth.portal.visit import Visit

DATA = SECURITY + "/data"
ATTACHED = {"content-disposition": 'attachment; filename="account-data.json"'}


async def show(visit: Visit) -> Response:
    """What there is."""
    return visit.page("personal")


async def ask(visit: Visit) -> Response:
    """Begin the proof."""
    return visit.go(f"{PROOF}/{await visit.ask(erasure.ask_to_export, visit.me, now=visit.now)}")


async def perform(visit: Visit, proof: str, action: Action) -> Response:  # noqa: ARG001  it has no terms
    """The file."""
    told = await visit.ask(erasure.export_own, visit.me, proof, now=visit.now)
    text = json.dumps(told, ensure_ascii=False, indent=2)
    return Response(text + "\n", media_type="application/json", headers=ATTACHED)


PAGES = (Page(DATA, Entry.MEMBER, show, ask),)
