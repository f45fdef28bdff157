"""A Dovecot's doveadm, by way of the keeper, which alone has its key.

Rule: as `gateways.doveadm`: what is not a clear answer is NotReached, and may be tried again.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailauth.gateways.doveadm import NotReached
from mailauth.keeper.channel import Message
from mailauth.keeper.client import Asking, NoKeeper


@dataclass(frozen=True, slots=True)
class KeptDoveadm:
    """serving.kicking.Doveadm. at: the name of the bridge whose it is; url: for people."""

    asking: Asking
    at: str
    url: str

    async def kick(self, mask: str, timeout_s: float, *, passdb_field: str = "") -> bool:
        """See gateways.doveadm.Doveadm. Raises NotReached."""
        answer = await self._ask({"do": "kick", "mask": mask, "passdb_field": passdb_field}, timeout_s)
        return answer.get("ended") is True

    async def forget(self, user: str, timeout_s: float) -> None:
        """See gateways.doveadm.Doveadm. Raises NotReached."""
        await self._ask({"do": "flush", "user": user}, timeout_s)

    async def _ask(self, message: Message, timeout_s: float) -> Message:
        try:
            answer, _ = await self.asking.ask({**message, "at": self.at, "timeout_s": timeout_s}, timeout_s)
        except NoKeeper as fault:
            raise NotReached(str(fault)) from None
        return answer
