"""The second factor at the sign-in: which there are, having a code sent, and judging the answer.

Rule: what is right is believed in the same transaction in which the session comes in, so that nothing is used twice.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailauth.accounts.factorrows import FactorView, factor_views
from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import PortalSession, SignedOut, Stage
from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.signin import SignedIn, completed
from mailauth.accounts.steps import Ask, Outcome, Place, carried_out, shown
from mailauth.accounts.unit import Unit, looking
from mailauth.factors.factor import Done, Factor, Given, Occasion, Record, Step
from mailauth.store.engine import Row

SIGN_IN = "sign-in"


def bound(means: Means, session: PortalSession, *, now: float | None = None) -> list[FactorView]:
    """The factors of the account, oldest first. Raises SignedOut (not in yet), StoreUnavailable."""
    if session.stage is not Stage.IN:
        raise SignedOut
    with looking(means.store, now) as unit:
        return factor_views(unit, session.account_id, means.factors)


def ways(means: Means, session: PortalSession, *, now: float | None = None) -> tuple[str, ...]:
    """The kinds of factors that this sign-in can be finished with, in the order of the site. Empty: those that the
    account has are offered no more, and an administrator must reset them. Raises SignedOut, StoreUnavailable."""
    _require_half(session)
    with looking(means.store, now) as unit:
        has = {row["kind"] for row in unit.tx.rows(unit.sql.FACTORS, account_id=session.account_id)}
    return tuple([kind for kind in means.factors if kind in has])


def challenge(
    means: Means, session: PortalSession, kind: str, *, language: str = "en", now: float | None = None
) -> Outcome[SignedIn]:
    """Have a code sent, or a question put. See steps.carried_out; raises NoSuch too if the account has no such factor.

    Asked again, it sends another code.
    """
    _require_half(session)
    place = Place(session, kind, SIGN_IN, language=language)
    return carried_out(means, place, challenging, _never, now=now)


def question(
    means: Means, session: PortalSession, kind: str, question_id: str = "", *, now: float | None = None
) -> Mapping[str, object]:
    """What the page of this factor shows; see Factor.show. Raises NoSuch, SignedOut, StoreUnavailable."""
    _require_half(session)
    return shown(means, Place(session, kind, SIGN_IN, question_id), now=now)


def check(
    means: Means,
    session: PortalSession,
    kind: str,
    given: Given,
    *,
    question_id: str = "",
    device: str = "",
    now: float | None = None,
) -> Outcome[SignedIn]:
    """Judge an answer; if it is right, the session is in, under another token.

    given: the fields of the form or the query. device: the token of the browser's own cookie, "" for none.
    """
    _require_half(session)

    def finish(unit: Unit, row: Row, step: Done) -> SignedIn:  # noqa: ARG001
        note_use(unit, means, session, kind)
        return completed(unit, means, session, row, factor=kind, device=device)

    return carried_out(means, Place(session, kind, SIGN_IN, question_id), checking(given), finish, now=now)


def challenging(factor: Factor, occasion: Occasion, state: Record, pending: Record) -> Step:  # noqa: ARG001
    """Ask a factor to put its question. Raises NoSuch: the account has no such factor."""
    return factor.challenge(occasion, _enrolled(factor, state))


def checking(given: Given) -> Ask:
    """Ask a factor to judge this answer."""

    def ask(factor: Factor, occasion: Occasion, state: Record, pending: Record) -> Step:
        return factor.check(occasion, _enrolled(factor, state), pending, given)

    return ask


def note_use(unit: Unit, means: Means, session: PortalSession, kind: str) -> None:
    """Write down that a factor was used, within the change that it was used for."""
    use = {"last_used_at": unit.now, "last_used_peer": session.peer}
    unit.tx.write(unit.sql.NOTE_FACTOR_USE, account_id=session.account_id, kind=kind, **use)
    if not means.factor(kind).nature.alone:
        unit.record("recovery-code-used", session.account, detail=kind, service="portal", client=session.agent)


def _enrolled(factor: Factor, state: Record) -> Record:
    if state is None:
        raise NoSuch(f"this account has no second factor {factor.name}")
    return state


def _require_half(session: PortalSession) -> None:
    if session.stage is not Stage.PASSWORD:
        raise SignedOut


def _never(unit: Unit, row: Row, step: Done) -> SignedIn:  # noqa: ARG001
    raise AssertionError("a factor is never done by being asked")
