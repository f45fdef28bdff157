"""App passwords: minting, listing, revoking, confirming and renaming them.

Rule: the password itself leaves here once, in `Minted`; the store gets its hash and selector. A deleted one leaves a
tombstone: its hash, selector and label, so that a device that still tries it is known for what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from mailauth import apppassword
from mailauth.accounts.finding import account_row, folded, locked_account_row
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.terms import expiry_from, label_from, networks_from, services_from
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.accounts.views import AppPasswordView, app_password_view, moment, most_app_passwords, service_names
from mailauth.attempt import Service
from mailauth.keys import KeyRing
from mailauth.store.changes import Effect
from mailauth.store.engine import Row, Store
from mailauth.store.faults import Clash
from mailauth.store.keycheck import key_for_new
from mailauth.store.rows import mask_of
from mailauth.store.upkeep import TOMBSTONE_S

MINT_TRIES = 10  # with 100 selectors of 65536 taken, ten clashes in a row are as likely as guessing a password
TOMBSTONES_KEPT = 50  # of one account


class Hasher(Protocol):
    """What turns a new app password into its record: hashing.argon2id.Argon2id."""

    def hash(self, secret: bytes) -> str:
        """A new record. Raises HashUnavailable."""


@dataclass(frozen=True, slots=True)
class Minted:
    """A new app password. password: the only copy there is, 16 characters."""

    id: int
    password: str = field(repr=False)
    login: str
    label: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """An app password that opens nothing any more."""

    id: int
    label: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """An app password that was suspended, and opens mail again."""

    id: int
    label: str


def mint(
    store: Store,
    ring: KeyRing,
    hasher: Hasher,
    login: str,
    *,
    label: str,
    services: Iterable[Service] = tuple(Service),
    networks: Iterable[str] = (),
    expires_at: float | None = None,
    alphabet: str = apppassword.ALPHABET,
    actor: str,
    now: float | None = None,
    effect: Effect | None = None,
    peer: str = "",
    agent: str = "",
    first: Callable[[Unit], None] = lambda _: None,
) -> Minted:
    """Make an app password. The account's mode stays as it is.

    networks: CIDRs or addresses from which it works, none: anywhere. expires_at: epoch seconds, None: never.
    first: what else is to be done, in the same transaction and before. effect: see unit.changing.
    Raises NoSuch, Refused (also at the maximum, in which expired ones count), HashUnavailable, WrongKey,
    StoreUnavailable.
    """
    login = folded(login)
    with looking(store, now) as unit:  # a refusal must not cost a hash
        terms = terms_of(label, services, networks, expires_at, unit.now)
        refuse_at_maximum(account_row(unit, login))
    for _ in range(MINT_TRIES):
        password = apppassword.mint(alphabet)
        record = hasher.hash(password.encode())
        try:
            with changing(store, actor, now, effect, peer=peer, agent=agent) as unit:
                first(unit)
                row = _insert(unit, login, terms | {"record": record} | _place(unit, ring, login, password))
        except Clash:  # this account has the selector already
            continue
        return Minted(row["id"], password, login, row["label"])
    raise Refused(f"{login}: no new app password could be found; revoke some old ones and try again")


def terms_of(
    label: str, services: Iterable[Service | str], networks: Iterable[str], expires_at: float | None, now: float
) -> dict[str, Any]:
    """What an app password is to be like, as it is stored. Raises Refused."""
    return {
        "label": label_from(label),
        "services": mask_of(services_from(services)),
        "networks": " ".join(networks_from(networks)),
        "expires_at": expiry_from(expires_at, now),
    }


def listed(store: Store, login: str, *, now: float | None = None) -> list[AppPasswordView]:
    """The live app passwords of an account, oldest first. Raises NoSuch, Refused, StoreUnavailable."""
    login = folded(login)
    with looking(store, now) as unit:
        return [app_password_view(row, unit.now) for row in live_rows(unit, account_row(unit, login))]


def revoke(
    store: Store,
    login: str,
    *,
    ids: Collection[int] | None = None,
    label: str | None = None,
    every: bool = False,
    actor: str,
    now: float | None = None,
    effect: Effect | None = None,
    peer: str = "",
) -> list[Revoked]:
    """Delete app passwords: those with these ids, or all with this label, or every one (say one of the three).

    All or none: raises NoSuch if one of the ids, or the label, is not there; every: none is no error.
    Raises Refused, StoreUnavailable. The next login with one of them is refused, in every process, and the sessions
    that were opened with one of them end. effect: see unit.changing.
    """
    if (ids is not None) + (label is not None) + every != 1:
        raise ValueError("say ids, label or every")
    login = folded(login)
    with changing(store, actor, now, effect, peer=peer) as unit:
        account = locked_account_row(unit, login)
        live = live_rows(unit, account)
        return revoke_rows(unit, account, live if every else _chosen(live, login, ids, label))


def confirm(
    store: Store,
    login: str,
    *,
    ids: Collection[int] | None = None,
    every: bool = False,
    actor: str,
    now: float | None = None,
) -> list[Confirmed]:
    """Let suspended app passwords open mail again: those with these ids, or every one (say one of the two).

    Those that are not suspended are left as they are. All or none: raises NoSuch if one of the ids is not there.
    Raises Refused, StoreUnavailable.
    """
    if (ids is not None) + every != 1:
        raise ValueError("say ids or every")
    login = folded(login)
    with changing(store, actor, now) as unit:
        account = locked_account_row(unit, login)
        return confirm_rows(unit, account, live_rows(unit, account) if every else chosen_rows(unit, account, ids or ()))


def rename(
    store: Store, login: str, row_id: int, label: str, *, actor: str, now: float | None = None
) -> AppPasswordView:
    """Give an app password another label. Raises NoSuch, Refused, StoreUnavailable."""
    login, label = folded(login), label_from(label)
    with changing(store, actor, now) as unit:
        return rename_row(unit, locked_account_row(unit, login), row_id, label)


def confirm_rows(unit: Unit, account: Row, rows: list[Row]) -> list[Confirmed]:
    """Let those of these that are suspended open mail again, within a larger change."""
    chosen = [row for row in rows if row["suspended"]]
    for row in chosen:
        unit.tx.write(unit.sql.CONFIRM_APP_PASSWORD, row_id=row["id"])
        unit.record("app-password-confirmed", account, credential_id=row["id"], label=row["label"])
    if chosen:
        unit.touch("app-password-confirmed", account=account)
    return [Confirmed(row["id"], row["label"]) for row in chosen]


def rename_row(unit: Unit, account: Row, row_id: int, label: str) -> AppPasswordView:
    """Give an app password another label, within a larger change. label: of label_from. Raises NoSuch."""
    row = chosen_rows(unit, account, [row_id])[0]
    unit.tx.write(unit.sql.RENAME_APP_PASSWORD, row_id=row_id, label=label)
    unit.record("app-password-renamed", account, credential_id=row_id, label=label, detail=f"was {row['label']}")
    unit.touch("app-password-renamed", account=account)
    return app_password_view(row | {"label": label}, unit.now)


def revoke_rows(unit: Unit, account: Row, doomed: list[Row]) -> list[Revoked]:
    """Make tombstones of these app passwords of one account, within a larger change."""
    for row in doomed:
        unit.tx.write(unit.sql.REVOKE_APP_PASSWORD, row_id=row["id"], revoked_at=unit.now)
        unit.record("app-password-revoked", account, credential_id=row["id"], label=row["label"])
    if doomed:
        unit.touch("app-password-revoked", account=account, app_passwords=[row["id"] for row in doomed])
        old = {"before": unit.now - TOMBSTONE_S, "keep": TOMBSTONES_KEPT}
        unit.tx.write(unit.sql.PRUNE_TOMBSTONES_OF_ACCOUNT, account_id=account["id"], **old)
    return [Revoked(row["id"], row["label"]) for row in doomed]


def _place(unit: Unit, ring: KeyRing, login: str, password: str) -> dict[str, int]:
    """Where a new app password is found again. Raises WrongKey."""
    key_id = key_for_new(unit.store, unit.tx, ring)
    return {"key_id": key_id, "selector": apppassword.selector(ring.subkey("selector", key_id), login, password)}


def _insert(unit: Unit, login: str, values: dict[str, Any]) -> Row:
    """values: the terms, and what the password left."""
    account = locked_account_row(unit, login)
    refuse_at_maximum(account)  # again: somebody may have been quicker, and from here on nobody is
    unit.tx.write(
        unit.sql.ADD_APP_PASSWORD,
        account_id=account["id"],
        suspended=0,
        created_at=unit.now,
        created_by=unit.actor,
        **values,
    )
    row = live_rows(unit, account)[-1]  # ids ascend
    unit.record("app-password-added", account, credential_id=row["id"], label=row["label"], detail=_terms_told(values))
    unit.touch("app-password-added", account=account, minted=row["id"])
    return row


def live_rows(unit: Unit, account: Row) -> list[Row]:
    """The live app passwords of an account, oldest first."""
    return unit.tx.rows(unit.sql.APP_PASSWORDS, account_id=account["id"])


def refuse_at_maximum(account: Row) -> None:
    """Raise Refused if this account has as many app passwords as it may have."""
    most = most_app_passwords(account)
    if account["app_passwords"] >= most:
        raise Refused(
            f"{account['login']} has {account['app_passwords']} app passwords, and {most} is the most "
            "(expired ones count until they are revoked): revoke one first, or allow more with --max-app-passwords"
        )


def chosen_rows(unit: Unit, account: Row, ids: Collection[int]) -> list[Row]:
    """Those with these ids. Raises NoSuch if one of them is not there."""
    return _chosen(live_rows(unit, account), account["login"], ids, None)


def _chosen(live: list[Row], login: str, ids: Collection[int] | None, label: str | None) -> list[Row]:
    if ids is None:
        chosen = [row for row in live if row["label"] == label]
        if not chosen:
            raise NoSuch(f"{login} has no app password labelled {label!r}; `mailauth app-password list` shows them")
        return chosen
    missing = set(ids) - {row["id"] for row in live}
    if missing:
        which = ", ".join([str(row_id) for row_id in sorted(missing)])
        raise NoSuch(f"{login} has no app password {which}; `mailauth app-password list` shows those there are")
    return [row for row in live if row["id"] in ids]


def _terms_told(values: dict[str, Any]) -> str:
    told = ",".join(service_names(values["services"]))
    if values["networks"]:
        told += f" from {values['networks']}"
    if values["expires_at"] is not None:
        told += f" until {moment(values['expires_at'])}"
    return told
