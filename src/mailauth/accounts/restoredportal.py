"""What a restored backup must not open again on the portal; see `restored`.

Rule: sessions, proofs and codes of a backup are of yesterday and end. What is known to have been taken away is taken
away again; nothing is given back.
"""

from __future__ import annotations

from collections.abc import Collection

from mailauth.accounts.roles import RANK, Role
from mailauth.accounts.unit import Unit
from mailauth.store.engine import Row


def end_portal(unit: Unit, revoked: Collection[int] | None) -> None:
    """Sign everybody out. revoked: API tokens that had been revoked since; None: nobody knows which, so all are."""
    unit.tx.write(unit.sql.END_ALL_PORTAL_SESSIONS)
    unit.tx.write(unit.sql.DROP_ALL_VOUCHERS)
    for row in unit.tx.rows(unit.sql.API_TOKENS["everybody"]):
        if revoked is None or row["id"] in revoked:
            unit.tx.write(unit.sql.REVOKE_API_TOKEN, row_id=row["id"], now=unit.now)
            owner = None if row["account_id"] is None else {"id": row["account_id"], "login": row["login"]}
            unit.record("api-token-revoked", owner, label=row["label"], detail=f"{row['id']}: a backup was restored")


def factors_removed_again(unit: Unit, account: Row, kinds: Collection[str]) -> list[tuple[str, str]]:
    """Kind and detail of what was done. kinds: those that had been removed, such as a stolen phone's."""
    told = []
    for kind in sorted(kinds):
        whose = {"account_id": account["id"], "kind": kind}
        if unit.tx.write(unit.sql.REMOVE_FACTOR, **whose):
            unit.tx.write(unit.sql.REMOVE_CLAIMS, **whose)
            unit.record("factor-removed-again", account, label=kind)
            told.append(("factor-removed-again", kind))
    return told


def role_lowered_again(unit: Unit, account: Row, final: str | None) -> list[tuple[str, str]]:
    """The same of a role. final: what it had been set to in the end; None: it had not been set."""
    if final is None or RANK[Role(final)] >= RANK[Role(account["role"])]:
        return []
    unit.tx.write(unit.sql.SET_ROLE, account_id=account["id"], role=final)
    unit.tx.write(unit.sql.DROP_DOMAIN_ADMIN, account_id=account["id"])
    detail = f"{account['role']} -> {final}"
    unit.record("role-changed-again", account, detail=detail)
    return [("role-changed-again", detail)]
