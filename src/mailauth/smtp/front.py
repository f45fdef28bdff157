"""Our submission server in front of the operator's own: each transaction of a client is one of the server behind us.

Source: RFC 5321, RFC 6409; Postfix's XCLIENT_README, which says what a client could do to whom it talks to unread.
Rule: nothing of a client's goes on but MAIL, RCPT, RSET, NOOP and VRFY, put together anew here, and mail data that has
but one end. A message is taken when the server behind us has taken it; there is no queue of ours.
"""

# ruff: noqa: N802  (aiosmtpd finds commands by these names)
from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from mailauth.attempt import Attempt
from mailauth.ends import NOWHERE, Ends
from mailauth.serving.backing import Backends, BackendUnavailable, ends_of
from mailauth.smtp import replies
from mailauth.smtp.answers import Answer
from mailauth.smtp.behind import Behind, Ended, Silent, behind
from mailauth.smtp.house import House
from mailauth.smtp.message import Restuffed
from mailauth.smtp.server import SubmissionProtocol, Transaction
from mailauth.verdict import Accept, Cause, Defer, Outcome, Principal

GONE = (BackendUnavailable, Ended, Silent)
LetIn = tuple[Attempt, Principal, Ends]

log = logging.getLogger(__name__)


class FrontProtocol(SubmissionProtocol):
    """One client's session. offered: the keywords that the last EHLO said."""

    def __init__(self, house: House, backends: Backends, proxied: Ends | None = None) -> None:
        super().__init__(house, proxied)
        self.offered: frozenset[str] = frozenset()
        self._backends = backends
        self._behind: Behind | None = None
        self._let_in_by: LetIn | None = None

    @property
    def _transaction(self) -> Transaction:
        return cast(Transaction, self.envelope)

    # ---- greeting and login

    async def _offers_for_mail(self) -> list[str]:
        try:
            there = await self._backends.smtp_offer()
        except BackendUnavailable:
            there = ()  # with it nobody gets in either
        offers = shared(await super()._offers_for_mail(), there)
        self.offered = frozenset(offer.split()[0] for offer in offers)
        self.enable_SMTPUTF8 = "SMTPUTF8" in self.offered
        return offers

    async def _let_in(self, attempt: Attempt, accept: Accept) -> Outcome:
        outcome = await super()._let_in(attempt, accept)
        if type(outcome) is not Accept:
            return outcome
        # The password has been judged; opening anew must not need it, so it is not kept.
        attempt = replace(attempt, credential=replace(attempt.credential, password=""))
        self._let_in_by = attempt, accept.principal, self.proxied or ends_of(self.transport)
        try:
            await self._open()
        except GONE as gone:
            self._note(gone)
            return Defer(Cause.BACKEND)
        finally:
            if self._behind is None and self.house.sessions is not None:
                self.house.sessions.leave(self)
        return outcome

    async def _open(self) -> Behind:
        """A new connection in place of what there was. Raises what is in GONE."""
        self._part()
        self._behind = await reached(self._backends, *cast(LetIn, self._let_in_by))
        return self._behind

    # ---- commands that go on

    async def smtp_MAIL(self, arg: str | None) -> None:
        if self._transaction.is_lost:
            self._forget_transaction()
        await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:
        if self._transaction.is_lost:
            await self.push(replies.RELAY_DOWN)
        else:
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str | None) -> None:
        if self._transaction.is_lost:
            await self.push(replies.RELAY_DOWN)
        else:
            await super().smtp_DATA(arg)

    async def smtp_VRFY(self, arg: str | None) -> None:
        if await self.check_auth_needed("VRFY"):
            return
        is_fit = arg is not None and arg.isascii() and arg.isprintable()
        answer = await self.forwarded(f"VRFY {arg}".encode()) if is_fit else None
        await self.push(replies.CANNOT_VERIFY if answer is None else answer.spelt())

    async def begun(self, mail: bytes) -> Answer | None:
        """What is answered to this MAIL, on a new connection if need be; None: there is nobody now."""
        try:
            try:
                return await self._mail(self._behind, mail)
            except Ended:  # while nothing was asked of it, or because it takes no more than so many
                return await self._mail(await self._open(), mail)
        except GONE as gone:
            self._lose(gone)
            return None

    async def _mail(self, there: Behind | None, mail: bytes) -> Answer:
        if there is None:
            raise Ended("there is no connection")
        if there.has_transaction and not (await there.ask(b"RSET")).is_good:
            raise Ended("it does not forget a transaction")
        there.has_transaction = True  # if it refuses, too: Postfix then remembers a SIZE
        return await there.ask(mail)

    async def forwarded(self, line: bytes, *, for_data: bool = False) -> Answer | None:
        """What is answered to this command; None: nobody is there any more, and a transaction is lost."""
        if self._behind is None:
            return None
        try:
            return await self._behind.ask(line, for_data=for_data)
        except GONE as gone:
            self._lose(gone)
            return None

    async def reset(self) -> Answer | None:
        """What is answered to RSET; None: nobody is there who would remember anything."""
        answer = await self.forwarded(b"RSET")
        self._forget_transaction()
        if answer is not None and self._behind is not None:
            self._behind.has_transaction = not answer.is_good
        return answer

    # ---- the message

    async def _take_message(self) -> None:
        answer = await self.forwarded(b"DATA", for_data=True)
        if answer is None or answer.reply_code >= 400:
            self._forget_transaction()
            await self.push(replies.RELAY_DOWN if answer is None else answer.spelt())
            return
        recipients_count, restuffed, size_bytes = len(self._transaction.rcpt_tos), Restuffed(), 0

        async def give(piece: bytes) -> None:
            nonlocal size_bytes
            size_bytes += len(piece)
            if self._behind is not None:  # else the client goes on to the end, where it may be told
                try:
                    await self._behind.give(restuffed.passed(piece))
                except GONE as gone:
                    self._lose(gone)

        await self.push(replies.SEND_DATA)
        if not await self._receive(give):
            self._part()  # without an end of data: there is no other way to take it back
            self._forget_transaction()
            await self.push(replies.TOO_BIG)
            return
        answer = await self._concluded(restuffed.end())
        if answer is not None and answer.is_good:
            log.info(
                "submitted account=%d recipients=%d bytes=%d queue=%s",
                self.principal.account_id,
                recipients_count,
                size_bytes,
                answer.queued_as or "-",
            )
        await self.push(replies.RELAY_DOWN if answer is None else answer.spelt())

    async def _concluded(self, rest: bytes) -> Answer | None:
        """What becomes of the message. From here on it is the other server's to say, whatever happens to the client."""
        self._delivering = True
        try:
            return None if self._behind is None else await self._behind.conclude(rest)
        except GONE as gone:
            self._lose(gone)
            return None
        finally:
            self._delivering = False
            self._forget_transaction()

    # ---- the end

    @property
    def principal(self) -> Principal:
        """Who is logged in."""
        return cast(LetIn, self._let_in_by)[1]

    def _lose(self, gone: Exception) -> None:
        """The server behind us has gone, and with it the transaction; the client may begin another."""
        self._note(gone)
        self._part()
        self._forget_transaction()
        self._transaction.is_lost = True

    def _note(self, gone: Exception) -> None:
        log.warning("smtp: %s is told to try later: %s", self.principal.login, gone)

    def _part(self) -> None:
        if self._behind is not None:
            self._behind.leave()
            self._behind = None

    def _leave(self, goodbye: bytes) -> None:
        self._part()
        super()._leave(goodbye)

    def connection_lost(self, error: Exception | None) -> None:
        self._part()
        super().connection_lost(error)


def shared(ours: Iterable[str], theirs: Iterable[str]) -> list[str]:
    """The lines of EHLO that both sides mean; of SIZE the smaller, where theirs has one (RFC 1870 section 4)."""
    there = {words[0].upper(): words[1:] for words in map(str.split, theirs) if words}
    offers = [line for line in ours if line.split()[0] in there]
    sizes = [word for line in offers if line.startswith("SIZE ") for word in (line.split()[1], *there["SIZE"])]
    smallest = min([int(size) for size in sizes if size.isascii() and size.isdigit() and int(size)], default=0)
    return [f"SIZE {smallest}" if line.startswith("SIZE ") else line for line in offers]


async def reached(backends: Backends, attempt: Attempt, principal: Principal, ends: Ends = NOWHERE) -> Behind:
    """A connection on which this account is logged in. ends: see Backends. Raises what is in GONE.

    What comes when nobody waits for it any more is left at once: opening is not cut short half-way, where nobody would
    know whose the socket is.
    """

    async def open_it() -> Behind:
        return await behind(await backends.open(attempt, principal, ends))

    opening = asyncio.ensure_future(open_it())
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_let_go)
        raise


def _let_go(opening: asyncio.Future[Behind]) -> None:
    with contextlib.suppress(asyncio.CancelledError, *GONE):
        opening.result().leave()
