"""What a page posts: `application/x-www-form-urlencoded`, within bounds, each field once.

Source: url.spec.whatwg.org, section 5.1. Rule: nothing here trusts a length that the client announces.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.requests import Request

from mailauth.factors.typed import visible

MAX_BYTES = 256 * 1024  # ten thousand Chinese letters are 90,000 bytes, percent-encoded
MAX_FIELDS = 200
MAX_TEXT_CHARACTERS = 20_000  # of one line; more than any may have, and little enough to look at
PATIENCE_S = 20.0  # for the whole of it
KIND = "application/x-www-form-urlencoded"


class BadForm(Exception):
    """Not a form of ours: of another kind, not text, or too slow. No honest page sends one."""


class TooLong(BadForm):
    """More than any form of ours holds."""


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of one post. A field that is not there is "". values: never shown, they may hold passwords."""

    values: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    def text(self, name: str) -> str:
        """One line as typed: composed (NFC), without what nobody sees, and with single spaces."""
        return visible(self.raw(name)[:MAX_TEXT_CHARACTERS])

    def lines(self, name: str) -> tuple[str, ...]:
        """What was typed on each line that is not empty."""
        return tuple([line.strip() for line in self.raw(name).splitlines() if line.strip()])

    def raw(self, name: str) -> str:
        """Exactly as sent: for passwords."""
        return self.values.get(name, ("",))[-1]

    def every(self, name: str) -> tuple[str, ...]:
        """All values of a field that may be ticked several times."""
        return self.values.get(name, ())

    def has(self, name: str) -> bool:
        """Whether the field was sent at all: a ticked box, a pressed button."""
        return name in self.values


async def read(request: Request) -> Form:
    """The form that this request posts. Raises BadForm, TooLong, starlette.requests.ClientDisconnect."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != KIND:
        raise BadForm("not a form")
    try:
        async with asyncio.timeout(PATIENCE_S):
            body = await _body(request)
    except TimeoutError:
        raise BadForm("too slow") from None
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, encoding="utf-8", errors="strict"
        )
    except ValueError:  # UnicodeDecodeError is one
        raise BadForm("not readable") from None
    values: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        values[name] = (*values.get(name, ()), value)
    return Form(values)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise TooLong("too long")
    return bytes(body)
