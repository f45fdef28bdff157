"""The protocol of saslauthd, as its server: Cyrus IMAP, Sendmail, OpenLDAP and Postfix ask by it.

Source: lib/checkpw.c of cyrus-sasl. One request for each connection: login, password, service and realm, each with its
length in two octets. Rule: it knows neither the client's address nor TLS, and no word for "not now": then the
connection ends without an answer, which libsasl takes for SASL_FAIL and not for a wrong password.
"""

# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, assert_never

from mailauth.attempt import Credential
from mailauth.bridges.bridge import NOT_SERVED, Terms
from mailauth.dialogue import Actions, Close, Judge, Send, Warn
from mailauth.factors.section import option, read
from mailauth.verdict import Accept, Defer, Outcome, Reject

FIELDS = 4
LENGTH = struct.Struct(">H")
MAX_REQUEST_BYTES = 8192  # the client's whole buffer
TICKET = 1  # there is no other on a connection


@dataclass(frozen=True, slots=True)
class Saslauthd:
    """The bridge; it has no keys of its own."""

    terms: Terms = option(doc="", wired=True)
    host_waits: ClassVar[bool] = False
    silence_s: ClassVar[float | None] = 10.0

    def dialogue(self) -> SaslauthdDialogue:
        return SaslauthdDialogue(self.terms)


class SaslauthdDialogue:
    """One connection, which is one request."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._unread: bytes | None = b""  # None: the request is there, or never will be

    def opened(self) -> Actions:
        return []

    def received(self, data: bytes, now: float) -> Actions:  # noqa: ARG002
        if self._unread is None:
            return []
        self._unread += data
        values = fields(self._unread)
        if values is not None:
            self._unread = None
            return self._ask(*values)
        if len(self._unread) > MAX_REQUEST_BYTES:
            self._unread = None
            return [Warn("sent a request longer than the protocol allows"), Close()]
        return []

    def judged(self, ticket: int, outcome: Outcome) -> Actions:  # noqa: ARG002
        match outcome:
            case Accept():
                return [Send(spelt(b"OK")), Close()]
            case Reject():
                return [Send(spelt(b"NO authentication failed")), Close()]
            case Defer():
                return [Close()]
            case _:
                assert_never(outcome)

    def eof(self) -> Actions:
        return [] if self._unread is None else [Close()]

    def _ask(self, user: str, password: str, named: str, realm: str) -> Actions:
        service = self._terms.service(named)
        if service is None:
            return [Warn(NOT_SERVED), Close()]
        login = f"{user}@{realm}" if realm else user  # libsasl has split it at its last @
        return [Judge(TICKET, self._terms.attempt(Credential(login, password), service, "", tls=False))]


def fields(request: bytes) -> list[str] | None:
    """The four fields; None: more is to come. What comes behind them is nobody's."""
    values: list[str] = []
    at = 0
    for _ in range(FIELDS):
        begin = at + LENGTH.size
        if len(request) < begin:
            return None
        at = begin + LENGTH.unpack_from(request, at)[0]
        if len(request) < at:
            return None
        values.append(request[begin:at].decode("utf-8", "surrogateescape"))
    return values


def spelt(answer: bytes) -> bytes:
    """An answer with its length."""
    return LENGTH.pack(len(answer)) + answer


def build(section: Mapping[str, object]) -> Saslauthd:
    """The plug-in's entry. Raises BadSection."""
    bridge: Saslauthd = read(Saslauthd, section)
    return bridge
