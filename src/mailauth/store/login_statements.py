"""The statements of logins and of submission, in SQLAlchemy Core; see `statements` for the rest, and for the rule."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Double, Select, and_, bindparam, case, exists, literal_column, or_, select, union_all, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from mailauth.store.schema import accounts, aliases, app_passwords, audit, domains, site

POLICY = ("policy", "enforce_from", "policy_reached", "two_factor", "two_factor_from", "two_factor_reached")
NO_POLICY = ("optional", None, 0, 0, None, 0)

# A lookup takes one (key id, selector) pair per server key. The text is fixed, so there is one for each of these
# numbers of keys, and a key file with a number between repeats its last key.
LOOKUP_SIZES = (1, 2, 4, 16, 64)
_ONE: Any = literal_column("1")  # in the text itself, where SQLAlchemy would otherwise make a parameter


class Packed(FunctionElement[str]):
    """Many columns as one text, a JSON array: what a login is judged by is much alike from account to account, and one
    text is fetched, and looked up among those already understood, faster than 24 values."""

    inherit_cache = True


@compiles(Packed, "sqlite")
def _packed_sqlite(element: Packed, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_array({compiler.process(element.clauses, **kw)})"


@compiles(Packed, "postgresql")
def _packed_postgresql(element: Packed, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_build_array({compiler.process(element.clauses, **kw)})::text"


def _packed(*columns: tuple[Any, int | str | None]) -> Any:
    """Packed, each column with its usual value: where all are usual, as in most rows, the text is there ready-made,
    since making it would take a third of the time of the whole lookup."""
    usual = [
        column.is_(None) if value is None else column == literal_column(_literal(value)) for column, value in columns
    ]
    ready: Any = literal_column(_literal(json.dumps([value for _, value in columns], separators=(",", ":"))))
    return case((and_(*usual), ready), else_=Packed(*[column for column, _ in columns]))


def _literal(value: int | str) -> str:
    return str(value) if type(value) is int else f"'{value}'"


_hit = app_passwords.c
# Columns, each with its usual value.
_TERMS: tuple[tuple[Any, int | str | None], ...] = (
    *((_hit.services, 7), (_hit.networks, ""), (_hit.expires_at, None), (_hit.suspended, 0), (_hit.revoked_at, None)),
)
_STANDING: tuple[tuple[Any, int | str | None], ...] = (
    *((accounts.c.enabled, 1), (domains.c.enabled, 1), (accounts.c.client_logon, 1), (accounts.c.mode_on, 1)),
    *((accounts.c.services, 7), (domains.c.services, 7)),
    *[
        (table.c[name], usual)
        for table in (site, domains, accounts)
        for name, usual in zip(POLICY, NO_POLICY, strict=True)
    ],
)
_terms, _standing = _packed(*_TERMS), _packed(*_STANDING)
_hits = (_hit.id, _hit.key_id, _hit.record, _terms)
_web = (accounts.c.domain_id, accounts.c.web_record, accounts.c.web_changed_at)


def _lookup(size: int) -> Select[Any]:
    """Account, standing and demands, with the app passwords that have one of the selectors; see passdb for the order.

    Outer joins, so that a missing site or domain row is a bad record and never looks like "no such login".
    `unknown_key` says that the account has an app password under a key that is none of these.
    """
    keys: list[Any] = [bindparam(f"key{n}") for n in range(size)]
    other = app_passwords.alias("other")
    unknown_key = exists(_ONE).where(other.c.account_id == accounts.c.id, other.c.key_id.not_in(keys))
    pairs = [
        and_(app_passwords.c.key_id == key, app_passwords.c.selector == bindparam(f"selector{n}"))
        for n, key in enumerate(keys)
    ]
    return (
        select(accounts.c.id, accounts.c.login, *_web, unknown_key, _standing, *_hits)
        .select_from(accounts)
        .outerjoin(domains, domains.c.id == accounts.c.domain_id)
        .outerjoin(site, site.c.id == _ONE)
        .outerjoin(app_passwords, and_(app_passwords.c.account_id == accounts.c.id, or_(*pairs)))
        .where(accounts.c.login == bindparam("login"))
    )


LOOKUPS = {size: _lookup(size) for size in LOOKUP_SIZES}

# The account of a live session as it stands now, with the app password that opened it, if that is still there.
SESSION = (
    select(accounts.c.id, accounts.c.login, *_web, literal_column("0"), _standing, *_hits)
    .select_from(accounts)
    .outerjoin(domains, domains.c.id == accounts.c.domain_id)
    .outerjoin(site, site.c.id == _ONE)
    .outerjoin(app_passwords, and_(_hit.account_id == accounts.c.id, _hit.id == bindparam("credential_id")))
    .where(accounts.c.id == bindparam("account_id"))
)

# All that a login by this app password was judged by, in as few columns as it can be: to fetch one takes as long as
# ten comparisons. By numbers, which are found in half the time of names. For SQLite alone, see compile.
AGAIN = (
    select(accounts.c.login, accounts.c.domain_id, accounts.c.web_changed_at, _hit.key_id, _hit.record)
    .add_columns(_packed(*_STANDING, *_TERMS))
    .select_from(accounts)
    .join(domains, domains.c.id == accounts.c.domain_id)
    .join(site, site.c.id == _ONE)
    .join(app_passwords, and_(_hit.account_id == accounts.c.id, _hit.id == bindparam("credential_id")))
    .where(accounts.c.id == bindparam("account_id"), _hit.selector == bindparam("selector"))
)

# The newest login from there that is on record, by the rows of the account's own login.
LET_IN = (
    select(audit.c.at, audit.c.credential_id)
    .where(audit.c.login == bindparam("login"), audit.c.at >= bindparam("since"))
    .where(audit.c.account_id == bindparam("account_id"), audit.c.kind == literal_column("'login'"))
    .where(audit.c.service == bindparam("service"), audit.c.peer == bindparam("peer"))
    .where(audit.c.outcome == literal_column("'accept'"))
    .order_by(audit.c.at.desc(), audit.c.id.desc())
    .limit(_ONE)
    .offset(literal_column("0"))
)

# From where an app password was let in to a mailbox: a row for each address, or one of None for nowhere. No row at all:
# it cannot be said, because the app password is gone, or rows since it was made are, or were never written.
_older, _lost = audit.alias("older"), audit.alias("lost")
_made_at = app_passwords.c.created_at
LET_IN_FROM = (
    select(audit.c.peer)
    .distinct()
    .select_from(app_passwords)
    .outerjoin(
        audit,
        and_(
            *(audit.c.login == bindparam("login"), audit.c.at >= _made_at - bindparam("slack_s", type_=Double)),
            *(audit.c.credential_id == app_passwords.c.id, audit.c.outcome == literal_column("'accept'")),
            or_(audit.c.service == literal_column("'imap'"), audit.c.service == literal_column("'pop3'")),
        ),
    )
    .where(app_passwords.c.id == bindparam("credential_id"))
    .where(exists(_ONE).where(_older.c.at <= _made_at))
    .where(
        ~exists(_ONE).where(
            *(_lost.c.login.is_(None), _lost.c.at >= _made_at, _lost.c.outcome == literal_column("'dropped'"))
        )
    )
    .limit(bindparam("most"))
    .offset(literal_column("0"))
)

CANONICAL = (
    select(accounts.c.login)
    .join_from(aliases, accounts, accounts.c.id == aliases.c.account_id)
    .where(aliases.c.address == bindparam("address"))
)
RECIPIENT = union_all(select(accounts.c.login).where(accounts.c.login == bindparam("address")), CANONICAL)
MAY_SEND_AS = union_all(
    select(accounts.c.id).where(accounts.c.id == bindparam("account_id"), accounts.c.login == bindparam("address")),
    select(aliases.c.account_id).where(
        aliases.c.account_id == bindparam("account_id"), aliases.c.address == bindparam("address")
    ),
)
LOCAL_DOMAIN = select(domains.c.id).where(domains.c.name == bindparam("name"))
REPLACE_WEB_RECORD = (
    update(accounts)
    .where(accounts.c.id == bindparam("row_id"), accounts.c.web_record == bindparam("old"))
    .values(web_record=bindparam("new"))
)
