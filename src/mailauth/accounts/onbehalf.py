"""What a program does with an API token for the owner of an account: reading, ending what is open, deleting.

Rule: nothing here lets anybody in, and nothing here stands for the owner's own proof or his having read something. The
account is looked up by its id in the transaction of every act.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from mailauth.accounts import apppasswords, tokens
from mailauth.accounts.apppasswords import Revoked
from mailauth.accounts.finding import account_row, folded
from mailauth.accounts.history import AuditRow
from mailauth.accounts.means import Means
from mailauth.accounts.notices import AFTER_ALL, NoticeView, notice_view, told_by
from mailauth.accounts.overview import Overview, overview_in
from mailauth.accounts.portalsessions import Stage, end_all
from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.sessions import SessionView, closed_sessions, live_sessions
from mailauth.accounts.terms import label_from
from mailauth.accounts.tokens import Caller, TokenView
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.accounts.views import AppPasswordView
from mailauth.store.changes import Effect
from mailauth.store.engine import Row
from mailauth.store.upkeep import DAY_S

LAST = (1e18, AFTER_ALL)  # behind every row of the audit log


@dataclass(frozen=True, slots=True)
class Owner:
    """For whom a program asks. actor, peer: of the program."""

    account_id: int
    login: str
    actor: str
    peer: str


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser in which the owner is signed in to the portal. Times: epoch seconds."""

    id: str
    stage: Stage
    factor: str | None
    since: float
    seen_at: float
    peer: str
    agent: str


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; see AuditRow. by: "client" (a login), "owner", "administrator" or "program".

    detail: the rule that decided on a login; "" of anything else, since it is written for administrators.
    """

    id: int
    at: float
    by: str
    kind: str
    service: str
    peer: str
    app_password: int | None
    label: str | None
    outcome: str
    detail: str
    count: int
    client: str


@dataclass(frozen=True, slots=True)
class History:
    """Events of an account, the latest first. following: begins the next page, None: there is none."""

    events: tuple[Event, ...]
    following: tuple[float, int] | None


def owner(means: Means, caller: Caller, login: str | None) -> Owner:
    """Whom this token acts for. login: None: the account whose token it is.

    Raises NoSuch: it is none of this token's, it is not there, or it is switched off; nobody learns which.
    """
    wanted = caller.login if login is None else folded(login)
    if wanted is None or (caller.account_id is not None and wanted != caller.login):
        raise NoSuch("there is no such account for this token")
    with looking(means.store) as unit:
        row = unit.tx.row(unit.sql.ACCOUNT, login=wanted)
    if row is None or not row["enabled"] or not row["domain_enabled"]:
        raise NoSuch("there is no such account for this token")
    return Owner(row["id"], row["login"], caller.actor, caller.peer)


def standing(means: Means, who: Owner, *, now: float | None = None) -> Overview:
    """How the account stands, with its aliases. Raises NoSuch, StoreUnavailable, BadRecord."""
    with looking(means.store, now) as unit:
        row = row_of(unit, who)
        seen = overview_in(unit, means, row)
        aliases = tuple([alias["address"] for alias in unit.tx.rows(unit.sql.ALIASES, account_id=row["id"])])
    return replace(seen, account=replace(seen.account, aliases=aliases))


def delete(
    means: Means, who: Owner, ids: Collection[int] | None, *, now: float | None = None, effect: Effect | None = None
) -> list[Revoked]:
    """Delete app passwords with these ids; None: all. All or none: raises NoSuch. effect: see unit.changing."""
    with _acting(means, who, now, effect) as (unit, row):
        doomed = apppasswords.live_rows(unit, row) if ids is None else apppasswords.chosen_rows(unit, row, ids)
        return apppasswords.revoke_rows(unit, row, doomed)


def rename(means: Means, who: Owner, row_id: int, label: str, *, now: float | None = None) -> AppPasswordView:
    """Call an app password otherwise. Raises NoSuch, Refused, StoreUnavailable."""
    label = label_from(label)
    with _acting(means, who, now) as (unit, row):
        return apppasswords.rename_row(unit, row, row_id, label)


def connections(means: Means, who: Owner, *, now: float | None = None) -> tuple[list[SessionView], list[str]]:
    """Who reads and sends mail now, and the processes that did not answer. Raises NoSuch, StoreUnavailable."""
    found = live_sessions(means.store, who.login, actor=who.actor, now=now)
    return list(found.sessions), list(found.silent)


def close_connections(means: Means, who: Owner, *, now: float | None = None) -> Effect:
    """End them; mail programs may log in again. Raises NoSuch, StoreUnavailable."""
    effect = Effect()
    with _acting(means, who, now, effect) as (unit, row):
        closed_sessions(unit, row)
    return effect


def browsers(means: Means, who: Owner, *, now: float | None = None) -> list[Browser]:
    """Where the owner is signed in to the portal, the latest used first. Raises NoSuch, StoreUnavailable."""
    with looking(means.store, now) as unit:
        whose = {"account_id": row_of(unit, who)["id"], "now": unit.now, "idle_since": unit.now - means.rules.idle_s}
        return [
            Browser(
                *(row["id"], Stage(row["stage"]), row["factor"], row["created_at"], row["seen_at"]),
                *(row["peer"], row["agent"]),
            )
            for row in unit.tx.rows(unit.sql.PORTAL_SESSIONS, **whose)
        ]


def sign_out(means: Means, who: Owner, session_id: str | None = None, *, now: float | None = None) -> int:
    """End one session of the portal, or, None, all, and say how many. Raises NoSuch, StoreUnavailable."""
    with _acting(means, who, now) as (unit, row):
        if session_id is None:
            count = end_all(unit, row["id"])
        else:
            count = unit.tx.write(unit.sql.END_PORTAL_SESSION, account_id=row["id"], row_id=session_id)
            if not count:
                raise NoSuch("there is no such session")
        unit.record("signed-out", row, detail=f"{count} sessions", service="portal")
    return count


def history(
    means: Means,
    who: Owner,
    *,
    days: float,
    before: tuple[float, int] | None = None,
    limit: int = 50,
    now: float | None = None,
) -> History:
    """What happened to the account in the last so many days. before: the `following` of the page before it.

    Raises NoSuch, StoreUnavailable.
    """
    at, row_id = LAST if before is None else before
    with looking(means.store, now) as unit:
        row = row_of(unit, who)
        whose = {"login": row["login"], "account_id": row["id"]}
        rows = unit.tx.rows(unit.sql.AUDIT_BACKWARDS["account"], at=at, row_id=row_id, page=limit + 1, **whose)
        since = unit.now - days * DAY_S
    page = tuple([_event(AuditRow(**each)) for each in rows[:limit] if each["at"] >= since])
    is_more = len(rows) > limit == len(page)
    return History(page, (page[-1].at, page[-1].id) if is_more else None)


def notices(
    means: Means, who: Owner, *, unseen: bool = False, before_id: int | None = None, limit: int = 50
) -> list[NoticeView]:
    """What the owner is told of changes, the latest first; see notices.listed. Raises NoSuch, StoreUnavailable."""
    with looking(means.store) as unit:
        row = row_of(unit, who)
        statement = unit.sql.UNSEEN_NOTICES if unseen else unit.sql.NOTICES
        last = AFTER_ALL if before_id is None else before_id
        rows = unit.tx.rows(statement, account_id=row["id"], before_id=last, page=limit)
    return [notice_view(each, who.login) for each in rows]


def api_tokens(means: Means, who: Owner) -> list[TokenView]:
    """The API tokens of the account. Raises NoSuch, StoreUnavailable."""
    with looking(means.store) as unit:
        return tokens.own_views(unit, row_of(unit, who)["id"])


def revoke_api_token(means: Means, who: Owner, token_id: int, *, now: float | None = None) -> TokenView:
    """End one of them. Raises NoSuch, StoreUnavailable."""
    with _acting(means, who, now) as (unit, row):
        return tokens.revoked_of(unit, row, token_id)


def row_of(unit: Unit, who: Owner) -> Row:
    """The account's row. Raises NoSuch: it is gone, whoever has its name now."""
    row = account_row(unit, who.login)
    if row["id"] != who.account_id:
        raise NoSuch("there is no such account for this token")
    return row


def _event(row: AuditRow) -> Event:
    is_login = row.kind == "login"
    by = "client" if is_login else told_by(row.actor, row.login or "")
    return Event(
        *(row.id, row.at, by, row.kind, row.service, row.peer, row.credential_id, row.label, row.outcome),
        *(row.detail if is_login else "", row.count, row.client),
    )


@contextmanager
def _acting(means: Means, who: Owner, now: float | None, effect: Effect | None = None) -> Iterator[tuple[Unit, Row]]:
    with changing(means.store, who.actor, now, effect, peer=who.peer) as unit:
        unit.tx.row(unit.sql.LOCK_ACCOUNT, login=who.login)
        yield unit, row_of(unit, who)
