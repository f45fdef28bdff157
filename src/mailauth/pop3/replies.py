"""How POP3 spells an outcome (RFC 1939, RFC 2449 section 8, RFC 3206). The only place that turns one into POP3 bytes.

Rule: one text for every refusal, whatever its reason; a Defer never looks like a wrong password.
"""

from __future__ import annotations

from typing import assert_never

from mailauth.dialogue import Ending
from mailauth.verdict import Accept, Defer, Outcome, Reject

DEFERRED = b"-ERR [SYS/TEMP] Temporary authentication failure, try again later."
NO_TLS = b"-ERR Start TLS first (STLS): no password is accepted in clear."


def reply(outcome: Outcome, help_line: bytes) -> bytes:
    """The status line."""
    match outcome:
        case Accept():
            return b"+OK Logged in."
        case Reject():
            return b"-ERR [AUTH] Authentication failed." + (b" " + help_line if help_line else b"")
        case Defer():
            return DEFERRED
        case _:
            assert_never(outcome)


def bye(cause: Ending) -> bytes:
    """The last line before the server closes."""
    match cause:
        case Ending.SHUTDOWN:
            return b"-ERR [SYS/TEMP] Server is shutting down, try again later."
        case Ending.TIMEOUT:
            return b"-ERR Disconnected for inactivity."
        case Ending.REVOKED:
            return b"-ERR [SYS/TEMP] This session was ended: its password or its access was withdrawn."
        case Ending.CROWDED:
            return b"-ERR [SYS/TEMP] Too many connections, try again later."
        case Ending.UNAVAILABLE:
            return b"-ERR [SYS/TEMP] Nobody can log in now, try again later."
        case _:
            assert_never(cause)
