"""What all connections of one listener share.

Rule: nothing happens here; `lines` acts.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from mailauth.dialogue import Dialogue
from mailauth.interfaces import Authenticator
from mailauth.serving.backing import Backends
from mailauth.serving.census import Census
from mailauth.serving.clock import RefusalClock
from mailauth.serving.handover import MailboxSession
from mailauth.serving.sessions import LiveSessions


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds. login: from connect to being in; idle: between two things a client says once it is in.

    linger: from our goodbye until a client that does not leave is cut; drain: for it to take what a back end said last
    (some telephones are slow).
    """

    login_s: float = 60.0
    handshake_s: float = 15.0
    idle_s: float = 1800.0  # RFC 3501 section 5.4: not below 30 minutes
    linger_s: float = 5.0
    drain_s: float = 60.0


@dataclass(frozen=True, slots=True)
class House:
    """Where a client goes that is in: to the back ends, if there are any, else to the mailbox."""

    dialogue: Callable[[], Dialogue]
    authenticator: Authenticator
    census: Census
    refusals: RefusalClock
    limits: TimeLimits
    tls: ssl.SSLContext | None
    mailbox: MailboxSession | None = None
    sessions: LiveSessions | None = None
    backends: Backends | None = None
