"""What owners are told of changes to their accounts: listed until acknowledged, and handed over to be mailed.

Rule: notices are written by Unit.record alone. Each is handed over to one process at a time, and handed over again when
that has not said that it is mailed; after three days nobody is mailed any more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import PortalSession, SignedOut, Stage, acting
from mailauth.accounts.unit import looking
from mailauth.store.engine import Row, Store
from mailauth.store.upkeep import DAY_S

PAGE_ROWS = 50
AGAIN_S = 600.0  # whoever took one to be mailed has so long
MAILED_WITHIN_S = 3 * DAY_S
AFTER_ALL = 2**62
RESET_LINK = "portal:reset-link"  # the actor, where nobody is signed in


@dataclass(frozen=True, slots=True)
class NoticeView:
    """One thing that was changed. kind, label, detail: as in the audit log. Times: epoch seconds.

    by: "owner", "administrator" or "program" (with an API token). peer: the address it was done from, agent: what the
    browser called itself, "" for none.
    """

    id: int
    at: float
    kind: str
    by: str
    peer: str
    agent: str
    label: str | None
    detail: str
    seen_at: float | None
    mailed_at: float | None


@dataclass(frozen=True, slots=True)
class ToMail:
    """One to be mailed, see NoticeView. to: addresses that it is still to be mailed to. language: None: not chosen.

    mailed_at: when others of its addresses had it. claimed: until when it is ours.
    """

    id: int
    at: float
    kind: str
    by: str
    peer: str
    agent: str
    label: str | None
    detail: str
    login: str
    language: str | None
    mailed_at: float | None
    to: tuple[str, ...]
    claimed: float


def listed(
    means: Means,
    session: PortalSession,
    *,
    unseen: bool = False,
    before_id: int | None = None,
    limit: int = PAGE_ROWS,
    now: float | None = None,
) -> list[NoticeView]:
    """The latest first, so many at most. before_id: only older ones. Raises SignedOut, StoreUnavailable."""
    if session.stage is not Stage.IN:
        raise SignedOut
    with looking(means.store, now) as unit:
        statement = unit.sql.UNSEEN_NOTICES if unseen else unit.sql.NOTICES
        last = AFTER_ALL if before_id is None else before_id
        rows = unit.tx.rows(statement, account_id=session.account_id, before_id=last, page=limit)
    return [notice_view(row, session.login) for row in rows]


def notice_view(row: Row, login: str) -> NoticeView:
    """row: of owner_statements.NOTICES. login: of whose it is."""
    return NoticeView(**_told(row, login), seen_at=row["seen_at"], mailed_at=row["mailed_at"])


def acknowledge(means: Means, session: PortalSession, notice_id: int, *, now: float | None = None) -> bool:
    """The owner has read this one; False: there is none such that he has not. Raises SignedOut, StoreUnavailable."""
    with acting(means, session, now=now) as (unit, _):
        whose = {"row_id": notice_id, "account_id": session.account_id}
        return unit.tx.write(unit.sql.SEE_NOTICE, **whose, now=unit.now) > 0


def acknowledge_all(means: Means, session: PortalSession, last_id: int, *, now: float | None = None) -> int:
    """The owner has read all up to this one, which was the latest that he was shown; says how many those were.

    Raises SignedOut, StoreUnavailable.
    """
    with acting(means, session, now=now) as (unit, _):
        whose = {"last_id": last_id, "account_id": session.account_id}
        return unit.tx.write(unit.sql.SEE_NOTICES, **whose, now=unit.now)


def take_to_mail(store: Store, *, limit: int = PAGE_ROWS, now: float | None = None) -> list[ToMail]:
    """Some that are to be mailed now, oldest first; nobody else gets them for ten minutes. Raises StoreUnavailable."""
    with looking(store, now) as unit:
        at, since = unit.now, unit.now - MAILED_WITHIN_S
        rows = unit.tx.rows(unit.sql.NOTICES_TO_MAIL, now=at, since=since, page=limit)
    if not rows:
        return []
    claim = {"now": at, "mail_after": at + AGAIN_S}
    with store.transaction() as tx:
        taken = [row for row in rows if tx.write(store.sql.CLAIM_NOTICE, row_id=row["id"], **claim)]
    return [
        ToMail(
            **_told(row, row["login"]),
            **{name: row[name] for name in ("login", "language", "mailed_at")},
            to=_to(row),
            claimed=at + AGAIN_S,
        )
        for row in taken
    ]


def done(store: Store, notice: ToMail, mailed_at: float | None) -> None:
    """It is mailed, or cannot be. mailed_at: None: to nobody. Raises StoreUnavailable."""
    with store.transaction() as tx:
        tx.write(store.sql.NOTICE_MAILED, row_id=notice.id, mailed_at=mailed_at)


def put_off(store: Store, notice: ToMail, left: tuple[str, ...], mailed_at: float | None, *, again_at: float) -> None:
    """It could not be mailed to these: to be tried again then, if nobody else has it meanwhile. StoreUnavailable."""
    with store.transaction() as tx:
        put = {"claimed": notice.claimed, "mail_after": again_at, "mail_to": " ".join(left), "mailed_at": mailed_at}
        tx.write(store.sql.PUT_OFF_NOTICE, row_id=notice.id, **put)


def give_up(store: Store, *, now: float | None = None) -> int:
    """Try no more what could not be mailed for three days, and say how many those are. Raises StoreUnavailable."""
    now = time.time() if now is None else now
    with store.transaction() as tx:
        return tx.write(store.sql.GIVE_UP_NOTICES, now=now, since=now - MAILED_WITHIN_S)


def told_by(actor: str, login: str) -> str:
    """Who did something to this login's account, as its owner is told: "owner", "administrator" or "program"."""
    if actor in {f"portal:{login}", RESET_LINK}:
        return "owner"
    if not actor.startswith("api:"):
        return "administrator"
    whose = actor.split(":", 2)[2:]  # of an administrator's token
    return "program" if whose in ([], [login]) else "administrator"


def _told(row: Row, login: str) -> dict[str, Any]:
    by = {"by": told_by(row["actor"], login)}
    return {name: row[name] for name in ("id", "at", "kind", "peer", "agent", "label", "detail")} | by


def _to(row: Row) -> tuple[str, ...]:
    if row["mail_to"] is not None:
        return tuple(row["mail_to"].split())
    return tuple([address for address in (row["login"], row["recovery_address"]) if address])
