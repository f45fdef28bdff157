"""What a simulated provider remembers of consents: codes that are good once and for a while, and the tokens for them.

Rule: a provider's own random numbers and clock are parameters, so that a test can tell what happens.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

CODE_S = 300.0


class Stale(StrEnum):
    """Why a code is not good."""

    UNKNOWN = "unknown"
    USED = "used"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a person consented to. organisation: the one that was chosen, "" for none."""

    person: str
    organisation: str = ""


class Grants:
    """Codes and tokens of one provider."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._codes: dict[str, tuple[Grant, float]] = {}
        self._used: set[str] = set()
        self._tokens: dict[str, Grant] = {}

    def code(self, grant: Grant) -> str:
        """A new code."""
        issued = secrets.token_hex(16)
        self._codes[issued] = (grant, self._clock() + CODE_S)
        return issued

    def spend(self, code: str) -> Grant | Stale:
        """Take a code, once."""
        if code in self._used:
            return Stale.USED
        grant, until = self._codes.pop(code, (None, 0.0))
        if grant is None:
            return Stale.UNKNOWN
        self._used.add(code)
        return grant if self._clock() < until else Stale.EXPIRED

    def token(self, grant: Grant) -> str:
        """A new token."""
        issued = secrets.token_hex(24)
        self._tokens[issued] = grant
        return issued

    def of(self, token: str) -> Grant | None:
        """Whose token this is."""
        return self._tokens.get(token)


def identifier(*parts: str) -> str:
    """The same for the same, and without meaning, as providers' ids are."""
    return sha256(" ".join(parts).encode()).hexdigest()[:28]


def returning(redirect_uri: str, **fields: str) -> str:
    """Where the browser goes back to."""
    parts = urlsplit(redirect_uri)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *fields.items()])
    return urlunsplit(parts._replace(query=query))
