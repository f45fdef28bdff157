"""The password grant of OAuth 2.0, as far as Dovecot's `passdb oauth2` asks by it for ordinary passwords.

Source: RFC 6749 sections 4.3 and 5.2; Dovecot's oauth2-request.c and db-oauth2.c. Rule: Dovecot takes every 4xx for a
wrong password, so nothing but a refusal is told by one: whatever else keeps us from judging is a 503.
"""

# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, assert_never

from mailauth.attempt import Credential
from mailauth.bridges.bridge import (
    NOT_SERVED,
    Terms,
    doveadm_key_option,
    doveadm_url_option,
    kick_by_option,
    require_key,
)
from mailauth.bridges.http1 import Malformed, Reply, Request, json_reply, unquoted
from mailauth.bridges.http_dialogue import IDLE_S, WRONG_TOKEN, Answer, HttpDialogue, Question, require_token
from mailauth.dialogue import BridgeDialogue
from mailauth.factors.section import option, read
from mailauth.verdict import Accept, Defer, Outcome, Reject

PATH = "/grant"
NO_TOKEN = "none"  # noqa: S105  there is none: Dovecot wants a text here, and asks no more
WEB = "web"  # in place of an app password's id


@dataclass(frozen=True, slots=True)
class DovecotGrant:
    """The bridge, and the keys of its [[bridge]] that are its own."""

    terms: Terms = option(doc="", wired=True)
    doveadm_url: str = doveadm_url_option()
    doveadm_key: Any = doveadm_key_option()
    kick_by: str = kick_by_option()
    host_waits: ClassVar[bool] = True  # auth_failure_delay
    silence_s: ClassVar[float | None] = IDLE_S

    def dialogue(self) -> BridgeDialogue:
        return HttpDialogue(self.ask, lambda _: later("invalid_request"))

    def ask(self, request: Request) -> Answer:
        """The answer to one request. Raises Malformed."""
        if request.path != PATH or request.method != b"POST":
            return later("invalid_request").warned(f"asks elsewhere than by POST {PATH}; it is told: later")
        said = request.form()
        if self.terms.admits is None or not self.terms.admits(_client_secret(request, said)):
            return later("invalid_client").warned(WRONG_TOKEN)
        if said.get("grant_type") != "password" or "username" not in said or "password" not in said:
            return later("unsupported_grant_type").warned("asks for another grant than password; it is told: later")
        service = self.terms.service(_text(request.one(b"x-dovecot-auth-service")))
        if service is None:
            return later("temporarily_unavailable").warned(NOT_SERVED)
        credential = Credential(said["username"], said["password"])
        client = host_of(_text(request.one(b"x-dovecot-auth-remote")))
        attempt = self.terms.attempt(credential, service, client, tls=False)
        return Question(attempt, lambda outcome: spelt(outcome, credential.authcid))


def spelt(outcome: Outcome, typed: str) -> Reply:
    """The answer of section 5. typed: said back, since Dovecot knows no user of another name."""
    match outcome:
        case Accept(principal):
            app = WEB if principal.credential_id is None else str(principal.credential_id)
            token = {"access_token": NO_TOKEN, "token_type": "bearer"}
            return json_reply(200, {**token, "username": typed, "active": True, "app": app})
        case Reject():
            return json_reply(400, {"error": "invalid_grant"})
        case Defer():
            return later("temporarily_unavailable")
        case _:
            assert_never(outcome)


def later(error: str) -> Reply:
    """Not judged."""
    return json_reply(503, {"error": error})


def host_of(address: str) -> str:
    """The address of `192.0.2.1:143`, `[2001:db8::1]:143` or `2001:db8::1`."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, _, port = address.rpartition(":")
    return host if host and ":" not in host and port.isdigit() else address


def _client_secret(request: Request, said: Mapping[str, str]) -> bytes:
    """From the body or HTTP Basic (RFC 6749 section 2.3.1). Raises Malformed."""
    shown = said.get("client_secret", "")
    scheme, _, encoded = request.one(b"authorization").partition(b" ")
    if scheme.lower() == b"basic" and not shown:
        try:
            shown = unquoted(base64.b64decode(encoded, validate=True).partition(b":")[2].replace(b"+", b" "))
        except binascii.Error:
            raise Malformed from None
    return shown.encode("utf-8", "surrogateescape")


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")


def build(section: Mapping[str, object]) -> DovecotGrant:
    """The plug-in's entry. Raises BadSection."""
    bridge: DovecotGrant = read(DovecotGrant, section)
    require_token(bridge.terms)
    require_key(bridge)
    return bridge
