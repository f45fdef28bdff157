"""LOGIN: two questions, two answers. Never standardised (draft-murchison-sasl-login), and still what Outlook sends.

Rule: this file parses. An initial response is the login, as Python's smtplib and others send it.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailauth.attempt import Credential
from mailauth.sasl.mechanism import Challenge, Malformed, text

USERNAME_PROMPT = Challenge(b"Username:")
PASSWORD_PROMPT = Challenge(b"Password:")


class Exchange:
    """One LOGIN exchange."""

    __slots__ = ("_authcid",)

    def __init__(self) -> None:
        self._authcid: str | None = None

    def step(self, response: bytes | None) -> Challenge | Credential:
        if response is None:
            return USERNAME_PROMPT
        if not response:
            raise Malformed("Empty login or password")
        if self._authcid is None:
            self._authcid = text(response, "login")
            return PASSWORD_PROMPT
        return Credential(self._authcid, text(response, "password"))


class Login:
    """The mechanism as a listener offers it."""

    name = "LOGIN"

    def start(self) -> Exchange:
        return Exchange()


def build(section: Mapping[str, object]) -> Login:  # noqa: ARG001
    """The plug-in's entry; LOGIN has no options."""
    return Login()
