"""Personal data of an account: all of it told, and all of it forgotten.

Source: GDPR articles 15, 17 and 20; PIPL articles 45 and 47. Rule: what is told opens nothing. What is forgotten is
gone from every table; the audit log keeps what was done to an account under a random name, and no login of it.
A digest of the login stays, so that no source of web passwords brings the account back.
"""

from __future__ import annotations

import dataclasses
import secrets
from typing import Any

from mailauth.accounts import apppasswords, freshproof, roleholders, tokens
from mailauth.accounts.factorrows import factor_views
from mailauth.accounts.finding import account_row, folded, locked_account_row
from mailauth.accounts.freshproof import Act
from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import PortalSession, acting
from mailauth.accounts.unit import Unit, changing
from mailauth.accounts.views import account_view, app_password_view, as_json, moment
from mailauth.store.changes import Effect
from mailauth.store.engine import Row, Store
from mailauth.store.rows import removed_digest

ROWS = 1_000_000  # of the audit log: more than there can be of one account
AFTER_ALL = 2**62


def exported(store: Store, login: str, *, actor: str, now: float | None = None) -> dict[str, Any]:
    """Everything that is kept about an account and its owner, as plain JSON. Raises NoSuch, Refused."""
    with changing(store, actor, now) as unit:
        row = locked_account_row(unit, folded(login))
        unit.record("personal-data-exported", row)
        return personal_data(unit, row)


def ask_to_export(means: Means, session: PortalSession, *, now: float | None = None) -> str:
    """Begin the proof for being told everything about oneself; see freshproof.begin. Raises SignedOut."""
    return freshproof.begin(means, session, Act.EXPORT, {}, now=now)


def export_own(means: Means, session: PortalSession, token: str, *, now: float | None = None) -> dict[str, Any]:
    """Everything about oneself. token: of ask_to_export. Raises NotProven, SignedOut, StoreUnavailable."""
    with acting(means, session, now=now) as (unit, _):
        freshproof.take(unit, session, token, Act.EXPORT)
        unit.record("personal-data-exported", session.account)
        return personal_data(unit, account_row(unit, session.login))


def erase(store: Store, login: str, *, actor: str, now: float | None = None, effect: Effect | None = None) -> str:
    """Remove an account and all that is known of its owner, and say the name that the audit log knows it by now.

    Its mail stays. Raises NoSuch, Refused, StoreUnavailable. effect: see unit.changing.
    """
    login = folded(login)
    with changing(store, actor, now, effect) as unit:
        return erased(unit, locked_account_row(unit, login))


def erased(unit: Unit, row: Row) -> str:
    """The same within a larger change. row: of statements.ACCOUNT, locked."""
    pseudonym = f"erased:{secrets.token_hex(8)}"
    whose = {"login": row["login"], "account_id": row["id"]}
    unit.tx.write(unit.sql.REMOVE_ACCOUNT, row_id=row["id"])  # all that hangs on it goes with it
    unit.tx.write(unit.sql.NOTE_REMOVED, digest=removed_digest(row["login"]), at=unit.now)
    unit.tx.write(unit.sql.FORGET_LOGINS, **whose)
    unit.tx.write(unit.sql.FORGET_DETAILS, **whose, pseudonym=pseudonym)
    actor = {"actor": f"portal:{row['login']}", "pseudonym": f"portal:{pseudonym}"}
    unit.tx.write(unit.sql.FORGET_ACTOR, **actor)
    unit.tx.write(unit.sql.FORGET_ACTOR_IN_NOTICES, **actor)
    unit.record("account-erased", {"id": row["id"], "login": pseudonym})
    unit.touch("account-removed", account=row, removed=True)
    return pseudonym


def personal_data(unit: Unit, row: Row) -> dict[str, Any]:
    """Within a unit. row: of statements.ACCOUNT."""
    account_id, sql = row["id"], unit.sql
    whose = {"login": row["login"], "account_id": account_id}
    aliases = tuple([alias["address"] for alias in unit.tx.rows(sql.ALIASES, account_id=account_id)])
    recovery = unit.tx.row(sql.RECOVERY_ADDRESS, account_id=account_id) or {}
    listing = {"account_id": account_id, "before_id": AFTER_ALL, "page": ROWS}
    since = {"now": unit.now, "idle_since": 0.0}
    return {
        "told_at": moment(unit.now),
        "account": as_json(account_view(row, aliases, unit.now)),
        "language": row["language"],
        "recovery_address": recovery.get("recovery_address"),
        "administers": list(roleholders.domain_names(unit, account_id)),
        "app_passwords": [as_json(app_password_view(one, unit.now)) for one in apppasswords.live_rows(unit, row)],
        "second_factors": [_factor(view) for view in factor_views(unit, account_id, ())],
        "api_tokens": [as_json(view) for view in tokens.own_views(unit, account_id)],
        "browsers": [_times(device) for device in unit.tx.rows(sql.DEVICES, account_id=account_id)],
        "sessions": [_times(one) for one in unit.tx.rows(sql.PORTAL_SESSIONS, account_id=account_id, **since)],
        "notices": [_times(notice) for notice in unit.tx.rows(sql.NOTICES, **listing)],
        "programs": [_times(one) for one in unit.tx.rows(sql.OBSERVATIONS_OF_ACCOUNT, account_id=account_id)],
        "history": [_times(one) for one in unit.tx.rows(sql.AUDIT["account"], at=0.0, row_id=0, page=ROWS, **whose)],
    }


def _factor(view: Any) -> dict[str, Any]:
    parts = [as_json(part) for part in view.parts]
    return {**as_json(dataclasses.replace(view, parts=())), "parts": parts}


def _times(row: Row) -> dict[str, Any]:
    """A row with its times, which are epoch seconds in columns named so, in ISO 8601."""
    return {
        name: moment(value) if value is not None and (name == "at" or name.endswith("_at")) else value
        for name, value in row.items()
    }
