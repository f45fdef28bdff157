"""How much of something that costs may be had: so many in so long, for each of several subjects at once.

Rule: a value and one pure function. A window begins with the first use after the last one has ended, so that within
any span of its length at most twice the number can be had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """One use on the account of one subject. why: what to say when there are no more; a value of `factor.Delay`."""

    subject: str
    most: int
    window_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What a subject has had. since: epoch seconds, the begin of its window."""

    since: float
    count: int


@dataclass(frozen=True, slots=True)
class Overdrawn:
    """Not all can be charged, so nothing is. subject: for the log; retry_after_s: until all could be."""

    subject: str
    why: str
    retry_after_s: float


def charge(costs: Iterable[Cost], tallies: Mapping[str, Tally], now: float) -> dict[str, Tally] | Overdrawn:
    """The tallies as they are to be written, or why not. tallies: by subject; one that is missing is empty."""
    charged: dict[str, Tally] = {}
    worst: Overdrawn | None = None
    for cost in costs:
        tally = charged.get(cost.subject) or tallies.get(cost.subject)
        if tally is None or not tally.since <= now < tally.since + cost.window_s:  # over, or the clock was set back
            tally = Tally(now, 0)
        if tally.count >= cost.most:
            wait_s = tally.since + cost.window_s - now
            if worst is None or wait_s > worst.retry_after_s:
                worst = Overdrawn(cost.subject, cost.why, wait_s)
        charged[cost.subject] = Tally(tally.since, tally.count + 1)
    return charged if worst is None else worst
