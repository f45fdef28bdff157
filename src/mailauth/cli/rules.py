"""The rule that decided, in words for an operator. Clients never see them.

Source: contract 2. Rule: every Reason and every Cause has its sentence; a test sees to it.
"""

from __future__ import annotations

from typing import assert_never

from mailauth.verdict import Accept, Cause, Defer, Outcome, Reason, Reject

BY_APP_PASSWORD = "a live app password of this account, whose services, networks and dates hold this attempt"  # noqa: S105
BY_WEB_PASSWORD = "the web password, and the account's mode is off"  # noqa: S105

REASONS = {
    Reason.UNKNOWN_LOGIN: "there is no such account",
    Reason.AUTHZID: "asked to act for somebody else",
    Reason.DISABLED: "the account is disabled; `mailauth account set --enabled on`",
    Reason.DOMAIN_DISABLED: "the domain is disabled; `mailauth domain set --enabled on`",
    Reason.CLIENT_LOGON_OFF: "mail programs may not log in to this account; `mailauth account set --client-logon on`",
    Reason.SERVICE_OFF: "this service is off for the account or its domain",
    Reason.SUSPENDED: "the right app password, but it is suspended",
    Reason.EXPIRED: "the right app password, but its time is over",
    Reason.OTHER_SERVICE: "the right app password, but not for this service",
    Reason.OTHER_NETWORK: "the right app password, but not from this address",
    Reason.REVOKED: "an app password that was revoked",
    Reason.CLIENT_PASSWORDS_ONLY: "no app password of this account, and mail programs get in with nothing else",
    Reason.WRONG_PASSWORD: "neither an app password of this account nor its web password",
}
CAUSES = {
    Cause.STORE: "the store could not be read",
    Cause.RECORD: "something in the store cannot be understood",
    Cause.KEY: "the account has app passwords under a server key that is not in the key file",
    Cause.BUSY: "too many hashes are waiting",
    Cause.HASH: "the hash could not be computed",
    Cause.SOURCE: "a source of web passwords could not be asked",
    Cause.BUG: "something unforeseen went wrong",
    Cause.THROTTLED: "the source or the account is being slowed down",
    Cause.LATE: "the answer was late",
    Cause.SHUTDOWN: "the server is shutting down",
    Cause.CHANGED: "the account was changed at that moment",
    Cause.BACKEND: "the mail server behind did not let us in",
}


def rule(outcome: Outcome) -> str:
    """The sentence."""
    match outcome:
        case Accept(principal):
            return BY_WEB_PASSWORD if principal.credential_id is None else BY_APP_PASSWORD
        case Reject(reason):
            return REASONS[reason]
        case Defer(cause):
            return CAUSES[cause]
        case _:
            assert_never(outcome)


def code(outcome: Outcome) -> str:
    """The same in one word, as the log has it: a Reason, a Cause, or what was accepted."""
    match outcome:
        case Accept(principal):
            return "web-password" if principal.credential_id is None else "app-password"
        case Reject(reason):
            return str(reason)
        case Defer(cause):
            return str(cause)
        case _:
            assert_never(outcome)
