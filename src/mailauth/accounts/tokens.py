"""API tokens: for programs that act for an account, or, as a webmail does, for many.

Source: RFC 6750 (bearer tokens). Rule: the token is shown once; the store has its digest. A token may do what its
scopes say and its account may, and never gives a fresh proof.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from mailauth.accounts import bearer, freshproof
from mailauth.accounts.finding import account_row, folded
from mailauth.accounts.freshproof import Act
from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import PortalSession, SignedOut, Stage, acting
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.roles import Role
from mailauth.accounts.terms import label_from
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.interfaces import StoreUnavailable
from mailauth.store.engine import Row, Store

PREFIX = "mailauth_"  # so that those who look for lost secrets know one
USED_S = 60.0  # use is written down once in so long
MOST_TOKENS = 20  # of one account


class Scope(StrEnum):
    """What a token may be used for."""

    OWN_READ = "own:read"  # what its account is shown on the portal
    OWN_REVOKE = "own:revoke"  # deleting app passwords, ending sessions
    OWN_ASK = "own:ask"  # beginning an act that the owner then proves on the portal
    ADMIN_READ = "admin:read"
    ADMIN_WRITE = "admin:write"


OWN = frozenset({Scope.OWN_READ, Scope.OWN_REVOKE, Scope.OWN_ASK})


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token. login: None: it acts for whichever account it names. Times: epoch seconds; expires_at None: never."""

    id: int
    login: str | None
    label: str
    scopes: tuple[str, ...]
    created_at: float
    created_by: str
    expires_at: float | None
    last_used_at: float | None
    last_used_peer: str | None


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token. token: the only copy there is."""

    id: int
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls the API. account_id, login, role: of the account that it acts for; None: of any that it names."""

    token_id: int
    account_id: int | None
    login: str | None
    role: Role
    scopes: frozenset[Scope]
    peer: str

    @property
    def actor(self) -> str:
        """Who this is, for the audit log."""
        return f"api:{self.token_id}"


def caller(store: Store, token: str, *, peer: str, now: float | None = None) -> Caller | None:
    """Whose token this is; None: nobody's, or not any more, or its account is switched off. Raises StoreUnavailable."""
    now = time.time() if now is None else now
    if not token.startswith(PREFIX):
        return None
    with looking(store, now) as unit:
        row = unit.tx.row(unit.sql.API_TOKEN, digest=bearer.digest(token), now=now)
        owner = None
        if row is not None and row["account_id"] is not None:
            owner = unit.tx.row(unit.sql.ADMINISTRATOR, account_id=row["account_id"])
            if owner is None or not owner["enabled"] or not owner["domain_enabled"]:
                return None
    if row is None:
        return None
    if row["last_used_at"] is None or now - row["last_used_at"] >= USED_S:
        with suppress(StoreUnavailable), store.transaction() as tx:  # it counts all the same
            tx.write(store.sql.NOTE_API_TOKEN_USE, row_id=row["id"], now=now, peer=peer)
    role = Role.USER if owner is None else Role(owner["role"])
    scopes = frozenset([Scope(scope) for scope in row["scopes"].split()])
    return Caller(row["id"], row["account_id"], row["login"], role, scopes, peer)


def add(
    store: Store,
    login: str | None,
    *,
    label: str,
    scopes: Iterable[str],
    expires_at: float | None = None,
    actor: str,
    now: float | None = None,
) -> Issued:
    """Make a token for an account, or, None, for a program that serves many. Raises NoSuch, Refused."""
    with changing(store, actor, now) as unit:
        account = None if login is None else account_row(unit, folded(login))
        return _added(unit, account, label, scopes, expires_at)


def ask_to_add(
    means: Means,
    session: PortalSession,
    *,
    label: str,
    scopes: Iterable[str],
    expires_at: float | None = None,
    now: float | None = None,
) -> str:
    """Begin the proof for one of one's own; see freshproof.begin. Raises Refused, SignedOut, StoreUnavailable."""
    wanted = sorted(scopes_from(scopes))
    if not set(wanted) <= OWN and not session.administers:
        raise Refused("a token to administrate with is for administrators")
    terms = {"label": label_from(label), "scopes": [str(scope) for scope in wanted], "expires_at": expires_at}
    return freshproof.begin(means, session, Act.API_TOKEN, terms, now=now)


def add_own(means: Means, session: PortalSession, token: str, *, now: float | None = None) -> Issued:
    """Make what was proven for. token: of ask_to_add. Raises NotProven, Refused, SignedOut, StoreUnavailable."""
    with acting(means, session, now=now) as (unit, _):
        proven = freshproof.take(unit, session, token, Act.API_TOKEN)
        if not set(proven["scopes"]) <= OWN and not session.administers:
            raise Refused("a token to administrate with is for administrators")
        return _added(unit, session.account, proven["label"], proven["scopes"], proven["expires_at"])


def listed(store: Store, login: str | None = None, *, now: float | None = None) -> list[TokenView]:
    """The live tokens of an account, or all, oldest first. Raises NoSuch, Refused, StoreUnavailable."""
    with looking(store, now) as unit:
        if login is None:
            return [_view(row) for row in unit.tx.rows(unit.sql.API_TOKENS["everybody"])]
        account = account_row(unit, folded(login))
        return own_views(unit, account["id"])


def own_views(unit: Unit, account_id: int) -> list[TokenView]:
    """Those of an account, within a unit."""
    return [_view(row) for row in unit.tx.rows(unit.sql.API_TOKENS["account"], account_id=account_id)]


def own(means: Means, session: PortalSession, *, now: float | None = None) -> list[TokenView]:
    """Those of who is signed in. Raises SignedOut, StoreUnavailable."""
    if session.stage is not Stage.IN:
        raise SignedOut
    with looking(means.store, now) as unit:
        return own_views(unit, session.account_id)


def revoke(store: Store, token_id: int, *, actor: str, now: float | None = None) -> TokenView:
    """End one. Raises NoSuch, StoreUnavailable."""
    with changing(store, actor, now) as unit:
        return _revoked(unit, unit.tx.rows(unit.sql.API_TOKENS["everybody"]), token_id)


def revoke_own(means: Means, session: PortalSession, token_id: int, *, now: float | None = None) -> TokenView:
    """End one of one's own. Raises NoSuch, SignedOut, StoreUnavailable."""
    with acting(means, session, now=now) as (unit, _):
        return revoked_of(unit, session.account, token_id)


def revoked_of(unit: Unit, account: Row, token_id: int) -> TokenView:
    """End one of an account's, within a larger change. account: with id and login. Raises NoSuch."""
    return _revoked(unit, unit.tx.rows(unit.sql.API_TOKENS["account"], account_id=account["id"]), token_id)


def scopes_from(wanted: Iterable[str]) -> frozenset[Scope]:
    """At least one. Raises Refused."""
    try:
        chosen = frozenset([Scope(scope) for scope in wanted])
    except ValueError:
        raise Refused(f"the scopes are {', '.join(Scope)}") from None
    if not chosen:
        raise Refused(f"a token needs at least one scope: {', '.join(Scope)}")
    return chosen


def _added(unit: Unit, account: Row | None, label: str, scopes: Iterable[str], expires_at: float | None) -> Issued:
    if expires_at is not None and not unit.now < expires_at < float("inf"):
        raise Refused("a token cannot expire in the past")
    label, chosen = label_from(label), " ".join(sorted(scopes_from(scopes)))
    if account is not None:
        unit.tx.row(unit.sql.LOCK_ACCOUNT, login=account["login"])
        if len(own_views(unit, account["id"])) >= MOST_TOKENS:
            raise Refused(f"an account has {MOST_TOKENS} API tokens at most: revoke one first")
    elif not set(chosen.split()) <= OWN:
        raise Refused("a token to administrate with is an account's: name that account")
    token = f"{PREFIX}{bearer.new()}"
    unit.tx.write(
        unit.sql.ADD_API_TOKEN,
        digest=bearer.digest(token),
        account_id=None if account is None else account["id"],
        label=label,
        scopes=chosen,
        created_at=unit.now,
        created_by=unit.actor,
        expires_at=expires_at,
    )
    row = unit.tx.row(unit.sql.API_TOKEN_ID, digest=bearer.digest(token)) or {}
    unit.record("api-token-added", account, label=label, detail=f"{row['id']}: {chosen}")
    return Issued(row["id"], token)


def _revoked(unit: Unit, rows: list[Row], token_id: int) -> TokenView:
    row = next((row for row in rows if row["id"] == token_id), None)
    if row is None or not unit.tx.write(unit.sql.REVOKE_API_TOKEN, row_id=token_id, now=unit.now):
        raise NoSuch(f"there is no API token {token_id}; `mailauth api-token list` shows those there are")
    owner = None if row["account_id"] is None else {"id": row["account_id"], "login": row["login"]}
    unit.record("api-token-revoked", owner, label=row["label"], detail=str(token_id))
    unit.touch("api-token-revoked", account=owner, api_tokens=[token_id])
    return _view(row)


def _view(row: Row) -> TokenView:
    return TokenView(
        *(row["id"], row["login"], row["label"], tuple(row["scopes"].split()), row["created_at"], row["created_by"]),
        *(row["expires_at"], row["last_used_at"], row["last_used_peer"]),
    )
