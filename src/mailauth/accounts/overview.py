"""All that the pages of an account begin with, read at once: its standing, client passwords, factors and advice.

Rule: one state of the store, in one transaction, since each costs more than what is read in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailauth.accounts import apppasswords
from mailauth.accounts.advice import FRESH_S, Advice, WebPasswordUse, advised
from mailauth.accounts.factorrows import FactorView, factor_views
from mailauth.accounts.finding import account_row
from mailauth.accounts.means import Means
from mailauth.accounts.observations import observed_in
from mailauth.accounts.portalsessions import PortalSession, SignedOut, Stage
from mailauth.accounts.unit import Unit, looking
from mailauth.accounts.views import (
    AccountView,
    AppPasswordView,
    account_view,
    app_password_view,
    app_passwords_only_from,
)
from mailauth.interfaces import PolicyLevel
from mailauth.store.engine import Row
from mailauth.store.networks import coarse
from mailauth.store.observations import named


@dataclass(frozen=True, slots=True)
class Overview:
    """What somebody has, and what he should see to. account: without its aliases. listed, factors: oldest first.

    mode_from: when the mode is going to be switched on by policy, None: nobody has set a date.
    """

    account: AccountView
    listed: tuple[AppPasswordView, ...]
    factors: list[FactorView]
    advice: list[Advice]
    mode_from: float | None

    @property
    def left(self) -> int:
        """How many more client passwords can be made."""
        return max(0, self.account.most_app_passwords - len(self.listed))


def overview(means: Means, session: PortalSession, *, now: float | None = None) -> Overview:
    """Of the account of who is signed in. Raises SignedOut, NoSuch, StoreUnavailable, BadRecord."""
    if session.stage is not Stage.IN:
        raise SignedOut
    with looking(means.store, now) as unit:
        row = account_row(unit, session.login)
        if row["id"] != session.account_id:
            raise SignedOut
        return overview_in(unit, means, row)


def overview_in(unit: Unit, means: Means, row: Row) -> Overview:
    """The same within a unit. row: of statements.ACCOUNT."""
    listed = tuple([app_password_view(each, unit.now) for each in apppasswords.live_rows(unit, row)])
    account = account_view(row, (), unit.now)
    uses = _web_password_uses(unit, row) if _may_use_web_password(account) else ()
    return Overview(
        account=account,
        listed=listed,
        factors=factor_views(unit, row["id"], means.factors),
        advice=advised(observed_in(unit, row["id"]), listed, unit.now, uses),
        mode_from=app_passwords_only_from(row, unit.now),
    )


def _may_use_web_password(account: AccountView) -> bool:
    """Whether mail programs get in with it, and nobody observes which: where somebody does, that is told."""
    return account.effective_mode == "off" and account.effective_policy == PolicyLevel.OPTIONAL


def _web_password_uses(unit: Unit, row: Row) -> list[WebPasswordUse]:
    whose = {"login": row["login"], "account_id": row["id"], "since": unit.now - FRESH_S}
    last_at: dict[tuple[str, str, str], float] = {}
    for use in unit.tx.rows(unit.sql.WEB_PASSWORD_USES, **whose):
        key = (named(use["client"]), use["service"], coarse(use["peer"]))
        last_at[key] = max(use["last_at"], last_at.get(key, 0.0))
    return [WebPasswordUse(*key, at) for key, at in last_at.items()]
