"""What psycopg and libpq say of a fault, as one sentence for the operator; with what to do, where there is something.

Source: postgresql.org/docs/current/errcodes-appendix.html, libpq's fe-connect.c.
Rule: a server's text that quotes data is not passed on.
"""

from __future__ import annotations

import re

import psycopg

QUOTING = ("22", "23")  # classes whose texts quote data: data exceptions and integrity violations
WHY = re.compile(r".*(?:FATAL|ERROR): +(.+)|.* failed: (.+)|(.+)")
FIND_IT = "is the server running, and does [store] url name it?"
DO = {  # what a text contains: what to do
    "connection refused": FIND_IT,
    "no such file": FIND_IT,
    "timeout": FIND_IT,
    "unreachable": FIND_IT,
    "no route": FIND_IT,
    "resolve": "is the host of [store] url right?",
    "authentication failed": "check the user of [store] url and its password",
    "no password supplied": "[store] password_file must name its password",
    "pg_hba.conf": "the server's pg_hba.conf must let this user in from here",
    "database ": "make the database, or correct [store] url",
    "role ": "make the user, or correct [store] url",
    "standby": "[store] url must name the primary",
    "read-only": "[store] url must name the primary",
}
SOON = ("starting up", "shutting down", "too many", "reserved for")  # over by itself, or the administrator knows


def no_connection(error: psycopg.Error) -> str:
    """Why there is no connection. Of several addresses, the first one's reason."""
    why = _reason(error)
    advice = next((do for words, do in DO.items() if words in why.lower()), "")
    if not advice or any(words in why for words in SOON):
        return f"cannot connect: {why}"
    return f"cannot connect: {why}; {advice}"


def said(error: Exception) -> str:
    """What is wrong with a statement, or with the connection it was run on."""
    if not isinstance(error, psycopg.Error) or isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        return f"it does not take such a value{_code(error)}"
    if error.sqlstate is None:
        return f"the connection was lost: {_reason(error)}"
    if error.sqlstate.startswith(QUOTING) or not error.diag.message_primary:
        return f"it refuses this{_code(error)}"
    return error.diag.message_primary


def _reason(error: psycopg.Error) -> str:
    lines = [line.strip(" -\t") for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.endswith("All failures were:")]
    found = WHY.match(told[0] if told else "no reason given")
    words = found[found.lastindex or 0] if found else ""
    return words if words[1:2].isupper() else words[:1].lower() + words[1:]


def _code(error: Exception) -> str:
    state = getattr(error, "sqlstate", None)
    return f" (SQLSTATE {state})" if state else ""
