"""Drives the dialogue of a bridge over a real connection: many requests at once, each answered in time or deferred.

Rule: knows no protocol. A request is answered once. Nothing of ours keeps a host waiting longer than DECIDE_S, and what
is judged after that is judged to its end, told to nobody, and on record like any other.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from typing import cast

from mailauth.begun import begun
from mailauth.dialogue import Actions, Again, Close, Ending, Judge, Recheck, Recurs, Reset, Send, Warn
from mailauth.ends import Ends
from mailauth.serving.bridgehouse import BridgeHouse
from mailauth.verdict import Accept, Cause, Defer, Outcome, Reject

DECIDE_S = 8.0  # Postfix gives up after ten seconds
HOLD_MOST_S = 5.0  # of a refusal: so that it leaves before that
LINGER_S = 5.0  # for a peer to read our last words
MOST_JUDGED = 1000  # requests of one bridge; the hash queue has as many places
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER

log = logging.getLogger(__name__)


class BridgeConnection(asyncio.Protocol):
    """One connection of a host. The argument of doors, what a proxy said of the client, is none here."""

    def __init__(self, house: BridgeHouse, proxied: Ends | None = None) -> None:  # noqa: ARG002
        self._house = house
        self._dialogue = house.dialogue()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._open: dict[int, float] = {}  # tickets to be answered, and when they came, oldest first
        self._asked: deque[tuple[Judge | Recheck, float]] = deque()  # and not begun yet
        self._unsent: list[bytes] = []
        self._is_going_on = False
        self._is_stranger = True  # nobody was let in by it yet
        self._timer: asyncio.TimerHandle | None = None  # one for everything: it looks when it strikes
        self._quiet_since = self._loop.time()
        self._cut_at: float | None = None  # goodbye was said

    # ---- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._house.census.enter(self, "") is not None:
            self._transport.abort()
            return
        self._carry_out(self._dialogue.opened())
        self._look_again()

    def data_received(self, data: bytes) -> None:
        actions = self._dialogue.received(data, self._loop.time())
        reads = self._house.reads if len(actions) > 1 else None
        if reads is None:
            self._do(actions)
        else:
            reads.together()
            try:
                self._do(actions)
            finally:
                reads.apart()
        self._go_on()

    def eof_received(self) -> bool:
        self._carry_out(self._dialogue.eof())
        return True

    def pause_writing(self) -> None:
        if self._transport is not None:  # it does not read what we say: it need not say more
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._open.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._house.census.leave(self)

    # ---- what others say

    def end(self, cause: Ending) -> None:  # noqa: ARG002  no host makes anything of the reason
        """Close. What is not answered yet is not answered: to every host that is "not now"."""
        idle = self._transport is not None and self._transport.get_write_buffer_size() == 0
        self._carry_out([Reset() if idle else Close()])

    # ---- carrying out

    def _carry_out(self, actions: Actions) -> None:
        self._do(actions)
        self._go_on()

    def _go_on(self) -> None:
        """Judge what is asked, each up to where it has to wait; then let go of what is said, in one write."""
        if self._is_going_on:
            return  # whoever does comes to it
        if not self._asked:
            self._send()
            return
        self._is_going_on = True
        reads = self._house.reads if len(self._asked) > 1 else None
        if reads is not None:
            reads.together()
        try:
            while self._asked:
                task = begun(self._judged(*self._asked.popleft()), self._loop)
                if task is not None:
                    self._house.judging.add(task)
                    task.add_done_callback(self._house.judging.discard)
        finally:
            if reads is not None:
                reads.apart()
            self._is_going_on = False
            self._send()

    def _send(self) -> None:
        if self._unsent:
            unsent, self._unsent = self._unsent, []
            self._quiet_since = self._loop.time()
            if self._transport is not None and not self._transport.is_closing():
                self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def _do(self, actions: Actions) -> None:
        for action in actions:
            transport = self._transport
            if transport is None or transport.is_closing():
                return
            if type(action) is Send:
                self._unsent.append(action.data)
            elif type(action) is Again:
                self._recurred(action)
            elif type(action) is Judge or type(action) is Recheck:
                self._begin(action)
            elif type(action) is Close:
                self._send()
                transport.close()
                self._cut_at = self._loop.time() + LINGER_S
                self._look_again()
            elif type(action) is Reset:
                self._send()
                self._reset(transport)
            elif type(action) is Warn:
                self._house.warn(action.text)

    def _begin(self, judge: Judge | Recheck) -> None:
        house = self._house
        now = self._loop.time()
        self._open[judge.ticket] = now
        if house.sessions is not None and house.sessions.unavailable():
            self._answer(judge.ticket, Defer(Cause.STORE))
        elif len(house.judging) + len(self._asked) >= MOST_JUDGED:
            house.warn("asks for more at once than can be judged")
            self._answer(judge.ticket, Defer(Cause.BUSY))
        else:
            self._asked.append((judge, now))
            if self._timer is None or self._timer.when() > now + DECIDE_S:
                self._look_again()

    def _recurred(self, asked: Again) -> None:
        house, dialogue = self._house, cast("Recurs", self._dialogue)
        try:
            login = None if house.recurring is None else house.recurring.judge(asked.question)
        except Exception as bug:  # noqa: BLE001  then it is judged as if it had never come before
            log.error("logins that come again: %s", type(bug).__name__)
            login = None
        if login is None:
            self._do(dialogue.anew(asked))
            return
        said = dialogue.let_in(asked, login.accept)
        if said:
            self._unsent.append(said)
            house.note(login.attempt, login.accept, asked.session)
            if self._is_stranger:
                self._is_no_stranger()

    async def _judged(self, judge: Judge | Recheck, arrived: float) -> None:
        house = self._house
        outcome: Outcome
        try:
            if type(judge) is Judge:
                outcome = await house.authenticator.authenticate(judge.attempt)
            else:
                outcome = await self._rechecked(cast("Recheck", judge))
        except Exception as bug:  # noqa: BLE001  somebody else's Authenticator: its faults judge nobody either
            log.error("authenticator failed: %s", type(bug).__name__)
            outcome = Defer(Cause.BUG)
        if type(outcome) is Reject and house.held is not None and judge.ticket in self._open:
            if not await house.held.hold(arrived):
                outcome = Defer(Cause.LATE)
        elif type(outcome) is Accept and self._is_out_of_date(outcome):
            outcome = Defer(Cause.CHANGED)
        elif type(outcome) is Accept and type(judge) is Judge and judge.ticket in self._open:
            house.note(judge.attempt, outcome, judge.session)
        self._answer(judge.ticket, outcome)
        self._go_on()

    async def _rechecked(self, asked: Recheck) -> Outcome:
        admitted = self._house.admitted
        return Defer(Cause.BUG) if admitted is None else await admitted.judge(asked)

    def _is_out_of_date(self, accept: Accept) -> bool:
        """Whether what it stands on was changed since. There is no session of ours that the change would end."""
        sessions, stay = self._house.sessions, accept.stay
        if sessions is None or stay is None:
            return False
        return sessions.touched(stay.mark, accept.principal.account_id, stay.domain_id)

    def _answer(self, ticket: int, outcome: Outcome) -> None:
        if self._open.pop(ticket, None) is None:
            return
        if type(outcome) is Accept and self._is_stranger:
            self._is_no_stranger()
        self._do(self._dialogue.judged(ticket, outcome))

    def _is_no_stranger(self) -> None:
        """Others go first where room is needed."""
        self._is_stranger = False
        self._house.census.logged_in(self)

    def _reset(self, transport: asyncio.Transport) -> None:
        """Postfix would write its next request into a connection that has only been closed, and defer that too."""
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        transport.abort()

    # ---- time

    def _look_again(self) -> None:
        """Have the timer strike when the next of the limits may have passed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._due()
        if due is not None and self._transport is not None:
            self._timer = self._loop.call_at(due, self._strike)

    def _due(self) -> float | None:
        if self._cut_at is not None:
            return self._cut_at
        if self._open:
            return next(iter(self._open.values())) + DECIDE_S
        silence_s = self._house.silence_s
        return None if silence_s is None else self._quiet_since + silence_s

    def _strike(self) -> None:
        self._timer = None
        now = self._loop.time()
        due = self._due()
        if due is not None and due <= now and self._transport is not None:
            if self._cut_at is not None or not self._open:
                self._transport.abort()
                return
            for ticket in [ticket for ticket, arrived in self._open.items() if arrived + DECIDE_S <= now]:
                self._house.warn("was told to come later: nothing could be decided in time")
                self._answer(ticket, Defer(Cause.LATE))
            self._go_on()
        self._look_again()
