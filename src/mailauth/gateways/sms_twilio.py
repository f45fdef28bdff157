"""Text messages through Twilio: the Messages resource of its API of 2010-04-01.

Source: Twilio, "Programmable Messaging: Message resource" and "Error and warning dictionary".
Rule: 201 is taken, unless its own status says failed. A 400 is about the number, unless its code is one of those that
are about us; every other refusal is about us.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlencode

from mailauth.factors import section
from mailauth.factors.fetch import RETRY_S, Answer, Request, word
from mailauth.factors.message import Busy, Gateway, Message, Outcome, Refused, Sent

# Sender missing, unknown or not ours (21212, 21603, 21606, 21607, 21660, 21701, 21703), a trial account (21608), a text
# that is missing or too long (21602, 21617, 21619).
OURS = frozenset({21212, 21602, 21603, 21606, 21607, 21608, 21617, 21619, 21660, 21701, 21703})
FAILED = frozenset({"failed", "undelivered", "canceled"})


def _sender(value: str) -> str | None:
    return None if value.startswith(("+", "MG")) or value.isalnum() else "must be a number, a service or a sender name"


@dataclass(frozen=True, slots=True)
class Twilio:
    """An account at Twilio."""

    name: ClassVar[str] = "sms_twilio"

    account_sid: str = section.option(doc="the account: AC...", check=section.word)
    password: str = section.option(
        doc="the API key's secret, or the account's auth token", check=section.filled, secret=True
    )
    sender: str = section.option(doc="From: +..., a sender name, or a messaging service: MG...", check=_sender)
    user: str = section.option("", doc="an API key, SK...; empty: the account itself")
    api_url: str = section.option("https://api.twilio.com", doc="where the API is", check=section.base_url)

    def request(self, message: Message, now: float) -> Request:  # noqa: ARG002
        """As Gateway."""
        origin = "MessagingServiceSid" if self.sender.startswith("MG") else "From"
        body = urlencode({"To": message.to, origin: self.sender, "Body": message.text}).encode()
        login = f"{self.user or self.account_sid}:".encode() + self.password.encode()
        headers = (
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Authorization", "Basic " + base64.b64encode(login).decode()),
        )
        url = f"{self.api_url}/2010-04-01/Accounts/{self.account_sid}/Messages.json"
        return Request("POST", url, headers=headers, body=body)

    def read(self, answer: Answer | None) -> Outcome:
        """As Gateway."""
        if answer is None:
            return Busy("no answer", RETRY_S)
        fields = answer.fields()
        if answer.status in {200, 201} and word(fields, "sid"):
            if word(fields, "status") in FAILED:
                return Refused(f"error {str(fields.get('error_code'))[:16]}")
            return Sent(word(fields, "sid"))
        fault = fields.get("code")
        detail = f"status {answer.status}, code {str(fault)[:16]}"
        if answer.status == 400 and type(fault) is int and fault not in OURS:
            return Refused(detail)
        return Busy(detail, answer.retry_after_s or RETRY_S)


def build(options: Mapping[str, object]) -> Gateway:
    """The plug-in's entry."""
    gateway: Twilio = section.read(Twilio, options)
    return gateway
