"""All that the pages of an account begin with, read at once: its standing, client passwords, factors and advice.

Rule: one state of the store, in one transaction, since each costs more than what is read in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailauth.accounts import apppasswords
from mailauth.accounts.advice import Advice, advised
from mailauth.accounts.factorrows import FactorView, factor_views
from mailauth.accounts.finding import account_row
from mailauth.accounts.means import Means
from mailauth.accounts.observations import observed_in
from mailauth.accounts.portalsessions import PortalSession, SignedOut, Stage
from mailauth.accounts.unit import looking
from mailauth.accounts.views import AccountView, AppPasswordView, account_view, app_password_view


@dataclass(frozen=True, slots=True)
class Overview:
    """What somebody has, and what he should see to. account: without its aliases. listed, factors: oldest first."""

    account: AccountView
    listed: tuple[AppPasswordView, ...]
    factors: list[FactorView]
    advice: list[Advice]

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
        listed = tuple([app_password_view(each, unit.now) for each in apppasswords.live_rows(unit, row)])
        return Overview(
            account=account_view(row, (), unit.now),
            listed=listed,
            factors=factor_views(unit, session.account_id, means.factors),
            advice=advised(observed_in(unit, session.account_id), listed, unit.now),
        )
