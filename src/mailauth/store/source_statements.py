"""Statements about accounts that sources of web passwords bring, in SQLAlchemy Core; see `statements` for the rule."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, exists, literal_column, select
from sqlalchemy.dialects import postgresql

from mailauth.store.login_statements import POLICY, Packed
from mailauth.store.schema import accounts, aliases, domains, removed_logins, site

_ONE: Any = literal_column("1")
_ZERO: Any = literal_column("0")
_NONE: Any = literal_column("NULL")
_NO_POLICY: tuple[Any, ...] = (literal_column("'optional'"), _NONE, _ZERO, _ZERO, _NONE, _ZERO)

# What an account of this login would be if it were added now; no row: its domain is none of ours, or the login is
# somebody's, or was removed. In the order of login_statements' standing.
PROSPECT = (
    select(
        domains.c.id.label("domain_id"),
        Packed(
            *(_ONE, domains.c.enabled, _ONE, _ZERO, literal_column("7"), domains.c.services),
            *[table.c[name] for table in (site, domains) for name in POLICY],
            *_NO_POLICY,
        ).label("standing"),
    )
    .select_from(domains)
    .outerjoin(site, site.c.id == _ONE)
    .where(
        domains.c.name == bindparam("domain"),
        ~exists(_ONE).where(accounts.c.login == bindparam("login")),
        ~exists(_ONE).where(aliases.c.address == bindparam("login")),
        ~exists(_ONE).where(removed_logins.c.digest == bindparam("digest")),
    )
)


def _note_removed() -> Any:
    """Both databases spell ON CONFLICT alike, so PostgreSQL's construct serves SQLite too."""
    row = postgresql.insert(removed_logins).inline()
    return row.values(digest=bindparam("digest"), at=bindparam("at")).on_conflict_do_nothing()


NOTE_REMOVED = _note_removed()
REMOVED = select(removed_logins.c.at).where(removed_logins.c.digest == bindparam("digest"))
FORGET_REMOVED = delete(removed_logins).where(removed_logins.c.digest == bindparam("digest"))
