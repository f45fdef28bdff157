"""The web password, changed by its owner: with the client passwords that he should look at, or by a reset link.

Source: OWASP ASVS 5.0 sections 6.2.3 and 6.4.3. Rule: another web password signs out everybody but who sets it, and
makes every browser unknown. Setting one by a link lets nobody in: the second factor is asked for as ever.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mailauth.accounts import apppasswords, vouchers
from mailauth.accounts.apppasswords import Revoked
from mailauth.accounts.finding import account_row
from mailauth.accounts.mailboxes import put_web_record
from mailauth.accounts.means import Means
from mailauth.accounts.notices import RESET_LINK
from mailauth.accounts.portalsessions import PortalSession, SignedOut, Stage, acting
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.accounts.views import AppPasswordView, app_password_view
from mailauth.interfaces import WebMatch
from mailauth.store.changes import Effect
from mailauth.store.engine import Store
from mailauth.store.networks import coarse
from mailauth.store.upkeep import DAY_S

YOUNG_S = 30 * DAY_S
SEEN_WITHIN_S = 90 * DAY_S
SETTLED_S = DAY_S  # whoever comes from a network for the first time and makes a password makes it within a day


@dataclass(frozen=True, slots=True)
class Suspect:
    """A client password as it is listed when the web password is changed. is_ticked: for removal, unless unticked."""

    view: AppPasswordView
    is_ticked: bool


def suspects(means: Means, session: PortalSession, *, now: float | None = None) -> list[Suspect]:
    """All client passwords, ticked where they are young, or were made from a network that the account had not been
    used from before. Raises SignedOut, StoreUnavailable, BadRecord."""
    if session.stage is not Stage.IN:
        raise SignedOut
    with looking(means.store, now) as unit:
        strange = _made_from_strange_networks(unit, session)
        views = [
            app_password_view(row, unit.now) for row in apppasswords.live_rows(unit, account_row(unit, session.login))
        ]
        young = unit.now - YOUNG_S
    return [Suspect(view, view.created_at >= young or view.id in strange) for view in views]


def change(
    means: Means,
    session: PortalSession,
    match: WebMatch,
    web_record: str,
    revoke: Collection[int],
    *,
    now: float | None = None,
    effect: Effect | None = None,
) -> list[Revoked]:
    """Set another web password, and delete these client passwords; those that are gone already are left out.

    match: that the present one was shown just now. web_record: the hash of the new one. effect: see unit.changing.
    Raises SignedOut, StoreUnavailable.
    """
    if match.account_id != session.account_id:
        raise SignedOut
    with acting(means, session, now=now, effect=effect) as (unit, _):
        account = account_row(unit, session.login)
        put_web_record(unit, account, web_record, keep=session.id)
        rows = apppasswords.live_rows(unit, account)
        return apppasswords.revoke_rows(unit, account, [row for row in rows if row["id"] in revoke])


def reset_login(store: Store, code: str, *, now: float | None = None) -> str | None:
    """Whose web password this reset code sets; None: it is none, or not any more. Raises StoreUnavailable."""
    with looking(store, now) as unit:
        row = vouchers.holder(unit, vouchers.Kind.PASSWORD_RESET, code)
        return None if row is None else str(row["login"])


def reset(
    store: Store,
    code: str,
    web_record: str,
    *,
    peer: str,
    now: float | None = None,
    effect: Effect | None = None,
) -> str | None:
    """Set the web password that a reset code is for, and say whose; None: it is none, or not any more.

    web_record: the hash of the new one. Raises StoreUnavailable.
    """
    with changing(store, RESET_LINK, now, effect, peer=peer) as unit:
        found = vouchers.holder(unit, vouchers.Kind.PASSWORD_RESET, code)
        if found is None:
            return None
        unit.tx.row(unit.sql.LOCK_ACCOUNT, login=found["login"])
        account = {"id": found["account_id"], "login": found["login"]}
        if not vouchers.use(unit, account, vouchers.Kind.PASSWORD_RESET, code):
            return None
        put_web_record(unit, account, web_record)
    return str(account["login"])


def _made_from_strange_networks(unit: Unit, session: PortalSession) -> set[int]:
    """The ids of client passwords whose maker came from a network that nobody had got in from the day before."""
    whose = {"login": session.login, "account_id": session.account_id}
    first_at: dict[str, float] = {}
    for row in unit.tx.rows(unit.sql.NETWORKS_OF_ACCOUNT, **whose, since=unit.now - SEEN_WITHIN_S):
        network = coarse(row["peer"])
        first_at[network] = min(row["first_at"], first_at.get(network, row["first_at"]))
    return {
        row["credential_id"]
        for row in unit.tx.rows(unit.sql.MINTED_FROM, **whose)
        if row["peer"] and first_at.get(coarse(row["peer"]), row["at"]) > row["at"] - SETTLED_S
    }
