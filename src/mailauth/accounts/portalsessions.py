"""Who is signed in at the web portal: the session of a request, and ending sessions.

Source: OWASP ASVS 5.0 chapter V7. Rule: a session is what its row and its account's rows say now; nothing of it is
remembered, and its token is in the browser's cookie alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum

from mailauth.accounts import bearer
from mailauth.accounts.means import Means
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.accounts.views import locked_by, second_factor_since
from mailauth.interfaces import StoreUnavailable
from mailauth.store.changes import Effect
from mailauth.store.engine import Row
from mailauth.store.upkeep import DAY_S

SEEN_S = 60.0  # use is written down once in so long
STAGE_S = {"password": 600.0, "code": 600.0, "enrol": 3600.0}  # how long who is not in yet may take
MOST_SESSIONS = 50  # of one account
MAX_AGENT_CHARACTERS = 200


class Stage(StrEnum):
    """How far somebody has got in signing in. What is not IN opens the pages of its own stage and nothing else."""

    PASSWORD = "password"  # noqa: S105  the web password was right; the second factor is still to be shown
    CODE = "code"  # a second factor is demanded, there is none, and enrolling takes an administrator's code
    ENROL = "enrol"  # a second factor is demanded, there is none, and it may be enrolled now
    IN = "in"


class SignedOut(Exception):
    """The session has ended, or has come to another stage meanwhile. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class PortalSession:
    """A session as one request finds it, with what every page shows of its account.

    id: names it in lists; opens nothing. role: as stored; administers: whether it counts here, since whoever has
    one signs in with more than a text message. language: None: not chosen. mode_on: as stored; locked_by: what switches
    the mode on whatever is stored, as in AccountView, "" for nothing. demanded: whether a second factor is, now.
    factor: the kind shown at sign-in. since, seen_at, ends_at: epoch seconds. notices: not acknowledged yet.
    peer: the address of this request; agent: of the sign-in.
    """

    id: str
    account_id: int
    login: str
    domain_id: int
    role: str
    administers: bool
    stage: Stage
    language: str | None
    csrf: str = field(repr=False)
    mode_on: bool
    locked_by: str
    demanded: bool
    has_factor: bool
    ever_had_factor: bool
    factor: str | None
    since: float
    seen_at: float
    ends_at: float
    notices: int
    peer: str
    agent: str

    @property
    def actor(self) -> str:
        """Who this is, for the audit log."""
        return f"portal:{self.login}"

    @property
    def account(self) -> Row:
        """Whose it is, as Unit.record and Unit.touch take it."""
        return {"id": self.account_id, "login": self.login}

    @property
    def client_passwords_only(self) -> bool:
        """Whether the mode is effectively on."""
        return self.mode_on or bool(self.locked_by)


@dataclass(frozen=True, slots=True)
class PortalSessionView:
    """One session in the list of an account's. is_this: the one that asks. agent: what the browser called itself."""

    id: str
    is_this: bool
    stage: Stage
    factor: str | None
    since: float
    seen_at: float
    peer: str
    agent: str


def find(means: Means, token: str, *, peer: str = "", now: float | None = None) -> PortalSession | None:
    """The session with this token; None: there is none, or not any more. One read, and seldom a write.

    peer: the address of this request. Raises StoreUnavailable, BadRecord.
    """
    now = time.time() if now is None else now
    session_id = bearer.digest(token)
    with looking(means.store, now) as unit:
        row = unit.tx.row(unit.sql.PORTAL_SESSION, row_id=session_id)
    session = None if row is None else session_from(means, row, peer=peer, now=now)
    if session is not None and now - session.seen_at >= SEEN_S:
        with suppress(StoreUnavailable), means.store.transaction() as tx:  # then it ends sooner
            tx.write(means.store.sql.SEE_PORTAL_SESSION, row_id=session_id, now=now)
    return session


def session_from(means: Means, row: Row, *, peer: str, now: float) -> PortalSession | None:
    """row: of portal_statements.PORTAL_SESSION. None: it is over. Raises BadRecord."""
    if now >= row["ends_at"] or now - row["seen_at"] >= means.rules.idle_s:
        return None
    if not row["enabled"] or not row["domain_enabled"]:
        return None
    since = second_factor_since(row, now)
    factor = means.factors.get(row["factor"] or "")
    return PortalSession(
        *(row["id"], row["account_id"], row["login"], row["domain_id"], row["role"]),
        administers=row["role"] != "user" and factor is not None and factor.nature.for_administrators,
        stage=stage_of(means, row, since, now),
        language=row["account_language"] or row["language"],
        csrf=row["csrf"],
        mode_on=bool(row["mode_on"]),
        locked_by=locked_by(row, now),
        demanded=since is not None,
        has_factor=bool(row["has_factor"]),
        ever_had_factor=bool(row["ever_had_factor"]),
        factor=row["factor"],
        since=row["since"],
        seen_at=row["seen_at"],
        ends_at=row["ends_at"],
        notices=row["notices"],
        peer=peer,
        agent=row["agent"],
    )


def stage_of(means: Means, row: Row, demanded_since: float | None, now: float) -> Stage:
    """The stage now: as stored, but nobody is in who has no second factor when one has come to be demanded."""
    stored = Stage(row["stage"])
    if stored is not Stage.IN or demanded_since is None or row["has_factor"]:
        return stored
    return Stage.ENROL if now < enrolment_ends_at(means, row, demanded_since) else Stage.CODE


def enrolment_ends_at(means: Means, row: Row, demanded_since: float) -> float:
    """Until when the web password alone is enough to enrol the demanded factor; no account is held to a demand that is
    older than itself."""
    began: float = max(demanded_since, row["account_created_at"])
    return began + means.rules.enrolment_days * DAY_S


def require(unit: Unit, means: Means, session: PortalSession) -> Row:
    """The session's row, if it stands as this request found it; to be asked for in the transaction of every change.

    The account is locked from here on. Raises SignedOut, BadRecord.
    """
    unit.tx.row(unit.sql.LOCK_ACCOUNT, login=session.login)
    row = unit.tx.row(unit.sql.PORTAL_SESSION, row_id=session.id)
    found = None if row is None else session_from(means, row, peer=session.peer, now=unit.now)
    if row is None or found is None or found.stage is not session.stage:
        raise SignedOut
    return row


def listed(means: Means, session: PortalSession, *, now: float | None = None) -> list[PortalSessionView]:
    """The sessions of the account, the latest used first. Raises StoreUnavailable."""
    with looking(means.store, now) as unit:
        idle_since = unit.now - means.rules.idle_s
        rows = unit.tx.rows(
            unit.sql.PORTAL_SESSIONS, account_id=session.account_id, now=unit.now, idle_since=idle_since
        )
    return [
        PortalSessionView(
            *(row["id"], row["id"] == session.id, Stage(row["stage"]), row["factor"]),
            *(row["created_at"], row["seen_at"], row["peer"], row["agent"]),
        )
        for row in rows
    ]


@contextmanager
def acting(
    means: Means,
    session: PortalSession,
    *,
    stage: Stage = Stage.IN,
    now: float | None = None,
    effect: Effect | None = None,
) -> Iterator[tuple[Unit, Row]]:
    """A unit in which this session changes something of its account, and the session's row. effect: see unit.changing.

    Raises SignedOut, also if the session is at another stage; and what unit.changing raises.
    """
    if session.stage is not stage:
        raise SignedOut
    with changing(means.store, session.actor, now, effect, peer=session.peer, agent=session.agent) as unit:
        yield unit, require(unit, means, session)


def end(means: Means, session: PortalSession, session_id: str | None = None, *, now: float | None = None) -> bool:
    """End this session, or, when one is named, another of the same account; False: it was not there.

    Raises SignedOut (who names another must be signed in), StoreUnavailable.
    """
    with changing(means.store, session.actor, now, peer=session.peer) as unit:
        if session_id is not None:
            _require_in(unit, means, session)
        whose = {"account_id": session.account_id, "row_id": session_id or session.id}
        ended = unit.tx.write(unit.sql.END_PORTAL_SESSION, **whose) > 0
        if ended and session.stage is Stage.IN:
            unit.record("signed-out", session.account, service="portal")
    return ended


def end_others(means: Means, session: PortalSession, *, now: float | None = None) -> int:
    """End all other sessions of the account, and say how many there were. Raises SignedOut, StoreUnavailable."""
    with acting(means, session, now=now) as (unit, _):
        count = end_all(unit, session.account_id, keep=session.id)
        unit.record("signed-out", session.account, detail=f"{count} other sessions", service="portal")
    return count


def end_all(unit: Unit, account_id: int, *, keep: str = "") -> int:
    """End the sessions of an account within a larger change. keep: the id of one that goes on."""
    return unit.tx.write(unit.sql.END_PORTAL_SESSIONS, account_id=account_id, keep=keep)


def set_language(means: Means, session: PortalSession, language: str, *, now: float | None = None) -> None:
    """Remember a language: of the account, once somebody is in, until then of the session alone. language: a short tag.

    Raises SignedOut, StoreUnavailable.
    """
    with acting(means, session, stage=session.stage, now=now) as (unit, _):
        if session.stage is Stage.IN:
            unit.tx.write(unit.sql.SET_LANGUAGE, account_id=session.account_id, language=language)
        unit.tx.write(unit.sql.SET_PORTAL_LANGUAGE, row_id=session.id, language=language)


def _require_in(unit: Unit, means: Means, session: PortalSession) -> None:
    if session.stage is not Stage.IN:
        raise SignedOut
    require(unit, means, session)
