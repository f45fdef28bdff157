"""Where a message that this program itself has written goes: into a mailbox here, or to the next server.

Source: RFC 5321 section 4.5.5 (null return path), RFC 3834 section 3.3.
Rule: of what the next server says only the code is logged, since the text may quote the address.
"""

from __future__ import annotations

import asyncio
import logging
import re

from mailauth.carriage import Carried
from mailauth.interfaces import Directory, StoreUnavailable
from mailauth.mailbox.delivery import DeliveryFailed
from mailauth.smtp.relay import Refused, Relay, Unavailable
from mailauth.smtp.submission import Deliver

NULL_PATH = ""
DEADLINE_S = 120.0  # for one message, however slowly it is taken
SILENT_S = 10.0  # whoever lets us wait so long for nothing is left alone for a while
LEFT_ALONE_S = 60.0

log = logging.getLogger(__name__)

_CODE = re.compile(rb"[0-9]{3}(?: [0-9]\.[0-9]{1,3}\.[0-9]{1,3})?")  # RFC 3463


class Carrier:
    """As carriage.Carrier. Belongs to one event loop.

    deliver: None: no mailbox is here, and mail for our own domains goes to the relay too. relay: None: there is no way
    out. Closing it is the business of whoever made it.
    """

    def __init__(
        self, directory: Directory, deliver: Deliver | None, relay: Relay | None, *, deadline_s: float = DEADLINE_S
    ) -> None:
        self._directory = directory
        self._deliver = deliver
        self._relay = relay
        self._deadline_s = deadline_s
        self._left_alone_until = 0.0

    async def carry(self, to: str, content: bytes) -> Carried:
        """See carriage.Carrier."""
        if self._deliver is not None:
            try:
                login = await self._directory.recipient(to)
                is_ours = login is not None or await self._directory.is_local_domain(to.rpartition("@")[2])
            except StoreUnavailable:
                return Carried.LATER
            if login is not None:
                return await self._delivered(self._deliver, login, content)
            if is_ours:
                return Carried.REFUSED
        return Carried.NOWHERE if self._relay is None else await self._relayed(self._relay, to, content)

    async def _delivered(self, deliver: Deliver, login: str, content: bytes) -> Carried:
        try:
            async with asyncio.timeout(self._deadline_s):
                await deliver(login, content, NULL_PATH)
        except TimeoutError:
            log.error("letters: a mailbox was not written within %.0f s", self._deadline_s)
            return Carried.LATER
        except DeliveryFailed as failed:
            log.error("letters: delivery failed: %s", failed)
            return Carried.LATER
        return Carried.TAKEN

    async def _relayed(self, relay: Relay, to: str, content: bytes) -> Carried:
        clock = asyncio.get_running_loop().time
        began = clock()
        if began < self._left_alone_until:
            return Carried.LATER
        try:
            async with asyncio.timeout(self._deadline_s):
                await relay.send(NULL_PATH, [to], content, smtp_utf8=not to.isascii())
        except Refused as refused:
            code = _CODE.match(refused.reply)
            log.warning("letters: refused by the relay: %s", code[0].decode() if code else "no code")
            return Carried.REFUSED
        except (Unavailable, TimeoutError):
            if clock() - began >= SILENT_S:
                self._left_alone_until = clock() + LEFT_ALONE_S
            return Carried.LATER
        return Carried.TAKEN
