"""The statements of sign-ins at the portal: sessions, proofs, factors and what belongs to them; see `statements`.

Rule: what may be used once is taken by an UPDATE that finds it unused, and a state is replaced only where it is still
what was read; who gets a count of 0 was too late.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Delete,
    Insert,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql

from mailauth.store.login_statements import POLICY
from mailauth.store.portal_schema import (
    devices,
    factor_claims,
    factors,
    notices,
    portal_actions,
    portal_sessions,
    questions,
    tallies,
    vouchers,
)
from mailauth.store.schema import accounts, domains, site
from mailauth.store.statements import prune

_ZERO: Any = literal_column("0")  # in the text itself, where SQLAlchemy would otherwise make a parameter
_ONE: Any = literal_column("1")
_ALL_THERE_MAY_BE: Any = literal_column("1000000")  # SQLite knows no OFFSET without a LIMIT
_account: Any = bindparam("account_id")
_now: Any = bindparam("now")


def _insert(table: Table) -> Insert:
    return insert(table).inline().values({column.name: bindparam(column.name) for column in table.c})


def _of_account(table: Table) -> Delete:
    return delete(table).where(table.c.account_id == _account)


def _trim(row_id: Column[Any], owner: Column[Any], newest: Column[Any], *before: ColumnElement[Any]) -> Delete:
    """Keep so many rows of an owner, the newest. before: of which those that have it come before all others."""
    old = (
        select(row_id)
        .where(owner == bindparam(owner.name))
        .order_by(*[each.desc() for each in before], newest.desc(), row_id.desc())
        .limit(_ALL_THERE_MAY_BE)
        .offset(bindparam("keep"))
    )
    return delete(row_id.table).where(owner == bindparam(owner.name), row_id.in_(old))


# --- sessions --------------------------------------------------------------------------------------------------------

_session = portal_sessions.c
_has_factor = exists(_ONE).where(factors.c.account_id == accounts.c.id, factors.c.is_alone == _ONE)
_unseen = (
    select(func.count()).where(notices.c.account_id == accounts.c.id, notices.c.seen_at.is_(None)).scalar_subquery()
)

_standing: tuple[Any, ...] = (
    *[accounts.c[name] for name in ("login", "domain_id", "enabled", "mode_on", "role", "ever_had_factor")],
    accounts.c.web_changed_at,
    accounts.c.language.label("account_language"),
    accounts.c.created_at.label("account_created_at"),
    domains.c.enabled.label("domain_enabled"),
    *[accounts.c[name] for name in POLICY],
    *[domains.c[name].label(f"domain_{name}") for name in POLICY],
    *[site.c[name].label(f"site_{name}") for name in POLICY],
    _has_factor.label("has_factor"),
)
_with_levels = accounts.join(domains, domains.c.id == accounts.c.domain_id).join(site, site.c.id == _ONE)

# All that every page needs, in one read; and the same of an account that nobody is signed in to.
PORTAL_SESSION = (
    select(
        *[column for column in _session if column.name != "created_at"],
        _session.created_at.label("since"),
        *_standing,
        _unseen.label("notices"),
    )
    .select_from(portal_sessions.join(_with_levels, accounts.c.id == _session.account_id))
    .where(_session.id == bindparam("row_id"))
)
PORTAL_ACCOUNT = (
    select(accounts.c.id.label("account_id"), *_standing).select_from(_with_levels).where(accounts.c.id == _account)
)
PORTAL_SESSIONS = (
    select(_session.id, _session.stage, _session.factor, _session.created_at, _session.seen_at, _session.ends_at)
    .add_columns(_session.peer, _session.agent)
    .where(_session.account_id == _account, _session.ends_at > _now, _session.seen_at > bindparam("idle_since"))
    .order_by(_session.seen_at.desc(), _session.id)
)
ADD_PORTAL_SESSION = _insert(portal_sessions)
SEE_PORTAL_SESSION = (
    update(portal_sessions).where(_session.id == bindparam("row_id"), _session.seen_at < _now).values(seen_at=_now)
)
SET_PORTAL_STAGE = (
    update(portal_sessions)
    .where(_session.id == bindparam("row_id"), _session.stage == bindparam("old_stage"))
    .values(stage=bindparam("stage"), ends_at=bindparam("ends_at"))
)
SET_PORTAL_LANGUAGE = (
    update(portal_sessions).where(_session.id == bindparam("row_id")).values(language=bindparam("language"))
)
END_PORTAL_SESSION = _of_account(portal_sessions).where(_session.id == bindparam("row_id"))
END_PORTAL_SESSIONS = _of_account(portal_sessions).where(_session.id != bindparam("keep"))
END_PORTAL_SESSIONS_OF_DOMAIN = delete(portal_sessions).where(
    _session.account_id.in_(select(accounts.c.id).where(accounts.c.domain_id == bindparam("domain_id")))
)
END_ALL_PORTAL_SESSIONS = delete(portal_sessions)
TRIM_PORTAL_SESSIONS = _trim(_session.id, _session.account_id, _session.created_at)
PRUNE_PORTAL_SESSIONS = prune(portal_sessions, _session.ends_at, _session.id)

# --- devices ---------------------------------------------------------------------------------------------------------

DEVICE = select(devices.c.id).where(devices.c.id == bindparam("row_id"), devices.c.account_id == _account)
KNOWN_DEVICE = select(devices.c.id).where(devices.c.id == bindparam("row_id")).limit(_ONE).offset(_ZERO)
ANY_DEVICE = select(devices.c.id).where(devices.c.account_id == _account).limit(_ONE).offset(_ZERO)
DEVICES = (
    select(devices.c.created_at, devices.c.seen_at)
    .where(devices.c.account_id == _account)
    .order_by(devices.c.created_at)
)


def _see_device() -> Any:
    """Both databases spell ON CONFLICT alike, so PostgreSQL's construct serves SQLite too."""
    row = postgresql.insert(devices).inline().values({column.name: bindparam(column.name) for column in devices.c})
    return row.on_conflict_do_update(
        index_elements=[devices.c.id, devices.c.account_id], set_={"seen_at": row.excluded.seen_at}
    )


SEE_DEVICE = _see_device()
FORGET_DEVICES = _of_account(devices)
TRIM_DEVICES = _trim(devices.c.id, devices.c.account_id, devices.c.seen_at)
_device = (devices.c.id, devices.c.account_id)
PRUNE_DEVICES = delete(devices).where(
    tuple_(*_device).in_(
        select(*_device)
        .where(devices.c.seen_at < bindparam("before"))
        .order_by(devices.c.seen_at)
        .limit(bindparam("batch"))
        .offset(_ZERO)
        .with_for_update(skip_locked=True)
    )
)

# --- factors ---------------------------------------------------------------------------------------------------------

_of_kind = (factors.c.account_id == _account, factors.c.kind == bindparam("kind"))
_USED = ("last_used_at", "last_used_peer")

FACTORS = select(factors).where(factors.c.account_id == _account).order_by(factors.c.confirmed_at, factors.c.kind)
FACTOR = select(factors).where(*_of_kind)
ADD_FACTOR = _insert(factors)
SET_FACTOR = (
    update(factors)
    .where(*_of_kind, factors.c.state == bindparam("old"))
    .values({name: bindparam(name) for name in ("state", "parts", "key_ids", "is_alone")})
)
NOTE_FACTOR_USE = update(factors).where(*_of_kind).values({name: bindparam(name) for name in _USED})
REMOVE_FACTOR = delete(factors).where(*_of_kind)
EVER_HAD_FACTOR = update(accounts).where(accounts.c.id == _account).values(ever_had_factor=_ONE)

CLAIM = select(factor_claims.c.account_id).where(factor_claims.c.claim == bindparam("claim"))
ADD_CLAIM = _insert(factor_claims)
REMOVE_CLAIMS = _of_account(factor_claims).where(factor_claims.c.kind == bindparam("kind"))

BEGIN_TALLY = (
    postgresql.insert(tallies)
    .inline()
    .values(subject=bindparam("subject"), since=_ZERO, count=_ZERO, ends_at=_ZERO)
    .on_conflict_do_nothing(index_elements=[tallies.c.subject])
)
LOCK_TALLY = select(tallies.c.since, tallies.c.count).where(tallies.c.subject == bindparam("subject")).with_for_update()
SET_TALLY = (
    update(tallies)
    .where(tallies.c.subject == bindparam("subject"))
    .values({name: bindparam(name) for name in ("since", "count", "ends_at")})
)
PRUNE_TALLIES = prune(tallies, tallies.c.ends_at, tallies.c.subject)

# --- open questions --------------------------------------------------------------------------------------------------

_question = questions.c
_this_question = (_question.id == bindparam("row_id"), _question.session_id == bindparam("session_id"))

QUESTION = select(questions).where(*_this_question)
ADD_QUESTION = _insert(questions)
DROP_QUESTION = delete(questions).where(*_this_question, _question.pending == bindparam("old"))
TRIM_QUESTIONS = _trim(_question.id, _question.session_id, _question.expires_at)
PRUNE_QUESTIONS = prune(questions, _question.expires_at, _question.id)

# --- proofs ----------------------------------------------------------------------------------------------------------

_action = portal_actions.c
_open_action = (
    _action.id == bindparam("row_id"),
    _action.account_id == _account,
    _action.done_at.is_(None),
    _action.expires_at > _now,
)
_own_action = (*_open_action, _action.session_id == bindparam("session_id"))

ACTION = select(portal_actions).where(_action.id == bindparam("row_id"))
ADD_ACTION = _insert(portal_actions)
ADOPT_ACTION = (
    update(portal_actions).where(*_open_action, _action.session_id.is_(None)).values(session_id=bindparam("session_id"))
)
NOTE_ACTION_PASSWORD = (
    update(portal_actions).where(*_own_action, _action.password_at.is_(None)).values(password_at=_now)
)
PROVE_ACTION = (
    update(portal_actions)
    .where(*_own_action, _action.proved_at.is_(None))
    .values(proved_at=_now, proved_by=bindparam("proved_by"))
)
TAKE_ACTION = (
    update(portal_actions)
    .where(
        *_own_action,
        _action.kind == bindparam("kind"),
        _action.params == bindparam("params"),
        _action.proved_at.is_not(None),
        or_(_action.password_at.is_not(None), bindparam("by_factor_alone") == _ONE),
    )
    .values(done_at=_now)
)
DROP_ACTIONS = _of_account(portal_actions)
TRIM_ACTIONS = _trim(
    _action.id, _action.account_id, _action.expires_at, _action.session_id.is_not(None)
)  # not programs'
PRUNE_ACTIONS = prune(portal_actions, _action.expires_at, _action.id)

# --- vouchers --------------------------------------------------------------------------------------------------------

_voucher = vouchers.c
_good_voucher = (
    _voucher.id == bindparam("row_id"),
    _voucher.kind == bindparam("kind"),
    _voucher.used_at.is_(None),
    _voucher.expires_at > _now,
)

ADD_VOUCHER = _insert(vouchers)
VOUCHER = select(vouchers, accounts.c.login).join_from(vouchers, accounts).where(*_good_voucher)
USE_VOUCHER = update(vouchers).where(*_good_voucher, _voucher.account_id == _account).values(used_at=_now)
DROP_VOUCHERS = _of_account(vouchers).where(_voucher.kind == bindparam("kind"))
DROP_ALL_VOUCHERS = delete(vouchers)
PRUNE_VOUCHERS = prune(vouchers, _voucher.expires_at, _voucher.id)
