"""The cookies of the portal: what they are called, and how they are set.

Source: RFC 6265bis section 4.1.3.2 (`__Host-`). Rule: none is readable by scripts. They hold random tokens, a language,
a sentence to be said once, and for some minutes the number that somebody has just typed.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

SESSION, DEVICE, FORM, LANGUAGE = "session", "device", "form", "language"
SAID, WAYS, NUMBER = "said", "ways", "number"
YEAR_S = 365 * 86400
LASTS_S = {DEVICE: YEAR_S, LANGUAGE: YEAR_S, SAID: 60, WAYS: 900, NUMBER: 900}  # the others go with the browser
MAX_SAID_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence for the next page. key: of the texts; values: for its braces."""

    key: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Jar:
    """Sets and reads them. secure: whether the portal is at https://; else it is on this machine alone."""

    secure: bool

    def name(self, what: str) -> str:
        """The name that a browser knows it by."""
        return f"__Host-mailauth-{what}" if self.secure else f"mailauth-{what}"

    def get(self, request: Request, what: str) -> str:
        """Its value; "": there is none."""
        return request.cookies.get(self.name(what), "")

    def set(self, response: Response, what: str, value: str) -> None:
        """Have the browser keep it; what has no date goes with the browser."""
        response.set_cookie(
            self.name(what), value, max_age=LASTS_S.get(what), secure=self.secure, httponly=True, samesite="lax"
        )

    def drop(self, response: Response, what: str) -> None:
        """Have the browser forget it."""
        response.delete_cookie(self.name(what), secure=self.secure, httponly=True, samesite="lax")

    def say(self, response: Response, said: Said) -> None:
        """Have the next page say this."""
        text = json.dumps([said.key, dict(said.values)]).encode()
        self.set(response, SAID, base64.urlsafe_b64encode(text).decode())

    def said(self, request: Request) -> Said | None:
        """What is to be said. A browser may make up what it likes here: it is shown to nobody else, and as text."""
        try:
            key, values = json.loads(base64.urlsafe_b64decode(self.get(request, SAID)[:MAX_SAID_BYTES]))
            return Said(str(key), {str(name): str(value) for name, value in values.items()})
        except (ValueError, TypeError, AttributeError, binascii.Error):
            return None
