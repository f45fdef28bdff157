"""How IMAP spells an outcome (RFC 3501 section 7.1, RFC 5530). The only place that turns one into IMAP bytes.

Rule: one text for every refusal, whatever its reason; a Defer never looks like a wrong password.
"""

from __future__ import annotations

from typing import assert_never

from mailauth.dialogue import Ending
from mailauth.verdict import Accept, Defer, Outcome, Reject

DEFERRED = b"NO [UNAVAILABLE] Temporary authentication failure, try again later."
PRIVACY_REQUIRED = b"NO [PRIVACYREQUIRED] Start TLS first: no password is accepted in clear."


def reply(outcome: Outcome, capabilities: bytes, help_line: bytes) -> bytes:
    """The tagged reply without its tag. capabilities: what the client may do once it is in; b"": it has to ask."""
    match outcome:
        case Accept():
            return b"OK " + (b"[CAPABILITY " + capabilities + b"] " if capabilities else b"") + b"Logged in."
        case Reject():
            return b"NO [AUTHENTICATIONFAILED] Authentication failed." + (b" " + help_line if help_line else b"")
        case Defer():
            return DEFERRED
        case _:
            assert_never(outcome)


def bye(cause: Ending) -> bytes:
    """The untagged goodbye."""
    match cause:
        case Ending.SHUTDOWN:
            return b"* BYE [UNAVAILABLE] Server is shutting down, try again later."
        case Ending.TIMEOUT:
            return b"* BYE Disconnected for inactivity."
        case Ending.REVOKED:
            return b"* BYE This session was ended: its password or its access was withdrawn."
        case Ending.CROWDED:
            return b"* BYE [UNAVAILABLE] Too many connections, try again later."
        case Ending.UNAVAILABLE:
            return b"* BYE [UNAVAILABLE] Nobody can log in now, try again later."
        case _:
            assert_never(cause)
