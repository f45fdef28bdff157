"""The statements of the cold path, written once with SQLAlchemy Core; `compile` writes them out for each database.

Rule: parameters are fixed and named, so that a statement is one constant text: no expanding IN, no value in the text.
A module-level name in capitals that holds a statement, or a dict of them, is written out under that name.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Delete,
    Insert,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql

from mailauth.store.login_statements import LOCAL_DOMAIN, POLICY
from mailauth.store.portal_schema import factors
from mailauth.store.schema import accounts, aliases, app_passwords, audit, domains, site

LIMITED_POLICY = (*POLICY, "max_app_passwords")

# Constants of the text itself, where SQLAlchemy would otherwise make a parameter of them.
_ZERO: ColumnElement[int] = literal_column("0")
_ONE: ColumnElement[int] = literal_column("1")
_ENFORCED: ColumnElement[str] = literal_column("'enforced'")


def _insert(table: Table, *columns: str) -> Insert:
    return insert(table).inline().values({column: bindparam(column) for column in columns})


def _set(table: Table, *columns: str) -> Update:
    """Write all these columns of the row with this id."""
    return update(table).where(table.c.id == bindparam("row_id")).values({name: bindparam(name) for name in columns})


def _level(table: Table, prefix: str) -> list[ColumnElement[Any]]:
    return [table.c[name].label(f"{prefix}_{name}") for name in LIMITED_POLICY]


def prune(table: Table, at: ColumnElement[Any], row_id: ColumnElement[Any]) -> Delete:
    """Delete rows of before a time, so many at most. Rows that another process is at are left to it."""
    old = select(row_id).where(at < bindparam("before")).order_by(at).limit(bindparam("batch")).offset(_ZERO)
    return delete(table).where(row_id.in_(old.with_for_update(skip_locked=True)))


def exact(row_id: ColumnElement[Any], at: ColumnElement[Any], peer: ColumnElement[Any]) -> Select[Any]:
    """Rows from one time to before another whose address is still a whole one, so many at most."""
    whole = (peer != literal_column("''"), peer.not_like(literal_column("'%/%'")))
    return (
        select(row_id.label("row_id"), at.label("at"), peer.label("peer"))
        .where(at >= bindparam("start"), at < bindparam("before"), *whole)
        .order_by(at)
        .limit(bindparam("batch"))
        .offset(_ZERO)
    )


def coarsen(row_id: Column[Any], peer: Column[Any]) -> Update:
    """Unless another address has taken its place."""
    return (
        update(peer.table)
        .where(row_id == bindparam("row_id"), peer == bindparam("peer"))
        .values({peer.name: bindparam("network")})
    )


# PostgreSQL: what follows a LOCK_ statement in its transaction sees all that was committed before the lock was had;
# what stands in the same statement might not. SQLite has one writer at a time: there it is a plain SELECT.

# --- the tables' revision and the site -------------------------------------------------------------------------------

VERSION: Select[Any] = select(literal_column("version_num")).select_from(text("mailauth_version"))

SITE = select(site)
LOCK_SITE = select(site.c.id).with_for_update()
ADD_SITE = _insert(site, *(column.name for column in site.c))
SET_SITE = _set(site, *LIMITED_POLICY)

# --- domains ---------------------------------------------------------------------------------------------------------

_DOMAIN_COLUMNS = ("enabled", "services", *LIMITED_POLICY)
_account_count = select(func.count()).where(accounts.c.domain_id == domains.c.id).scalar_subquery()

DOMAIN_NAMES = select(domains.c.name)
DOMAIN = select(domains, _account_count.label("accounts")).where(domains.c.name == bindparam("name"))
LOCK_DOMAIN = LOCAL_DOMAIN.with_for_update()
DOMAINS = (
    select(domains, _account_count.label("accounts"))
    .where(domains.c.name > bindparam("after"))
    .order_by(domains.c.name)
    .limit(bindparam("page"))
    .offset(_ZERO)
)
ADD_DOMAIN = _insert(domains, "name", "created_at", *_DOMAIN_COLUMNS)
SET_DOMAIN = _set(domains, *_DOMAIN_COLUMNS)
REMOVE_DOMAIN = delete(domains).where(domains.c.id == bindparam("row_id"))

# --- accounts and aliases --------------------------------------------------------------------------------------------

_ACCOUNT_COLUMNS = ("enabled", "client_logon", "services", "mode_on", *LIMITED_POLICY)
_live = and_(app_passwords.c.account_id == accounts.c.id, app_passwords.c.revoked_at.is_(None))
_accounts = (
    select(
        *[column for column in accounts.c if column.name != "web_record"],
        accounts.c.web_record.is_not(None).label("has_web_password"),
        domains.c.name.label("domain"),
        domains.c.enabled.label("domain_enabled"),
        domains.c.services.label("domain_services"),
        *_level(domains, "domain"),
        *_level(site, "site"),
        select(func.count()).where(_live).scalar_subquery().label("app_passwords"),
        exists(_ONE).where(factors.c.account_id == accounts.c.id, factors.c.is_alone == _ONE).label("has_factor"),
    )
    .select_from(accounts)
    .join(domains, domains.c.id == accounts.c.domain_id)
    .join(site, site.c.id == _ONE)
)
_page = accounts.c.login > bindparam("after")
_aliases = select(aliases.c.account_id, aliases.c.address, accounts.c.login).join_from(
    aliases, accounts, accounts.c.id == aliases.c.account_id
)

ACCOUNT = _accounts.where(accounts.c.login == bindparam("login"))
LOCK_ACCOUNT = select(accounts.c.id).where(accounts.c.login == bindparam("login")).with_for_update()
ACCOUNTS = _accounts.where(_page).order_by(accounts.c.login).limit(bindparam("page")).offset(_ZERO)
ACCOUNTS_OF_DOMAIN = ACCOUNTS.where(accounts.c.domain_id == bindparam("domain_id"))
ADD_ACCOUNT = _insert(accounts, "domain_id", "login", "web_record", "web_changed_at", "created_at", *_ACCOUNT_COLUMNS)
SET_ACCOUNT = _set(accounts, *_ACCOUNT_COLUMNS)
SET_WEB_RECORD = _set(accounts, "web_record", "web_changed_at")
REMOVE_ACCOUNT = delete(accounts).where(accounts.c.id == bindparam("row_id"))

ALIAS = _aliases.where(aliases.c.address == bindparam("address"))
ALIASES = _aliases.where(aliases.c.account_id == bindparam("account_id")).order_by(aliases.c.address)
ALIASES_OF_PAGE = _aliases.where(_page, accounts.c.login <= bindparam("last")).order_by(aliases.c.address)
ADD_ALIAS = _insert(aliases, "address", "account_id", "created_at")
REMOVE_ALIAS = delete(aliases).where(aliases.c.address == bindparam("address"))

# --- app passwords ---------------------------------------------------------------------------------------------------

_of_account = app_passwords.c.account_id == bindparam("account_id")
_tombstone = app_passwords.c.revoked_at.is_not(None)
_kept_tombstones = (
    select(app_passwords.c.id)
    .where(_of_account, _tombstone)
    .order_by(app_passwords.c.revoked_at.desc(), app_passwords.c.id.desc())
    .limit(bindparam("keep"))
    .offset(_ZERO)
)

APP_PASSWORDS = (
    select(*[column for column in app_passwords.c if column.name not in ("record", "selector")])
    .where(_of_account, app_passwords.c.revoked_at.is_(None))
    .order_by(app_passwords.c.id)
)
ADD_APP_PASSWORD = _insert(
    app_passwords,
    *("account_id", "key_id", "selector", "record", "label", "services", "networks", "expires_at", "suspended"),
    *("created_at", "created_by"),
)
REVOKE_APP_PASSWORD = (
    update(app_passwords)
    .where(app_passwords.c.id == bindparam("row_id"), app_passwords.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("revoked_at"))
)
FORGET_APP_PASSWORD = delete(app_passwords).where(
    app_passwords.c.id == bindparam("row_id"), app_passwords.c.revoked_at.is_not(None)
)
RENAME_APP_PASSWORD = _set(app_passwords, "label")
PRUNE_TOMBSTONES_OF_ACCOUNT = delete(app_passwords).where(
    _of_account,
    _tombstone,
    or_(app_passwords.c.revoked_at < bindparam("before"), app_passwords.c.id.not_in(_kept_tombstones)),
)
PRUNE_TOMBSTONES = prune(app_passwords, app_passwords.c.revoked_at, app_passwords.c.id)
NOTE_LAST_USE = (
    update(app_passwords)
    .where(
        app_passwords.c.id == bindparam("row_id"),
        or_(app_passwords.c.last_used_at.is_(None), app_passwords.c.last_used_at < bindparam("last_used_at")),
    )
    .values(
        {name: bindparam(name) for name in ("last_used_at", "last_used_peer", "last_used_service", "last_used_client")}
    )
)
EXACT_LAST_PEERS = exact(app_passwords.c.id, app_passwords.c.last_used_at, app_passwords.c.last_used_peer)
SET_LAST_PEER = coarsen(app_passwords.c.id, app_passwords.c.last_used_peer)

# --- audit -----------------------------------------------------------------------------------------------------------

_AUDIT_COLUMNS = (
    *("at", "actor", "kind", "login", "account_id", "service", "peer", "credential_id", "label"),
    *("outcome", "detail", "count", "client"),
)
_whole_rows = (
    select(*[column for column in audit.c if column.name != "fold"])
    .where(audit.c.at >= bindparam("at"), or_(audit.c.at > bindparam("at"), audit.c.id > bindparam("row_id")))
    .order_by(audit.c.at, audit.c.id)
    .limit(bindparam("page"))
    .offset(_ZERO)
)
_latest_but_some = (
    select(audit.c.at, audit.c.id)
    .where(audit.c.at >= bindparam("since"))
    .order_by(audit.c.at.desc(), audit.c.id.desc())
    .limit(_ONE)
    .offset(bindparam("skip"))
)
_WHOSE: dict[str, tuple[ColumnElement[bool], ...]] = {
    "everybody": (),
    "login": (audit.c.login == bindparam("login"),),
    "account": (audit.c.login == bindparam("login"), audit.c.account_id == bindparam("account_id")),
}

ADD_AUDIT = _insert(audit, *_AUDIT_COLUMNS)
AUDIT = {name: _whole_rows.where(*whose) for name, whose in _WHOSE.items()}
AUDIT_START = {name: _latest_but_some.where(*whose) for name, whose in _WHOSE.items()}
PRUNE_AUDIT = prune(audit, audit.c.at, audit.c.id)
EXACT_PEERS = exact(audit.c.id, audit.c.at, audit.c.peer)
SET_PEER = coarsen(audit.c.id, audit.c.peer)


def _count_logins() -> Any:
    """Add the row of one minute's equal logins, or bring its count up to date. Repeating it changes nothing.

    Both databases spell ON CONFLICT alike, so PostgreSQL's construct serves SQLite too.
    """
    label = select(app_passwords.c.label).where(app_passwords.c.id == bindparam("credential_id")).scalar_subquery()
    values: dict[str, Any] = {name: bindparam(name) for name in (*_AUDIT_COLUMNS, "fold")}
    row = postgresql.insert(audit).inline().values(values | {"label": label})
    newer = {name: row.excluded[name] for name in ("count", "detail", "client")}
    return row.on_conflict_do_update(index_elements=[audit.c.fold], set_=newer)


COUNT_LOGINS = _count_logins()

# --- start dates that have come --------------------------------------------------------------------------------------


def _policy_reached(table: Table) -> Update:
    started = or_(table.c.enforce_from.is_(None), table.c.enforce_from <= bindparam("now"))
    return (
        update(table)
        .where(table.c.policy == _ENFORCED, table.c.policy_reached == _ZERO, started)
        .values(policy_reached=_ONE)
    )


def _two_factor_reached(table: Table) -> Update:
    started = or_(table.c.two_factor_from.is_(None), table.c.two_factor_from <= bindparam("now"))
    return (
        update(table)
        .where(table.c.two_factor == _ONE, table.c.two_factor_reached == _ZERO, started)
        .values(two_factor_reached=_ONE)
    )


REACHED = {
    f"{level.name}_{name}": statement(level)
    for level in (site, domains, accounts)
    for name, statement in (("policy", _policy_reached), ("two_factor", _two_factor_reached))
}
