"""The way back from a provider: one address for all, and what each browser remembers of where it was sent from.

Source: RFC 6749 section 10.12. Rule: what is remembered here only finds the page again; that the answer belongs to this
session, and to what was asked, is judged by the factor.
"""

from __future__ import annotations

import base64
import json

from starlette.responses import Response

from mailauth.portal import cookies
from mailauth.portal.visit import Visit

MOST_REMEMBERED = 4
MAX_COOKIE_BYTES = 2048
MAX_FIELDS = 20
MAX_VALUE_CHARACTERS = 2048


def remember(visit: Visit, response: Response, question: str, place: str) -> None:
    """Have the browser know that this question was put at this place."""
    if question:
        kept = dict(list(_remembered(visit).items())[-(MOST_REMEMBERED - 1) :]) | {question: place}
        text = base64.urlsafe_b64encode(json.dumps(kept).encode()).decode()
        visit.house.jar.set(response, cookies.WAYS, text)


def place_of(visit: Visit, question: str) -> str:
    """Where this question was put, as far as this browser knows; "": nowhere."""
    return _remembered(visit).get(question, "") if question else ""


def answer(visit: Visit) -> dict[str, str]:
    """What the provider sent along."""
    items = list(visit.request.query_params.items())[:MAX_FIELDS]
    return {name: value[:MAX_VALUE_CHARACTERS] for name, value in items}


def _remembered(visit: Visit) -> dict[str, str]:
    try:
        text = visit.house.jar.get(visit.request, cookies.WAYS)[:MAX_COOKIE_BYTES]
        kept = json.loads(base64.urlsafe_b64decode(text))
        return {str(question): str(place) for question, place in kept.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
