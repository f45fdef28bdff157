"""One AUTH exchange over a connection of aiosmtpd's (RFC 4954 section 4): ours, or anybody's through the plug-in.

Rule: what the client sends here is never logged, never said back, and never kept beyond its line.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from aiosmtpd.smtp import SMTP

from mailauth.attempt import Attempt, Credential
from mailauth.interfaces import Authenticator
from mailauth.sasl.encoded import Broken, EncodedExchange, Prompt
from mailauth.sasl.login import Login
from mailauth.sasl.mechanism import Factory
from mailauth.sasl.plain import Plain
from mailauth.verdict import Cause, Defer, Outcome

log = logging.getLogger(__name__)

MECHANISMS: Mapping[str, Factory] = {mechanism.name: mechanism for mechanism in (Plain(), Login())}
MAX_SKIPPED_BYTES = 65_536  # of one line too long; whoever sends more is not a mail program


class LineTooLong(Exception):
    """The line was longer than the reader's limit and has been thrown away. endless: its end has not been seen."""

    def __init__(self, *, endless: bool) -> None:
        super().__init__()
        self.endless = endless


async def read_line(reader: asyncio.StreamReader) -> bytes:
    """The next line without its CRLF, the only line end there is (RFC 5321 section 2.3.8).

    Raises LineTooLong, and IncompleteReadError when the client has gone.
    """
    skipped_bytes = 0
    while True:
        try:
            line = await reader.readuntil(b"\r\n")
        except asyncio.LimitOverrunError as over:
            skipped_bytes += len(await reader.readexactly(over.consumed))
            if skipped_bytes > MAX_SKIPPED_BYTES:
                raise LineTooLong(endless=True) from None
            continue
        if skipped_bytes:
            raise LineTooLong(endless=False)
        return line[:-2]


async def shown(server: SMTP, mechanism: Factory, initial: str | None, response_s: float) -> Credential | Broken:
    """Carry one exchange to its end. initial: the initial response as sent, in base64; None: there was none.

    response_s: the time for each response. Raises LineTooLong, TimeoutError, IncompleteReadError.
    """
    exchange = EncodedExchange(mechanism)
    turn = exchange.begin(None if initial is None else initial.encode("utf-8", "surrogateescape"))
    while isinstance(turn, Prompt):
        await server.push(b"334 " + turn.line)
        async with asyncio.timeout(response_s):
            line = await read_line(server._reader)
        turn = exchange.answer(line)
    return turn


async def judge(authenticator: Authenticator, attempt: Attempt) -> Outcome:
    """The authenticator's answer. It promises not to raise; one that does has judged nobody."""
    try:
        return await authenticator.authenticate(attempt)
    except Exception as bug:  # noqa: BLE001  somebody else's code; its fault is never a wrong password
        log.error("authenticator failed: %s", type(bug).__name__)  # its text may quote the client
        return Defer(Cause.BUG)
