"""The log: one line an event, key=value, written in batches.

Rule: a line is built from an event, and an event holds no secret. A value with anything but plain printable characters
is quoted and escaped, so that no client can forge a line or a field.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from mailauth.events import LoginJudged
from mailauth.verdict import Accept, Cause, Defer, Outcome, Reject

PLAIN = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII but space, quote, equals sign, backslash
FLUSH_S = 0.2

ALARMS = frozenset({Cause.STORE, Cause.RECORD, Cause.KEY, Cause.HASH, Cause.BUG})


def value(text: str) -> str:
    """One field's value, quoted if it holds anything that could be taken for more than a value."""
    return text if PLAIN.fullmatch(text) else json.dumps(text)


def told(outcome: Outcome) -> str:
    """An outcome as log fields."""
    if type(outcome) is Accept:
        credential = outcome.principal.credential_id
        return f"verdict=accept credential={'web' if credential is None else credential}"
    if type(outcome) is Reject:
        credential = outcome.credential_id
        return f"verdict=reject reason={outcome.reason}" + ("" if credential is None else f" credential={credential}")
    assert type(outcome) is Defer  # noqa: S101  closed: nothing depends on it
    return f"verdict=defer cause={outcome.cause}"


class LoginLog:
    """Writes a line for each LoginJudged, in batches, in the order of the events."""

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.time) -> None:
        self._write = write
        self._clock = clock
        self._events: list[tuple[float, LoginJudged]] = []

    def __call__(self, event: LoginJudged) -> None:
        """Take one event; it is written within FLUSH_S."""
        if not self._events:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        self._events.append((self._clock(), event))

    def flush(self) -> None:
        """Write what is waiting. All lines are made together, so that no login pays for cold code; and what is told
        again is the same event, which is put into words once."""
        if self._events:
            events, self._events = self._events, []
            texts: dict[int, str] = {}
            lines = []
            for at, event in events:
                text = texts.get(id(event))
                if text is None:
                    text = texts[id(event)] = words(event)
                lines.append(f"{stamp(at)} {text}\n")
            self._write("".join(lines))


def words(event: LoginJudged) -> str:
    """The line of one event, without its time."""
    attempt = event.attempt
    # What is no account's login may be a password, typed into the wrong field.
    login = event.login if event.account_id is not None and event.login else "-"
    text = (
        f"login service={attempt.service} login={value(login)}"
        f" peer={attempt.peer or '-'} tls={'yes' if attempt.tls else 'no'} {told(event.outcome)}"
        f" ms={event.took_ms:.1f}"
    )
    if attempt.client:
        text += f" client={value(attempt.client)}"
    if type(event.outcome) is Defer:
        text += f" detail={value(event.detail or '-')}" + " alarm" * (event.outcome.cause in ALARMS)
    return text


_second = (-1, "")


def stamp(epoch_s: float) -> str:
    """ISO 8601, UTC, milliseconds."""
    global _second  # noqa: PLW0603  a formatted second serves all its lines
    whole = int(epoch_s)
    if _second[0] != whole:
        _second = (whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)))
    return f"{_second[1]}.{int((epoch_s - whole) * 1000):03d}Z"


class _Lines(logging.Formatter):
    """Everybody else's records, one line each."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info and record.exc_info[2] is not None:  # where, never the text: it could quote a client
            tail = record.exc_info[2]
            while tail.tb_next is not None:
                tail = tail.tb_next
            text += f" ({Path(tail.tb_frame.f_code.co_filename).name}:{tail.tb_lineno})"
        printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        return f"{stamp(record.created)} {record.levelname.lower()} {record.name} {printable}"


def whereabouts(bug: Exception) -> str:
    """Where a bug showed, without its text, which could quote what a client sent."""
    frames = traceback.extract_tb(bug.__traceback__)[-4:]
    return f"{type(bug).__name__} at " + " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))


def configure(level: str, file: Path | None) -> TextIO:
    """Send all logging to one place; returns it for the LoginLog. Raises OSError if the file cannot be opened."""
    stream: TextIO = sys.stderr if file is None else file.open("a", buffering=1, encoding="utf-8")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("mail.log", "pymap", "aiosmtpd"):  # below this they log what clients send, passwords included
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of each failure that we report ourselves
    return stream
