"""One connection to the mail server behind us, logged in: a command, its reply; mail data, as fast as it is taken.

Source: RFC 5321 sections 3.8, 4.2 and 4.5.3.2.
Rule: one command at a time. A server that speaks unasked, or not in SMTP, or about us in place of the message, is not
understood: then the connection ends, which says nothing about the message.
"""

from __future__ import annotations

import asyncio
from typing import cast

from mailauth.serving.backing import Opened
from mailauth.smtp.answers import ABOUT_US, Answer, Answers, Unreadable

REPLY_S = 240.0  # RFC 5321 section 4.5.3.2 asks for 5 minutes, which is all that our own client has
VERDICT_S = 600.0  # on a message: section 4.5.3.2.6
CLOSING = 421
DONE, GO_ON = range(200, 300), range(354, 355)
PARTING = b"QUIT\r\n"
LINGER_S = 5.0  # for a goodbye to be taken


class Ended(Exception):
    """The server has ended the connection, or we had to. What was asked last is not done, as far as it said."""


class Silent(Exception):
    """The server let us wait too long, and the connection has ended."""


class Behind(asyncio.Protocol):
    """The connection. Made by `behind`. has_transaction: there is something for RSET to forget."""

    def __init__(self) -> None:
        self.has_transaction = False
        self._answers = Answers()
        self._waiting: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._has_data_open = False
        self._why = "the connection was closed"

    # ---- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            answers = self._answers.received(data)
        except Unreadable as unreadable:
            self._end(f"it says {unreadable}")
            return
        for answer in answers:
            if self._waiting is None or self._waiting.done():
                self._end(f"it said {answer.reply_code} unasked")
                return
            self._waiting.set_result(answer)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._end(self._why)

    # ---- what we say

    async def ask(self, line: bytes, *, for_data: bool = False) -> Answer:
        """Send a command, and return its reply. for_data: it is DATA, whose consent is 354. Raises Ended, Silent."""
        if self._answers.is_amid:
            self._end("it said something unasked")
        self._open.write(line + b"\r\n")
        answer = await self._answer(REPLY_S, consents=GO_ON if for_data else DONE)
        self._has_data_open = for_data and answer.reply_code < 400
        return answer

    async def give(self, piece: bytes) -> None:
        """Send mail data, and wait until there is room for more. Raises Ended, Silent."""
        self._open.write(piece)
        try:
            async with asyncio.timeout(REPLY_S):
                await self._may_write.wait()
        except TimeoutError:
            raise self._silent() from None
        if self._transport is None:
            raise Ended(self._why)

    async def conclude(self, piece: bytes) -> Answer:
        """Send the last of the mail data, with its end, and return what the server says. Raises Ended, Silent."""
        self._open.write(piece)
        self._has_data_open = self.has_transaction = False
        return await self._answer(VERDICT_S, consents=DONE)

    def leave(self) -> None:
        """Close, with a goodbye where one could be said."""
        if self._transport is not None and not (self._has_data_open or self._waiting or self._answers.is_amid):
            self._transport.write(PARTING)
            self._transport.close()
            asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)
            self._transport = None
        self._end("we have left")

    @property
    def _open(self) -> asyncio.Transport:
        if self._transport is None or self._transport.is_closing():
            raise Ended(self._why)
        return self._transport

    async def _answer(self, within_s: float, *, consents: range) -> Answer:
        """The reply to what was sent: one of these codes, or a refusal."""
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(within_s):
                answer = await self._waiting
        except TimeoutError:
            raise self._silent() from None
        finally:
            self._waiting = None
        if (
            answer.reply_code == CLOSING
            or answer.reply_code in ABOUT_US
            or (answer.reply_code < 400 and answer.reply_code not in consents)
        ):
            self._end(f"it said {answer.reply_code}")
            raise Ended(self._why)
        return answer

    def _silent(self) -> Silent:
        self._end("it did not answer in time")
        return Silent(self._why)

    def _end(self, why: str) -> None:
        """No more comes and goes here; who waits is told."""
        if self._transport is not None:
            self._why = why
            self._transport.abort()
            self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Ended(self._why))
        self._may_write.set()


async def behind(opened: Opened) -> Behind:
    """Take over a connection on which somebody is logged in. Raises Ended; then it is closed."""
    try:
        _, protocol = await asyncio.get_running_loop().create_connection(Behind, sock=opened.sock)
    except (OSError, ValueError):
        opened.sock.close()
        raise Ended("the connection was closed") from None
    if opened.unread:
        protocol.leave()
        raise Ended("it said something unasked")
    return protocol
