"""The submission server's commands (RFC 6409): EHLO, AUTH, and the mail commands that aiosmtpd leaves too open.

Source: RFC 4954 (AUTH), RFC 5321, RFC 2920 (PIPELINING), RFC 2034 (ENHANCEDSTATUSCODES), RFC 6531 (SMTPUTF8).
Rule: this file judges nobody. Who may send what to whom is the handler's.
"""

# ruff: noqa: N802  (aiosmtpd finds commands by these names)
from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, assert_never, cast

import aiosmtpd.smtp

from mailauth.attempt import Attempt, Service
from mailauth.ends import Ends
from mailauth.sasl.encoded import Broken
from mailauth.smtp import exchange, replies
from mailauth.smtp.addresses import NULL_PATH
from mailauth.smtp.connection import Connection
from mailauth.smtp.house import House
from mailauth.smtp.message import END_OF_DATA, written
from mailauth.verdict import Accept, Cause, Defer, Outcome, Principal, Reject

PATH = re.compile(
    r"""<(?:@[^:<>\s]+:)?                                                    # a source route is ignored
        (?P<address>(?:"(?:[^"\\]|\\.)*"|[^\s<>"@:]+)@[^\s<>"@]+)?>
        (?:\s+(?P<parameters>.*))?""",
    re.VERBOSE,
)
TRUSTED_SENDER = re.compile(r"(?<!\s)\s+AUTH=\S+(?=\s|$)", re.IGNORECASE)  # never begins within a run of spaces


class Transaction(aiosmtpd.smtp.Envelope):
    """One mail transaction. mailboxes: logins of local recipients, each once; elsewhere: addresses for the relay.

    is_lost: a server behind us has gone away with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mailboxes: dict[str, None] = {}
        self.elsewhere: list[str] = []
        self.is_lost = False


class SubmissionProtocol(Connection):
    """One client's session. Made by a listener for each connection: `lambda: SubmissionProtocol(house, proxied)`."""

    commands = (
        "AUTH",
        "DATA",
        "EHLO",
        "EXPN",
        "HELO",
        "HELP",
        "MAIL",
        "NOOP",
        "QUIT",
        "RCPT",
        "RSET",
        "STARTTLS",
        "VRFY",
    )

    def __init__(self, house: House, proxied: Ends | None = None) -> None:
        super().__init__(house, proxied)
        self._failures_count = 0

    def _create_envelope(self) -> Transaction:
        return Transaction()

    # ---- greeting

    async def smtp_HELO(self, arg: str | None) -> None:
        await self._greet(arg, [], extended=False)

    async def smtp_EHLO(self, arg: str | None) -> None:
        offers = await self._offers_for_mail()
        if self._offers_starttls:
            offers.append("STARTTLS")
        if self._takes_passwords:
            offers.append("AUTH " + " ".join(self.house.mechanisms))
        await self._greet(arg, offers, extended=True)

    async def _offers_for_mail(self) -> list[str]:
        return [f"SIZE {self.data_size_limit}", "8BITMIME", "SMTPUTF8", "PIPELINING", "ENHANCEDSTATUSCODES"]

    async def _greet(self, name: str | None, offers: list[str], *, extended: bool) -> None:
        if not name:
            await self.push(replies.NAME_NEEDED)
            return
        self._forget_transaction()
        self.state.extended_smtp = extended
        self.state.host_name = "".join(c if c.isprintable() else "?" for c in name[:255])
        lines = [self.hostname, *offers]
        text = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}\r\n"
        await self._say(text.encode())

    # ---- logging in

    @property
    def _takes_passwords(self) -> bool:
        return self.tls or self.house.tls == "off"

    async def smtp_AUTH(self, arg: str | None) -> None:
        words = (arg or "").split()
        refusal = self._auth_refusal(words)
        if refusal is not None:
            await self.push(refusal)
            return
        mechanism = self.house.mechanisms[words[0].upper()]
        initial = words[1] if len(words) > 1 else None
        try:
            shown = await exchange.shown(self, mechanism, initial, self.house.limits.response_s)
        except exchange.LineTooLong as too_long:
            await self._junk(replies.LINE_TOO_LONG, is_last=too_long.endless)
        except TimeoutError:
            self._leave(replies.NO_RESPONSE)
        else:
            if isinstance(shown, Broken):
                await self.push(replies.broken(shown.text))
                return
            await self._judge(Attempt(shown, Service.SMTP, self.peer or "", self.tls, self.state.host_name or ""))

    def _auth_refusal(self, words: list[str]) -> bytes | None:
        """Why there can be no exchange now; None: there can. In a mail transaction a client has logged in already."""
        if not self._takes_passwords:
            return replies.TLS_NEEDED
        if not self.state.host_name or not self.state.extended_smtp:
            return replies.EHLO_FIRST
        if self.state.authenticated:
            return replies.LOGGED_IN_ALREADY
        if not 1 <= len(words) <= 2:
            return replies.NO_MECHANISM_NAMED
        if words[0].upper() not in self.house.mechanisms:
            return replies.UNKNOWN_MECHANISM
        return replies.DEFERRED if len(words) == 1 and self._unavailable else None

    async def _judge(self, attempt: Attempt) -> None:
        arrived = self.loop.time()
        outcome: Outcome = await exchange.judge(self.house.authenticator, attempt)
        if type(outcome) is Accept:
            outcome = await self._let_in(attempt, outcome)
        match outcome:
            case Accept(principal):
                self._enter(principal)
            case Reject():
                if await self.house.hold(arrived, self._failures_count):
                    self._failures_count += 1
                else:
                    outcome = Defer(Cause.LATE)
            case Defer():
                pass
            case _:
                assert_never(outcome)
        await self._say(replies.reply(outcome, self.house.help_line) + b"\r\n")  # has a count of its own
        if self._failures_count >= self.house.limits.max_failures and not self.state.authenticated:
            self._leave(replies.TOO_MANY_FAILURES)

    async def _let_in(self, attempt: Attempt, accept: Accept) -> Outcome:
        """The Accept, when this connection is among the sessions from now on; else why it is not."""
        sessions = self.house.sessions
        if sessions is not None and not sessions.enter(self, attempt, accept):
            return Defer(Cause.CHANGED)
        return accept

    def _enter(self, principal: Principal) -> None:
        state: Any = self.state  # aiosmtpd declares auth_data as None, for anybody to fill
        state.authenticated, state.auth_data = True, principal
        self._junk_count = 0
        self._timeout_cb()  # from now on another limit
        self.house.census.logged_in(self)

    async def check_auth_needed(self, caller_method: str) -> bool:  # noqa: ARG002
        if self.state.authenticated:
            return False
        await self.push(replies.LOGIN_NEEDED if self._takes_passwords else replies.STARTTLS_FIRST)
        return True

    # ---- sending mail

    async def smtp_MAIL(self, arg: str | None) -> None:
        # Who vouches for the sender may be said and, since nobody is trusted to say it, is ignored: RFC 4954 section 5.
        await super().smtp_MAIL(arg and TRUSTED_SENDER.sub("", arg))

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """A path's mailbox and the parameters behind it; None: this is no path, or it has no domain."""
        path = PATH.fullmatch(arg)
        if path is None:
            return None, None
        return path["address"] or NULL_PATH, path["parameters"] or ""

    async def smtp_DATA(self, arg: str | None) -> None:
        if await self.check_helo_needed() or await self.check_auth_needed("DATA"):
            return
        envelope = cast(aiosmtpd.smtp.Envelope, self.envelope)
        if arg or not envelope.rcpt_tos:
            await self.push(replies.NO_PARAMETERS if arg else replies.RECIPIENTS_FIRST)
            return
        await self._take_message()

    async def _take_message(self) -> None:
        pieces: list[bytes] = []

        async def take(piece: bytes) -> None:
            pieces.append(piece)

        await self.push(replies.SEND_DATA)
        if not await self._receive(take):
            self._forget_transaction()
            await self.push(replies.TOO_BIG)
            return
        envelope = cast(aiosmtpd.smtp.Envelope, self.envelope)
        envelope.content = envelope.original_content = written(b"".join(pieces))
        await self.push(await self._deliver())

    async def _receive(self, take: Callable[[bytes], Awaitable[None]]) -> bool:
        """Hand over the mail data as it comes, up to and with the CRLF before the final dot; False: it is too big.

        What is beyond the limit is read to its end and not handed over. (aiosmtpd keeps an object for each line.)
        """
        buffer: bytearray = self._reader._buffer  # type: ignore[attr-defined]
        buffer[:0] = b"\r\n"  # of the DATA line: the end may come at once
        begin = len(b"\r\n")
        size_bytes, is_end = 0, False
        while not is_end:
            try:
                piece = (await self._reader.readuntil(END_OF_DATA))[: -len(b".\r\n")]
                is_end = True
            except asyncio.LimitOverrunError as over:
                piece = await self._reader.readexactly(over.consumed)
            piece, begin = piece[begin:], 0
            size_bytes += len(piece)
            if size_bytes <= self.house.limits.max_message_bytes:
                await take(piece)
        return size_bytes <= self.house.limits.max_message_bytes

    async def _deliver(self) -> str | bytes:
        self._delivering = True
        try:
            status = await self._call_handler_hook("DATA")
        finally:
            self._delivering = False
            self._forget_transaction()
        return b"250 2.0.0 OK" if status is aiosmtpd.smtp.MISSING else cast("str | bytes", status)

    # ---- the rest

    async def smtp_QUIT(self, arg: str | None) -> None:
        if arg:
            await self.push(replies.NO_PARAMETERS)
        else:
            self._leave(replies.QUIT)

    async def smtp_HELP(self, arg: str | None) -> None:  # noqa: ARG002
        await self.push(replies.HELP)

    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: ARG002
        if not await self.check_auth_needed("VRFY"):
            await self.push(replies.CANNOT_VERIFY)

    async def smtp_EXPN(self, arg: str | None) -> None:  # noqa: ARG002
        await self.push(replies.NOT_IMPLEMENTED)
