"""SMTP: our submission server, and AUTH for anybody's aiosmtpd server.

Rule: names are imported on first use (PEP 562), so that the plug-in brings in nothing but itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailauth.smtp.house import House, Limits
    from mailauth.smtp.plugin import with_auth
    from mailauth.smtp.relay import Relay
    from mailauth.smtp.server import SubmissionProtocol
    from mailauth.smtp.submission import Submission

__all__ = ["House", "Limits", "Relay", "Submission", "SubmissionProtocol", "with_auth"]

HOMES = {
    "House": "house",
    "Limits": "house",
    "Relay": "relay",
    "Submission": "submission",
    "SubmissionProtocol": "server",
    "with_auth": "plugin",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
