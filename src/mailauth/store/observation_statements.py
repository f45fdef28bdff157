"""The statements of what owners should know about their programs; see `statements` for the rule."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, bindparam, case, delete, literal_column, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql

from mailauth.store.schema import accounts, app_passwords, observations

_ZERO: Any = literal_column("0")  # in the text itself, where SQLAlchemy would otherwise make a parameter
_EMPTY: Any = literal_column("''")
_ALL_THERE_MAY_BE: Any = literal_column("1000")  # SQLite knows no OFFSET without a LIMIT
_row = observations.c
_key = (_row.account_id, _row.kind, _row.network, _row.service, _row.client, _row.credential_id)


def _note() -> Any:
    """Add a row, or to its count. An account that is gone gets none: it is looked up, and kept from going meanwhile.

    Both databases spell ON CONFLICT alike, so PostgreSQL's construct serves SQLite too.
    """
    columns = [column for column in _row if column.name != "is_web_password"]
    there = (
        select(*[bindparam(column.name, type_=column.type) for column in columns])
        .where(accounts.c.id == bindparam("account_id"))
        .with_for_update(read=True, key_share=True)
    )
    row = postgresql.insert(observations).from_select(columns, there)
    later = case((row.excluded.last_at > _row.last_at, row.excluded.last_at), else_=_row.last_at)
    return row.on_conflict_do_update(
        index_elements=_key, set_={"last_at": later, "count": _row.count + row.excluded.count}
    )


NOTE_OBSERVATION = _note()
TRIM_OBSERVATIONS = delete(observations).where(
    tuple_(*_key).in_(
        select(*_key)
        .where(_row.account_id == bindparam("account_id"), _row.kind == bindparam("kind"))
        .order_by(_row.last_at.desc())
        .limit(_ALL_THERE_MAY_BE)
        .offset(bindparam("keep"))
        .with_for_update(skip_locked=True)
    )
)
NOTE_WEB_PASSWORD = (
    update(observations)
    .where(*[column == bindparam(column.name) for column in _key[:5]], _row.credential_id == _ZERO)
    .values(is_web_password=bindparam("is_web_password"))
)
FORGET_OBSERVATIONS = delete(observations).where(
    _row.account_id == bindparam("account_id"),
    _row.first_at >= bindparam("since"),
    or_(_row.credential_id == bindparam("credential_id"), _row.network == bindparam("network")),
)
PRUNE_OBSERVATIONS = delete(observations).where(
    tuple_(*_key).in_(
        select(*_key)
        .where(_row.last_at < bindparam("before"))
        .limit(bindparam("batch"))
        .offset(_ZERO)
        .with_for_update(skip_locked=True)
    )
)

_seen = (
    select(
        *[column for column in _row if column.name != "is_web_password"],
        accounts.c.login,
        app_passwords.c.label,
    )
    .select_from(observations)
    .join(accounts, accounts.c.id == _row.account_id)
    .outerjoin(
        app_passwords, and_(app_passwords.c.id == _row.credential_id, app_passwords.c.account_id == _row.account_id)
    )
)
OBSERVATIONS_OF_ACCOUNT = _seen.where(_row.account_id == bindparam("account_id")).order_by(_row.last_at.desc())
OBSERVATIONS = (
    _seen.where(
        tuple_(*_key) > tuple_(*[bindparam(column.name, type_=column.type) for column in _key]),
        or_(bindparam("of_kind") == _EMPTY, _row.kind == bindparam("of_kind")),
        or_(bindparam("of_domain") == _ZERO, accounts.c.domain_id == bindparam("of_domain")),
    )
    .order_by(*_key)
    .limit(bindparam("page"))
    .offset(_ZERO)
)
