"""Text messages through anybody's own gateway: a signed POST with what is to be sent.

The request: JSON `{"id", "to", "text", "language"}`, `to` in E.164, `id` the same if the request is repeated. The field
`Mailauth-Signature: t=SECONDS,v1=HEX`, where HEX is the HMAC-SHA256, under the shared secret, of SECONDS, a full stop
and the body. A receiver refuses a signature that is wrong or more than five minutes old, and an id that it has had.
The answer: 2xx is taken; 400, 410 and 422 mean that nothing can be sent to this number; everything else is later.
Source: RFC 2104. Rule: what the receiver says in the body is not read.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mailauth.factors import section
from mailauth.factors.fetch import RETRY_S, Answer, Request
from mailauth.factors.message import Busy, Gateway, Message, Outcome, Refused, Sent

HEADER = "Mailauth-Signature"
REFUSALS = frozenset({400, 410, 422})


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver of our own form."""

    name: ClassVar[str] = "sms_webhook"

    url: str = section.option(doc="where the messages are posted to", check=section.base_url)
    secret: str = section.option(doc="what both sides know: 16 characters or more", secret=True, check=section.long)

    def request(self, message: Message, now: float) -> Request:
        """As Gateway."""
        fields = {"id": message.id, "to": message.to, "text": message.text, "language": message.language}
        body = json.dumps(fields, ensure_ascii=False).encode()
        headers = (("Content-Type", "application/json"), (HEADER, signature(self.secret, int(now), body)))
        return Request("POST", self.url, headers=headers, body=body, repeatable=True)

    def read(self, answer: Answer | None) -> Outcome:
        """As Gateway."""
        if answer is None:
            return Busy("no answer", RETRY_S)
        if 200 <= answer.status < 300:
            return Sent()
        if answer.status in REFUSALS:
            return Refused(f"status {answer.status}")
        return Busy(f"status {answer.status}", answer.retry_after_s or RETRY_S)


def signature(secret: str, at: int, body: bytes) -> str:
    """The value of the signature field. at: epoch seconds."""
    stamp = str(at)
    proof = hmac.digest(secret.encode(), stamp.encode() + b"." + body, "sha256").hex()
    return f"t={stamp},v1={proof}"


def build(options: Mapping[str, object]) -> Gateway:
    """The plug-in's entry."""
    gateway: Webhook = section.read(Webhook, options)
    return gateway
