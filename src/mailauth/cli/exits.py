"""The exit codes of contract and sysexits.h, and which error means which.

Rule: errors are known by their full names, so that naming one here does not import the room that raises it.
"""

from __future__ import annotations

import traceback

DONE = 0
USAGE = 64
REFUSED_BY_DATA = 65
NO_SUCH = 66
UNAVAILABLE = 69
BUG = 70
DEFERRED = 75
REFUSED = 77
CONFIGURATION = 78
INTERRUPTED = 130  # as a shell says it: 128 and SIGINT

MEANING = {
    "mailauth.config.values.ConfigError": CONFIGURATION,
    "mailauth.keys.KeyFileError": CONFIGURATION,
    "mailauth.founding.site.CannotWrite": CONFIGURATION,
    "mailauth.setup.plan.CannotSetUp": CONFIGURATION,
    "mailauth.store.upgrade.SchemaMismatch": CONFIGURATION,
    "mailauth.store.keycheck.WrongKey": CONFIGURATION,
    "mailauth.store.highwater.StoreBehind": CONFIGURATION,
    "mailauth.store.highwater.Unreadable": CONFIGURATION,
    "mailauth.serving.tls.BadCertificate": CONFIGURATION,
    "mailauth.serving.listen.CannotListen": CONFIGURATION,
    "mailauth.founding.site.AlreadyThere": REFUSED_BY_DATA,
    "mailauth.store.upgrade.StoreExists": REFUSED_BY_DATA,
    "mailauth.store.faults.Clash": REFUSED_BY_DATA,
    "mailauth.cli.showing.Unprintable": UNAVAILABLE,
    "mailauth.cli.passwords.Unfit": REFUSED_BY_DATA,
    "mailauth.accounts.refusals.Refused": REFUSED_BY_DATA,
    "mailauth.accounts.refusals.NoSuch": NO_SUCH,
    "mailauth.names.NotALogin": REFUSED_BY_DATA,
    "mailauth.interfaces.StoreUnavailable": UNAVAILABLE,
    "mailauth.mailbox.delivery.DeliveryFailed": UNAVAILABLE,
    "mailauth.interfaces.BadRecord": UNAVAILABLE,
    "mailauth.interfaces.HashUnavailable": DEFERRED,
}


def explained(error: Exception) -> tuple[int, str]:
    """The exit code and the line for this error. One that nobody expected is a bug, and is told by place, not text."""
    for kind in type(error).__mro__:
        code = MEANING.get(f"{kind.__module__}.{kind.__qualname__}")
        if code is not None:
            return code, f"mailauth: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "an unknown place"
    told = f"{type(error).__name__} at {place}"
    return BUG, f"mailauth: internal error: {told}; MAILAUTH_DEBUG=1 in the environment shows where it came from"
