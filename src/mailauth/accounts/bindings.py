"""What is bound to an account as its second factors: renaming and removing by the owner, and an administrator's reset.

Rule: no removal and no reset ever switches the mode off. The last factor does not go while one is demanded; what only
helps out goes with the last one that stands alone.
"""

from __future__ import annotations

from mailauth.accounts import freshproof
from mailauth.accounts.factorrows import replace_state, value_of
from mailauth.accounts.freshproof import Act
from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import PortalSession, SignedOut, acting, end_all
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.unit import Unit, looking
from mailauth.accounts.views import second_factor_since
from mailauth.factors.factor import Record
from mailauth.store.engine import Row


def ask_to_remove(means: Means, session: PortalSession, kind: str, part: str = "", *, now: float | None = None) -> str:
    """Begin the proof for removing a factor, or one of its parts; see freshproof.begin.

    Raises NoSuch, Refused (it is the last, and one is demanded), SignedOut, StoreUnavailable.
    """
    with looking(means.store, now) as unit:
        row = _row(unit, session, kind)
        _refuse_last(unit, session, row, _without(means, row, part), demanded=session.demanded)
    return freshproof.begin(means, session, Act.FACTOR_REMOVE, {"factor": kind, "part": part}, now=now)


def remove(means: Means, session: PortalSession, token: str, *, now: float | None = None) -> str:
    """Remove what was proven for, and say its kind. token: of ask_to_remove. All other sessions end.

    Raises NotProven, NoSuch, Refused, SignedOut, StoreUnavailable.
    """
    with acting(means, session, now=now) as (unit, account):
        proven = freshproof.take(unit, session, token, Act.FACTOR_REMOVE)
        kind, part = proven["factor"], proven["part"]
        row = _row(unit, session, kind)
        left = _without(means, row, part)
        demanded = second_factor_since(account, unit.now) is not None
        _refuse_last(unit, session, row, left, demanded=demanded)
        if left is None:
            _delete(unit, session.account_id, kind)
        elif not replace_state(unit, session.account_id, means.factor(kind), row["state"], left):
            raise SignedOut
        unit.record("factor-removed", session.account, label=kind, service="portal", client=session.agent)
        unit.touch("factor-removed", account=session.account, factors=[kind] if left is None else [])
        if not _stands_alone(unit, session.account_id):
            for other in unit.tx.rows(unit.sql.FACTORS, account_id=session.account_id):
                _delete(unit, session.account_id, other["kind"])
        unit.tx.write(unit.sql.DROP_ACTIONS, account_id=session.account_id)
        end_all(unit, session.account_id, keep=session.id)
    return str(kind)


def ask_to_rename(
    means: Means, session: PortalSession, kind: str, part: str, name: str, *, now: float | None = None
) -> str:
    """Begin the proof for calling a factor otherwise; see freshproof.begin. Raises NoSuch, SignedOut."""
    with looking(means.store, now) as unit:
        _renamed(means, _row(unit, session, kind), part, name)
    params = {"factor": kind, "part": part, "name": name}
    return freshproof.begin(means, session, Act.FACTOR_RENAME, params, now=now)


def rename(means: Means, session: PortalSession, token: str, *, now: float | None = None) -> str:
    """Call a factor what was proven for, and say its kind. Raises NotProven, NoSuch, SignedOut, StoreUnavailable."""
    with acting(means, session, now=now) as (unit, _):
        proven = freshproof.take(unit, session, token, Act.FACTOR_RENAME)
        kind, part, name = proven["factor"], proven["part"], proven["name"]
        row = _row(unit, session, kind)
        if not replace_state(
            unit, session.account_id, means.factor(kind), row["state"], _renamed(means, row, part, name)
        ):
            raise SignedOut
        unit.record("factor-renamed", session.account, label=kind, service="portal", client=session.agent)
    return str(kind)


def reset(unit: Unit, account: Row) -> list[str]:
    """Forget all factors of an account, within a larger change, and say which kinds there were.

    account: locked, with id and login. The mode stays. Who is signed in to the portal is signed out, and no browser is
    known any more.
    """
    kinds = [row["kind"] for row in unit.tx.rows(unit.sql.FACTORS, account_id=account["id"])]
    for kind in kinds:
        _delete(unit, account["id"], kind)
    unit.tx.write(unit.sql.DROP_ACTIONS, account_id=account["id"])
    unit.tx.write(unit.sql.FORGET_DEVICES, account_id=account["id"])
    end_all(unit, account["id"])
    unit.record("factors-reset", account, detail=", ".join(kinds) or "there were none")
    unit.touch("factors-reset", account=account, factors=kinds)
    return kinds


def _row(unit: Unit, session: PortalSession, kind: str) -> Row:
    row = unit.tx.row(unit.sql.FACTOR, account_id=session.account_id, kind=kind)
    if row is None:
        raise NoSuch(f"this account has no second factor {kind[:40]!r}")
    return row


def _without(means: Means, row: Row, part: str) -> Record:
    """The state without this part; None: nothing is left. Of a kind that the site does not offer nothing ever is."""
    factor = means.factors.get(row["kind"])
    if factor is None:
        return None
    try:
        return factor.without(value_of(factor.Enrolled, row["state"]), part)
    except LookupError:
        raise NoSuch(f"there is no such {row['kind']}") from None


def _renamed(means: Means, row: Row, part: str, name: str) -> Record:
    factor = means.factor(row["kind"])
    try:
        return factor.renamed(value_of(factor.Enrolled, row["state"]), part, name)
    except LookupError:
        raise NoSuch(f"there is no such {row['kind']}") from None


def _refuse_last(unit: Unit, session: PortalSession, row: Row, left: Record, *, demanded: bool) -> None:
    if left is not None or not row["is_alone"] or not demanded:
        return
    others = unit.tx.rows(unit.sql.FACTORS, account_id=session.account_id)
    if not any(other["is_alone"] for other in others if other["kind"] != row["kind"]):
        raise Refused("a second factor is demanded, and this is the last one: set up another first")


def _stands_alone(unit: Unit, account_id: int) -> bool:
    return any(row["is_alone"] for row in unit.tx.rows(unit.sql.FACTORS, account_id=account_id))


def _delete(unit: Unit, account_id: int, kind: str) -> None:
    unit.tx.write(unit.sql.REMOVE_FACTOR, account_id=account_id, kind=kind)
    unit.tx.write(unit.sql.REMOVE_CLAIMS, account_id=account_id, kind=kind)
