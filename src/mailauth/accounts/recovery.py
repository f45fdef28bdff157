"""The recovery address: another mailbox of the owner's, where he is told of changes and a reset link is sent.

Rule: whoever has it can set the web password, so that the owner changes it with fresh proof only, and an administrator
of one domain never does. It is shown masked, but to its owner.
"""

from __future__ import annotations

from mailauth.accounts import freshproof, vouchers
from mailauth.accounts.finding import folded
from mailauth.accounts.freshproof import Act
from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import PortalSession, SignedOut, Stage, acting
from mailauth.accounts.refusals import Refused
from mailauth.accounts.unit import Unit, looking
from mailauth.store.engine import Row


def shown(means: Means, session: PortalSession) -> str | None:
    """The owner's own; None: there is none. Raises SignedOut, StoreUnavailable."""
    if session.stage is not Stage.IN:
        raise SignedOut
    with looking(means.store) as unit:
        row = unit.tx.row(unit.sql.RECOVERY_ADDRESS, account_id=session.account_id)
        return None if row is None else row["recovery_address"]


def ask_to_set(means: Means, session: PortalSession, address: str | None, *, now: float | None = None) -> str:
    """Begin the proof for another one, or for none; see freshproof.begin. Raises Refused, SignedOut."""
    params = {"address": _checked(session.account, address)}
    return freshproof.begin(means, session, Act.RECOVERY_ADDRESS, params, now=now)


def set_own(means: Means, session: PortalSession, token: str, *, now: float | None = None) -> None:
    """Write what was proven for. token: of ask_to_set. Raises NotProven, SignedOut, StoreUnavailable."""
    with acting(means, session, now=now) as (unit, _):
        proven = freshproof.take(unit, session, token, Act.RECOVERY_ADDRESS)
        put_recovery_address(unit, session.account, proven["address"])


def put_recovery_address(unit: Unit, account: Row, address: str | None) -> None:
    """Write it within a larger change. account: with id and login. Raises Refused."""
    checked = _checked(account, address)
    alias = unit.tx.row(unit.sql.ALIAS, address=checked) if checked else None
    if alias is not None and alias["login"] == account["login"]:
        raise Refused("a recovery address is another one than the account's own", "own-address")
    before = unit.tx.row(unit.sql.RECOVERY_ADDRESS, account_id=account["id"]) or {}
    unit.tx.write(unit.sql.SET_RECOVERY_ADDRESS, account_id=account["id"], recovery_address=checked)
    vouchers.drop(unit, account, vouchers.Kind.PASSWORD_RESET)  # its link lies at the address that was there
    # Who has the one that was there is told too: it may have been taken from him.
    told = dict.fromkeys([account["login"], before.get("recovery_address"), checked])
    mail_to = " ".join([address for address in told if address])
    unit.record("recovery-address-changed", account, detail=masked(checked) or "taken away", mail_to=mail_to)
    unit.touch("recovery-address-changed", account=account)


def masked(address: str | None) -> str | None:
    """Enough to be known again by its owner: a***@example.com."""
    if address is None:
        return None
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}***@{domain}"


def _checked(account: Row, address: str | None) -> str | None:
    if not address:
        return None
    checked = folded(address)
    if checked == account["login"]:
        raise Refused("a recovery address is another one than the account's own", "own-address")
    return checked
