"""Where the Lua script for Dovecot asks that is shipped beside this file (dovecot.lua): a form in, one word out.

Rule: a verdict is a line `result=WORD` of an answer with status 200, in an alphabet that needs no decoding; whatever
else the script gets, it takes for "not now".
"""

# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, assert_never

from mailauth.attempt import MAX_CLIENT_CHARS, Credential
from mailauth.bridges.bridge import (
    NOT_SERVED,
    Terms,
    doveadm_key_option,
    doveadm_url_option,
    kick_by_option,
    require_key,
)
from mailauth.bridges.http1 import Reply, Request
from mailauth.bridges.http_dialogue import IDLE_S, WRONG_TOKEN, Answer, HttpDialogue, Question, bearer, require_token
from mailauth.dialogue import BridgeDialogue
from mailauth.factors.section import option, read
from mailauth.verdict import Accept, Defer, Outcome, Reason, Reject

PATH = "/login"
WEB = "web"  # in place of an app password's id
SWITCHED_OFF = {Reason.DISABLED, Reason.DOMAIN_DISABLED, Reason.CLIENT_LOGON_OFF, Reason.SERVICE_OFF, Reason.SUSPENDED}


@dataclass(frozen=True, slots=True)
class DovecotLua:
    """The bridge, and the keys of its [[bridge]] that are its own."""

    terms: Terms = option(doc="", wired=True)
    doveadm_url: str = doveadm_url_option()
    doveadm_key: Any = doveadm_key_option()
    kick_by: str = kick_by_option()
    host_waits: ClassVar[bool] = True  # auth_failure_delay
    silence_s: ClassVar[float | None] = IDLE_S

    def dialogue(self) -> BridgeDialogue:
        return HttpDialogue(self.ask)

    def ask(self, request: Request) -> Answer:
        """The answer to one request. Raises Malformed."""
        if request.path != PATH or request.method != b"POST":
            return Reply(404)
        if self.terms.admits is None or not self.terms.admits(bearer(request)):
            return Reply(401).warned(WRONG_TOKEN)
        said = request.form()
        service = self.terms.service(said.get("service", ""))
        if service is None:
            return LATER.warned(NOT_SERVED)
        credential = Credential(said.get("user", ""), said.get("password", ""))
        name = "".join(c for c in said.get("client_id", "")[:MAX_CLIENT_CHARS] if c.isprintable())
        tls = said.get("secured", "").lower() == "tls"
        return Question(self.terms.attempt(credential, service, said.get("rip", ""), tls=tls, name=name), spelt)


def result(word: str, **fields: str) -> Reply:
    """One answer. fields: of the passdb, names and values without line ends."""
    lines = [f"result={word}", *[f"{name}={value}" for name, value in fields.items()]]
    return Reply(body="\n".join(lines).encode() + b"\n")


LATER = result("later")


def spelt(outcome: Outcome) -> Reply:
    """A verdict. user: the login by its one spelling; user_app: so that doveadm 2.4 can kick one device."""
    match outcome:
        case Accept(principal):
            app = WEB if principal.credential_id is None else str(principal.credential_id)
            return result("ok", user=principal.login, user_app=app)
        case Reject(Reason.EXPIRED):
            return result("expired")
        case Reject(reason):
            return result("disabled" if reason in SWITCHED_OFF else "mismatch")
        case Defer():
            return LATER
        case _:
            assert_never(outcome)


def build(section: Mapping[str, object]) -> DovecotLua:
    """The plug-in's entry. Raises BadSection."""
    bridge: DovecotLua = read(DovecotLua, section)
    require_token(bridge.terms)
    require_key(bridge)
    return bridge
