"""Who may send as whom, where another server takes the messages: the handler behind `front`.

Rule: the sender is ours to judge, before anything goes on; everything else is the other server's, and its answer is the
client's.
"""

# ruff: noqa: N802  (aiosmtpd finds hooks by these names)
from __future__ import annotations

import re
from dataclasses import dataclass

import aiosmtpd.smtp

from mailauth.interfaces import Directory
from mailauth.smtp import replies
from mailauth.smtp.addresses import recipient_fault, sender_fault
from mailauth.smtp.front import FrontProtocol
from mailauth.smtp.server import Transaction

PARAMETERS = {  # what may go on with MAIL, and the keyword that offers it (RFC 1870, RFC 6152, RFC 6531)
    "SIZE": re.compile(r"SIZE=[0-9]{1,20}"),
    "8BITMIME": re.compile(r"BODY=(?:7BIT|8BITMIME)"),
    "SMTPUTF8": re.compile(r"SMTPUTF8"),
}
OK = b"250 2.0.0 OK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """aiosmtpd's hooks. require_own_sender: the envelope's sender is the account's login or one of its aliases."""

    directory: Directory
    require_own_sender: bool = True

    async def handle_MAIL(
        self,
        server: FrontProtocol,
        session: aiosmtpd.smtp.Session,  # noqa: ARG002
        envelope: Transaction,
        address: str,
        options: list[str],
    ) -> bytes:
        """Judge the sender, then say what the server behind us says."""
        if not all(_is_offered(option, server.offered) for option in options):
            return replies.NOT_OFFERED
        own = self.directory if self.require_own_sender else None
        wrong = await sender_fault(server.principal.account_id, address, own, smtp_utf8=envelope.smtp_utf8)
        if wrong is not None:
            return wrong
        answer = await server.begun(" ".join([f"MAIL FROM:<{address}>", *options]).encode())
        if answer is None:
            return replies.RELAY_DOWN
        if answer.is_good:
            envelope.mail_from = address
        return answer.spelt()

    async def handle_RCPT(
        self,
        server: FrontProtocol,
        session: aiosmtpd.smtp.Session,  # noqa: ARG002
        envelope: Transaction,
        address: str,
        options: list[str],  # noqa: ARG002
    ) -> bytes:
        """Say what the server behind us says."""
        wrong = recipient_fault(address, smtp_utf8=envelope.smtp_utf8)
        if wrong is not None:
            return wrong
        answer = await server.forwarded(f"RCPT TO:<{address}>".encode())
        if answer is None:
            return replies.RELAY_DOWN
        if answer.is_good:
            envelope.rcpt_tos.append(address)
        return answer.spelt()

    async def handle_RSET(
        self,
        server: FrontProtocol,
        session: aiosmtpd.smtp.Session,  # noqa: ARG002
        envelope: Transaction,  # noqa: ARG002
    ) -> bytes:
        """Have it forget, too."""
        answer = await server.reset()
        return OK if answer is None else answer.spelt()

    async def handle_NOOP(
        self,
        server: FrontProtocol,
        session: aiosmtpd.smtp.Session,  # noqa: ARG002
        envelope: Transaction,  # noqa: ARG002
        argument: str | None,  # noqa: ARG002
    ) -> bytes:
        """Ask it whether it is there; that it is not is no answer to this."""
        answer = await server.forwarded(b"NOOP")
        return OK if answer is None else answer.spelt()


def _is_offered(option: str, offered: frozenset[str]) -> bool:
    return any(keyword in offered and pattern.fullmatch(option) for keyword, pattern in PARAMETERS.items())
