"""How much that costs somebody has been had lately, counted in the store for all processes.

Source: the windows are those of `factors.ledger`. Rule: charged before it is had, in the transaction that decides; the
rows are locked in the order of their names, so that nobody waits in a circle.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from mailauth.accounts.unit import Unit
from mailauth.factors.ledger import Cost, Overdrawn, Tally, charge
from mailauth.guessing import source_of


def overdrawn(unit: Unit, costs: Sequence[Cost]) -> Overdrawn | None:
    """Charge all of these, or none and say why not."""
    tallies = {subject: _locked(unit, subject) for subject in sorted({cost.subject for cost in costs})}
    charged = charge(costs, tallies, unit.now)
    if isinstance(charged, Overdrawn):
        return charged
    window_s = {cost.subject: cost.window_s for cost in costs}
    for subject, tally in sorted(charged.items()):
        ends_at = tally.since + window_s[subject]
        unit.tx.write(unit.sql.SET_TALLY, subject=subject, since=tally.since, count=tally.count, ends_at=ends_at)
    return None


def _locked(unit: Unit, subject: str) -> Tally:
    unit.tx.write(unit.sql.BEGIN_TALLY, subject=subject)
    row = unit.tx.row(unit.sql.LOCK_TALLY, subject=subject)
    return Tally(0.0, 0) if row is None else Tally(row["since"], row["count"])


def source(peer: str) -> str:
    """What an address is counted as; "" for what has none, such as a UNIX socket."""
    try:
        return source_of(ipaddress.ip_address(peer))
    except ValueError:
        return ""
