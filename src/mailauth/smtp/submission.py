"""Who may send what to whom, and where it goes: the handler behind our submission server (RFC 6409).

Rule: 250 only when everybody the message went to has it for good. There is no queue: what cannot be done now is said
to the client now. The relay comes first and takes all its recipients or none; then each mailbox is tried once, up to
the first that fails. So a client that sends again makes duplicates only where a mailbox failed after others had it.
"""

# ruff: noqa: N802  (aiosmtpd finds hooks by these names)
from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, cast

import aiosmtpd.smtp

from mailauth.interfaces import Directory, StoreUnavailable
from mailauth.mailbox.delivery import DeliveryFailed
from mailauth.smtp import replies
from mailauth.smtp.addresses import recipient_fault, sender_fault
from mailauth.smtp.message import Trace, stamped
from mailauth.smtp.relay import Refused, Relay, Unavailable
from mailauth.smtp.server import SubmissionProtocol, Transaction
from mailauth.verdict import Principal

log = logging.getLogger(__name__)


class Deliver(Protocol):
    """Puts a message into an account's mailbox."""

    async def __call__(self, login: str, content: bytes, envelope_from: str) -> None:
        """Return once it is durable. content: with CRLF, without Return-Path. Raises DeliveryFailed."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """aiosmtpd's hooks. require_own_sender: the envelope's sender is the account's login or one of its aliases."""

    directory: Directory
    deliver: Deliver
    relay: Relay | None = None
    require_own_sender: bool = True
    max_recipients_count: int = 100  # RFC 5321 section 4.5.3.1.8: not below 100
    now: Callable[[], datetime] = _now

    async def handle_MAIL(
        self,
        server: SubmissionProtocol,  # noqa: ARG002
        session: aiosmtpd.smtp.Session,
        envelope: Transaction,
        address: str,
        options: list[str],
    ) -> bytes:
        """Take the sender or say why not."""
        account_id = cast(Principal, session.auth_data).account_id
        own = self.directory if self.require_own_sender else None
        wrong = await sender_fault(account_id, address, own, smtp_utf8=envelope.smtp_utf8)
        if wrong is not None:
            return wrong
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return replies.SENDER_TAKEN

    async def handle_RCPT(
        self,
        server: SubmissionProtocol,  # noqa: ARG002
        session: aiosmtpd.smtp.Session,  # noqa: ARG002
        envelope: Transaction,
        address: str,
        options: list[str],  # noqa: ARG002
    ) -> bytes:
        """Take one recipient or say why not."""
        if len(envelope.rcpt_tos) >= self.max_recipients_count:
            return replies.TOO_MANY_RECIPIENTS
        wrong = recipient_fault(address, smtp_utf8=envelope.smtp_utf8)
        if wrong is not None:
            return wrong
        try:
            login = await self.directory.recipient(address)
            if login is None and await self.directory.is_local_domain(address.rpartition("@")[2]):
                return replies.NO_SUCH_MAILBOX
        except StoreUnavailable:
            return replies.STORE_DOWN
        if login is not None:
            envelope.mailboxes[login] = None
        elif self.relay is not None:
            envelope.elsewhere.append(address)
        else:
            return replies.NO_RELAYING
        envelope.rcpt_tos.append(address)
        return replies.RECIPIENT_TAKEN

    async def handle_DATA(
        self, server: SubmissionProtocol, session: aiosmtpd.smtp.Session, envelope: Transaction
    ) -> bytes:
        """Send the message where it goes, and say what came of it."""
        transmission_id = secrets.token_hex(12)
        trace = Trace(session.host_name or "", server.peer or "", server.hostname, server.tls, envelope.smtp_utf8)
        content = stamped(cast(bytes, envelope.content), trace, transmission_id, self.now())
        sender = cast(str, envelope.mail_from)
        try:
            if envelope.elsewhere and self.relay is not None:
                await self.relay.send(sender, envelope.elsewhere, content, smtp_utf8=envelope.smtp_utf8)
            for login in envelope.mailboxes:
                await self.deliver(login, content, sender)
        except Refused as refused:
            return refused.reply
        except Unavailable:
            return replies.RELAY_DOWN
        except DeliveryFailed as failed:
            log.error("delivery id=%s failed: %s", transmission_id, failed)
            return replies.not_stored(str(failed))
        log.info(
            "submitted id=%s account=%d mailboxes=%d elsewhere=%d bytes=%d",
            transmission_id,
            cast(Principal, session.auth_data).account_id,
            len(envelope.mailboxes),
            len(envelope.elsewhere),
            len(content),
        )
        return replies.accepted(transmission_id)
