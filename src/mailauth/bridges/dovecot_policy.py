"""Dovecot's authentication policy protocol: our limits on guesses, and our record, where Dovecot keeps the passwords.

Source: Dovecot's documentation, "Authentication Policy"; its auth-policy.c. `allow` asks before a password is tried,
and `report` says what came of it. Rule: nobody gets in by an answer of ours; and since Dovecot's POP3 and SMTP clients
hear of a status below 0 as of a wrong password, who guesses too much is made to wait, unless the operator wants more.
"""

# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import parse_qs

from mailauth.attempt import MAX_CLIENT_CHARS, Attempt, Credential
from mailauth.bridges.bridge import Terms
from mailauth.bridges.http1 import Reply, Request, json_reply
from mailauth.bridges.http_dialogue import IDLE_S, WRONG_TOKEN, Answer, HttpDialogue, bearer, require_token
from mailauth.dialogue import BridgeDialogue
from mailauth.factors.section import between, one_of, option, read

WAIT, REFUSE = "wait", "refuse"
GO_ON, REFUSED = 0, -1
TOLD = "Too many failed logins, try again later."


@dataclass(frozen=True, slots=True)
class DovecotPolicy:
    """The bridge, and the keys of its [[bridge]] that are its own."""

    terms: Terms = option(doc="", wired=True)
    when_throttled: str = option(
        WAIT,
        check=one_of(WAIT, REFUSE),
        doc="wait: Dovecot holds the login back; refuse: it is refused with a text of ours, also with a right password",
    )
    longest_wait_s: int = option(
        8, check=between(1, 120), doc="of a login that is held back; Postfix waits ten seconds"
    )
    host_waits: ClassVar[bool] = True
    silence_s: ClassVar[float | None] = IDLE_S

    def dialogue(self) -> BridgeDialogue:
        return HttpDialogue(self.ask)

    def ask(self, request: Request) -> Answer:
        """The answer to one request. Raises Malformed."""
        if request.method != b"POST":
            return Reply(405)
        if self.terms.admits is None or not self.terms.admits(bearer(request)):
            return Reply(401).warned(WRONG_TOKEN)
        said = request.json()
        attempt = self._attempt(said)
        reported = self.terms.reported
        if attempt is None or reported is None:
            return status(GO_ON)  # a service of Dovecot's own, such as doveadm
        command = parse_qs(request.query).get("command", [""])[-1]
        if command == "allow":
            return self._allowed(reported.wait_s(attempt))
        if command == "report":
            success, rejected = said.get("success") is True, said.get("policy_reject") is True
            reported.note(attempt, None if rejected and not success else success)
            return status(GO_ON)
        return Reply(404)

    def _allowed(self, wait_s: float) -> Reply:
        if wait_s <= 0:
            return status(GO_ON)
        if self.when_throttled == REFUSE:
            return status(REFUSED, TOLD)
        return status(min(math.ceil(wait_s), self.longest_wait_s))

    def _attempt(self, said: Mapping[str, object]) -> Attempt | None:
        """None: of no service of ours. The password's place has Dovecot's hash of it, which tells it from others."""
        texts = {name: value for name, value in said.items() if type(value) is str}
        service = self.terms.service(texts.get("protocol", ""))
        if service is None:
            return None
        name = "".join(c for c in texts.get("device_id", "")[:MAX_CLIENT_CHARS] if c.isprintable())
        credential = Credential(texts.get("login", ""), texts.get("pwhash", ""))
        return self.terms.attempt(credential, service, texts.get("remote", ""), tls=said.get("tls") is True, name=name)


def status(number: int, text: str = "") -> Reply:
    """An answer: below 0, refuse with this text; above, wait so many seconds; 0, go on."""
    return json_reply(200, {"status": number, "msg": text})


def build(section: Mapping[str, object]) -> DovecotPolicy:
    """The plug-in's entry. Raises BadSection."""
    bridge: DovecotPolicy = read(DovecotPolicy, section)
    require_token(bridge.terms)
    return bridge
