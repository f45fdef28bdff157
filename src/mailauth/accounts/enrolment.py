"""Enrolling a second factor: by whoever is in and has given proof, or, where one is demanded, before he is in.

Source: NIST SP 800-63B-4 section 4.1 (binding). Rule: confirming writes the factor, the mode and what the owner is told
in one transaction; everybody else who is signed in to the account is signed out by it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mailauth.accounts import freshproof, vouchers
from mailauth.accounts.clientpasswords import set_mode
from mailauth.accounts.factorrows import claimed
from mailauth.accounts.freshproof import Act, NotProven
from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import (
    STAGE_S,
    PortalSession,
    SignedOut,
    Stage,
    acting,
    end_all,
    enrolment_ends_at,
)
from mailauth.accounts.refusals import Refused
from mailauth.accounts.signin import SignedIn, completed
from mailauth.accounts.steps import Claimed, Outcome, Place, carried_out, shown
from mailauth.accounts.unit import Unit, looking
from mailauth.accounts.views import second_factor_since
from mailauth.factors.factor import Done, Factor, Given, Occasion, Record, Step, Wrong
from mailauth.store.engine import Row

ENROL = "enrol"


@dataclass(frozen=True, slots=True)
class Bound:
    """A factor that is enrolled. signed_in: the session that is in now, of one that was not.

    replaced: there was one of this kind, and it is no more. turned_on: whether the mode was off before.
    """

    kind: str
    signed_in: SignedIn | None
    replaced: bool
    turned_on: bool


def ends_at(means: Means, session: PortalSession, *, now: float | None = None) -> float | None:
    """Until when the web password alone is enough to enrol what is demanded; None: nothing is. StoreUnavailable."""
    with looking(means.store, now) as unit:
        row = unit.tx.row(unit.sql.PORTAL_ACCOUNT, account_id=session.account_id)
        since = None if row is None else second_factor_since(row, unit.now)
        return None if row is None or since is None else enrolment_ends_at(means, row, since)


def admit(means: Means, session: PortalSession, code: str, *, now: float | None = None) -> bool:
    """Let a session at Stage.CODE enrol, by an administrator's code, which is used up; False: it is none of this
    account's, or not any more. Raises SignedOut, StoreUnavailable."""
    with acting(means, session, stage=Stage.CODE, now=now) as (unit, row):
        if not vouchers.use(unit, session.account, vouchers.Kind.ENROLMENT, code):
            return False
        moved = {"old_stage": row["stage"], "stage": str(Stage.ENROL), "ends_at": unit.now + STAGE_S[Stage.ENROL]}
        unit.tx.write(unit.sql.SET_PORTAL_STAGE, row_id=session.id, **moved)
    return True


def ask(means: Means, session: PortalSession, kind: str, *, now: float | None = None) -> str:
    """Begin the proof for enrolling, for whoever is in; see freshproof.begin. Raises NoSuch, Refused, SignedOut."""
    _refuse_helper_alone(means, session, kind)
    return freshproof.begin(means, session, _act(means, kind), {"factor": kind}, now=now)


def begin(
    means: Means,
    session: PortalSession,
    kind: str,
    given: Given,
    *,
    token: str | None = None,
    question_id: str = "",
    language: str = "en",
    now: float | None = None,
) -> Outcome[Bound]:
    """Begin an enrolment, or, with the question_id of one that is begun, begin it anew: with another code or number.

    token: of `ask`, for whoever is in, at the first time; it is used up. given: the fields of the form.
    Raises NotProven, NoSuch, Refused, SignedOut, and what steps.carried_out raises.
    """
    _refuse_helper_alone(means, session, kind)
    if not question_id and token is None and session.stage is Stage.IN:
        raise NotProven

    def put(factor: Factor, occasion: Occasion, state: Record, pending: Record) -> Step:
        if question_id and pending is None:
            raise NotProven
        step = factor.enrol(occasion, state, given)
        # What was typed cannot be right: the enrolment that is open stays open.
        return dataclasses.replace(step, pending=pending) if isinstance(step, Wrong) else step

    def first(unit: Unit) -> None:
        if not question_id and token is not None:
            freshproof.take(unit, session, token, _act(means, kind), {"factor": kind})

    place = Place(_enrolling(session), kind, ENROL, question_id, language)
    return carried_out(means, place, put, _never, first=first, now=now)


def question(
    means: Means, session: PortalSession, kind: str, question_id: str, *, now: float | None = None
) -> Mapping[str, object]:
    """What the page of an open enrolment shows; see Factor.show. Raises NoSuch: it is not open any more. SignedOut."""
    return shown(means, Place(_enrolling(session), kind, ENROL, question_id), now=now)


def confirm(
    means: Means,
    session: PortalSession,
    kind: str,
    given: Given,
    *,
    question_id: str,
    device: str = "",
    now: float | None = None,
) -> Outcome[Bound]:
    """End an enrolment with the proof that it works. device: the token of the browser's own cookie, "" for none."""
    before: list[Record] = [None]

    def end(factor: Factor, occasion: Occasion, state: Record, pending: Record) -> Step:
        before[0] = state
        return factor.confirm(occasion, state, pending, given)

    def finish(unit: Unit, row: Row, step: Done) -> Bound:
        return _bound(unit, means, session, row, _Enrolled(means.factor(kind), before[0], step, device))

    place = Place(_enrolling(session), kind, ENROL, question_id)
    return carried_out(means, place, end, finish, now=now)


@dataclass(frozen=True, slots=True)
class _Enrolled:
    """What is written. before: the state that was there, None for none."""

    factor: Factor
    before: Any
    step: Done
    device: str

    @property
    def replaces(self) -> bool:
        """Whether what was there is gone: it is none of the parts any more, or there is one part only."""
        if self.before is None:
            return False
        parts, old = [{part.id for part in self.factor.listed(state)} for state in (self.step.state, self.before)]
        return not old < parts


def _bound(unit: Unit, means: Means, session: PortalSession, row: Row, new: _Enrolled) -> Bound:
    factor, account = new.factor, session.account
    anew = new.before is None or new.replaces
    if not claimed(unit, means.box(session.account_id), factor.name, new.step.claims, anew=anew):
        raise Claimed
    if factor.nature.alone:
        unit.tx.write(unit.sql.EVER_HAD_FACTOR, account_id=session.account_id)
        kind = "factor-replaced" if new.replaces else "factor-added"
    else:
        kind = "recovery-codes-made"
    unit.record(kind, account, label=factor.name, service="portal", client=session.agent)
    unit.touch(kind, account=account)
    turns_on = factor.nature.alone and means.rules.two_factor_sets_mode and not row["mode_on"]
    if turns_on:
        set_mode(unit, account, was_on=False, on=True, detail="with a second factor")
    unit.tx.write(unit.sql.DROP_ACTIONS, account_id=session.account_id)
    end_all(unit, session.account_id, keep=session.id)
    signed_in = None
    if session.stage is not Stage.IN:
        signed_in = completed(unit, means, session, row, factor=factor.name, device=new.device)
    return Bound(factor.name, signed_in, new.replaces, turns_on)


def _act(means: Means, kind: str) -> Act:
    return Act.FACTOR_ADD if means.factor(kind).nature.alone else Act.RECOVERY_CODES


def _enrolling(session: PortalSession) -> PortalSession:
    if session.stage not in {Stage.IN, Stage.ENROL}:
        raise SignedOut
    return session


def _refuse_helper_alone(means: Means, session: PortalSession, kind: str) -> None:
    if not means.factor(kind).nature.alone and not session.has_factor:
        raise Refused(f"{kind} help out where there is another second factor: enrol that first")


def _never(unit: Unit, row: Row, step: Done) -> Bound:  # noqa: ARG001
    raise AssertionError("an enrolment is never done by being begun")
