"""The client's half of an IMAP login: who the client is, then whose mailbox.

Source: RFC 9051 sections 6.2 and 7.1, RFC 4959 (SASL-IR), RFC 2971 (ID), with the keys that Dovecot takes from its
`login_trusted_networks`. Rule: a server that has logged somebody in before we asked (PREAUTH) is not taken.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Generator

from mailauth.backends.exchange import LINE, Login, Script, Step, Unable
from mailauth.dialogue import Send, StartTLS
from mailauth.ends import Ends

_STATUS = re.compile(rb"(OK|NO|BAD)\b ?(?:\[([A-Za-z-]{1,40})( [^\]]*)?\])?", re.IGNORECASE)
_UNTAGGED = re.compile(rb"\* CAPABILITY (.*)", re.IGNORECASE)
_ATOM = re.compile(
    r"""[^\x00-\x20\x7f-\uffff()\[\]{}%*"\\]{1,100}"""
)  # RFC 9051 section 9, less what a reply cannot hold

Answer = tuple[bool, str, tuple[str, ...]]  # whether OK; the response code as it is shown; capabilities on the way


def imap_login(login: Login) -> Script:
    """See exchange.Exchange."""
    greeting: bytes = yield LINE
    if not greeting.upper().startswith(b"* OK"):
        raise Unable("does not greet with OK")
    known = _status(greeting[2:])[2]
    if login.starttls:
        yield from _must(b"a1", b"STARTTLS")
        yield StartTLS()
        known = ()
    known = known or (yield from _must(b"a2", b"CAPABILITY"))
    capabilities = {atom.upper() for atom in known}
    if login.ends.client.address and "ID" in capabilities:
        yield Send(b"a3 ID (" + _pairs(login.ends) + b")\r\n")
        yield from _answered(b"a3")
    if "AUTH=PLAIN" not in capabilities:
        raise Unable("does not offer AUTH=PLAIN; let it take PLAIN from us, or secure the connection with tls")
    after = yield from _authenticated(login, "SASL-IR" in capabilities)
    return after or (yield from _must(b"a5", b"CAPABILITY"))


def _pairs(ends: Ends) -> bytes:
    """What ID tells. What is not known is left out: Dovecot takes no port 0."""
    told = {
        "x-originating-ip": ends.client.address,
        "x-originating-port": ends.client.port,
        "x-connected-ip": ends.server.address,
        "x-connected-port": ends.server.port,
    }
    return " ".join(f'"{key}" "{value}"' for key, value in told.items() if value).encode()


def _authenticated(login: Login, initial: bool) -> Generator[Step, bytes, tuple[str, ...]]:
    message = base64.b64encode(login.plain)
    if initial:
        yield Send(b"a4 AUTHENTICATE PLAIN " + message + b"\r\n")
    else:
        yield Send(b"a4 AUTHENTICATE PLAIN\r\n")
        yield from _continued()
        yield Send(message + b"\r\n")
    is_ok, shown, capabilities = yield from _answered(b"a4")
    if not is_ok:
        raise Unable(f"refuses the login{shown}; are user and password_file right, and has it this account?")
    return capabilities


def _must(tag: bytes, command: bytes) -> Generator[Step, bytes, tuple[str, ...]]:
    """One command that has to succeed; the capabilities that are told on the way."""
    yield Send(tag + b" " + command + b"\r\n")
    is_ok, shown, capabilities = yield from _answered(tag)
    if not is_ok:
        raise Unable(f"refuses {command.decode()}{shown}")
    return capabilities


def _continued() -> Generator[Step, bytes, None]:
    while True:
        line = yield LINE
        if line.startswith(b"+"):
            return
        if line.startswith(b"a4 "):
            raise Unable(f"refuses the login{_status(line[3:])[1]} before it has heard the password")
        _refuse_goodbye(line)


def _answered(tag: bytes) -> Generator[Step, bytes, Answer]:
    """The tagged answer. Other lines, but for capabilities, are none of ours."""
    told: tuple[str, ...] = ()
    while True:
        line = yield LINE
        if line.startswith(tag + b" "):
            is_ok, shown, capabilities = _status(line[len(tag) + 1 :])
            return is_ok, shown, capabilities or told
        if line.startswith(b"+"):
            raise Unable("asks for more than it has offered to")
        _refuse_goodbye(line)
        untagged = _UNTAGGED.fullmatch(line)
        if untagged is not None:
            told = _atoms(untagged[1])


def _status(rest: bytes) -> Answer:
    """What stands behind a tag. Raises Unable."""
    match = _STATUS.match(rest)
    if match is None:
        raise Unable("does not speak IMAP")
    word = (match[2] or b"").decode().upper()
    capabilities = _atoms(match[3] or b"") if word == "CAPABILITY" else ()
    return match[1].upper() == b"OK", f" [{word}]" if word else "", capabilities


def _atoms(words: bytes) -> tuple[str, ...]:
    return tuple([atom for atom in words.decode("ascii", "replace").split() if _ATOM.fullmatch(atom)])


def _refuse_goodbye(line: bytes) -> None:
    if line.upper().startswith(b"* BYE"):
        raise Unable("says goodbye")
