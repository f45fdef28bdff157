"""What all connections of one submission listener share.

Rule: values and functions handed in. Nothing here is specific to one connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from mailauth.interfaces import Authenticator
from mailauth.sasl.mechanism import Factory
from mailauth.serving.census import Census
from mailauth.serving.sessions import LiveSessions
from mailauth.smtp.exchange import MECHANISMS


@dataclass(frozen=True, slots=True)
class Limits:
    """Times: from connect to login, between two octets after it, for a handshake, for one AUTH response.

    max_junk: errors before login, and non-commands after it, until the connection is closed.
    """

    login_s: float = 60.0
    idle_s: float = 300.0  # RFC 5321 section 4.5.3.2.7: not below 5 minutes
    handshake_s: float = 15.0
    response_s: float = 30.0
    max_failures: int = 5
    max_junk: int = 10
    max_message_bytes: int = 2**25


async def leave_at_once(arrived: float, earlier_count: int) -> bool:  # noqa: ARG001
    """The refusal clock of a listener that has none."""
    return True


class Hooks:
    """The hooks of a handler and nothing else: aiosmtpd searches its handler for them with each new connection."""

    def __init__(self, handler: object) -> None:
        for name in dir(handler):
            if name.startswith("handle_"):
                setattr(self, name, getattr(handler, name))

    def __dir__(self) -> Iterable[str]:
        return self.__dict__


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What all connections of one listener share.

    handler: aiosmtpd's hooks for MAIL, RCPT, DATA, RSET and NOOP; they find the Principal in `session.auth_data`.
    tls: "off" takes passwords in clear. hold: called with the loop time of an attempt that is refused, and how many on
    its connection were before, it waits for the tick, or says False if that has passed. sessions: where logins are
    registered, before their reply.
    """

    hostname: str
    authenticator: Authenticator
    handler: object
    census: Census
    tls: Literal["implicit", "starttls", "off"]
    tls_context: ssl.SSLContext | None = None
    hold: Callable[[float, int], Awaitable[bool]] = leave_at_once
    sessions: LiveSessions | None = None
    help_line: bytes = b""
    limits: Limits = field(default_factory=Limits)
    mechanisms: Mapping[str, Factory] = field(default_factory=lambda: MECHANISMS)
    hooks: Hooks = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hooks", Hooks(self.handler))
