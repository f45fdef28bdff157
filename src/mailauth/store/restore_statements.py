"""The statements of what follows when a backup of the store was put in its place; see `statements` for the rule."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Double, Text, bindparam, cast, insert, literal_column, select, update

from mailauth.store.schema import accounts, app_passwords, audit, change_counter, site

_ZERO: Any = literal_column("0")
_ONE: Any = literal_column("1")
_EMPTY: Any = literal_column("''")

# Which store this is, and the number of its newest change.
STANDING = select(
    change_counter.c.number,
    select(site.c.store_id).scalar_subquery().label("store_id"),
)

_live = app_passwords.c.revoked_at.is_(None)
_in_use = (_live, app_passwords.c.suspended == _ZERO)
_owned = app_passwords.join(accounts, accounts.c.id == app_passwords.c.account_id)

LIVE_APP_PASSWORD = (
    select(app_passwords.c.label, accounts.c.id, accounts.c.login)
    .select_from(_owned)
    .where(app_passwords.c.id == bindparam("row_id"), _live)
)
_told: dict[str, Any] = {
    "at": cast(bindparam("at"), Double),
    "actor": cast(bindparam("actor"), Text),
    "kind": cast(bindparam("kind"), Text),
    "login": accounts.c.login,
    "account_id": accounts.c.id,
    "service": _EMPTY,
    "peer": _EMPTY,
    "credential_id": app_passwords.c.id,
    "label": app_passwords.c.label,
    "outcome": literal_column("'done'"),
    "detail": _EMPTY,
    "count": _ONE,
    "client": _EMPTY,
}
RECORD_SUSPENSIONS = insert(audit).from_select(
    list(_told), select(*_told.values()).select_from(_owned).where(*_in_use).order_by(app_passwords.c.id)
)
SUSPEND_ALL = update(app_passwords).where(*_in_use).values(suspended=_ONE)
CONFIRM_APP_PASSWORD = update(app_passwords).where(app_passwords.c.id == bindparam("row_id")).values(suspended=_ZERO)
