"""What is mended in pymap 0.36 before it meets a client.

Source: pymap's modutf7_decode never returns for a shift without an end (`SELECT "&x"`); its SequenceSet.flatten builds
every number of every range, so that `1:*` costs as much as the highest UID, and a long line of overlapping ranges
minutes.
Rule: each mend replaces one public function, and a test fails when pymap no longer needs or no longer calls it.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

import pymap.parsing.command.auth
import pymap.parsing.specials.mailbox
from pymap.parsing.specials import SequenceSet
from pymap.parsing.specials.sequenceset import MaxValue

from mailauth.mailbox import mutf7


class NumberRanges:
    """Numbers as disjoint rising ranges: as good as a set for asking and for intersecting."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in sorted(ranges):
            if self._ends and start <= self._ends[-1] + 1:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        index = bisect_right(self._starts, number) - 1
        return index >= 0 and number <= self._ends[index]

    def __and__(self, numbers: AbstractSet[int]) -> frozenset[int]:
        return frozenset(number for number in numbers if number in self)


def flatten(sequences: SequenceSet, max_value: int) -> NumberRanges:
    """In place of SequenceSet.flatten: `*` is the highest number, a range may be backwards (RFC 3501 section 9)."""

    def number(element: Any) -> int:
        return max_value if isinstance(element, MaxValue) else int(element)

    ranges = []
    for element in sequences.value:
        one, other = element if isinstance(element, tuple) else (element, element)
        low, high = sorted((number(one), number(other)))
        if low <= max_value:
            ranges.append((low, min(high, max_value)))
    return NumberRanges(ranges)


def mend() -> None:
    """Mend pymap, and keep its loggers from writing down what clients say."""
    for module in (pymap.parsing.specials.mailbox, pymap.parsing.command.auth):
        setattr(module, "modutf7_decode", mutf7.decode)  # noqa: B010  not an attribute that types know to be assignable
    setattr(SequenceSet, "flatten", flatten)  # noqa: B010
    logging.getLogger("pymap").setLevel(logging.WARNING)
