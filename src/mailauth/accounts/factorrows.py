"""Second factors in the store: their states and open questions as rows, and what serves one account only.

Rule: a row's `parts` are what its state shows, and `key_ids` what its state is sealed under, at every write; and what
is written keeps those keys in use until it is committed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

from mailauth.accounts.unit import Unit
from mailauth.factors.factor import Factor, Part, Record
from mailauth.factors.record import from_json, to_json
from mailauth.factors.sealed import Box, Sealed
from mailauth.interfaces import StoreUnavailable
from mailauth.store.engine import Row
from mailauth.store.resealing import claim_text, key_ids_of, key_ids_text

MOST_QUESTIONS = 20  # open at once in one session


@dataclass(frozen=True, slots=True)
class FactorView:
    """One kind of factor of an account. parts: what its owner calls its own, personal data masked.

    is_offered: whether the site offers it now; one that it does not can be removed and nothing else. is_alone: whether
    with it the account has a second factor. Times: epoch seconds.
    """

    kind: str
    is_offered: bool
    is_alone: bool
    parts: tuple[Part, ...]
    confirmed_at: float
    last_used_at: float | None
    last_used_peer: str | None


def value_of(kind: type, text: str | None) -> Record:
    """A stored state or pending; None: there is none. kind: Factor.Enrolled or Factor.Pending. Raises BadRecord."""
    return None if text is None else from_json(kind, text)


def text_of(value: Record) -> str | None:
    """A state or pending as it is stored; None: there is none."""
    return None if value is None else to_json(value)


def factor_views(unit: Unit, account_id: int, offered: Container[str]) -> list[FactorView]:
    """The factors of an account, oldest first. offered: the kinds that the site offers."""
    return [
        FactorView(
            *(row["kind"], row["kind"] in offered, bool(row["is_alone"])),
            tuple([Part(*values) for values in json.loads(row["parts"])]),
            *(row["confirmed_at"], row["last_used_at"], row["last_used_peer"]),
        )
        for row in unit.tx.rows(unit.sql.FACTORS, account_id=account_id)
    ]


def replace_state(unit: Unit, account_id: int, factor: Factor, old: str | None, new: Record) -> bool:
    """Put a state in the place of the one that is there, None for none; False: it is another by now.

    Raises Clash, StoreUnavailable.
    """
    whose: dict[str, Any] = {"account_id": account_id, "kind": factor.name}
    if new is None:
        return unit.tx.write(unit.sql.REMOVE_FACTOR, **whose) > 0 if old is not None else True
    values = {
        "state": to_json(new),
        "parts": json.dumps([dataclasses.astuple(part) for part in factor.listed(new)], ensure_ascii=False),
        "key_ids": _kept(unit, key_ids_of(to_json(new))),
        "is_alone": int(factor.nature.alone),
    }
    if old is not None:
        return unit.tx.write(unit.sql.SET_FACTOR, **whose, old=old, **values) > 0
    unused = {"confirmed_at": unit.now, "last_used_at": None, "last_used_peer": None}
    return unit.tx.write(unit.sql.ADD_FACTOR, **whose, **values, **unused) > 0


def replace_question(unit: Unit, place: tuple[str, str, str], old: tuple[str, str | None], new: Record) -> str | None:
    """Put an open question in the place of another and say its id, "" for none. None: the old one is not as it was.

    place: id of the session, kind of factor, purpose. old: id and pending, "" and None for no question.
    """
    session_id, kind, purpose = place
    question, pending = old
    if question:
        which = {"row_id": question, "session_id": session_id, "old": pending}
        if not unit.tx.write(unit.sql.DROP_QUESTION, **which):
            return None
    if new is None:
        return ""
    unit.tx.write(
        unit.sql.ADD_QUESTION,
        id=new.ticket.id,
        session_id=session_id,
        kind=kind,
        purpose=purpose,
        pending=to_json(new),
        key_ids=_kept(unit, key_ids_of(to_json(new))),
        expires_at=new.ticket.expires_at,
    )
    unit.tx.write(unit.sql.TRIM_QUESTIONS, session_id=session_id, keep=MOST_QUESTIONS)
    return str(new.ticket.id)


def claimed(unit: Unit, box: Box, kind: str, claims: Iterable[Sealed], *, anew: bool) -> bool:
    """Note that these serve this account alone; False: one of them serves another.

    box: of the account. anew: nothing else of this kind serves it any more. Raises Clash.
    """
    account_id = int(box.account)
    rows: dict[str, Row] = {}
    for sealed in claims:
        text = to_json(sealed)
        for each in box.fingerprints(sealed.purpose, box.open(sealed.purpose, sealed)):
            key_ids = key_ids_text((each.key_id, sealed.key_id))
            rows[claim_text(kind, each)] = {"sealed": text, "key_ids": key_ids}
    holders = {claim: unit.tx.row(unit.sql.CLAIM, claim=claim) for claim in rows}
    if any(holder is not None and holder["account_id"] != account_id for holder in holders.values()):
        return False
    if anew:
        unit.tx.write(unit.sql.REMOVE_CLAIMS, account_id=account_id, kind=kind)
    for claim, row in rows.items():
        if anew or holders[claim] is None:
            unit.tx.write(unit.sql.ADD_CLAIM, claim=claim, account_id=account_id, kind=kind, **row)
    return True


def _kept(unit: Unit, key_ids: str) -> str:
    """These, after seeing to it that none is taken out of use under what is being written. Raises StoreUnavailable."""
    for key_id in map(int, key_ids.split()):
        if unit.tx.row(unit.sql.KEEP_SERVER_KEY, row_id=key_id) is None:
            raise StoreUnavailable(f"server key {key_id} went out of use at this moment")
    return key_ids
