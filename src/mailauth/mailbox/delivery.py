"""Local delivery: one message into an account's INBOX, for good.

Source: the Maildir page (cr.yp.to/proto/maildir.html); RFC 5321 section 4.4 (Return-Path), RFC 9228 (Delivered-To).
Rule: when it returns, the message survives a crash; when it raises, nothing of it is there.
"""

from __future__ import annotations

import errno
import re

from mailauth.mailbox import messagefile

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CAUSES = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "quota exceeded",
    errno.EROFS: "mailbox is read-only",
    errno.EACCES: "mailbox may not be written",
    errno.EPERM: "mailbox may not be written",
}


class DeliveryFailed(Exception):
    """The message was not delivered; a later try may do better. The text tells no path and may be shown."""


def deliver_file(maildir: str, login: str, content: bytes, envelope_from: str) -> None:
    """Store one message in `new`. content: ends up in wire form and in whole lines. Blocks. Raises DeliveryFailed."""
    message = _trace(login, envelope_from) + messagefile.to_wire_form(content)
    if not message.endswith(b"\r\n"):
        message += b"\r\n"
    unique = messagefile.mint_unique(message)
    try:
        messagefile.make_maildir(maildir)
        temporary = messagefile.write_temporary(maildir, unique, message)
        messagefile.move_for_good(temporary, f"{maildir}/new/{unique}")
    except OSError as fault:
        raise DeliveryFailed(_CAUSES.get(fault.errno or 0, "mailbox cannot be written")) from None


def _trace(login: str, envelope_from: str) -> bytes:
    """The two lines of final delivery. An address brings no line ends of its own."""
    sender, recipient = (_CONTROL.sub("", text) for text in (envelope_from, login))
    return f"Return-Path: <{sender}>\r\nDelivered-To: {recipient}\r\n".encode("utf-8", "surrogateescape")
