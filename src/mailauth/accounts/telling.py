"""What of the audit log the owner of an account is told as well: on the portal until acknowledged, and by mail.

Rule: `Unit.record` writes the notice with the audit row, so that whoever makes a change, on whatever way, it is told.
"""

from __future__ import annotations

TOLD = frozenset(
    {
        "account-changed",
        "alias-added",
        "alias-removed",
        "api-token-added",
        "api-token-revoked",
        "app-password-added",
        "app-password-confirmed",
        "app-password-revoked",
        "enrolment-code-made",
        "factor-added",
        "factor-removed",
        "factor-renamed",
        "factor-replaced",
        "factors-reset",
        "mode-off",
        "mode-on",
        "new-device",
        "password-reset-made",
        "personal-data-exported",
        "recovery-address-changed",
        "recovery-code-used",
        "recovery-codes-made",
        "role-changed",
        "second-factor-guessed",
        "web-password-changed",
        "web-password-unset",
        "web-password-left-to-sources",
    }
)
