"""The statements of the server keys and of what stands under each; see `statements` for the rule."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, func, insert, literal_column, select, update

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

# All that is useless without its key. What else comes to be made under one is to be counted here.
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
