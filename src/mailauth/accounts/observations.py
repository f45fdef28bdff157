"""What an account's owner should know about the programs that log in to it, or try to.

Rule: told in networks, not addresses, and in words that say what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, assert_never

from mailauth.accounts.finding import account_row, domain_row, folded, folded_domain
from mailauth.accounts.unit import Unit, looking
from mailauth.accounts.views import moment
from mailauth.store.engine import Row, Store
from mailauth.store.observations import KEY, Kind

PAGE_ROWS = 1000
BEFORE_ALL: dict[str, Any] = dict(zip(KEY, (0, "", "", "", "", 0), strict=True))


@dataclass(frozen=True, slots=True)
class ObservationView:
    """A program of an account, seen `count` times. Times are epoch seconds.

    network: a /24 or /48 in CIDR notation, "" when it came without an address. client: what it calls itself, "" for
    nothing. credential_id, label: of the deleted app password that it sends; label is None once that is forgotten.
    """

    login: str
    kind: Kind
    network: str
    service: str
    client: str
    credential_id: int | None
    label: str | None
    first_at: float
    last_at: float
    count: int


def observed(store: Store, login: str) -> list[ObservationView]:
    """Of one account, the latest first. Raises NoSuch, Refused, StoreUnavailable."""
    login = folded(login)
    with looking(store) as unit:
        return observed_in(unit, account_row(unit, login)["id"])


def observed_in(unit: Unit, account_id: int) -> list[ObservationView]:
    """The same, within a unit."""
    return [observation_view(row) for row in unit.tx.rows(unit.sql.OBSERVATIONS_OF_ACCOUNT, account_id=account_id)]


def observed_everywhere(
    store: Store, *, kind: Kind | None = None, domain: str | None = None
) -> Iterator[ObservationView]:
    """Of all accounts, or those of one domain, account by account, read page by page. kind: only this one.

    Raises NoSuch, Refused, StoreUnavailable.
    """
    domain_id = 0
    if domain is not None:
        name = folded_domain(domain)
        with looking(store) as unit:
            domain_id = domain_row(unit, name)["id"]
    return _pages(store, {"of_kind": "" if kind is None else str(kind), "of_domain": domain_id})


def sentence(view: ObservationView) -> str:
    """What this is, and what to do, for the owner. Holds what clients say of themselves: not to be printed as it is."""
    program = f"{view.client or 'a program'}{f' at {view.network}' if view.network else ''}"
    service = view.service.upper()
    seen = f"last seen {moment(view.last_at)}"
    if view.count > 1:
        seen += f", {view.count} times since {moment(view.first_at)}"
    match view.kind:
        case Kind.DELETED_APP_PASSWORD:
            which = f"the deleted app password {view.credential_id if view.label is None else repr(view.label)}"
            return f"{program} still sends {which} by {service}; {seen}; delete the account there or put in a new one"
        case Kind.WEB_PASSWORD_REFUSED:
            return f"{program} does not use an app password and is refused by {service}; {seen}; put one in there"
        case Kind.WOULD_BREAK:
            return (
                f"{program} gets in with the web password by {service}; {seen}; put in an app password before that ends"
            )
        case _:
            assert_never(view.kind)


def _pages(store: Store, chosen: dict[str, Any]) -> Iterator[ObservationView]:
    after = BEFORE_ALL
    while True:
        with looking(store) as unit:
            rows = unit.tx.rows(unit.sql.OBSERVATIONS, page=PAGE_ROWS, **after, **chosen)
        for row in rows:
            yield observation_view(row)
        if len(rows) < PAGE_ROWS:
            return
        after = {name: rows[-1][name] for name in KEY}


def observation_view(row: Row) -> ObservationView:
    """row: of observation_statements.OBSERVATIONS."""
    return ObservationView(
        login=row["login"],
        kind=Kind(row["kind"]),
        network=row["network"],
        service=row["service"],
        client=row["client"],
        credential_id=row["credential_id"] or None,
        label=row["label"],
        first_at=row["first_at"],
        last_at=row["last_at"],
        count=row["count"],
    )
