"""Whether a wrong secret has been shown before for the same login: a device repeats itself, a guesser does not.

Rule: sameness is a short tag under a random key that is in memory only and new each day; nothing leaves this file but
numbers. Yesterday's key is good for a few hours more, so that no device is counted anew at its end. Bounded.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from itertools import count

from mailauth.guessing import ACCOUNT

DAY_S = 86400.0
OVERLAP_S = 6 * 3600.0
MOST_SECRETS = 50_000  # of each of the two keys; some 20 MiB
MOST_PAYERS = 32  # sources and networks that one secret was counted for, besides the account
MOST_NAMES = 4  # spellings and aliases that one was shown with
TAG_BYTES = 8

Tag = bytes
Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class Shown:
    """One secret for one login. paid: the counts that it is in; names: what was typed for the login, when it was."""

    number: int
    paid: tuple[Key, ...] = ()
    names: tuple[str, ...] = ()

    def paid_as(self, name: str) -> tuple[Key, ...]:
        """The counts that it need not be paid for with again, if this name was typed with it before.

        With another name it must be affordable, though it will not be counted again: by what is free, whoever has
        nothing left would find out which names are one account.
        """
        return self.paid if name in self.names else ()

    def pays(self, key: Key, name: str) -> bool:
        """Note that it was wrong, and whether this count has to grow by it: it has not yet."""
        if name not in self.names:
            self.names = (*self.names, name)[-MOST_NAMES:]
        if key in self.paid:
            return False
        self.paid = (*self.paid, key)
        if len(self.paid) > MOST_PAYERS:  # a device that moves about; its account is one of the first
            gone = self.paid[:-MOST_PAYERS]
            self.paid = (*[old for old in gone if old[0] == ACCOUNT.kind], *self.paid[-MOST_PAYERS:])
        return True


class Sameness:
    """The secrets shown lately. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._key = secrets.token_bytes(32)
        self._today: OrderedDict[Tag, Shown] = OrderedDict()
        self._old_key = b""
        self._yesterday: OrderedDict[Tag, Shown] = OrderedDict()
        self._numbers = count(1)

    def __len__(self) -> int:
        return len(self._today) + len(self._yesterday)

    def find(self, scope: str, secret: bytes, now: float) -> tuple[Tag, Shown | None]:
        """The tag of this secret, and what is known of it. scope: whose login, in the one spelling of it."""
        self._turn(now)
        text = scope.encode()
        message = len(text).to_bytes(4, "big") + text + secret
        tag = _tag(message, self._key)
        shown = self._today.get(tag)
        if shown is not None:
            self._today.move_to_end(tag)
        elif self._yesterday and (shown := self._yesterday.pop(_tag(message, self._old_key), None)) is not None:
            self._remember(tag, shown)
        return tag, shown

    def add(self, tag: Tag) -> Shown:
        """Remember a secret that `find` did not know."""
        shown = Shown(next(self._numbers))
        self._remember(tag, shown)
        return shown

    def _remember(self, tag: Tag, shown: Shown) -> None:
        self._today[tag] = shown
        if len(self._today) > MOST_SECRETS:
            self._today.popitem(last=False)

    def _turn(self, now: float) -> None:
        """Begin a new day, or let go of yesterday, when it is time."""
        age_s = now - self._since
        if age_s >= DAY_S:
            self._old_key, self._yesterday = self._key, self._today
            self._key, self._today = secrets.token_bytes(32), OrderedDict()
            self._since = now
            age_s -= DAY_S  # nobody may have come by for long
        if self._yesterday and age_s >= OVERLAP_S:
            self._old_key, self._yesterday = b"", OrderedDict()


def _tag(message: bytes, key: bytes) -> Tag:
    return hashlib.blake2b(message, digest_size=TAG_BYTES, key=key).digest()
