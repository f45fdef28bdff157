"""The statements of the server keys, of what stands under each, and of moving it; see `statements` for the rule."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, bindparam, delete, func, insert, literal_column, select, tuple_, update
from sqlalchemy.dialects import postgresql

from mailauth.store.portal_schema import factor_claims, factors, questions
from mailauth.store.schema import accounts, app_passwords, server_keys

_ZERO: Any = literal_column("0")  # in the text itself, where SQLAlchemy would otherwise make a parameter
_with_id = server_keys.c.id == bindparam("row_id")

# A key has a row from when every process could read it: from then on app passwords may be made under it. Whoever makes
# or moves one has the row locked, so that a key is not removed under them.
SERVER_KEYS = select(server_keys).order_by(server_keys.c.id)
KEEP_SERVER_KEYS = SERVER_KEYS.with_for_update(read=True)
KEEP_SERVER_KEY = select(server_keys.c.id).where(_with_id).with_for_update(read=True)
ADD_SERVER_KEY = insert(server_keys).inline().values({name: bindparam(name) for name in ("id", "check_value")})
REMOVE_SERVER_KEY = delete(server_keys).where(_with_id)
DROP_SERVER_KEYS = delete(server_keys)
DROP_APP_PASSWORDS = delete(app_passwords)

# All that is useless without its key: app passwords, and what is sealed.
KEYS_IN_USE = (
    select(
        app_passwords.c.key_id,
        func.count().label("app_passwords"),
        func.count(app_passwords.c.revoked_at).label("deleted"),
    )
    .group_by(app_passwords.c.key_id)
    .order_by(app_passwords.c.key_id)
)
KEY_HOLDERS = (
    select(accounts.c.login)
    .distinct()
    .join_from(app_passwords, accounts, accounts.c.id == app_passwords.c.account_id)
    .where(app_passwords.c.key_id == bindparam("key_id"), app_passwords.c.revoked_at.is_(None))
    .order_by(accounts.c.login)
    .limit(bindparam("page"))
    .offset(_ZERO)
)

RESELECT_APP_PASSWORD = (
    update(app_passwords)
    .where(
        app_passwords.c.id == bindparam("row_id"),
        app_passwords.c.key_id == bindparam("old_key"),
        app_passwords.c.revoked_at.is_(None),
    )
    .values(key_id=bindparam("new_key"), selector=bindparam("selector"))
)

# --- what is sealed --------------------------------------------------------------------------------------------------

_NOTHING: Any = literal_column("' '")  # in key_ids, of a state that holds nothing sealed
_factor, _claim = factors.c, factor_claims.c


def _under_each(table: Table) -> Any:
    return (
        select(table.c.key_ids, func.count().label("count"))
        .where(table.c.key_ids != _NOTHING)
        .group_by(table.c.key_ids)
        .order_by(table.c.key_ids)
    )


SEALED_UNDER_KEYS = {"factors": _under_each(factors), "claims": _under_each(factor_claims)}
QUESTIONS_UNDER_KEY = select(func.count().label("count"), func.max(questions.c.expires_at).label("last_at")).where(
    questions.c.key_ids.like(bindparam("pattern")), questions.c.expires_at > bindparam("now")
)
DROP_SEALED = {
    "factors": delete(factors).where(_factor.key_ids != _NOTHING),
    "claims": delete(factor_claims),
    "questions": delete(questions),
}

# Accounts that somebody is changing something of are left to the next time.
FACTORS_TO_RESEAL = (
    select(_factor.account_id, _factor.kind, _factor.state)
    .join_from(factors, accounts)
    .where(_factor.key_ids != bindparam("current"), _factor.key_ids != _NOTHING)
    .where(tuple_(_factor.account_id, _factor.kind) > tuple_(bindparam("after_id"), bindparam("after_kind")))
    .order_by(_factor.account_id, _factor.kind)
    .limit(bindparam("batch"))
    .offset(_ZERO)
    .with_for_update(of=accounts, skip_locked=True)
)
RESEAL_FACTOR = (
    update(factors)
    .where(
        _factor.account_id == bindparam("account_id"),
        _factor.kind == bindparam("kind"),
        _factor.state == bindparam("old"),
    )
    .values({name: bindparam(name) for name in ("state", "key_ids")})
)
CLAIMS_TO_MOVE = (
    select(*factor_claims.c)
    .join_from(factor_claims, accounts)
    .where(_claim.key_ids != bindparam("current"), _claim.claim > bindparam("after"))
    .order_by(_claim.claim)
    .limit(bindparam("batch"))
    .offset(_ZERO)
    .with_for_update(of=accounts, skip_locked=True)
)
RESEAL_CLAIM = (
    update(factor_claims)
    .where(_claim.claim == bindparam("row_claim"))
    .values({name: bindparam(name) for name in ("sealed", "key_ids")})
)
COPY_CLAIM = (
    postgresql.insert(factor_claims)
    .inline()
    .values({column.name: bindparam(column.name) for column in factor_claims.c})
    .on_conflict_do_nothing(index_elements=[_claim.claim])
)
DROP_CLAIM = delete(factor_claims).where(_claim.claim == bindparam("row_claim"))
