"""One connection of our submission listener, whatever its commands: lines, time, TLS, and how it ends.

Source: RFC 5321, RFC 3207 (STARTTLS). From aiosmtpd stay the mail commands and the handler's hooks.
Rule: nothing that came in clear is acted on inside TLS; nothing that the client said is logged or said back.
"""

# ruff: noqa: N802  (aiosmtpd finds commands by these names)
from __future__ import annotations

import asyncio
import logging
import re
import ssl
import traceback
from collections.abc import Callable, Iterable
from typing import cast

import aiosmtpd.smtp

from mailauth.attempt import address_text
from mailauth.dialogue import Ending
from mailauth.ends import Ends
from mailauth.smtp import exchange, replies
from mailauth.smtp.house import House

log = logging.getLogger(__name__)
logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd's own: below, it writes down what clients say

MAX_AUTH_LINE_BYTES = 12_288  # RFC 4954 section 4
MAX_COMMAND_BYTES = 2_048  # RFC 5321 section 4.5.3.1.4 asks for 512; MAIL with all its parameters needs 1,050
NO_TEXT = re.compile(rb"[\0\r\n]")
LINGER_S = 5.0  # for a last reply to leave
# ALPACA (USENIX Security 2021): a browser must not get a word of its own back from us.
HTTP_VERBS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PRI", "PUT", "TRACE"))


class Connection(aiosmtpd.smtp.SMTP):
    """One connection. proxied: the client, where a proxy has named it. peer: its address; tls: whether TLS is up."""

    commands: tuple[str, ...] = ()
    line_length_limit = MAX_AUTH_LINE_BYTES + len(b"\r\n")  # the reader's limit

    def __init__(self, house: House, proxied: Ends | None = None) -> None:
        self.command_size_limits = {}  # aiosmtpd's belongs to its class, and every new connection empties it
        super().__init__(
            house.hooks,
            hostname=house.hostname,
            data_size_limit=house.limits.max_message_bytes,
            enable_SMTPUTF8=True,
            auth_required=True,
            loop=asyncio.get_running_loop(),
        )
        self.house = house
        self.proxied = proxied
        self.peer: str | None = None if proxied is None else proxied.client.address
        self.tls = False
        self._no_room: Ending | None = None
        self._handshaking = False
        self._delivering = False
        self._ending: Ending | None = None  # waits for the delivery under way
        self._junk_count = 0
        self._connected_at = self._heard_at = self.loop.time()

    def __dir__(self) -> Iterable[str]:
        """The commands, for which aiosmtpd searches every new connection: among all attributes that takes it 60 us."""
        return [f"smtp_{command}" for command in self.commands]

    @property
    def state(self) -> aiosmtpd.smtp.Session:
        """aiosmtpd's session, which is there from the first octet to the last."""
        return cast(aiosmtpd.smtp.Session, self.session)

    @property
    def _unavailable(self) -> bool:
        """Whether nobody can be judged now, so that no password is to be asked for."""
        return self.house.sessions is not None and self.house.sessions.unavailable()

    # ---- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.peer is None:
            self.peer = address_text(transport.get_extra_info("peername"))
        self.tls = transport.get_extra_info("sslcontext") is not None
        self._no_room = self.house.census.enter(self, self.peer) or (Ending.UNAVAILABLE if self._unavailable else None)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        super().data_received(data)

    def eof_received(self) -> bool:
        # aiosmtpd would cancel what is under way; a client that closed its sending half still gets its answers.
        self._reader.feed_eof()
        return not self.tls  # TLS knows no half

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport is None:
            return
        self.house.census.leave(self)
        if self.house.sessions is not None:
            self.house.sessions.leave(self)
        super().connection_lost(error)

    # ---- how it ends

    def end(self, cause: Ending) -> None:
        """Say 421 and close. A message that is being delivered gets its answer first; any other is not accepted."""
        if self._delivering:
            self._ending = self._ending or cause
        else:
            self._leave(replies.bye(cause))

    def _leave(self, goodbye: bytes) -> None:
        transport = cast("asyncio.Transport | None", self.transport)
        if transport is None or transport.is_closing():
            return
        cast("asyncio.Task[None]", self._handler_coroutine).cancel()
        if not self._handshaking:  # then it ends with the handshake, and there is no way to say anything
            transport.write(goodbye + b"\r\n")
            transport.close()
            self._start_timer(LINGER_S, transport.abort)

    def _start_timer(self, delay_s: float, callback: Callable[[], None]) -> None:
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        self._timeout_handle = self.loop.call_later(delay_s, callback)

    def _reset_timeout(self, duration: float | None = None) -> None:  # noqa: ARG002
        """Called when the connection is made: one timer, which looks again when it is due."""
        self._start_timer(self.house.limits.login_s, self._timeout_cb)

    def _timeout_cb(self) -> None:
        now = self.loop.time()
        if self._delivering:
            self._heard_at = now
        limits = self.house.limits
        due = self._heard_at + limits.idle_s if self.state.authenticated else self._connected_at + limits.login_s
        if due <= now:
            self.end(Ending.TIMEOUT)
        else:
            self._start_timer(due - now, self._timeout_cb)

    # ---- lines

    async def _handle_client(self) -> None:
        if self._no_room is not None:
            self._leave(replies.bye(self._no_room))
            return
        try:
            await self._say(b"220 %b ESMTP\r\n" % self.hostname.encode())
            while self.transport is not None and not self.transport.is_closing():
                await self._next_command()
        except (EOFError, ConnectionError):
            pass  # the client is gone
        finally:
            if self.transport is not None:
                self.transport.close()

    async def _next_command(self) -> None:
        try:
            line = await exchange.read_line(self._reader)
        except exchange.LineTooLong as too_long:
            await self._junk(replies.LINE_TOO_LONG, is_last=too_long.endless)
            return
        verb, _, argument = line.partition(b" ")
        command = verb.upper().decode("ascii", "replace")
        if command in HTTP_VERBS:
            self._leave(replies.NOT_FOR_BROWSERS)
        elif not line or NO_TEXT.search(line):
            await self._junk(replies.NOT_A_LINE)
        elif len(line) > (MAX_AUTH_LINE_BYTES if command == "AUTH" else MAX_COMMAND_BYTES):
            await self._junk(replies.LINE_TOO_LONG)
        elif command not in self._smtp_methods:
            await self._junk(replies.UNKNOWN_COMMAND)
        else:
            await self._run(command, argument.strip().decode("utf-8", "surrogateescape") or None)

    async def _run(self, command: str, argument: str | None) -> None:
        try:
            await self._smtp_methods[command](argument)
        except EOFError:
            raise
        except Exception as bug:  # noqa: BLE001  a handler is somebody else's code; its fault must not end the session
            where = "".join(traceback.format_tb(bug.__traceback__))  # without the text: it may quote the client
            log.error("%s failed: %s\n%s", command, type(bug).__name__, where)
            await self.push(replies.FAULT)
        if self._ending is not None:  # told while a message was delivered
            self._leave(replies.bye(self._ending))

    async def _say(self, lines: bytes) -> None:
        self._writer.write(lines)
        await self._writer.drain()

    async def push(self, status: str | bytes) -> None:
        line = replies.coded(status.encode() if isinstance(status, str) else status)
        await self._say(line + b"\r\n")
        if line.startswith(b"5") and not self.state.authenticated:
            self._count_junk()

    async def _junk(self, reply: bytes, *, is_last: bool = False) -> None:
        """Answer what is no command. Before login every error counts as junk, after it only this."""
        if is_last:
            self._leave(reply)
            return
        await self.push(reply)
        if self.state.authenticated:
            self._count_junk()

    def _count_junk(self) -> None:
        self._junk_count += 1
        if self._junk_count >= self.house.limits.max_junk:
            self._leave(replies.TOO_MUCH_JUNK)

    # ---- TLS

    @property
    def _offers_starttls(self) -> bool:
        return self.house.tls == "starttls" and self.house.tls_context is not None and not self.tls

    async def smtp_STARTTLS(self, arg: str | None) -> None:
        if arg:
            await self.push(replies.NO_PARAMETERS)
        elif not self._offers_starttls:
            await self.push(replies.NO_STARTTLS_NOW)
        else:
            await self.push(replies.READY_FOR_TLS)
            await self._start_tls()

    async def _start_tls(self) -> None:
        clear = cast(asyncio.Transport, self.transport)
        secured: asyncio.BaseTransport | None = None
        self._handshaking = True
        # What came in clear behind the command is thrown away. Neither asyncio nor uvloop does it; and from here to
        # the new protocol start_tls does not wait, so no more can come.
        self._reader._buffer.clear()  # type: ignore[attr-defined]
        self._reader._transport = None  # type: ignore[attr-defined]  # not to be paused by what comes early inside TLS
        try:
            secured = await self.loop.start_tls(
                clear,
                self,
                cast(ssl.SSLContext, self.house.tls_context),
                server_side=True,
                ssl_handshake_timeout=self.house.limits.handshake_s,
            )
        except (OSError, EOFError):  # ssl.SSLError and timeouts are OSErrors
            pass
        finally:
            self._handshaking = False
            if secured is None:  # the loop tells nobody that such a connection is lost
                clear.abort()
                self.connection_lost(None)
        if secured is None:
            return
        self.transport = self._reader._transport = self._writer._transport = secured  # type: ignore[attr-defined]
        self.tls = True
        self.session = self._create_session()  # RFC 3207 section 4.2: all that was said before is forgotten
        self._forget_transaction()

    def _forget_transaction(self) -> None:
        self.envelope = self._create_envelope()
