"""Which fault is which cause of a Defer."""

from __future__ import annotations

from mailauth.interfaces import BadRecord, HashUnavailable, PoolBusy, SourceUnavailable, StoreUnavailable, UnknownKey
from mailauth.verdict import Cause

CAUSES: dict[type[Exception], Cause] = {
    StoreUnavailable: Cause.STORE,
    UnknownKey: Cause.KEY,
    BadRecord: Cause.RECORD,
    HashUnavailable: Cause.HASH,
    PoolBusy: Cause.BUSY,
    SourceUnavailable: Cause.SOURCE,
}
FAULTS = tuple(CAUSES)


def cause_of(fault: Exception) -> Cause:
    """fault: one of FAULTS."""
    return next(cause for kind, cause in CAUSES.items() if isinstance(fault, kind))
