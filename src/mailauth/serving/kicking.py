"""Sessions that a Dovecot holds for accounts of ours: ended there when a change may have taken away what opened them.

Rule: after the mark has moved, so that whoever comes again is judged by what is now. Dovecot 2.3 does not say by which
password a session was opened. Of a revoked app password what is open from where it was let in ends, if that is known
for certain (see `whence`), and in all other cases all of the account's; those that may come again do. What cannot be
reached is tried until it can be.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mailauth.gateways.doveadm import NotReached
from mailauth.interfaces import ELSEWHERE, NOT_YET, Answer, Change
from mailauth.serving.session import ENDING_NOBODY
from mailauth.serving.whence import Whence

FIRST_S = 0.8  # whoever revokes waits for this try
LATER_S = 5.0
PAUSES_S = (0.5, 1.0, 2.0, 5.0, 15.0)  # between tries; the last one again and again
UNKNOWN_S = 0.4  # so long Dovecot may not know of a session that it opens: no second look comes sooner
MOST_WAITING = 1000  # beyond that, everybody's sessions are to end
EVERYBODY = "*"
REVOKED = "app-password-revoked"
DEVICE = "user_app"  # the passdb field in which bridges.dovecot_lua and dovecot_grant tell the app password's id
TAKES_NOTHING = ENDING_NOBODY | {
    *("api-token-revoked", "role-changed", "key-added", "key-in-use", "key-removed"),
    *("sessions-asked", "throttle-cleared"),
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """Whose sessions: a login, a domain as `*@domain`, or EVERYBODY.

    app_passwords: only those opened by these ids. addresses: only those from there; None: from wherever.
    """

    mask: str
    app_passwords: tuple[int, ...] = ()
    addresses: tuple[str, ...] | None = None


class Doveadm(Protocol):
    """gateways.doveadm.Doveadm, or what stands for it. url: for people."""

    @property
    def url(self) -> str: ...
    async def kick(self, mask: str, timeout_s: float, *, passdb_field: str = "", address: str = "") -> bool: ...
    async def forget(self, user: str, timeout_s: float) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    """One try that is wanted: each is another, also of the same target. not_before: by the loop's clock."""

    is_second_look: bool
    not_before: float


@dataclass(slots=True)
class Kicker:
    """One Dovecot's. by_app_password: whether it can tell by which app password a session was opened (2.4).

    whence: from where app passwords were let in; None: that is not to be asked.
    """

    doveadm: Doveadm
    by_app_password: bool = False
    whence: Whence | None = None
    _waiting: dict[Target, _Wanted] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None

    async def changed(self, changes: Sequence[Change]) -> Mapping[int, Answer]:
        """Act on these, and tell by number what came of it. In FIRST_S; what takes longer is done behind."""
        give_up_at = asyncio.get_running_loop().time() + FIRST_S
        found = await asyncio.gather(*[self._narrowed(change, give_up_at - FIRST_S / 2) for change in changes])
        targets: dict[Target, list[int]] = {}
        for change, target in zip(changes, found, strict=True):
            if target is not None:
                targets.setdefault(target, []).append(change.number)
        told = await asyncio.gather(*[self._ended(target, give_up_at) for target in targets])
        lines: dict[int, list[str]] = {}
        for numbers, line in zip(targets.values(), told, strict=True):
            for number in numbers if line else ():
                lines.setdefault(number, []).append(f"{line}\n")
        return {number: Answer(0, "".join(these)) for number, these in lines.items()}

    def catch_up(self, changes: Sequence[Change]) -> None:
        """Act on these, too, which were made while nobody was there to do it, or were not acted on in the end.

        Of some it may have been done. Whom it ends without need comes again.
        """
        targets = {target for change in changes if (target := self._target(change)) is not None}
        for target in [Target(EVERYBODY)] if Target(EVERYBODY) in targets else targets:
            self._try_again(target)

    async def close(self) -> None:
        """Try no more. What was not reached keeps what is open there, until this is started again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for target in [target for target, wanted in self._waiting.items() if not wanted.is_second_look]:
            log.error(
                "%s was not reached: what is open of %s stays open until mailauth starts again", self._name, target.mask
            )

    # ---- inside

    @property
    def _name(self) -> str:
        return f"Dovecot at {self.doveadm.url}"

    async def _end(self, target: Target, timeout_s: float) -> bool:
        """False: there was nothing. Raises NotReached."""
        async with asyncio.timeout(timeout_s):
            if not (self.by_app_password or target.mask.startswith(EVERYBODY)):
                await self._forget(target.mask, timeout_s / 2)
            if target.app_passwords:
                ids = map(str, target.app_passwords)
                return any([await self.doveadm.kick(one, timeout_s, passdb_field=DEVICE) for one in ids])
            if target.addresses is None:
                return await self.doveadm.kick(target.mask, timeout_s)
            return any([await self.doveadm.kick(target.mask, timeout_s, address=one) for one in target.addresses])

    async def _forget(self, login: str, timeout_s: float) -> None:
        """Should it have a cache, which it should not. The doveadm of 2.4.1 dies of this command, and can still end."""
        try:
            await self.doveadm.forget(login, timeout_s)
        except NotReached as fault:
            log.warning("%s: was not told to forget passwords (%s): let it have no cache of them", self._name, fault)

    async def _ended(self, target: Target, give_up_at: float) -> str:
        try:
            ended = await self._end(target, give_up_at - asyncio.get_running_loop().time())
        except (NotReached, TimeoutError) as fault:
            why = str(fault) or "no answer in time"
            log.error("%s: what is open of %s cannot be ended now: %s", self._name, target.mask, why)
            self._try_again(target)
            lasts = f"sessions of {target.mask} may still be open, it is tried until they end: {why}"
            return f"{NOT_YET}{self._name}: {lasts}"
        if not (ended and target.mask.startswith(EVERYBODY)):  # who was let in a moment ago may not be known there yet
            self._try_again(target, is_second_look=True)
        if not ended:
            return ""
        whence = "" if target.addresses is None else f" from {', '.join(target.addresses)}"
        which = "by these app passwords" if target.app_passwords else "by whatever password"
        return f"{ELSEWHERE}{self._name}: ended what was open of {target.mask}{whence}, {which}"

    def _try_again(self, target: Target, *, is_second_look: bool = False) -> None:
        if len(self._waiting) >= MOST_WAITING:
            is_second_look = is_second_look and all(wanted.is_second_look for wanted in self._waiting.values())
            self._waiting.clear()
            target = Target(EVERYBODY)
        loop = asyncio.get_running_loop()
        self._waiting[target] = _Wanted(is_second_look, loop.time() + UNKNOWN_S if is_second_look else 0.0)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run())

    async def _run(self) -> None:
        pauses, is_told = iter(PAUSES_S), False
        while self._waiting:
            await asyncio.sleep(next(pauses, PAUSES_S[-1]))
            now = asyncio.get_running_loop().time()
            for target, wanted in [(target, it) for target, it in self._waiting.items() if it.not_before <= now]:
                try:
                    ended = await self._end(target, LATER_S)
                except (NotReached, TimeoutError) as fault:
                    if not is_told:
                        log.error("%s: not reached, tried until it is: %s", self._name, str(fault) or "no answer")
                    is_told = True
                    if target in self._waiting:  # the others go first: it may be this one that cannot be done
                        self._waiting[target] = self._waiting.pop(target)
                    break
                if self._waiting.get(target) is wanted:  # a change that came meanwhile wants it once more
                    del self._waiting[target]
                if ended:
                    log.warning("%s: what was open of %s has been ended", self._name, target.mask)
            else:
                pauses, is_told = iter(PAUSES_S), False

    async def _narrowed(self, change: Change, give_up_at: float) -> Target | None:
        """What is to end for this change, and no more than has to, as far as that is known by then."""
        target = self._target(change)
        ids = _object(change.takes).get("app_passwords")
        if target is None or self.whence is None or change.kind != REVOKED or not isinstance(ids, list):
            return target
        if target.app_passwords or target.mask.startswith(EVERYBODY):
            return target
        try:
            async with asyncio.timeout_at(give_up_at):
                addresses = await self.whence.addresses(target.mask, ids)
        except TimeoutError:
            return target
        return None if addresses == () else replace(target, addresses=addresses)

    def _target(self, change: Change) -> Target | None:
        if change.kind in TAKES_NOTHING or change.kind.startswith(("factor", "recovery-")):
            return None
        takes = _object(change.takes)
        login, domain, ids = takes.get("login"), takes.get("domain"), takes.get("app_passwords")
        if change.account_id is not None and type(login) is str and _is_plain(login):
            devices = self.by_app_password and isinstance(ids, list) and change.kind == REVOKED
            return Target(login, tuple(ids) if devices and isinstance(ids, list) else ())
        if change.account_id is None and type(domain) is str and _is_plain(domain):
            return Target(f"*@{domain}")
        return Target(EVERYBODY)


def _is_plain(name: str) -> bool:
    """Whether it means itself as a mask (Dovecot's wildcard_match)."""
    return not any(wildcard in name for wildcard in "*?\\")


def _object(takes: str) -> dict[str, Any]:
    try:
        value = json.loads(takes or "{}")
    except ValueError:
        return {}
    return value if type(value) is dict else {}
