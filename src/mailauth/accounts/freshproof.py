"""Fresh proof: for one act, given once, by whoever is signed in, after it was asked for.

Source: the contract's rules of proof; NIST SP 800-63B-4 section 5.2 (reauthentication). Rule: a proof belongs to a
session, an act and its parameters, is good for five minutes, and is taken in the transaction of the act, once. The
factor that was shown at the sign-in proves nothing here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mailauth.accounts import bearer
from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import PortalSession, SignedOut, Stage, acting
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.terms import label_from
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.factors.factor import Nature
from mailauth.store.engine import Row, Store

VALID_S = 300.0
MOST_ACTIONS = 20  # open at once for one account
MAX_PARAMS_CHARACTERS = 8192
WEB_PASSWORD = "web-password"  # noqa: S105
ENROLMENT_CODE = "enrolment-code"


class Act(StrEnum):
    """What takes a fresh proof."""

    APP_PASSWORD = "app-password"  # noqa: S105
    MODE_OFF = "mode-off"
    FACTOR_ADD = "factor-add"
    FACTOR_REMOVE = "factor-remove"
    FACTOR_RENAME = "factor-rename"
    RECOVERY_CODES = "recovery-codes"
    RECOVERY_ADDRESS = "recovery-address"
    API_TOKEN = "api-token"  # noqa: S105
    EXPORT = "export"
    ADMINISTRATION = "administration"


BY_BOTH = frozenset({Act.FACTOR_ADD, Act.FACTOR_REMOVE, Act.FACTOR_RENAME})  # web password and factor


class NotProven(Exception):
    """There is no proof for this, or not any more, or it was for something else. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Action:
    """An act that waits for its proof. id: no token; opens nothing.

    ways: the kinds of factors that prove it, WEB_PASSWORD, or ENROLMENT_CODE. needs_password: the web password has to
    be shown too, beside one of the ways, and has not been. by_program: a program has asked, and nobody come for it yet.
    """

    id: str
    kind: Act
    params: Mapping[str, Any]
    expires_at: float
    ways: tuple[str, ...]
    needs_password: bool
    is_proven: bool
    by_program: bool


def begin(
    means: Means, session: PortalSession, kind: Act, params: Mapping[str, Any], *, now: float | None = None
) -> str:
    """Say what is to be done; the token names it in the pages that follow. params: plain JSON.

    Raises SignedOut, Refused (too much of it), StoreUnavailable.
    """
    with acting(means, session, now=now) as (unit, _):
        return _added(unit, session.account, session.id, kind, params)


def begin_for(
    store: Store,
    account: Row,
    kind: Act,
    params: Mapping[str, Any],
    *,
    actor: str,
    peer: str = "",
    now: float | None = None,
) -> str:
    """The same for a program with an API token, which may ask but never prove: the owner's browser comes for it.

    account: with id and login. Raises Refused, StoreUnavailable.
    """
    with changing(store, actor, now, peer=peer) as unit:
        token = _added(unit, account, None, kind, params)
        unit.record("proof-asked-for", account, detail=str(kind))
    return token


def action(means: Means, session: PortalSession, token: str, *, now: float | None = None) -> Action:
    """What this token names, as it stands now. Raises NoSuch (not open any more, or not this session's), SignedOut."""
    _require_in(session)
    with looking(means.store, now) as unit:
        return action_in(unit, means, session, token)


def lapsed(means: Means, session: PortalSession, token: str, *, now: float | None = None) -> Action | None:
    """What this session has asked for and not done in time, for `renew`; None: there is no such.

    Nothing proves it any more. Raises SignedOut, StoreUnavailable.
    """
    _require_in(session)
    with looking(means.store, now) as unit:
        return _lapsed(unit, session, token)


def renew(means: Means, session: PortalSession, token: str, *, label: str = "", now: float | None = None) -> str:
    """Begin once more what was not done in time; the new token.

    label: of an app password whose name was still to be said, and was said too late. Raises NoSuch, Refused (of the
    label), SignedOut, StoreUnavailable.
    """
    with acting(means, session, now=now) as (unit, _):
        found = _lapsed(unit, session, token)
        if found is None:
            raise NoSuch("there is no such act to begin once more")
        named = {"label": label_from(label)} if label and found.kind is Act.APP_PASSWORD else {}
        return _added(unit, session.account, session.id, found.kind, {**named, **found.params})


def _lapsed(unit: Unit, session: PortalSession, token: str) -> Action | None:
    row = unit.tx.row(unit.sql.ACTION, row_id=bearer.digest(token))
    if row is None or row["session_id"] != session.id or row["done_at"] is not None or unit.now < row["expires_at"]:
        return None
    about = (row["id"], Act(row["kind"]), json.loads(row["params"]), row["expires_at"])
    return Action(*about, ways=(), needs_password=False, is_proven=False, by_program=False)


def take(
    unit: Unit, session: PortalSession, token: str, kind: Act, params: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Use a proof up, in the transaction of what it is for, and say what exactly was proven.

    params: what is about to be done; None: whatever the proof was for. Raises NotProven.
    """
    row = unit.tx.row(unit.sql.ACTION, row_id=bearer.digest(token))
    if row is None:
        raise NotProven
    wanted = row["params"] if params is None else _text(params)
    whose = {"row_id": row["id"], "account_id": session.account_id, "session_id": session.id, "now": unit.now}
    alone = 0 if _by_both(kind, session) else 1
    if not unit.tx.write(unit.sql.TAKE_ACTION, **whose, kind=str(kind), params=wanted, by_factor_alone=alone):
        raise NotProven
    proven: dict[str, Any] = json.loads(wanted)
    return proven


def _added(unit: Unit, account: Row, session_id: str | None, kind: Act, params: Mapping[str, Any]) -> str:
    text, token = _text(params), bearer.new()
    if len(text) > MAX_PARAMS_CHARACTERS:
        raise Refused("that is too much for one act")
    unit.tx.write(
        unit.sql.ADD_ACTION,
        id=bearer.digest(token),
        session_id=session_id,
        account_id=account["id"],
        kind=str(kind),
        params=text,
        expires_at=unit.now + VALID_S,
        password_at=None,
        proved_at=None,
        proved_by=None,
        done_at=None,
    )
    unit.tx.write(unit.sql.TRIM_ACTIONS, account_id=account["id"], keep=MOST_ACTIONS)
    return token


def _text(params: Mapping[str, Any]) -> str:
    """Equal for equal parameters."""
    return json.dumps(dict(params), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def action_in(unit: Unit, means: Means, session: PortalSession, token: str) -> Action:
    """The same within a unit. Raises NoSuch."""
    row = unit.tx.row(unit.sql.ACTION, row_id=bearer.digest(token))
    if row is None or row["account_id"] != session.account_id or row["session_id"] not in {None, session.id}:
        raise NoSuch("there is no such act, or not here")
    if row["done_at"] is not None or unit.now >= row["expires_at"]:
        raise NoSuch("this act is done already, or it is too late for it")
    kind = Act(row["kind"])
    return Action(
        *(row["id"], kind, json.loads(row["params"]), row["expires_at"], _ways(unit, means, session, kind)),
        needs_password=_by_both(kind, session) and row["password_at"] is None,
        is_proven=row["proved_at"] is not None,
        by_program=row["session_id"] is None,
    )


def _ways(unit: Unit, means: Means, session: PortalSession, kind: Act) -> tuple[str, ...]:
    if not session.has_factor:
        if kind is not Act.ADMINISTRATION and not session.ever_had_factor and not session.demanded:
            return (WEB_PASSWORD,)
        return (ENROLMENT_CODE,) if kind is Act.FACTOR_ADD else ()
    has = {row["kind"] for row in unit.tx.rows(unit.sql.FACTORS, account_id=session.account_id)}
    natures = {name: factor.nature for name, factor in means.factors.items() if name in has}
    serving = tuple([name for name, nature in natures.items() if _serves(nature, kind)])
    if session.role == "user" or not any(nature.for_administrators for nature in natures.values()):
        return serving
    # Who has a role and more than text messages proves nothing by these: what they let in would open all the rest.
    return tuple([name for name in serving if natures[name].for_administrators or not natures[name].proves_acts])


def _serves(nature: Nature, kind: Act) -> bool:
    """Whether a factor of this nature proves this act: one that only helps out, no more than a new enrolment."""
    if kind is Act.FACTOR_ADD:
        return True
    return nature.proves_acts and (nature.for_administrators or kind is not Act.ADMINISTRATION)


def _by_both(kind: Act, session: PortalSession) -> bool:
    return kind in BY_BOTH and session.has_factor


def _require_in(session: PortalSession) -> None:
    if session.stage is not Stage.IN:
        raise SignedOut
