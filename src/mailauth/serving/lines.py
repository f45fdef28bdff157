"""Drives any Dialogue over a real connection: asyncio.Protocol, TLS, time limits, and the refusal clock.

Rule: knows no protocol. What a Dialogue asks for is done in order; while an attempt is judged, the Dialogue gets no
input, and what comes meanwhile stays in one bounded buffer with reading paused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any, cast

from mailauth.attempt import Attempt, address_text
from mailauth.begun import begun, in_a_task
from mailauth.dialogue import Actions, Close, Ending, Enter, Judge, Named, Send, StartTLS
from mailauth.ends import Ends
from mailauth.serving.backing import Backends, BackendUnavailable, Opened, ends_of
from mailauth.serving.handover import streams
from mailauth.serving.house import House
from mailauth.serving.passing import Passage
from mailauth.verdict import Accept, Cause, Defer, Outcome, Principal, Reject

log = logging.getLogger(__name__)


class LineConnection(asyncio.Protocol):
    """One connection. proxied: the real client, where a proxy has named it."""

    def __init__(self, house: House, proxied: Ends | None = None) -> None:
        self._house = house
        self._dialogue = house.dialogue()
        self._proxied = proxied
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None  # one for all limits: it looks at `_due` when it strikes
        self._due = 0.0
        self._leaving = False  # goodbye was said: at `_due` the connection is cut
        self._waiting: asyncio.Task[None] | None = None  # a verdict or a handshake
        self._is_beginning = False  # a login, which has not had to wait yet
        self._handshaking = False
        self._choked = False  # the client does not read what we write
        self._held = b""  # what came while waiting
        self._client_done = False
        self._is_in = False
        self._refused_count = 0
        self._visit: asyncio.Future[Ending] | None = None  # set: the mailbox has the connection
        self._opened: Opened | None = None  # the back end's connection, until it has this one
        self._passage: Passage | None = None  # set: the two are joined

    # ---- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        proxied = self._proxied
        peer = address_text(transport.get_extra_info("peername")) if proxied is None else proxied.client.address
        refuse = self._house.census.enter(self, peer)
        if refuse is None and self._house.sessions is not None and self._house.sessions.unavailable():
            refuse = Ending.UNAVAILABLE
        limits = self._house.limits
        self._due = self._loop.time() + limits.login_s
        self._timer = self._loop.call_later(min(limits.login_s, limits.idle_s), self._strike)
        self._do(self._dialogue.opened(peer, transport.get_extra_info("sslcontext") is not None, refuse))

    def data_received(self, data: bytes) -> None:
        if self._waiting is not None:
            self._held += data
            if self._transport is not None and not self._handshaking:  # the TLS layer reads through it
                self._transport.pause_reading()
            return
        if self._is_in:
            self._due = self._loop.time() + self._house.limits.idle_s
        self._do(self._dialogue.received(data))

    def eof_received(self) -> bool:
        self._client_done = True
        if self._waiting is None:
            self._do(self._dialogue.eof())
        # A client that closed its sending half still gets its answer, and we close; TLS knows no half.
        return self._transport is not None and self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        self._choked = True
        if self._transport is not None:  # it does not read what we say: it need not say more
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._choked = False
        if self._transport is not None and not self._held:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._gone()
        if self._waiting is not None:
            self._waiting.cancel()

    # ---- what others say

    def end(self, cause: Ending) -> None:
        """Say goodbye and close, wherever the connection stands. A client that does not leave then is cut."""
        if self._passage is not None:  # no words can be put between those of the back end
            self._passage.cut()
            return
        if self._visit is not None:
            if not self._visit.done():
                self._visit.set_result(cause)
                self._cut_after(self._house.limits.linger_s)
            return
        if self._waiting is not None:
            self._waiting.cancel()
        if self._handshaking:  # no words can be said
            self._cut()
        else:
            self._do(self._dialogue.ending(cause))

    # ---- carrying out

    def _do(self, actions: Actions) -> None:
        transport = self._transport
        for action in actions:
            if transport is None or transport.is_closing():
                return
            kind = type(action)
            if kind is Send:
                transport.write(cast("Send", action).data)
            elif kind is Judge:
                self._begin(self._waited(self._judge(cast("Judge", action))))
            elif kind is StartTLS:
                self._handshaking = True
                self._waiting = self._loop.create_task(self._waited(self._start_tls(transport)))
            elif kind is Enter:
                self._enter(transport, cast("Enter", action))
            elif kind is Named:
                self._named(cast("Named", action).client)
            elif kind is Close:
                transport.close()
                self._cut_after(self._house.limits.linger_s)

    def _begin(self, login: Coroutine[Any, Any, None]) -> None:
        """Most need not wait. One that came behind another is begun in a task: no client makes the stack deep."""
        if self._is_beginning:
            self._waiting = self._loop.create_task(login)
            return
        self._is_beginning = True
        self._waiting = begun(login, self._loop) or self._waiting
        self._is_beginning = False

    async def _waited(self, work: Awaitable[Actions | None]) -> None:
        try:
            actions = await work or []
        except Exception as bug:
            log.exception("connection dropped: %s", type(bug).__name__)
            actions = [Close()]
        self._waiting = None
        self._do(actions)
        self._catch_up()

    def _catch_up(self) -> None:
        """Hand the Dialogue what came while it waited."""
        if self._waiting is not None or self._visit is not None or self._passage is not None:
            return
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._held:
            held, self._held = self._held, b""
            transport.resume_reading()
            self._do(self._dialogue.received(held))
        if self._client_done and self._waiting is None:
            self._do(self._dialogue.eof())

    async def _judge(self, judge: Judge) -> Actions:
        arrived = self._loop.time()
        outcome: Outcome
        try:
            outcome = await self._house.authenticator.authenticate(judge.attempt)
        except Exception as bug:  # noqa: BLE001  somebody else's Authenticator: its faults judge nobody either
            log.error("authenticator failed: %s", type(bug).__name__)
            outcome = Defer(Cause.BUG)
        sessions = self._house.sessions
        if type(outcome) is Accept and sessions is not None and not sessions.enter(self, judge.attempt, outcome):
            outcome = Defer(Cause.CHANGED)
        if type(outcome) is Accept and self._house.backends is not None:
            outcome = await self._reach(self._house.backends, judge.attempt, outcome)
        if type(outcome) is Accept:
            self._is_in = True
            self._house.census.logged_in(self)
            self._due = arrived + self._house.limits.idle_s
        elif type(outcome) is Reject:
            if await self._house.refusals.hold(arrived, self._refused_count):
                self._refused_count += 1
            else:
                outcome = Defer(Cause.LATE)
        behind = None if self._opened is None else self._opened.capabilities
        return self._dialogue.judged(judge.ticket, outcome, behind)

    async def _reach(self, backends: Backends, attempt: Attempt, accept: Accept) -> Outcome:
        """Have the back end opened for whoever was accepted; if that cannot be, nobody is in."""
        await in_a_task()
        try:
            self._opened = await backends.open(attempt, accept.principal, self._proxied or ends_of(self._transport))
        except BackendUnavailable as reason:
            log.warning("%s: %s is told to try later: %s", attempt.service, accept.principal.login, reason)
            if self._house.sessions is not None:
                self._house.sessions.leave(self)
            return Defer(Cause.BACKEND)
        return accept

    async def _start_tls(self, transport: asyncio.Transport) -> Actions:
        context = self._house.tls
        self._held = b""  # came in clear behind the command; from here on only TLS can bring more
        secured: asyncio.Transport | None = None
        with suppress(OSError, EOFError):  # ssl.SSLError and timeouts are OSErrors
            if context is not None:
                secured = await self._loop.start_tls(
                    transport, self, context, server_side=True, ssl_handshake_timeout=self._house.limits.handshake_s
                )
        if secured is None:  # the loop tells nobody that such a connection is lost
            self._cut()
            return []
        self._handshaking = False
        self._transport = secured
        return self._dialogue.tls_started()

    def _enter(self, transport: asyncio.Transport, enter: Enter) -> None:
        """Hand the connection to the back end, or to the mailbox, on streams from now on."""
        self._stop_timer()
        unread, self._held = enter.leftover + self._held, b""
        if self._opened is not None:
            self._passage = Passage(transport, self._house.limits, self._gone, is_choked=self._choked)
            joined = self._passage.open(self._opened, unread, is_done=self._client_done)
            self._opened, self._waiting = None, self._loop.create_task(self._waited(joined))
            return
        reader, writer = streams(transport, unread, self._loop, is_choked=self._choked, is_done=self._client_done)
        self._visit = self._loop.create_future()
        self._waiting = self._loop.create_task(self._visited(enter.principal, reader, writer, self._visit))

    async def _visited(
        self,
        principal: Principal,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ending: asyncio.Future[Ending],
    ) -> None:
        try:
            if self._house.mailbox is not None:
                await self._house.mailbox(principal, reader, writer, ending, named=self._named)
        except (OSError, EOFError):
            pass  # the client is gone
        except Exception as bug:
            log.exception("mailbox session of %s failed: %s", principal.login, type(bug).__name__)
        finally:
            writer.close()
            self._cut_after(self._house.limits.linger_s)
        with suppress(OSError):
            await writer.wait_closed()
        self._gone()

    def _named(self, client: str) -> None:
        if self._house.sessions is not None:
            self._house.sessions.named(self, client)

    # ---- time and place

    def _strike(self) -> None:
        """The timer's: a limit has passed, or it was moved meanwhile."""
        remaining_s = self._due - self._loop.time()
        if remaining_s > 0:
            self._timer = self._loop.call_later(min(remaining_s, self._house.limits.idle_s), self._strike)
        elif self._leaving:
            self._cut()
        else:
            self.end(Ending.TIMEOUT)

    def _cut_after(self, seconds: float) -> None:
        """Cut the connection, if the client has not left by then."""
        self._leaving = True
        self._due = self._loop.time() + seconds
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, self._strike)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._gone()

    def _gone(self) -> None:
        self._stop_timer()
        self._house.census.leave(self)
        if self._opened is not None:
            self._opened.sock.close()
            self._opened = None
        if self._house.sessions is not None:
            self._house.sessions.leave(self)
