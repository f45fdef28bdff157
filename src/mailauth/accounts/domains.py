"""The domains whose mail is ours."""

from __future__ import annotations

from collections.abc import Iterator

from mailauth.accounts.changes import DomainChange, changed, differences, policy_values, services_mask
from mailauth.accounts.finding import domain_row, folded_domain, locked_domain_row
from mailauth.accounts.refusals import Refused
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.accounts.views import DomainView, domain_view
from mailauth.store.changes import Effect
from mailauth.store.engine import Row, Store
from mailauth.store.faults import Clash
from mailauth.store.rows import ALL_SERVICES, removed_digest
from mailauth.store.upgrade import NO_POLICY

PAGE_ROWS = 500


def add_domain(store: Store, name: str, *, actor: str, now: float | None = None) -> str:
    """Add a domain with everything on, and say its one spelling. Raises Refused (it is there), StoreUnavailable."""
    name = folded_domain(name)
    try:
        with changing(store, actor, now) as unit:
            added_domain(unit, name)
    except Clash:
        raise Refused(f"there is a domain {name} already; `mailauth domain set` changes it") from None
    return name


def set_domain(
    store: Store,
    name: str,
    change: DomainChange,
    *,
    actor: str,
    now: float | None = None,
    effect: Effect | None = None,
) -> DomainView:
    """Change a domain, and show it as it is then. Raises NoSuch, Refused, StoreUnavailable.

    Sessions that would not be let in again end. effect: see unit.changing.
    """
    name = folded_domain(name)
    with changing(store, actor, now, effect) as unit:
        return changed_domain(unit, locked_domain_row(unit, name), change)


def changed_domain(unit: Unit, row: Row, change: DomainChange) -> DomainView:
    """The same within a larger change. row: the domain's, locked. Raises Refused."""
    values = policy_values(row, change, unit.now)
    values["services"] = services_mask(row["services"], change)
    values["enabled"] = row["enabled"] if change.enabled is None else int(change.enabled)
    if any(row[column] != value for column, value in values.items()):
        unit.tx.write(unit.sql.SET_DOMAIN, row_id=row["id"], **values)
        unit.record("domain-changed", detail=f"{row['name']}: {differences(row, values)}")
        unit.touch("domain-changed", domain_id=row["id"], domain=row["name"], set=changed(row, values))
    if not values["enabled"]:
        unit.tx.write(unit.sql.END_PORTAL_SESSIONS_OF_DOMAIN, domain_id=row["id"])
    return domain_view(row | values)


def show_domain(store: Store, name: str) -> DomainView:
    """Raises NoSuch, Refused, StoreUnavailable."""
    name = folded_domain(name)
    with looking(store) as unit:
        return domain_view(domain_row(unit, name))


def list_domains(store: Store) -> Iterator[DomainView]:
    """All domains by name, read page by page. Raises StoreUnavailable."""
    after = ""
    while True:
        with looking(store) as unit:
            rows = unit.tx.rows(unit.sql.DOMAINS, after=after, page=PAGE_ROWS)
        for row in rows:
            yield domain_view(row)
        if len(rows) < PAGE_ROWS:
            return
        after = rows[-1]["name"]


def remove_domain(
    store: Store,
    name: str,
    *,
    with_accounts: bool = False,
    actor: str,
    now: float | None = None,
    effect: Effect | None = None,
) -> int:
    """Remove a domain, and say how many accounts went with it. The audit log stays. effect: see unit.changing.

    Raises NoSuch, Refused (it has accounts, and with_accounts was not said), StoreUnavailable.
    """
    name = folded_domain(name)
    with changing(store, actor, now, effect) as unit:
        return removed_domain(unit, locked_domain_row(unit, name), with_accounts=with_accounts)


def removed_domain(unit: Unit, row: Row, *, with_accounts: bool) -> int:
    """The same within a larger change. row: the domain's, locked. Raises Refused."""
    name, count = row["name"], int(row["accounts"])
    if count and not with_accounts:
        told = f"{name} has {count} accounts: remove them first, or say that they go too (--with-accounts)"
        raise Refused(told, "has-accounts")
    _note_removed(unit, row["id"])
    unit.tx.write(unit.sql.REMOVE_DOMAIN, row_id=row["id"])
    unit.record("domain-removed", detail=f"{name}, with {count} accounts")
    unit.touch("domain-removed", domain_id=row["id"], domain=name, removed=True)
    return count


def _note_removed(unit: Unit, domain_id: int) -> None:
    """No source of web passwords brings these accounts back, should the domain be added again."""
    after = ""
    while rows := unit.tx.rows(unit.sql.ACCOUNTS_OF_DOMAIN, domain_id=domain_id, after=after, page=PAGE_ROWS):
        noted = [{"digest": removed_digest(row["login"]), "at": unit.now} for row in rows]
        unit.tx.write_each(unit.sql.NOTE_REMOVED, noted)
        after = rows[-1]["login"]


def added_domain(unit: Unit, name: str) -> None:
    """Add a domain alone, within a larger change. name: folded. Raises Clash."""
    insert_domain(unit, name)
    unit.touch("domain-added", domain_id=domain_row(unit, name)["id"])


def insert_domain(unit: Unit, name: str) -> None:
    """Add a domain within a larger change. name: folded. Raises Clash."""
    values = NO_POLICY | {"name": name, "enabled": 1, "services": ALL_SERVICES, "created_at": unit.now}
    unit.tx.write(unit.sql.ADD_DOMAIN, **values)
    unit.record("domain-added", detail=name)
