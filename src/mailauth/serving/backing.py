"""The operator's own mail server behind us, as our listeners see it: a connection on which somebody is logged in.

Rule: asked for after our Accept alone. That it could not be had says nothing about the password.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Protocol

from mailauth.attempt import Attempt
from mailauth.ends import NOWHERE, End, Ends
from mailauth.verdict import Principal


class BackendUnavailable(Exception):
    """The back end was not reached, or did not let us in. The text is for the log: ours, and nothing secret in it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection to a back end on which the account is logged in. Whoever gets it closes it.

    sock: non-blocking, and in clear: where the back end has TLS, that ends in the keeper, and this is a pair's end.
    capabilities: what it offers after login: IMAP's atoms, the lines of SMTP's EHLO; POP3 has none. unread: what it
    said behind the login's answer.
    """

    sock: socket.socket
    capabilities: tuple[str, ...] = ()
    unread: bytes = field(default=b"", repr=False)


class Backends(Protocol):
    """All back ends: which is whose is decided behind this."""

    async def open(self, attempt: Attempt, principal: Principal, ends: Ends = NOWHERE) -> Opened:
        """Log in as this account to its back end of the attempt's service. Raises BackendUnavailable.

        ends: of the client's connection, for the back end to be told.
        """

    async def smtp_offer(self) -> tuple[str, ...]:
        """The lines of EHLO that every SMTP back end says, in upper case; the last known while one is away.

        Raises BackendUnavailable when none was ever asked.
        """


def ends_of(transport: asyncio.BaseTransport | None) -> Ends:
    """The ends of a client's connection that no proxy has named; None: it has none any more."""
    if transport is None:
        return NOWHERE
    return Ends(End.of(transport.get_extra_info("peername")), End.of(transport.get_extra_info("sockname")))
