"""What a test must know about a protocol to say the same thing at each door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from doubles import Doorman
from mailauth.attempt import Attempt
from mailauth.dialogue import Dialogue, Ending
from mailauth.verdict import Outcome, Principal
from servers import imap, pop3
from wire import Wire


@dataclass(frozen=True)
class Words:
    """One protocol. login and wrong end in the line whose answer is the verdict; mailbox: wants the mailbox."""

    name: str
    dialogue: Callable[..., Callable[[], Dialogue]]
    starttls: bytes
    login: bytes
    wrong: bytes
    asked: bytes  # what is said before the verdict
    accepted: bytes
    refused: bytes
    deferred: bytes
    noop: bytes
    noop_done: bytes
    logout: bytes
    logout_done: bytes
    mailbox: bytes
    bye: bytes  # how a goodbye begins

    def __repr__(self) -> str:
        return self.name


IMAP = Words(
    name="imap",
    dialogue=imap,
    starttls=b"s STARTTLS\r\n",
    login=b"a LOGIN alice@example.test secret\r\n",
    wrong=b"a LOGIN alice@example.test wrong\r\n",
    asked=b"",
    accepted=b"a OK [CAPABILITY IMAP4rev1 ID LITERAL+] Logged in.\r\n",
    refused=b"a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n",
    deferred=b"a NO [UNAVAILABLE] Temporary authentication failure, try again later.\r\n",
    noop=b"n NOOP\r\n",
    noop_done=b"n OK NOOP completed.\r\n",
    logout=b"o LOGOUT\r\n",
    logout_done=b"* BYE Logging out.\r\no OK LOGOUT completed.\r\n",
    mailbox=b"m SELECT INBOX\r\n",
    bye=b"* BYE ",
)
POP3 = Words(
    name="pop3",
    dialogue=pop3,
    starttls=b"STLS\r\n",
    login=b"USER alice@example.test\r\nPASS secret\r\n",
    wrong=b"USER alice@example.test\r\nPASS wrong\r\n",
    asked=b"+OK Send PASS.\r\n",
    accepted=b"+OK Logged in.\r\n",
    refused=b"-ERR [AUTH] Authentication failed.\r\n",
    deferred=b"-ERR [SYS/TEMP] Temporary authentication failure, try again later.\r\n",
    noop=b"NOOP\r\n",
    noop_done=b"+OK\r\n",
    logout=b"QUIT\r\n",
    logout_done=b"+OK Bye.\r\n",
    mailbox=b"STAT\r\n",
    bye=b"-ERR ",
)


@dataclass
class Gate:
    """An Authenticator that judges when the test says so."""

    inner: Doorman = field(default_factory=Doorman)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    abandoned: int = 0

    async def authenticate(self, attempt: Attempt) -> Outcome:
        self.asked.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        return await self.inner.authenticate(attempt)


class Collector:
    """A mailbox that keeps what it gets, and says only when it is told to go."""

    def __init__(self) -> None:
        self.got = b""
        self.arrived = asyncio.Event()
        self.ended: Ending | None = None
        self.left = asyncio.Event()

    async def __call__(
        self,
        principal: Principal,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ending: asyncio.Future[Ending],
        *,
        named: Callable[[str], None],
    ) -> None:
        self.arrived.set()
        ending.add_done_callback(lambda _: reader.feed_eof())
        try:
            while data := await reader.read(65536):
                self.got += data
        finally:
            self.ended = ending.result() if ending.done() else None
            self.left.set()


async def greeted(port: int, **options: Any) -> Wire:
    """A client that has connected and heard the greeting."""
    wire = await Wire.to(port, **options)
    assert (await wire.line()).startswith((b"* OK ", b"+OK "))
    return wire


async def secured(port: int, words: Words) -> Wire:
    """A client that has started TLS."""
    wire = await greeted(port)
    assert b"OK" in await wire.exchange(words.starttls)
    await wire.start_tls()
    return wire


async def hear_and_leave(wire: Wire) -> bytes:
    """All that is still said; then go, as a program does that was told goodbye."""
    heard = await wire.rest()
    wire.close()
    return heard
