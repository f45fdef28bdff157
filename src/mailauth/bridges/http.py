"""A JSON call for everything that has no protocol of its own: an attempt in, a verdict out.

Source: RFC 8259, RFC 9110, RFC 6750; described in OpenAPI 3.1 at /openapi.json. Rule: the status says what the body
says, so that a caller who looks at one of them only is right: 200 accepted, 403 refused, 503 not judged. Everything
else (400, 401, 404, 405, 413) is a caller's mistake, and no answer about a password.
"""

# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, assert_never

from mailauth.attempt import MAX_CLIENT_CHARS, Credential
from mailauth.bridges import http_openapi
from mailauth.bridges.bridge import NOT_SERVED, Terms
from mailauth.bridges.http1 import Malformed, Reply, Request, json_reply
from mailauth.bridges.http_dialogue import IDLE_S, WRONG_TOKEN, Answer, HttpDialogue, Question, bearer, require_token
from mailauth.dialogue import BridgeDialogue
from mailauth.factors.section import option, read
from mailauth.verdict import Accept, Defer, Outcome, Reject

CALL, DESCRIPTION = "/v1/authenticate", "/openapi.json"
TEXTS = ("login", "password", "service", "client_address", "client_name", "authzid")
REQUIRED = {"login", "password", "service"}
REFUSED = "Authentication failed."
WRONG = {
    400: "this is not the JSON object that /openapi.json describes",
    401: "show the token of this bridge: Authorization: Bearer TOKEN",
    404: "there is nothing here; see /openapi.json",
    405: "this is not asked so; see /openapi.json",
}


@dataclass(frozen=True, slots=True)
class Http:
    """The bridge, and the keys of its [[bridge]] that are its own."""

    terms: Terms = option(doc="", wired=True)
    host_waits: bool = option(
        False, doc="whether the caller keeps a refused client waiting; otherwise the answer is held back"
    )
    silence_s: ClassVar[float | None] = IDLE_S

    def dialogue(self) -> BridgeDialogue:
        return HttpDialogue(self.ask, wrong)

    def ask(self, request: Request) -> Answer:
        """The answer to one request. Raises Malformed."""
        if request.path == DESCRIPTION:
            return json_reply(200, http_openapi.DESCRIPTION) if request.method == b"GET" else wrong(405)
        if request.path != CALL:
            return wrong(404)
        if request.method != b"POST":
            return wrong(405)
        if self.terms.admits is None or not self.terms.admits(bearer(request)):
            return wrong(401).warned(WRONG_TOKEN)
        said = attempt_said(request)
        service = self.terms.service(str(said["service"]))
        if service is None:
            return later({}).warned(NOT_SERVED)
        name = "".join(c for c in str(said["client_name"])[:MAX_CLIENT_CHARS] if c.isprintable())
        credential = Credential(str(said["login"]), str(said["password"]), str(said["authzid"]))
        tls = said["tls"] is True
        attempt = self.terms.attempt(credential, service, str(said["client_address"]), tls=tls, name=name)
        return Question(attempt, lambda outcome: spelt(outcome, self.terms.help_line))


def attempt_said(request: Request) -> dict[str, object]:
    """The attempt in the body, with what may be left out filled in. Raises Malformed."""
    said = request.json()
    if not REQUIRED <= said.keys() <= {*TEXTS, "tls"}:
        raise Malformed
    whole = {**dict.fromkeys(TEXTS, ""), "tls": False, **said}
    if type(whole["tls"]) is not bool or not all(type(whole[name]) is str for name in TEXTS):
        raise Malformed
    return whole


def spelt(outcome: Outcome, help_line: str) -> Reply:
    """A verdict. Why somebody was refused is for the audit log: the caller has one text to show for all of it."""
    match outcome:
        case Accept(principal):
            who = {"login": principal.login, "app_password": principal.credential_id}
            return json_reply(200, {"verdict": "accept", **who})
        case Reject():
            text = f"{REFUSED} {help_line}" if help_line else REFUSED
            return json_reply(403, {"verdict": "reject", "text": text})
        case Defer(_, retry_after_s):
            return later({} if retry_after_s is None else {"retry_after_s": math.ceil(retry_after_s)})
        case _:
            assert_never(outcome)


def later(wait: Mapping[str, int]) -> Reply:
    """Not judged."""
    fields = [(b"Retry-After", b"%d" % seconds) for seconds in wait.values()]
    return json_reply(503, {"verdict": "defer", **wait}, fields)


def wrong(status: int) -> Reply:
    """A caller's mistake."""
    fields = [(b"WWW-Authenticate", b"Bearer")] if status == 401 else []
    return json_reply(
        status, {"error": WRONG.get(status, "this cannot be read as an HTTP request of one call")}, fields
    )


def build(section: Mapping[str, object]) -> Http:
    """The plug-in's entry. Raises BadSection."""
    bridge: Http = read(Http, section)
    require_token(bridge.terms)
    return bridge
