"""What a change did in the running processes, as commands say it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from mailauth.interfaces import StoreUnavailable
from mailauth.store.changes import Effect
from mailauth.store.faults import CommitUnknown


@contextmanager
def all_or_nothing(nothing: str) -> Iterator[None]:
    """A change is made within; if the store cannot be reached, say that nothing was. nothing: in words."""
    try:
        yield
    except CommitUnknown:  # it may have been made, and says so
        raise
    except StoreUnavailable as fault:
        raise StoreUnavailable(f"{fault}; {nothing}") from None


def say(effect: Effect) -> None:
    """On standard output what was ended, on standard error what may not be."""
    if effect.number is None:
        return
    if effect.ended:
        click.echo(f"ended {effect.ended} open {'session' if effect.ended == 1 else 'sessions'}")
    warn(effect)


def warn(effect: Effect) -> None:
    """Name the processes that did not answer, and say what became of sessions that are not ours."""
    for line in elsewhere(effect):
        click.echo(f"note: {line}", err=True)
    for process in effect.without_answer:
        click.echo(
            f"note: {process} did not answer; nobody gets in there before it has heard of this, "
            "and what is open there ends then",
            err=True,
        )


def plain(effect: Effect) -> dict[str, Any]:
    """For --json. elsewhere: only where there is something to say."""
    told = {"sessions_ended": effect.ended, "no_answer_from": effect.without_answer}
    lines = elsewhere(effect)
    return {**told, "elsewhere": lines} if lines else told


def elsewhere(effect: Effect) -> list[str]:
    """What became of sessions that mail servers hold which ask us."""
    return sorted([*effect.ended_elsewhere, *effect.open_elsewhere])
