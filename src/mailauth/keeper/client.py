"""The server's side of the keeper: asks it, and has it back when it has died.

Rule: many questions at once, each with its time; what is not answered says nothing about any password. A connection
that comes when nobody waits for it any more is closed.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable

from mailauth.attempt import Attempt
from mailauth.ends import NOWHERE, Ends
from mailauth.keeper.channel import Channel, Message
from mailauth.serving.backing import BackendUnavailable, Opened
from mailauth.verdict import Principal

ANSWER_S = 10.0  # a little longer than the keeper takes for a login
PAUSES_S = (0.1, 0.5, 2.0, 5.0, 15.0)  # between tries to have a keeper; the last one again and again
STEADY_S = 60.0  # one that lived so long has not failed at once
OFFER_S, AWAY_S = 30.0, 5.0  # so long what back ends offer, or that they do not tell, is believed without asking
MISREAD = (KeyError, TypeError, ValueError)
NOT_UNDERSTOOD = "the keeper's answer is not understood; are it and this process of one version?"

log = logging.getLogger(__name__)


class NoKeeper(Exception):
    """There is no keeper, or it cannot do its work. The text says why, and what to do."""


Summon = Callable[[], Awaitable[socket.socket]]  # gives a connection to a keeper; raises NoKeeper
Answer = tuple[Message, socket.socket | None]


class Asking:
    """One connection to a keeper, made anew when it ends. summon: makes it."""

    def __init__(self, summon: Summon) -> None:
        self._summon = summon
        self._channel: Channel | None = None
        self._there = asyncio.Event()
        self._over = asyncio.Event()
        self._fault = ""
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[Answer]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises NoKeeper when the first one cannot be had."""
        await self._connect()
        self._task = asyncio.get_running_loop().create_task(self._stay())

    async def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._leave()

    async def ask(self, message: Message, timeout_s: float = ANSWER_S) -> Answer:
        """One question, and what it was answered. Raises NoKeeper, also with the reason why it was not done."""
        number = next(self._numbers)
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        is_taken = False
        try:
            async with asyncio.timeout(timeout_s):
                while self._channel is None:  # it may be gone again before who waits for it has his turn
                    await self._there.wait()
                self._open[number] = waiting
                self._channel.send({"id": number, **message})
                answer, carried = await waiting
                is_taken = True
        except TimeoutError:
            raise NoKeeper(self._fault or "the keeper has not answered in time") from None
        finally:
            self._open.pop(number, None)
            if not is_taken:
                _close_what_came(waiting)
        if "fault" in answer:
            raise NoKeeper(str(answer["fault"]))
        return answer, carried

    # ---- inside

    async def _connect(self) -> None:
        """Raises NoKeeper."""
        self._over.clear()
        try:
            sock = await self._summon()
        except (OSError, RuntimeError) as error:  # no descriptor is left, or there can be no more threads
            raise NoKeeper(f"it cannot be connected to: {getattr(error, 'strerror', None) or error}") from None
        greeted = self._open[GREETING] = asyncio.get_running_loop().create_future()
        channel = Channel(sock, self._received, self._ended)
        try:
            async with asyncio.timeout(ANSWER_S):
                said, _ = await greeted
        except TimeoutError:
            channel.close()
            raise NoKeeper("the keeper does not greet; see what it has logged") from None
        except BaseException:
            channel.close()
            raise
        finally:
            self._open.pop(GREETING, None)
        if "fault" in said:
            channel.close()
            raise NoKeeper(str(said["fault"]))
        self._channel, self._fault = channel, ""
        self._there.set()

    async def _stay(self) -> None:
        """Have a keeper again whenever there is none."""
        loop = asyncio.get_running_loop()
        pauses = iter(PAUSES_S)
        while True:
            since = loop.time()
            await self._over.wait()
            if loop.time() - since > STEADY_S:
                pauses = iter(PAUSES_S)
            await asyncio.sleep(next(pauses, PAUSES_S[-1]))
            try:
                await self._connect()
            except NoKeeper as fault:
                self._fault = str(fault)
                self._over.set()
                log.error("no keeper, so nobody gets through to a back end: %s", fault)
            else:
                log.warning("there is a keeper again")

    def _received(self, message: Message, carried: socket.socket | None) -> None:
        number = message.get("id", GREETING)
        waiting = self._open.get(number) if type(number) is int else None
        if waiting is not None and not waiting.done():
            waiting.set_result((message, carried))
        elif carried is not None:
            carried.close()

    def _ended(self) -> None:
        if self._channel is not None:
            log.error("the keeper has gone; it is sought anew, and logins wait for it meanwhile")
        self._fault = "the keeper has gone"
        self._leave()
        self._over.set()

    def _leave(self) -> None:
        self._there.clear()
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        for waiting in self._open.values():
            if not waiting.done():
                waiting.set_exception(NoKeeper("the keeper has gone"))


GREETING = 0  # the number of what it says by itself


def _close_what_came(waiting: asyncio.Future[Answer]) -> None:
    if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
        _, carried = waiting.result()
        if carried is not None:
            carried.close()


class KeptBackends:
    """serving.backing.Backends, with the keeper's help."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._offer: tuple[str, ...] | None = None
        self._ask_again_at = 0.0
        self._is_away = False  # the last time, nobody told
        self._offering: asyncio.Task[None] | None = None

    async def open(self, attempt: Attempt, principal: Principal, ends: Ends = NOWHERE) -> Opened:
        """See Backends."""
        try:
            answer, sock = await self._asking.ask(
                {
                    "do": "open",
                    "service": attempt.service,
                    "account": principal.login,
                    "peer": attempt.peer,
                    "port": ends.client.port,
                    "server": ends.server.address,
                    "server_port": ends.server.port,
                    "tls": attempt.tls,
                    "client": attempt.client,
                }
            )
        except NoKeeper as fault:
            raise BackendUnavailable(str(fault)) from None
        if sock is None:
            raise BackendUnavailable(
                "the keeper has handed nothing over; has this process descriptors left, and are both of one version?"
            )
        try:
            sock.setblocking(False)
            return Opened(sock, tuple(answer["capabilities"]), base64.b64decode(answer["unread"]))
        except MISREAD:
            sock.close()
            raise BackendUnavailable(NOT_UNDERSTOOD) from None

    async def smtp_offer(self) -> tuple[str, ...]:
        """See Backends. From memory: only the very first waits for an answer, and what is old is asked for behind."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._ask_again_at and (self._offering is None or self._offering.done()):
            self._offering = loop.create_task(self._ask_for_offer())
        if self._offer is None and not self._is_away and self._offering is not None:
            await asyncio.shield(self._offering)
        if self._offer is None:
            raise BackendUnavailable("no SMTP back end has said yet what it offers")
        return self._offer

    async def close(self) -> None:
        """Ask no more."""
        if self._offering is not None:
            self._offering.cancel()
            await asyncio.gather(self._offering, return_exceptions=True)

    async def _ask_for_offer(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            answer, _ = await self._asking.ask({"do": "offer"})
            self._offer = tuple(answer["offer"])
        except (NoKeeper, *MISREAD) as fault:
            if not self._is_away:
                why = fault if isinstance(fault, NoKeeper) else NOT_UNDERSTOOD
                log.error("what SMTP back ends offer cannot be asked now: %s", why)
            self._is_away, self._ask_again_at = True, loop.time() + AWAY_S
        else:
            self._is_away, self._ask_again_at = False, loop.time() + OFFER_S
