"""How SMTP spells an outcome (RFC 4954 sections 4 and 6, RFC 5321 section 4.2, RFC 3463), and every other line of ours.

Rule: one text for every refusal, whatever its reason; a Defer never looks like a wrong password. Nothing of what the
client said is ever said back. A reply here has no line end.
"""

from __future__ import annotations

import re
from typing import assert_never

from mailauth.dialogue import Ending
from mailauth.verdict import Accept, Defer, Outcome, Reject

QUIT = b"221 2.0.0 Bye"
READY_FOR_TLS = b"220 2.0.0 Ready to start TLS"
SENDER_TAKEN = b"250 2.1.0 Sender accepted"
RECIPIENT_TAKEN = b"250 2.1.5 Recipient accepted"
CANNOT_VERIFY = b"252 2.5.0 Cannot verify; send and see"
HELP = b"214 2.0.0 This is a mail submission service (RFC 6409); set it as the outgoing server of a mail program"
SEND_DATA = b"354 End data with <CR><LF>.<CR><LF>"

TOO_MANY_FAILURES = b"421 4.7.0 Too many failed logins, closing the connection"
TOO_MUCH_JUNK = b"421 4.7.0 Too many errors, closing the connection"
NOT_FOR_BROWSERS = b"421 4.7.0 This is not a web server"
NO_RESPONSE = b"421 4.4.2 No authentication response in time, closing the connection"
DEFERRED = b"454 4.7.0 Temporary authentication failure, try again later"
RELAY_DOWN = b"451 4.4.1 The next mail server cannot take the message now, try again later"
STORE_DOWN = b"451 4.3.0 Addresses cannot be looked up now, try again later"
TOO_MANY_RECIPIENTS = b"452 4.5.3 Too many recipients"
FAULT = b"451 4.3.0 Internal error, try again later"

NOT_A_LINE = b"500 5.5.2 Not a command line"
UNKNOWN_COMMAND = b"500 5.5.1 Command not recognised"
LINE_TOO_LONG = b"500 5.5.6 Line too long"
NO_MECHANISM_NAMED = b"501 5.5.4 Syntax: AUTH mechanism [initial-response]"
NO_PARAMETERS = b"501 5.5.4 This command takes no parameters"
NAME_NEEDED = b"501 5.5.4 A domain or an address literal is needed"
NOT_IMPLEMENTED = b"502 5.5.1 Command not implemented"
EHLO_FIRST = b"503 5.5.1 Send EHLO first"
RECIPIENTS_FIRST = b"503 5.5.1 Send RCPT first"
LOGGED_IN_ALREADY = b"503 5.5.1 Already authenticated"
IN_TRANSACTION = b"503 5.5.1 Not during a mail transaction"
NO_STARTTLS_NOW = b"503 5.5.1 STARTTLS is not available here"
UNKNOWN_MECHANISM = b"504 5.5.4 Unrecognised authentication mechanism"
LOGIN_NEEDED = b"530 5.7.0 Authentication required"
STARTTLS_FIRST = b"530 5.7.0 Must issue a STARTTLS command first"
TLS_NEEDED = b"538 5.7.11 Encryption required for requested authentication mechanism"
NO_SUCH_MAILBOX = b"550 5.1.1 No such mailbox here"
NO_NULL_SENDER = b"550 5.7.1 A message that is submitted has a sender"
NO_RELAYING = b"550 5.7.1 Relaying is not configured"
BAD_ADDRESS = b"553 5.1.3 Not a mail address"
SMTPUTF8_NEEDED = b"553 5.6.7 This address needs SMTPUTF8"
NOT_YOUR_ADDRESS = b"553 5.7.1 The sender address is not one of this account's"
NOT_OFFERED = b"555 5.5.4 This parameter was not offered"
NO_SMTPUTF8_BEYOND = b"553 5.6.7 The next mail server does not take SMTPUTF8"
NO_8BIT_BEYOND = b"554 5.6.3 The next mail server does not take 8-bit messages"
TOO_BIG = b"552 5.3.4 Message too big"


def reply(outcome: Outcome, help_line: bytes = b"") -> bytes:
    """The answer to AUTH. help_line: the operator's, behind every refusal, as it is (RFC 5321: ASCII)."""
    match outcome:
        case Accept():
            return b"235 2.7.0 Authentication successful"
        case Reject():
            return b"535 5.7.8 Authentication failed." + (b" " + help_line if help_line else b"")
        case Defer():
            return DEFERRED
        case _:
            assert_never(outcome)


def broken(text: bytes) -> bytes:
    """The answer to an exchange that was malformed or cancelled. text: ours."""
    return b"501 5.5.2 " + text


def accepted(transmission_id: str) -> bytes:
    """The message is safe with everybody it went to."""
    return b"250 2.0.0 Accepted as " + transmission_id.encode()


def not_stored(why: str) -> bytes:
    """Somebody's mailbox does not have the message."""
    return b"451 4.3.0 The message could not be stored, try again later: " + why.encode("ascii", "replace")


def bye(cause: Ending) -> bytes:
    """The last line before the server closes; 421 may come at any time (RFC 5321 section 3.8)."""
    match cause:
        case Ending.SHUTDOWN:
            return b"421 4.3.2 Server is shutting down, try again later"
        case Ending.TIMEOUT:
            return b"421 4.4.2 Disconnected for inactivity"
        case Ending.REVOKED:
            return b"421 4.7.0 This session was ended: its password or its access was withdrawn"
        case Ending.CROWDED:
            return b"421 4.3.2 Too many connections, try again later"
        case Ending.UNAVAILABLE:
            return b"421 4.3.2 Nobody can log in now, try again later"
        case _:
            assert_never(cause)


CODED = re.compile(rb"[245]\d\d[ -][245]\.\d{1,3}\.\d{1,3}(?: |$)|3")
ENHANCED = {  # RFC 3463's word for each code that aiosmtpd's own replies use
    b"250": b"2.0.0",
    b"500": b"5.5.2",
    b"501": b"5.5.4",
    b"503": b"5.5.1",
    b"552": b"5.3.4",
    b"555": b"5.5.4",
}


def coded(line: bytes) -> bytes:
    """The reply with an enhanced status code, which ENHANCEDSTATUSCODES promises on every one (RFC 2034 section 4)."""
    if CODED.match(line):
        return line
    code = line[:3]
    return b"%b %b%b" % (code, ENHANCED.get(code, b"%b.0.0" % code[:1]), line[3:])
