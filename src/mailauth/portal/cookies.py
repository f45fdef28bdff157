"""The cookies of the portal: what they are called, and how they are set.

Source: RFC 6265bis section 4.1.3.2 (`__Host-`). Rule: none is readable by scripts. They hold random tokens, a language,
a sentence to be said once, and for some minutes where somebody wants to go and what he has just typed; no password and
no code.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

SESSION, DEVICE, FORM, LANGUAGE = "session", "device", "form", "language"
SAID, WAYS, NUMBER, TYPED, WANTED = "said", "ways", "number", "typed", "wanted"
YEAR_S, MINUTE_S = 365 * 86400, 60
SOON_S = 15 * MINUTE_S
LASTS_S = {
    DEVICE: YEAR_S,
    LANGUAGE: YEAR_S,
    SAID: MINUTE_S,
    **dict.fromkeys((WAYS, NUMBER, TYPED, WANTED), SOON_S),
}
MAX_SAID_BYTES = 2048
MAX_TYPED_BYTES = 3500  # browsers keep 4096 of a cookie
NEVER_KEPT = frozenset({"csrf", "password", "current", "new", "again", "code", "credential", "question", "proof"})


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
        """Have the browser keep it; what is not in LASTS_S goes with the browser."""
        response.set_cookie(
            self.name(what), value, max_age=LASTS_S.get(what), secure=self.secure, httponly=True, samesite="lax"
        )

    def drop(self, response: Response, what: str) -> None:
        """Have the browser forget it."""
        response.delete_cookie(self.name(what), secure=self.secure, httponly=True, samesite="lax")

    def say(self, response: Response, said: Said) -> None:
        """Have the next page say this."""
        text = json.dumps([said.key, dict(said.values)], ensure_ascii=False).encode()
        self.set(response, SAID, base64.urlsafe_b64encode(text).decode())

    def keep(self, response: Response, path: str, fields: Mapping[str, tuple[str, ...]]) -> None:
        """Keep what was typed on this page until whoever typed it has signed in again; if it is not too much."""
        kept = {name: values for name, values in fields.items() if name not in NEVER_KEPT}
        text = base64.urlsafe_b64encode(json.dumps([path, kept]).encode()).decode()
        if kept and len(text) <= MAX_TYPED_BYTES:
            self.set(response, TYPED, text)

    def kept(self, request: Request, path: str) -> dict[str, tuple[str, ...]] | None:
        """What was kept of this page; None: nothing."""
        try:
            of_page, fields = json.loads(base64.urlsafe_b64decode(self.get(request, TYPED)[:MAX_TYPED_BYTES]))
            kept = {str(name): tuple([str(value) for value in values]) for name, values in fields.items()}
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None
        return kept if of_page == path else None

    def said(self, request: Request) -> Said | None:
        """What is to be said. A browser may make up what it likes here: it is shown to nobody else, and as text."""
        try:
            key, values = json.loads(base64.urlsafe_b64decode(self.get(request, SAID)[:MAX_SAID_BYTES]))
            return Said(str(key), {str(name): str(value) for name, value in values.items()})
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None
