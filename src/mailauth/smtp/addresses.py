"""What may be wrong with an address in MAIL or RCPT, whoever takes the message in the end.

Source: RFC 5321 section 4.1.2, RFC 6409 section 6 (who may send as whom), RFC 6531 section 3.5.
Rule: each answer is the reply to the client; None says that nothing is wrong.
"""

from __future__ import annotations

from mailauth.interfaces import Directory, StoreUnavailable
from mailauth.smtp import replies

NULL_PATH = "<>"  # as aiosmtpd's hooks are told it


async def sender_fault(account_id: int, address: str, own: Directory | None, *, smtp_utf8: bool) -> bytes | None:
    """What keeps this account from sending as `address`. own: whose directory it must be in; None: any will do."""
    wrong = replies.NO_NULL_SENDER if address == NULL_PATH else _misspelt(address, smtp_utf8=smtp_utf8)
    if wrong is not None or own is None:
        return wrong
    try:
        return None if await own.may_send_as(account_id, address) else replies.NOT_YOUR_ADDRESS
    except StoreUnavailable:
        return replies.STORE_DOWN


def recipient_fault(address: str, *, smtp_utf8: bool) -> bytes | None:
    """What keeps anybody from sending to `address`."""
    return replies.BAD_ADDRESS if address == NULL_PATH else _misspelt(address, smtp_utf8=smtp_utf8)


def _misspelt(address: str, *, smtp_utf8: bool) -> bytes | None:
    if not address.isprintable():  # neither are octets that are no UTF-8
        return replies.BAD_ADDRESS
    if not address.isascii() and not smtp_utf8:
        return replies.SMTPUTF8_NEEDED
    return None
