"""The way out: another server that takes mail for the rest of the world, asked within the client's own transaction.

Source: RFC 5321, RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8); Python's smtplib, in threads of its own.
Rule: all recipients or none. Only what the next server says for good about the message is a refusal; anything else,
its opinion of our own login included, is a fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import smtplib
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from mailauth.smtp import replies
from mailauth.smtp.answers import ABOUT_US, printable

log = logging.getLogger(__name__)


class Refused(Exception):
    """The next server will not take the message. reply: what to tell the client."""

    def __init__(self, reply: bytes) -> None:
        super().__init__()
        self.reply = reply


class Unavailable(Exception):
    """The next server cannot take the message now."""


class Relay:
    """Where mail for other domains goes.

    hostname: our name in EHLO. username: "" for a server that asks for no login. timeout_s: for each step.
    context: verifies the server's certificate by default.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        tls: Literal["implicit", "starttls", "off"],
        hostname: str,
        username: str = "",
        password: str = "",
        timeout_s: float = 60.0,
        max_connections_count: int = 8,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._host, self._port, self._tls, self._hostname = host, port, tls, hostname
        self._username, self._password = username, password
        self._timeout_s = timeout_s
        self._context = context or ssl.create_default_context()
        self._threads = ThreadPoolExecutor(max_connections_count, thread_name_prefix="relay")

    async def send(self, sender: str, recipients: Sequence[str], content: bytes, *, smtp_utf8: bool) -> None:
        """Hand the message on; it is the next server's when this returns. Raises Refused, Unavailable."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._send, sender, tuple(recipients), content, smtp_utf8)

    def close(self) -> None:
        """Begin no more; what is under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _send(self, sender: str, recipients: tuple[str, ...], content: bytes, smtp_utf8: bool) -> None:
        try:
            with contextlib.closing(self._connect()) as client:
                self._introduce(client)
                options = _options(client, sender, recipients, content, smtp_utf8=smtp_utf8)
                _expect(*client.mail(sender, options))
                for recipient in recipients:
                    _expect(*client.rcpt(recipient))
                _expect(*_data(client, content))
                with contextlib.suppress(OSError):  # it has the message: how it takes leave does not matter
                    client.putcmd("quit")
        except (OSError, ValueError) as fault:  # smtplib's exceptions are OSErrors; ValueError: a login not in ASCII
            code = getattr(fault, "smtp_code", "")
            log.error("relay %s:%d: %s %s", self._host, self._port, type(fault).__name__, code)
            raise Unavailable from None

    def _connect(self) -> smtplib.SMTP:
        if self._tls == "implicit":
            return smtplib.SMTP_SSL(
                self._host, self._port, self._hostname, timeout=self._timeout_s, context=self._context
            )
        return smtplib.SMTP(self._host, self._port, self._hostname, timeout=self._timeout_s)

    def _introduce(self, client: smtplib.SMTP) -> None:
        if self._tls == "starttls":
            client.starttls(context=self._context)  # raises if it is not offered
        client.ehlo_or_helo_if_needed()
        if self._username:
            client.login(self._username, self._password)


def _options(
    client: smtplib.SMTP, sender: str, recipients: tuple[str, ...], content: bytes, *, smtp_utf8: bool
) -> list[str]:
    """MAIL's parameters. Raises Refused when the next server lacks what the message needs."""
    options = [f"SIZE={len(content)}"] if client.has_extn("size") else []
    if content.isascii() and all(address.isascii() for address in (sender, *recipients)):
        return options
    if not client.has_extn("8bitmime"):
        raise Refused(replies.NO_8BIT_BEYOND)
    options.append("BODY=8BITMIME")
    if smtp_utf8:
        if not client.has_extn("smtputf8"):
            raise Refused(replies.NO_SMTPUTF8_BEYOND)
        options.append("SMTPUTF8")
    return options


def _data(client: smtplib.SMTP, content: bytes) -> tuple[int, bytes]:
    try:
        return client.data(content)
    except smtplib.SMTPDataError as error:  # no 354
        text = error.smtp_error
        return error.smtp_code, text if isinstance(text, bytes) else text.encode()


def _expect(code: int, text: bytes) -> None:
    """Raises Refused for a permanent refusal, and SMTPResponseException for anything else that is no consent."""
    if 200 <= code < 300:
        return
    if 500 <= code < 600 and code not in ABOUT_US:
        raise Refused(b"%d %b" % (code, printable(text, b" ")))
    raise smtplib.SMTPResponseException(code, text)
