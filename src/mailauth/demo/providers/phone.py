"""A simulated telephone: receives what `gateways.sms_webhook` sends, and shows it on a page.

Rule: it checks what it gets as a receiver has to: signature, age, and that no id comes twice.
"""

from __future__ import annotations

import hmac
import html
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mailauth.demo.providers.asgi import Application, Call, Reply, as_json, page
from mailauth.gateways.sms_webhook import HEADER, signature

TITLE = "手机短信 Phone"
MAX_AGE_S = 300.0
KEPT = 20
LOOK_S = 2  # somebody waits for the code


@dataclass(frozen=True, slots=True)
class Received:
    """One message. at: epoch seconds."""

    at: float
    to: str
    text: str


class Phone:
    """Every number of the demo at once. fault: a status that is answered instead; 0 for none."""

    def __init__(self, secret: str, *, clock: Callable[[], float] = time.time) -> None:
        self.messages: deque[Received] = deque(maxlen=KEPT)
        self.fault = 0
        self.application = Application(self.handle)
        self._secret = secret
        self._clock = clock
        self._ids: deque[str] = deque(maxlen=1000)

    def handle(self, call: Call) -> Reply:
        """Answer one request."""
        match call.method, call.path:
            case "POST", "/messages":
                return self._receive(call)
            case "GET", "/":
                return self._page()
            case _:
                return page(TITLE, ["404"], 404)

    def _receive(self, call: Call) -> Reply:
        if self.fault:
            return as_json({}, self.fault)
        if not self._genuine(call):
            return as_json({"error": "signature"}, 401)
        fields = call.fields()
        if not str(fields.get("to", "")).startswith("+"):
            return as_json({"error": "to"}, 422)
        if fields.get("id") not in self._ids:  # a repeated request is taken once
            self._ids.append(str(fields["id"]))
            self.messages.append(Received(self._clock(), str(fields["to"]), str(fields["text"])))
        return as_json({"taken": True}, 202)

    def _genuine(self, call: Call) -> bool:
        shown = call.headers.get(HEADER.lower(), "")
        stamp = shown.removeprefix("t=").partition(",")[0]
        if not stamp.isdigit() or abs(self._clock() - int(stamp)) > MAX_AGE_S:
            return False
        return hmac.compare_digest(signature(self._secret, int(stamp), call.body).encode(), shown.encode())

    def _page(self) -> Reply:
        lines = [f"{html.escape(each.to)}: {html.escape(each.text)}" for each in reversed(self.messages)]
        return page(TITLE, lines or ["还没有短信。 No messages yet."], again_s=LOOK_S)
