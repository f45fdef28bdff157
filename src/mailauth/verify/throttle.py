"""Who may guess now: bounds on distinct wrong secrets by source and network, and on wrong web passwords by account.

A guess is held against the counts of its source, of its network and, if a web password is going to be judged, of the
account; it is counted if it turns out to be no app password of the account and wrong, and given back otherwise. Counts
fall by time alone: no success clears one. The same wrong secret for the same login is counted once in each, whatever
the service or the alias. A secret that hits a selector never comes here: nobody's guesses hold up a device with a
minted password. Where somebody got into the account lately, or on a device its owner signed in on, a small reserve
pays when the rest is spent: so others' guesses at the account, or from the same address, do not keep its owner out.

What the wait tells: a source that has nothing left hears the same wait whoever is named and whatever is shown, and
what it has shown before is free only with the name it was shown with. What remains: after 100 wrong secrets from
several sources, those who make more at that account are told to wait, and so learn that it is there and that a web
password opens it; at an account with app passwords only, and at none, they never are. Sources that share an address
share its count: of what it lends to its known-good pairs, six at a time, one that is in many accounts can use most.

Rule: this process's memory decides, at once; what it knows of the others comes through `exchange_out` and `merge`. No
clock but the one handed in (monotonic). Belongs to one event loop; nothing here waits.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mailauth import guessing
from mailauth.attempt import BRIDGE, Attempt
from mailauth.guessing import ACCOUNT, DEVICE, KNOWN, LIMITS, NETWORK, RESERVE, SOURCE, Count, Limit, Network, Told
from mailauth.verdict import Outcome, Reject
from mailauth.verify.buckets import Bucket, Buckets
from mailauth.verify.crowds import Crowds, is_private
from mailauth.verify.knowngood import KnownGood
from mailauth.verify.sameness import Sameness, Shown

LOST_S = (
    180.0  # by then every claim has been settled, or its client has left: no queue and no store is waited for longer
)
MOST_PLACES = 8192  # addresses of which it is remembered what they count as

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """What an address counts as. counted: whether guesses from there are, by source and network."""

    source: str
    network: str
    counted: bool
    private: bool


@dataclass(slots=True, eq=False)
class Claim:
    """An admitted guess. guess: a number that equal secrets for one login share for a while."""

    guess: int
    shown: Shown
    name: str
    held: Sequence[Bucket]
    at: float
    settled: Callable[[Claim, bool], None]

    def settle(self, outcome: Outcome) -> None:
        """Keep the price of a wrong guess, and give that of anything else back. Told twice, the first counts."""
        self.settled(self, type(outcome) is Reject and outcome.credential_id is None)


class GuessThrottle:
    """Admits guesses. trusted: networks (webmail) whose sources are not counted. clock: monotonic seconds."""

    def __init__(self, trusted: Sequence[Network] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._trusted = trusted
        self._clock = clock
        self._buckets = Buckets()
        self._sameness = Sameness(clock())
        self._known = KnownGood()
        self._crowds = Crowds()
        self._open: dict[Claim, None] = {}  # admitted and not settled, oldest first
        self._cleared: list[Mapping[str, Callable[[str], bool]]] = []  # since the last exchange_out
        self._place = lru_cache(MOST_PLACES)(self._placed)

    # ---- for the verifier, and for whoever else judges secrets

    def claim(
        self, attempt: Attempt, login: str, account_id: int | None, *, web: bool, device: str = ""
    ) -> Claim | float:
        """Admit one guess, or say after how many seconds to come back.

        login: folded; account_id: None when there is no such account. web: whether a web password is going to be
        judged. device: what tells a device that the account's owner has signed in on from all others; "": nothing.
        """
        now = self._clock()
        self._give_up_lost(now)
        place = self._place(attempt.peer)
        name = attempt.credential.authcid
        scope = f"login {login}" if account_id is None else f"account {account_id}"
        tag, shown = self._sameness.find(scope, attempt.credential.secret, now)
        paid = () if shown is None else shown.paid_as(name)
        due = [
            self._buckets.at(limit, subject, now)
            for limit, subject in _counted_in(place, account_id if web else None)
            if (limit.kind, subject) not in paid
        ]
        held = self._affordable(due, place, account_id, device, now)
        if isinstance(held, float):
            return held
        for bucket in held:
            self._buckets.hold(bucket)
        shown = shown or self._sameness.add(tag)
        claim = Claim(shown.number, shown, name, held, now, self._settle)
        self._open[claim] = None
        return claim

    def welcome(self, peer: str, account_id: int, device: str = "") -> None:
        """Somebody got into this account from this address, and on this device, if it can be told from others."""
        now = self._clock()
        place = self._place(peer)
        if place is not None:
            self._known.add(place.source, account_id, now)
            if place.private and place.counted:
                self._crowds.note(place.source, account_id)
        if device:
            self._known.add(_named(device), account_id, now, tell=False)

    def knows(self, peer: str, account_id: int) -> bool:
        """Whether somebody got into this account from this address lately: their hash goes first."""
        place = self._place(peer)
        return place is not None and self._known.knows(place.source, account_id, self._clock())

    # ---- for who brings processes together

    def exchange_out(self) -> list[Told]:
        """What the other processes should hear of now. Changes nothing: without a `merge`, it is told again."""
        self._cleared.clear()
        return self._buckets.to_tell(self._clock()) + self._known.to_tell()

    def merge(self, counts: Iterable[Count], told: Iterable[Told] = ()) -> None:
        """Take in what all processes together have counted. told: what was told just before, of `exchange_out`.

        Of one exchange after the other; what was cleared while it was under way stays cleared.
        """
        now = self._clock()
        told = [one for one in told if not self._was_cleared(one.kind, one.subject)]
        self._buckets.told([one for one in told if one.kind != KNOWN])
        for one in told:
            if one.kind == KNOWN:
                self._known.told(one.subject, now)
        for count in counts:
            if count.kind == KNOWN:
                self._known.hear(count.subject, count.idle_s, now)
            elif count.kind in LIMITS and not self._was_cleared(count.kind, count.subject):
                self._buckets.hear(count, now)

    def clear(self, scope: str, subject: str) -> None:
        """Forget what was counted, not who is known: see guessing.cleared_by. Raises ValueError."""
        cleared = guessing.cleared_by(scope, subject)
        self._buckets.clear(cleared)
        self._cleared.append(cleared)

    def cleared(self, takes: str) -> None:
        """The same, as accounts.throttled tells it to every process: a JSON object of scope and subject."""
        try:
            told = json.loads(takes)
            self.clear(told["scope"], told["subject"])
        except (ValueError, KeyError, TypeError):  # of another version of ours
            log.warning("what was cleared of the counts of guesses cannot be understood, and stays")

    # ---- inside

    def _affordable(
        self, due: list[Bucket], place: Place | None, account_id: int | None, device: str, now: float
    ) -> list[Bucket] | float:
        """The counts that this guess is held against, or the wait. Where it is short, a reserve may pay."""
        short = [bucket for bucket in due if bucket.wait_s() > 0]
        if not short:
            return due
        plenty = [bucket for bucket in due if bucket not in short]
        if account_id is not None and device and self._known.knows(_named(device), account_id, now):
            reserve = self._buckets.at(DEVICE, guessing.pair(_named(device), account_id), now)
            if reserve.wait_s() <= 0:
                return [*plenty, reserve]
        if account_id is not None and place is not None and self._known.knows(place.source, account_id, now):
            reserve = self._buckets.at(RESERVE, guessing.pair(place.source, account_id), now)
            if reserve.wait_s() <= 0 and all(bucket.lends() for bucket in short):
                return [*plenty, *[bucket for bucket in short if bucket.limit.lent is not None], reserve]
        whence = [bucket for bucket in short if bucket.limit is not ACCOUNT]
        return max(bucket.wait_s() for bucket in whence or short)

    def _settle(self, claim: Claim, wrong: bool) -> None:
        if claim not in self._open:
            return
        del self._open[claim]
        now = self._clock()
        for bucket in claim.held:
            self._buckets.release(bucket, now, wrong=wrong and claim.shown.pays(bucket.key, claim.name))

    def _give_up_lost(self, now: float) -> None:
        """What was never settled, its client having left meanwhile, counts as wrong."""
        while self._open:
            oldest = next(iter(self._open))
            if now - oldest.at < LOST_S:
                return
            self._settle(oldest, wrong=True)

    def _was_cleared(self, kind: str, subject: str) -> bool:
        return any(kind in cleared and cleared[kind](subject) for cleared in self._cleared)

    def _placed(self, peer: str) -> Place | None:
        """None: no address, which is not counted. A bridge that does not say for whom it asks is a source like any."""
        address = guessing.parsed(peer)
        if address is None:
            return Place(peer, peer, counted=True, private=False) if peer.startswith(BRIDGE) else None
        counted = not any(address in network for network in self._trusted)
        return Place(guessing.source_of(address), guessing.network_of(address), counted, is_private(address))


def _counted_in(place: Place | None, account_id: int | None) -> list[tuple[Limit, str]]:
    """Which counts a guess is in. account_id: whose web password is judged, if one is."""
    counted = []
    if place is not None and place.counted:
        counted += [(SOURCE, place.source), (NETWORK, place.network)]
    if account_id is not None:
        counted.append((ACCOUNT, str(account_id)))
    return counted


def _named(device: str) -> str:
    return f"device {device}"
