"""One live session, what is told of it, and which of several changes it ended by.

Rule: nothing is decided here; `sessions` does that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mailauth.attempt import Service
from mailauth.interfaces import Change
from mailauth.serving.census import Connection
from mailauth.verdict import Principal, Stay

SESSIONS_CLOSED, SESSIONS_ASKED = "sessions-closed", "sessions-asked"  # kinds of changes that are orders
_GIVING = ("account-added", "domain-added", "alias-added", "app-password-added", "app-password-confirmed")
ENDING_NOBODY = frozenset({*_GIVING, "app-password-renamed", "alias-removed"})


@dataclass(slots=True, eq=False)
class Session:
    """One connection that somebody has logged in on. since: epoch seconds; client: what it calls itself."""

    connection: Connection
    principal: Principal
    stay: Stay
    service: Service
    peer: str
    client: str
    since: float

    def told(self) -> dict[str, Any]:
        """For `mailauth sessions`."""
        return {
            "login": self.principal.login,
            "service": str(self.service),
            "peer": self.peer,
            "client": self.client,
            "credential_id": self.principal.credential_id,
            "since": self.since,
        }


def weight(change: Change, session: Session) -> int:
    """How likely this is why a session ends, of several changes that are applied together: 2 if it names its secret.

    0: it cannot be. Then the session is not even judged, for what is read may be newer than this change: it would end
    by one that comes later, and that one would be told that it had ended nobody.
    """
    revoked = json.loads(change.takes or "{}").get("app_passwords")
    if change.kind in ENDING_NOBODY:
        return 0
    return 1 if revoked is None else 2 * (session.principal.credential_id in revoked)
