"""What is asked of the outside world: one HTTP request as a value, and its answer.

Source: RFC 9110. Rule: a request is made here and sent by `gateways.http`; what of it may be secret has no repr.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

MAX_ANSWER_BYTES = 65536
RETRY_S = 30.0  # when nobody says how long


@dataclass(frozen=True, slots=True)
class Request:
    """One request. url: without query. repeatable: doing it twice does no harm, so that it may be tried again."""

    method: str
    url: str
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    repeatable: bool = False

    @property
    def target(self) -> str:
        """The whole URL; the query percent-encoded, a space as %20 (RFC 3986 section 2.1)."""
        return with_query(self.url, self.query) if self.query else self.url

    @property
    def host(self) -> str:
        """The host, and the port if it is said: what the header field Host has."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. retry_after_s: what the server asked for (RFC 9110 section 10.2.3), None if nothing."""

    status: int
    body: bytes = field(default=b"", repr=False)
    retry_after_s: float | None = None

    def fields(self) -> dict[str, Any]:
        """The body as a JSON object, whatever it is labelled; empty if it is none."""
        try:
            value = json.loads(self.body[:MAX_ANSWER_BYTES])
        except (ValueError, RecursionError):
            return {}
        return value if type(value) is dict else {}

    @property
    def busy(self) -> bool:
        """Whether the server says that it could be right later."""
        return self.status in {408, 425, 429} or self.status >= 500


def with_query(url: str, query: tuple[tuple[str, str], ...]) -> str:
    """A URL with its query."""
    return url + "?" + urlencode(query, quote_via=quote, safe="")


def word(fields: dict[str, Any], name: str, limit: int = 256) -> str:
    """One text out of a JSON object; "" if it is not there, not text, too long or not printable."""
    value = fields.get(name)
    return value if type(value) is str and len(value) <= limit and value.isprintable() else ""
