"""Carrying out the steps of second factors: what a step says is written before anybody believes it.

Source: the rule of `factors.factor`. Rule: state and question are replaced only where they are still what the step was
made from, with the account locked, in one transaction with all that follows from the step; else the factor is asked
again. So no try is free and no code counts twice, however many come at once.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from mailauth.accounts import factorrows
from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import PortalSession, require
from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.tallies import overdrawn, source
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.factors.factor import (
    RANDOM_BYTES,
    Asked,
    Done,
    Factor,
    Fetch,
    Later,
    Occasion,
    Reason,
    Step,
    Wrong,
)
from mailauth.factors.fetch import Answer, Request
from mailauth.factors.record import same
from mailauth.factors.sealed import resealed
from mailauth.interfaces import StoreUnavailable
from mailauth.store.engine import Row, Transaction
from mailauth.store.faults import Clash

T = TypeVar("T")
MOST_ROUNDS = 200  # of others who were quicker: each of them got something done
CLAIMED = "claimed"  # what was to be bound serves another account
SLOWED_S = 30.0  # the first wait that wrong answers earn: then the owner is told
NOT_GUESSED = frozenset({Reason.EXPIRED, Reason.NOTHING_ASKED, Reason.DECLINED})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a factor is asked: of which session, for what, and which open question is answered, "" for none.

    kind: of factor. purpose: "sign-in", "enrol" or an act. language: of a message that is to be sent.
    """

    session: PortalSession
    kind: str
    purpose: str
    question: str = ""
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Question:
    """It is the user's turn. id: names the question in the next request, and to `shown`; "": that takes no name."""

    id: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Judged, and wrong. reason: one of factors.factor.Reason, or CLAIMED.

    tries_left: None: not counted. again_in_s: when the next answer can be right, or is judged. off_by_s: the device's
    clock against ours, positive when ahead.
    """

    reason: str
    tries_left: int | None = None
    again_in_s: float = 0.0
    off_by_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Not judged, nothing counted. why: one of factors.factor.Delay. detail: for the operator's log."""

    why: str
    retry_after_s: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Errand(Generic[T]):
    """To be asked of the outside world first; its answer (None: there was none) goes to `then`. See `settled`."""

    request: Request
    then: Callable[[Answer | None], Outcome[T]] = field(repr=False)


Outcome: TypeAlias = Question | Refusal | Wait | Errand[T] | T
Ask: TypeAlias = Callable[[Factor, Occasion, Any, Any], Step]
Finish: TypeAlias = Callable[[Unit, Row, Done], T]


class Claimed(Exception):
    """What was to be bound serves another account, as who raised it has found out: see `carried_out`."""


async def settled(
    step: Callable[[], Outcome[T]], send: Callable[[Request], Awaitable[Answer | None]]
) -> Question | Refusal | Wait | T:
    """The end of a use case that may have to ask the outside world: run in threads, but for the asking.

    send: gateways.http.Http.send. Gives what `step` gives, and never an Errand.
    """
    outcome = await asyncio.to_thread(step)
    while isinstance(outcome, Errand):
        answer = await send(outcome.request)
        outcome = await asyncio.to_thread(outcome.then, answer)
    return outcome


class _Read(NamedTuple):
    """What a step is made from, as it is stored: the state, and the open question by its id, "" for none."""

    state: str | None
    question: str
    pending: str | None


class _Beaten(Exception):
    """Somebody else has changed what the step was made from."""


@dataclass(frozen=True, slots=True)
class _Work(Generic[T]):
    """One request to a factor."""

    means: Means
    place: Place
    factor: Factor
    occasion: Occasion
    first: Callable[[Unit], None]
    finish: Finish[T]


def carried_out(
    means: Means,
    place: Place,
    ask: Ask,
    finish: Finish[T],
    *,
    first: Callable[[Unit], None] = lambda _: None,
    now: float | None = None,
) -> Outcome[T]:
    """Ask a factor, and do what it says.

    first: what must be done for anything to be written; finish: what follows when the factor is Done; both in the
    same transaction. What they raise undoes everything, and of `finish` Claimed is a Refusal.
    Raises NoSuch (the site does not offer this factor), SignedOut, StoreUnavailable, BadRecord, HashUnavailable.
    """
    now = time.time() if now is None else now
    work = _Work(means, place, means.factor(place.kind), _occasion(means, place, now), first, finish)
    for _ in range(MOST_ROUNDS):
        with looking(means.store, now) as unit:
            read = _read(unit.tx, means, place)
        step = ask(work.factor, work.occasion, *_understood(work.factor, read))
        try:
            return _told(work, read, step)
        except (_Beaten, Clash):
            continue
    raise StoreUnavailable("too many tries of one account at once")


def shown(means: Means, place: Place, *, now: float | None = None) -> Mapping[str, object]:
    """What the page of an open question needs; see Factor.show. Raises NoSuch: the question is not open any more."""
    factor = means.factor(place.kind)
    now = time.time() if now is None else now
    with looking(means.store, now) as unit:
        read = _read(unit.tx, means, place)
    state, pending = _understood(factor, read)
    if (place.question or state is None) and pending is None:
        raise NoSuch("this question is not open any more")
    return factor.show(_occasion(means, place, now), state, pending)


def _occasion(means: Means, place: Place, now: float) -> Occasion:
    session = place.session
    return Occasion(
        now=now,
        random=secrets.token_bytes(RANDOM_BYTES),
        box=means.box(session.account_id),
        hashing=means.hashing,
        login=session.login,
        session=session.id,
        purpose=place.purpose,
        source=source(session.peer),
        language=place.language,
    )


def _read(tx: Transaction, means: Means, place: Place) -> _Read:
    sql, session = means.store.sql, place.session
    factor = tx.row(sql.FACTOR, account_id=session.account_id, kind=place.kind)
    state = None if factor is None else factor["state"]
    question = tx.row(sql.QUESTION, row_id=place.question, session_id=session.id) if place.question else None
    if question is None or (question["kind"], question["purpose"]) != (place.kind, place.purpose):
        return _Read(state, "", None)
    return _Read(state, question["id"], question["pending"])


def _understood(factor: Factor, read: _Read) -> tuple[Any, Any]:
    return factorrows.value_of(factor.Enrolled, read.state), factorrows.value_of(factor.Pending, read.pending)


def _told(work: _Work[T], read: _Read, step: Step) -> Outcome[T]:
    """Write what a step says, and say what that comes to. Raises _Beaten, Clash."""
    texts = (factorrows.text_of(step.state), factorrows.text_of(step.pending))
    if not isinstance(step, Done | Fetch) and texts == (read.state, read.pending):
        return _outcome(step, read.question)
    means, place = work.means, work.place
    try:
        asker = place.session
        with changing(means.store, asker.actor, work.occasion.now, peer=asker.peer, agent=asker.agent) as unit:
            row = require(unit, means, asker)
            read = _still(work, _read(unit.tx, means, place), read)
            if isinstance(step, Fetch) and (over := overdrawn(unit, step.costs)) is not None:
                return Wait(over.why, over.retry_after_s)
            work.first(unit)
            question = _replaced(unit, work, read, step)
            if isinstance(step, Done):
                return work.finish(unit, row, step)
            if isinstance(step, Wrong):
                _note_wrong(unit, place, step)
    except Claimed:
        return Refusal(CLAIMED)
    if isinstance(step, Fetch):
        written = _Read(texts[0], question, texts[1])
        return Errand(step.request, lambda answer: _resumed(work, written, step.then(answer)))
    return _outcome(step, question)


def _resumed(work: _Work[T], written: _Read, step: Step) -> Outcome[T]:
    """Go on after an answer of the outside world, if everything stands as it was left."""
    there = replace(work, place=replace(work.place, question=written.question), first=lambda _: None)
    try:
        return _told(there, written, step)
    except (_Beaten, Clash):
        return Refusal(Reason.EXPIRED)


def _still(work: _Work[Any], found: _Read, read: _Read) -> _Read:
    """What is there, if it is what was read, be it under another server key. Raises _Beaten."""
    pairs, box = ((found.state, read.state), (found.pending, read.pending)), work.occasion.box
    if found.question != read.question or not all(same(*pair, box) for pair in pairs):
        raise _Beaten
    return found


def _replaced(unit: Unit, work: _Work[Any], read: _Read, step: Step) -> str:
    """Write state and question of a step, and say the question's id. Raises _Beaten, Clash."""
    session, occasion = work.place.session, work.occasion
    state = resealed(step.state, occasion.box, occasion.draw)
    if factorrows.text_of(state) != read.state and not factorrows.replace_state(
        unit, session.account_id, work.factor, read.state, state
    ):
        raise _Beaten
    if factorrows.text_of(step.pending) == read.pending:
        return read.question
    question = factorrows.replace_question(
        unit, (session.id, work.place.kind, work.place.purpose), (read.question, read.pending), step.pending
    )
    if question is None:
        raise _Beaten
    return question


def _note_wrong(unit: Unit, place: Place, step: Wrong) -> None:
    if step.reason in NOT_GUESSED:
        return
    account, detail = place.session.account, f"{place.kind}: {step.reason}"
    if step.detail:
        detail += f" ({step.detail})"
    unit.record("second-factor", account, outcome="reject", detail=detail, service="portal", client=place.session.agent)
    if step.tries_left == 0 and step.again_in_s <= SLOWED_S:
        unit.record("second-factor-guessed", account, outcome="reject", detail=place.kind, service="portal")


def _outcome(step: Asked | Wrong | Later, question: str) -> Question | Refusal | Wait:
    match step:
        case Asked():
            return Question(question)
        case Wrong():
            return Refusal(step.reason, step.tries_left, step.again_in_s, step.off_by_s)
        case Later():
            return Wait(step.why, step.retry_after_s, step.detail)
