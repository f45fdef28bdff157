"""PLAIN, RFC 4616: one message, authzid NUL authcid NUL password, all UTF-8.

Rule: this file parses. Who may act for whom (authzid) is decided in verify.policy.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailauth.attempt import Credential
from mailauth.sasl.mechanism import Challenge, Malformed, text


class Exchange:
    """One PLAIN exchange: an empty challenge if the client sent no initial response, then its one message."""

    __slots__ = ()

    def step(self, response: bytes | None) -> Challenge | Credential:
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise Malformed("PLAIN is authzid NUL authcid NUL password")
        authzid, authcid, password = parts
        if not authcid or not password:
            raise Malformed("Empty login or password")
        return Credential(text(authcid, "login"), text(password, "password"), text(authzid, "authorization identity"))


class Plain:
    """The mechanism as a listener offers it."""

    name = "PLAIN"

    def start(self) -> Exchange:
        return Exchange()


def build(section: Mapping[str, object]) -> Plain:  # noqa: ARG001
    """The plug-in's entry; PLAIN has no options."""
    return Plain()
