"""The site's policy, above all domains."""

from __future__ import annotations

from mailauth.accounts.changes import PolicyChange, changed, differences, policy_values
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.accounts.views import SiteView, site_view
from mailauth.interfaces import BadRecord
from mailauth.store.changes import Effect
from mailauth.store.engine import Row, Store


def show_site(store: Store) -> SiteView:
    """Raises StoreUnavailable."""
    with looking(store) as unit:
        return site_view(_site_row(unit))


def set_site(
    store: Store, change: PolicyChange, *, actor: str, now: float | None = None, effect: Effect | None = None
) -> SiteView:
    """Change the site's policy, and show it as it is then. Raises Refused, StoreUnavailable.

    Sessions that would not be let in again end. effect: see unit.changing.
    """
    with changing(store, actor, now, effect) as unit:
        return changed_site(unit, change)


def changed_site(unit: Unit, change: PolicyChange) -> SiteView:
    """The same within a larger change. Raises Refused."""
    unit.tx.row(unit.sql.LOCK_SITE)
    row = _site_row(unit)
    values = policy_values(row, change, unit.now)
    if any(row[column] != value for column, value in values.items()):
        unit.tx.write(unit.sql.SET_SITE, row_id=row["id"], **values)
        unit.record("site-changed", detail=differences(row, values))
        unit.touch("site-changed", set=changed(row, values))
    return site_view(row | values)


def _site_row(unit: Unit) -> Row:
    row = unit.tx.row(unit.sql.SITE)
    if row is None:
        raise BadRecord(f"{unit.store.driver.name} has lost the row of its site: restore a backup")
    return row
