"""The statements of what owners are told, of roles and API tokens, and of finding and forgetting accounts.

Rule: see `statements`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Insert,
    Table,
    Update,
    bindparam,
    delete,
    distinct,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from mailauth.store.observation_statements import OBSERVATIONS
from mailauth.store.portal_schema import api_tokens, domain_admins, factors, notices
from mailauth.store.schema import AUDIT_DOMAIN, accounts, audit, domains, observations
from mailauth.store.statements import ACCOUNTS, ACCOUNTS_OF_DOMAIN, coarsen, exact, prune

_ZERO: Any = literal_column("0")  # in the text itself, where SQLAlchemy would otherwise make a parameter
_EMPTY: Any = literal_column("''")
_NULL: Any = literal_column("NULL")
_account: Any = bindparam("account_id")
_now: Any = bindparam("now")


def _insert(table: Table, *but: str) -> Insert:
    columns = [column.name for column in table.c if column.name not in but]
    return insert(table).inline().values({name: bindparam(name) for name in columns})


def _set(*columns: str) -> Update:
    return update(accounts).where(accounts.c.id == _account).values({name: bindparam(name) for name in columns})


# --- single columns of accounts --------------------------------------------------------------------------------------

SET_MODE = _set("mode_on")
SET_ROLE = _set("role")
SET_LANGUAGE = _set("language")
SET_RECOVERY_ADDRESS = _set("recovery_address")
RECOVERY_ADDRESS = select(accounts.c.recovery_address).where(accounts.c.id == _account)

# --- accounts whose login begins so ----------------------------------------------------------------------------------

_begins_so = (accounts.c.login >= bindparam("first"), accounts.c.login < bindparam("behind"))
FOUND_ACCOUNTS = {"everywhere": ACCOUNTS.where(*_begins_so), "domain": ACCOUNTS_OF_DOMAIN.where(*_begins_so)}

# --- roles -----------------------------------------------------------------------------------------------------------

ADMINISTRATOR = (
    select(
        *[accounts.c[name] for name in ("id", "login", "role", "enabled", "domain_id")],
        domains.c.enabled.label("domain_enabled"),
    )
    .join_from(accounts, domains)
    .where(accounts.c.id == _account)
)
ADMINISTRATORS = (
    select(accounts.c.id, accounts.c.login, accounts.c.role)
    .where(accounts.c.role != literal_column("'user'"))
    .order_by(accounts.c.login)
)
ROLES_IN_DOMAIN = (
    select(accounts.c.role)
    .distinct()
    .where(accounts.c.domain_id == bindparam("domain_id"), accounts.c.role != literal_column("'user'"))
)
ADMINISTERED_DOMAINS = (
    select(domains.c.id, domains.c.name)
    .join_from(domain_admins, domains)
    .where(domain_admins.c.account_id == _account)
    .order_by(domains.c.name)
)
ADD_DOMAIN_ADMIN = _insert(domain_admins)
DROP_DOMAIN_ADMIN = delete(domain_admins).where(domain_admins.c.account_id == _account)

# --- notices ---------------------------------------------------------------------------------------------------------

_notice = notices.c
_TOLD = ("id", "at", "kind", "actor", "peer", "agent", "label", "detail", "seen_at", "mailed_at")

ADD_NOTICE = _insert(notices, "id", "mailed_at", "seen_at")
NOTICES = (
    select(*[_notice[name] for name in _TOLD])
    .where(_notice.account_id == _account, _notice.id < bindparam("before_id"))
    .order_by(_notice.id.desc())
    .limit(bindparam("page"))
    .offset(_ZERO)
)
UNSEEN_NOTICES = NOTICES.where(_notice.seen_at.is_(None))
SEE_NOTICE = (
    update(notices)
    .where(_notice.id == bindparam("row_id"), _notice.account_id == _account, _notice.seen_at.is_(None))
    .values(seen_at=_now)
)
SEE_NOTICES = (
    update(notices)
    .where(_notice.account_id == _account, _notice.id <= bindparam("last_id"), _notice.seen_at.is_(None))
    .values(seen_at=_now)
)
NOTICES_TO_MAIL = (
    select(
        *[_notice[name] for name in ("id", "at", "kind", "actor", "peer", "agent", "label", "detail")],
        _notice.mail_to,
        _notice.mailed_at,
        *[accounts.c[name] for name in ("login", "language", "recovery_address")],
    )
    .join_from(notices, accounts)
    .where(_notice.mail_after <= _now, _notice.at > bindparam("since"))
    .order_by(_notice.mail_after, _notice.id)
    .limit(bindparam("page"))
    .offset(_ZERO)
)
CLAIM_NOTICE = (
    update(notices)
    .where(_notice.id == bindparam("row_id"), _notice.mail_after <= _now)
    .values(mail_after=bindparam("mail_after"))
)
PUT_OFF_NOTICE = (
    update(notices)
    .where(_notice.id == bindparam("row_id"), _notice.mail_after == bindparam("claimed"))
    .values({name: bindparam(name) for name in ("mail_after", "mail_to", "mailed_at")})
)
NOTICE_MAILED = (
    update(notices)
    .where(_notice.id == bindparam("row_id"))
    .values(mail_after=_NULL, mail_to=_NULL, mailed_at=bindparam("mailed_at"))
)
GIVE_UP_NOTICES = (
    update(notices)
    .where(_notice.mail_after <= _now, _notice.at <= bindparam("since"))
    .values(mail_after=_NULL, mail_to=_NULL)
)
PRUNE_NOTICES = prune(notices, _notice.at, _notice.id)

# --- API tokens ------------------------------------------------------------------------------------------------------

_token = api_tokens.c
_shown = (
    *[column for column in _token if column.name != "digest"],
    accounts.c.login,
)
_tokens = select(*_shown).select_from(api_tokens).outerjoin(accounts, accounts.c.id == _token.account_id)

API_TOKEN = _tokens.where(
    _token.digest == bindparam("digest"),
    _token.revoked_at.is_(None),
    or_(_token.expires_at.is_(None), _token.expires_at > _now),
)
API_TOKENS = {
    "everybody": _tokens.where(_token.revoked_at.is_(None)).order_by(_token.id),
    "account": _tokens.where(_token.revoked_at.is_(None), _token.account_id == _account).order_by(_token.id),
}
ADD_API_TOKEN = _insert(api_tokens, "id", "last_used_at", "last_used_peer", "revoked_at")
API_TOKEN_ID = select(_token.id).where(_token.digest == bindparam("digest"))
NOTE_API_TOKEN_USE = (
    update(api_tokens)
    .where(_token.id == bindparam("row_id"))
    .values(last_used_at=_now, last_used_peer=bindparam("peer"))
)
REVOKE_API_TOKEN = (
    update(api_tokens).where(_token.id == bindparam("row_id"), _token.revoked_at.is_(None)).values(revoked_at=_now)
)

# --- where an account was used from, and forgetting it ---------------------------------------------------------------

_of_account = (audit.c.login == bindparam("login"), audit.c.account_id == _account)

NETWORKS_OF_ACCOUNT = (
    select(audit.c.peer, func.min(audit.c.at).label("first_at"))
    .where(*_of_account, audit.c.at >= bindparam("since"), audit.c.outcome == literal_column("'accept'"))
    .where(audit.c.peer != _EMPTY)
    .group_by(audit.c.peer)
)
MINTED_FROM = select(audit.c.credential_id, audit.c.peer, audit.c.at).where(
    *_of_account, audit.c.kind == literal_column("'app-password-added'")
)
FORGET_LOGINS = delete(audit).where(*_of_account, audit.c.outcome != literal_column("'done'"))
FORGET_DETAILS = (
    update(audit)
    .where(*_of_account)
    .values(login=bindparam("pseudonym"), label=literal_column("NULL"), peer=_EMPTY, client=_EMPTY, detail=_EMPTY)
)
FORGET_ACTOR = update(audit).where(audit.c.actor == bindparam("actor")).values(actor=bindparam("pseudonym"))
FORGET_ACTOR_IN_NOTICES = (
    update(notices).where(_notice.actor == bindparam("actor")).values(actor=bindparam("pseudonym"))
)

# --- what administrators look at -------------------------------------------------------------------------------------

# Programs that would be refused if what is only observed were enforced; who is held to app passwords already is not.
REPORT = OBSERVATIONS.where(observations.c.last_at >= bindparam("since"), accounts.c.mode_on == _ZERO)
_reported = REPORT.with_only_columns(observations.c.account_id).subquery()
REPORT_COUNTS = select(
    func.count().label("programs"), func.count(distinct(_reported.c.account_id)).label("accounts")
).select_from(_reported)

_latest_first = (
    select(*[column for column in audit.c if column.name != "fold"])
    .where(audit.c.at <= bindparam("at"), or_(audit.c.at < bindparam("at"), audit.c.id < bindparam("row_id")))
    .order_by(audit.c.at.desc(), audit.c.id.desc())
    .limit(bindparam("page"))
    .offset(_ZERO)
)
AUDIT_BACKWARDS = {
    "everybody": _latest_first,
    "login": _latest_first.where(audit.c.login == bindparam("login")),
    "account": _latest_first.where(*_of_account),
    "domain": _latest_first.where(
        literal_column(AUDIT_DOMAIN) == bindparam("domain"), audit.c.at >= bindparam("since")
    ),
}

# --- addresses that have been whole for long enough ------------------------------------------------------------------

EXACT_NOTICE_PEERS = exact(_notice.id, _notice.at, _notice.peer)
SET_NOTICE_PEER = coarsen(_notice.id, _notice.peer)
EXACT_TOKEN_PEERS = exact(_token.id, _token.last_used_at, _token.last_used_peer)
SET_TOKEN_PEER = coarsen(_token.id, _token.last_used_peer)
EXACT_FACTOR_PEERS = exact(factors.c.account_id, factors.c.last_used_at, factors.c.last_used_peer)
SET_FACTOR_PEER = coarsen(factors.c.account_id, factors.c.last_used_peer)
