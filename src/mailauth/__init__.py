"""mailauth: client-specific passwords for your own mail.

The public names are imported on first use (PEP 562), so `import mailauth` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailauth.attempt import Attempt, Credential, Service
    from mailauth.compose import open_authenticator
    from mailauth.interfaces import Authenticator, Directory, Passdb, StoreUnavailable
    from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject, Verdict

__all__ = [
    "Accept",
    "Attempt",
    "Authenticator",
    "Cause",
    "Credential",
    "Defer",
    "Directory",
    "Passdb",
    "Principal",
    "Reason",
    "Reject",
    "Service",
    "StoreUnavailable",
    "Verdict",
    "open_authenticator",
]

_HOMES = {
    **dict.fromkeys(("Attempt", "Credential", "Service"), "attempt"),
    **dict.fromkeys(("Authenticator", "Directory", "Passdb", "StoreUnavailable"), "interfaces"),
    **dict.fromkeys(("Accept", "Cause", "Defer", "Principal", "Reason", "Reject", "Verdict"), "verdict"),
    "open_authenticator": "compose",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
