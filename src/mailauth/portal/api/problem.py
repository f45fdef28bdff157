"""What the API says when it does not do what it was asked: problem details, of kinds that each have a name.

Source: RFC 9457 (problem details), RFC 6750 section 3 (WWW-Authenticate), RFC 9110 section 15. Rule: a fault of ours is
called one, and no text of a program's exception is passed on but those that are written for whoever administrates.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from mailauth.accounts.administration import Denied
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.roles import Denial
from mailauth.interfaces import BadRecord, HashUnavailable, PoolBusy, StoreUnavailable
from mailauth.store.faults import Clash, CommitUnknown
from mailauth.store.highwater import StoreBehind

ROOT = "/api"
MEDIA_TYPE = "application/problem+json"
PREFIX = "/api/v1/problems/"
RETRY_S = 30
HINT = re.compile(
    r" \(--[^)]*\)|[;:,]?(?: or)?[^;:,(]*(?:`mailauth |--)[^;:,]*"
)  # what a text says of the command line

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem. about: what it means and what to do, for whoever writes a program."""

    name: str
    status: int
    title: str
    about: str


KINDS = {
    kind.name: kind
    for kind in (
        Kind("malformed", 400, "The request cannot be read", "It is no JSON, or breaks a rule of JSON or HTTP."),
        Kind("no-token", 401, "A token is needed", "Send it as `Authorization: Bearer TOKEN`."),
        Kind("bad-token", 401, "The token is not good", "It is wrong, revoked, over, or its account is switched off."),
        Kind("scope", 403, "The token is not for this", "`scope` says which scope it would need."),
        Kind("denied", 403, "The account may not do this", "`denial` says why: its role, or whom it is about."),
        Kind("foreign", 403, "A page of another site asks", "The API is not for scripts of web pages."),
        Kind("not-found", 404, "There is no such thing", "It is not there, or not any more."),
        Kind("method", 405, "This cannot be done to it", "The header `Allow` says what can."),
        Kind(
            "conflict",
            409,
            "This cannot be done now",
            "`reason` says why, if there is a word for it. Nothing is changed.",
        ),
        Kind("clash", 409, "Somebody else was quicker", "Nothing was changed. Look how it stands, and try again."),
        Kind("too-long", 413, "The request is too long", "A body has 64 KiB at most."),
        Kind("not-json", 415, "The body is not JSON", "Send it as `Content-Type: application/json`, in UTF-8."),
        Kind(
            "misdirected",
            421,
            "The portal is elsewhere",
            "Use the address that the portal has, and HTTPS where it does.",
        ),
        Kind(
            "invalid", 422, "A value is not what is expected", "`errors` names each value, and says what is expected."
        ),
        Kind("throttled", 429, "Too many wrong tokens", "Wait as the header `Retry-After` says."),
        Kind("bug", 500, "Something went wrong here", "It is our fault, and has been written down."),
        Kind("unavailable", 503, "Not available now", "Nothing was changed. Try again as `Retry-After` says."),
        Kind("unknown", 503, "Nobody can say whether it was done", "Look how it stands before you try again."),
    )
}


class Problem(Exception):
    """An answer that is a problem. detail: of this one case. more: further members; headers: of the answer."""

    def __init__(self, name: str, detail: str = "", *, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(name)
        self.kind = KINDS[name]
        self.detail = detail
        self.headers = headers or {}
        self.more = more

    def response(self) -> Response:
        """The answer."""
        kind = self.kind
        told = {
            "type": PREFIX + kind.name,
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail or kind.about,
        }
        content = json.dumps(told | self.more, ensure_ascii=False).encode()
        return Response(content, kind.status, headers=dict(self.headers), media_type=MEDIA_TYPE)


@dataclass(slots=True)
class Errors:
    """What is wrong with the values of a request, all of it. place: body, query or path."""

    place: str
    found: list[dict[str, str]] = field(default_factory=list)

    def add(self, name: str, detail: str) -> None:
        """This value is not what is expected."""
        self.found.append({"in": self.place, "name": name[:100], "detail": detail})

    def end(self) -> None:
        """Raise Problem if there was any."""
        if self.found:
            raise Problem("invalid", f"{self.found[0]['name']}: {self.found[0]['detail']}", errors=self.found)


def is_api(path: str) -> bool:
    """Whether this is an address of the API, so that what is the matter is told in its way."""
    return path.startswith(f"{ROOT}/")


def no_token() -> Problem:
    """Nobody said who asks."""
    return Problem("no-token", headers={"www-authenticate": 'Bearer realm="mailauth"'})


def bad_token() -> Problem:
    """Who was said to ask is nobody."""
    return Problem("bad-token", headers={"www-authenticate": 'Bearer realm="mailauth", error="invalid_token"'})


def out_of_scope(scope: str) -> Problem:
    """The token is not for this. scope: that it would need."""
    told = f'Bearer realm="mailauth", error="insufficient_scope", scope="{scope}"'
    return Problem(
        "scope", f"this takes a token with the scope {scope}", headers={"www-authenticate": told}, scope=scope
    )


def throttled(wait_s: float) -> Problem:
    """Too many wrong tokens came from there."""
    return Problem("throttled", headers={"retry-after": str(math.ceil(wait_s))})


AS_PROBLEMS = (NoSuch, Refused, Denied, Clash, StoreUnavailable, BadRecord, HashUnavailable, PoolBusy, StoreBehind)


def problem_of(fault: Exception) -> Problem:
    """What one of these is to whoever asks."""
    match fault:
        case NoSuch():
            return Problem("not-found", without_hint(str(fault)))
        case Refused() if fault.why in list(Denial):
            return Problem("denied", without_hint(str(fault)), denial=fault.why)
        case Refused():
            return Problem("conflict", without_hint(str(fault)), **_reason(fault))
        case Denied():
            return Problem("denied", denial=str(fault.why))
        case Clash():
            return Problem("clash")
        case _:
            log.error("the API could not answer: %s: %s", type(fault).__name__, fault)
            name = "unknown" if isinstance(fault, CommitUnknown) else "unavailable"
            return Problem(name, headers={"retry-after": str(RETRY_S)})


def _reason(fault: Refused) -> dict[str, Any]:
    return {"reason": fault.why} if fault.why else {}


def without_hint(text: str) -> str:
    """A text of the use cases without what it says of the command line."""
    return HINT.sub("", text).strip() or text
