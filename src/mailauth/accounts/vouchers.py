"""Codes that an administrator hands out, each good once: to enrol a second factor, or to set a new web password.

Source: OWASP ASVS 5.0 sections 6.4.3 and 6.4.6: an administrator may start a reset, and chooses nothing. Rule: a new
one kills the old; the store has a digest of 118 random bits.
"""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum

from mailauth.accounts import bearer
from mailauth.accounts.unit import Unit
from mailauth.apppassword import ALPHABET
from mailauth.store.engine import Row
from mailauth.store.upkeep import DAY_S

LENGTH = 24
GROUP = 6
MAX_TYPED_CHARACTERS = 200


class Kind(StrEnum):
    """What a voucher is good for."""

    ENROLMENT = "enrolment"
    PASSWORD_RESET = "password-reset"  # noqa: S105


VALID_S = {Kind.ENROLMENT: 3 * DAY_S, Kind.PASSWORD_RESET: DAY_S}
MADE = {Kind.ENROLMENT: "enrolment-code-made", Kind.PASSWORD_RESET: "password-reset-made"}


@dataclass(frozen=True, slots=True)
class Voucher:
    """A new one. code: the only copy there is, in groups of six. expires_at: epoch seconds."""

    kind: Kind
    login: str
    code: str = field(repr=False)
    expires_at: float


def issue(unit: Unit, account: Row, kind: Kind) -> Voucher:
    """Make one for this account, within a larger change. account: locked, with id and login."""
    code = "".join([secrets.choice(ALPHABET) for _ in range(LENGTH)])
    expires_at = unit.now + VALID_S[kind]
    drop(unit, account, kind)
    unit.tx.write(
        unit.sql.ADD_VOUCHER,
        id=bearer.digest(code),
        account_id=account["id"],
        kind=str(kind),
        created_at=unit.now,
        created_by=unit.actor,
        expires_at=expires_at,
        used_at=None,
    )
    unit.record(MADE[kind], account)
    return Voucher(kind, account["login"], grouped(code), expires_at)


def use(unit: Unit, account: Row, kind: Kind, typed: str) -> bool:
    """Take one, within the change that it is for; False: this is none of this account's, or not any more."""
    which = {"row_id": bearer.digest(cleaned(typed)), "kind": str(kind), "account_id": account["id"]}
    if not unit.tx.write(unit.sql.USE_VOUCHER, **which, now=unit.now):
        return False
    unit.record(f"{kind}-code-used", account)
    return True


def drop(unit: Unit, account: Row, kind: Kind) -> None:
    """Forget those of this kind that were handed out, within a larger change. account: locked, with id."""
    unit.tx.write(unit.sql.DROP_VOUCHERS, account_id=account["id"], kind=str(kind))


def holder(unit: Unit, kind: Kind, typed: str) -> Row | None:
    """Whose it is, with `login`, and `account_id`; None: it is none, or not any more."""
    return unit.tx.row(unit.sql.VOUCHER, row_id=bearer.digest(cleaned(typed)), kind=str(kind), now=unit.now)


def grouped(code: str) -> str:
    """As people read it."""
    return "-".join([code[start : start + GROUP] for start in range(0, len(code), GROUP)])


def cleaned(typed: str) -> str:
    """A code without what people and programs add to it."""
    plain = unicodedata.normalize("NFKC", typed[:MAX_TYPED_CHARACTERS]).lower()
    return "".join([character for character in plain if character in ALPHABET])
