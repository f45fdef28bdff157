"""The list entry of a factor that is one thing: for the class body of a factor whose state has name and times.

Rule: such a state has `name`, `confirmed_at`, `used_at`, and `detail`, as a field or a property.
"""

from __future__ import annotations

import dataclasses

from mailauth.factors import typed
from mailauth.factors.factor import Part, Record

ONLY = ""


def sole(_: object, state: Record) -> tuple[Part, ...]:
    """As Factor.listed."""
    return (Part(ONLY, state.name, state.detail, state.confirmed_at, state.used_at),)


def renamed(_: object, state: Record, part: str, name: str) -> Record:
    """As Factor.renamed."""
    if part != ONLY:
        raise LookupError(part)
    return dataclasses.replace(state, name=typed.name(name))


def emptied(_: object, state: Record, part: str) -> None:  # noqa: ARG001
    """As Factor.without."""
    if part != ONLY:
        raise LookupError(part)
