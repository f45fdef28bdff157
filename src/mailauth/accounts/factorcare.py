"""Second factors as an administrator of this machine sees them: which there are, and a reset.

Rule: what is shown needs no key and says nothing that opens anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailauth.accounts.bindings import reset
from mailauth.accounts.factorrows import factor_views
from mailauth.accounts.finding import account_row, folded, locked_account_row
from mailauth.accounts.unit import changing, looking
from mailauth.accounts.vouchers import Kind, Voucher, issue
from mailauth.store.changes import Effect
from mailauth.store.engine import Store


@dataclass(frozen=True, slots=True)
class FactorLine:
    """One factor, or one of several of a kind. detail: masked where it is personal. Times: epoch seconds."""

    kind: str
    name: str
    detail: str
    created_at: float
    last_used_at: float | None


def listed(store: Store, login: str) -> list[FactorLine]:
    """The factors of an account, oldest first. Raises NoSuch, Refused, StoreUnavailable."""
    with looking(store) as unit:
        views = factor_views(unit, account_row(unit, folded(login))["id"], ())
    return [
        FactorLine(view.kind, part.name, part.detail, part.created_at, part.used_at)
        for view in views
        for part in view.parts
    ]


def reset_factors(
    store: Store, login: str, *, actor: str, now: float | None = None, effect: Effect | None = None
) -> list[str]:
    """Forget all factors of an account, and say which kinds; see bindings.reset. effect: see unit.changing.

    Raises NoSuch, Refused, StoreUnavailable.
    """
    with changing(store, actor, now, effect) as unit:
        return reset(unit, locked_account_row(unit, folded(login)))


def enrolment_code(store: Store, login: str, *, actor: str, now: float | None = None) -> Voucher:
    """A code by which the owner may enrol a second factor, once. Raises NoSuch, Refused, StoreUnavailable."""
    with changing(store, actor, now) as unit:
        return issue(unit, locked_account_row(unit, folded(login)), Kind.ENROLMENT)
