"""The statements of what mail programs and strangers have shown, as the pages of an account need them.

Rule: see `statements`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, func, literal_column, select
from sqlalchemy.dialects import postgresql

from mailauth.store.schema import accounts, app_passwords, audit

_ZERO: Any = literal_column("0")  # in the text itself, where SQLAlchemy would otherwise make a parameter
_ONE: Any = literal_column("1")

# --- app passwords, deleted ones too, which open no page whatever else they are --------------------------------------

_app_password = app_passwords.c
APP_PASSWORD_RECORDS = (
    select(_app_password.key_id, _app_password.selector, _app_password.record)
    .join_from(app_passwords, accounts)
    .where(accounts.c.login == bindparam("login"))
)

# --- what the owner is told of sign-ins and programs -----------------------------------------------------------------

_REFUSED = ("at", "actor", "kind", "login", "account_id", "service", "peer", "outcome", "detail", "client", "fold")
_RECENT_ROWS: Any = literal_column("300")  # a page waits for it
_MOST_PROGRAMS: Any = literal_column("20")


def _count_refusal() -> Any:
    """Add the row of one minute's equal refusals, or one to its count."""
    values: dict[str, Any] = {name: bindparam(name) for name in _REFUSED}
    row = postgresql.insert(audit).inline().values(values | {"count": _ONE})
    newer = {"count": audit.c.count + _ONE, "client": row.excluded.client}
    return row.on_conflict_do_update(index_elements=[audit.c.fold], set_=newer)


COUNT_REFUSED_SIGN_IN = _count_refusal()

_recent = (
    select(*[audit.c[name] for name in ("at", "kind", "service", "peer", "credential_id", "outcome", "client")])
    .where(audit.c.login == bindparam("login"), audit.c.account_id == bindparam("account_id"))
    .where(audit.c.at >= bindparam("since"))
    .order_by(audit.c.at.desc())
    .limit(_RECENT_ROWS)
    .offset(_ZERO)
    .subquery()
)
WEB_PASSWORD_USES = (
    select(_recent.c.client, _recent.c.service, _recent.c.peer, func.max(_recent.c.at).label("last_at"))
    .where(
        _recent.c.kind == literal_column("'login'"),
        _recent.c.outcome == literal_column("'accept'"),
        _recent.c.credential_id.is_(None),
    )
    .group_by(_recent.c.client, _recent.c.service, _recent.c.peer)
    .order_by(func.max(_recent.c.at).desc())
    .limit(_MOST_PROGRAMS)
    .offset(_ZERO)
)
