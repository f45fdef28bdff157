"""What was found, in words for a postmaster: right, doubtful, wrong or not looked at, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailauth.doctor.case import Case


class Level(StrEnum):
    """How a thing stands. A set-up is right if nothing is a PROBLEM."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """subject: what was looked at; found: how it is, or why it was not looked at; mend: what to do, "" for nothing.

    May hold what a server or a file said of itself: not to be printed as it is.
    """

    level: Level
    subject: str
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """What a module of `checks` offers as CHECK. order: its place among the others; title: what it looks at.

    examine: looks, and tells as it goes. It may raise what a case may raise (see `examination`).
    """

    order: int
    title: str
    examine: Callable[[Case], Iterator[Finding]]


def ok(subject: str, found: str) -> Finding:
    """It is as it should be."""
    return Finding(Level.OK, subject, found)


def warning(subject: str, found: str, mend: str) -> Finding:
    """It works, and may not be what is wanted, or not for long."""
    return Finding(Level.WARNING, subject, found, mend)


def problem(subject: str, found: str, mend: str) -> Finding:
    """It is wrong."""
    return Finding(Level.PROBLEM, subject, found, mend)


def not_checked(subject: str, why: str, mend: str = "") -> Finding:
    """Nobody looked. mend: what would let it be looked at."""
    return Finding(Level.NOT_CHECKED, subject, why, mend)
