"""Giving fresh proof: with a factor, the web password, or an enrolment code.

Rule: as in `freshproof`, which says what is proven by what; here the proof is judged, and noted with the act.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mailauth.accounts import vouchers
from mailauth.accounts.freshproof import (
    ENROLMENT_CODE,
    WEB_PASSWORD,
    Action,
    NotProven,
    action,
    action_in,
)
from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import PortalSession, acting
from mailauth.accounts.refusals import Refused
from mailauth.accounts.secondfactor import challenging, checking, note_use
from mailauth.accounts.steps import Outcome, Place, carried_out, shown
from mailauth.accounts.unit import Unit
from mailauth.factors.factor import Done, Given
from mailauth.interfaces import WebMatch
from mailauth.store.engine import Row


class NoProof(Refused):
    """This kind of proof does not serve for this act, or not for this account."""


@dataclass(frozen=True, slots=True)
class Proven:
    """The act may be done now, once it needs no more. needs_password: as in freshproof.Action."""

    needs_password: bool


def challenge(
    means: Means, session: PortalSession, token: str, factor: str, *, language: str = "en", now: float | None = None
) -> Outcome[Proven]:
    """Have a code sent, or a question put; see secondfactor.challenge. Raises NoSuch, NoProof too."""
    place = _place(means, session, token, factor, now)
    return carried_out(means, replace(place, language=language), challenging, _never, now=now)


def question(
    means: Means, session: PortalSession, token: str, factor: str, question_id: str = "", *, now: float | None = None
) -> Mapping[str, object]:
    """What the page of this factor shows; see Factor.show. Raises NoSuch, SignedOut, StoreUnavailable."""
    found = action(means, session, token, now=now)
    return shown(means, Place(session, factor, _purpose(found), question_id), now=now)


def check(
    means: Means,
    session: PortalSession,
    token: str,
    factor: str,
    given: Given,
    *,
    question_id: str = "",
    now: float | None = None,
) -> Outcome[Proven]:
    """Judge an answer; if it is right, the act is proven by this factor. Raises NoSuch, NoProof, NotProven too."""
    place = _place(means, session, token, factor, now)

    def finish(unit: Unit, row: Row, step: Done) -> Proven:  # noqa: ARG001
        note_use(unit, means, session, factor)
        return _prove(unit, means, session, token, factor)

    return carried_out(means, replace(place, question=question_id), checking(given), finish, now=now)


def prove_by_password(
    means: Means, session: PortalSession, token: str, match: WebMatch, *, now: float | None = None
) -> Proven:
    """Note that the web password was right just now, as `match` says; where it is enough, the act is proven.

    Raises NoSuch, NoProof, NotProven, SignedOut, StoreUnavailable.
    """
    with acting(means, session, now=now) as (unit, _):
        found = action_in(unit, means, session, token)
        if match.account_id != session.account_id or not (found.needs_password or WEB_PASSWORD in found.ways):
            raise NoProof("the web password proves nothing here")
        _adopt(unit, session, found)
        unit.tx.write(unit.sql.NOTE_ACTION_PASSWORD, **_whose(unit, session, found))
        return _prove(unit, means, session, token, WEB_PASSWORD) if WEB_PASSWORD in found.ways else Proven(False)


def prove_by_code(means: Means, session: PortalSession, token: str, code: str, *, now: float | None = None) -> bool:
    """Prove by an enrolment code, which is used up by it; False: it is none of this account's.

    Raises NoSuch, NoProof, NotProven, SignedOut, StoreUnavailable.
    """
    with acting(means, session, now=now) as (unit, _):
        found = action_in(unit, means, session, token)
        if ENROLMENT_CODE not in found.ways:
            raise NoProof("an enrolment code proves nothing here")
        if not vouchers.use(unit, session.account, vouchers.Kind.ENROLMENT, code):
            return False
        _adopt(unit, session, found)
        _prove(unit, means, session, token, ENROLMENT_CODE)
        return True


def _place(means: Means, session: PortalSession, token: str, factor: str, now: float | None) -> Place:
    """Where a factor is asked for this act, which is this session's from now on."""
    found = action(means, session, token, now=now)
    if factor not in found.ways:
        raise NoProof(f"{factor[:40]} proves nothing here")
    if found.by_program:
        with acting(means, session, now=now) as (unit, _):
            _adopt(unit, session, found)
    return Place(session, factor, _purpose(found))


def _purpose(found: Action) -> str:
    return f"act {found.id}"


def _prove(unit: Unit, means: Means, session: PortalSession, token: str, by: str) -> Proven:
    found = action_in(unit, means, session, token)
    if not unit.tx.write(unit.sql.PROVE_ACTION, **_whose(unit, session, found), proved_by=by):
        raise NotProven
    return Proven(found.needs_password)


def _adopt(unit: Unit, session: PortalSession, found: Action) -> None:
    if found.by_program:
        unit.tx.write(unit.sql.ADOPT_ACTION, **_whose(unit, session, found))


def _whose(unit: Unit, session: PortalSession, found: Action) -> dict[str, Any]:
    return {"row_id": found.id, "account_id": session.account_id, "session_id": session.id, "now": unit.now}


def _never(unit: Unit, row: Row, step: Done) -> Proven:  # noqa: ARG001
    raise AssertionError("a factor is never done by being asked")
