"""What is said when a page cannot be had: in both languages, with what to do, and never in a program's own words.

Source: RFC 9110 section 15. Rule: a fault of ours is called one, and nothing that was typed a wrong password.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.interfaces import BadRecord, HashUnavailable, PoolBusy, SourceUnavailable, StoreUnavailable
from mailauth.portal.forms import BadForm, TooLong
from mailauth.portal.house import House
from mailauth.portal.visit import Visit, arrived
from mailauth.store.faults import Clash, CommitUnknown
from mailauth.store.highwater import StoreBehind

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """One kind. key: of the group `errors` of the texts."""

    status: int
    key: str
    headers: dict[str, str] = field(default_factory=dict)


NOT_FOUND = Failure(404, "not_found")
FORBIDDEN = Failure(403, "forbidden")
STALE = Failure(403, "stale")
BAD_REQUEST = Failure(400, "bad_request")
METHOD = Failure(405, "method")
TOO_LONG = Failure(413, "too_long")
CONFLICT = Failure(409, "conflict")
BUG = Failure(500, "bug")
UNAVAILABLE = Failure(503, "unavailable", {"retry-after": "30"})
UNKNOWN = Failure(503, "unknown", {"retry-after": "30"})

BY_STATUS = {failure.status: failure for failure in (NOT_FOUND, FORBIDDEN, BAD_REQUEST, METHOD, TOO_LONG)}
BY_EXCEPTION: dict[type[Exception], Failure] = {
    StoreUnavailable: UNAVAILABLE,
    CommitUnknown: UNKNOWN,
    PoolBusy: UNAVAILABLE,
    SourceUnavailable: UNAVAILABLE,
    HashUnavailable: UNAVAILABLE,
    BadRecord: UNAVAILABLE,
    StoreBehind: UNAVAILABLE,
    Clash: CONFLICT,
    NoSuch: NOT_FOUND,
    Refused: CONFLICT,  # a page asks beforehand; here somebody was quicker
    TooLong: TOO_LONG,
    BadForm: BAD_REQUEST,
}


def note(fault: Exception) -> None:
    """Tell the operator of a fault; its text holds no value of anybody's."""
    log.error("a page could not be made: %s: %s", type(fault).__name__, fault)


def page(visit: Visit, failure: Failure) -> Response:
    """The page that says so."""
    text = visit.text(f"errors.{failure.key}_text")
    response = visit.page("error", failure.status, key=failure.key, text=text, back="/")
    response.headers.update(failure.headers)
    return response


def handlers(house: House) -> dict[Any, Any]:
    """As Starlette takes them: by status, and by class of exception."""

    def visit(request: Request) -> Visit:
        there = getattr(request.state, "visit", None)
        return there if isinstance(there, Visit) else arrived(house, request)

    async def raised(request: Request, fault: Exception) -> Response:
        failure = next(BY_EXCEPTION[kind] for kind in type(fault).__mro__ if kind in BY_EXCEPTION)
        if failure.status == UNAVAILABLE.status:
            note(fault)
        return page(visit(request), failure)

    async def answered(request: Request, fault: Exception) -> Response:
        status = fault.status_code if isinstance(fault, HTTPException) else BUG.status
        return page(visit(request), BY_STATUS.get(status, BUG))

    async def broken(request: Request, fault: Exception) -> Response:  # noqa: ARG001  the log has it
        return page(visit(request), BUG)

    return {**dict.fromkeys(BY_EXCEPTION, raised), HTTPException: answered, 500: broken}
