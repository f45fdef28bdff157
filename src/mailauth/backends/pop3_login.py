"""The client's half of a POP3 login: who the client is, then whose mailbox.

Source: RFC 1939, RFC 2449 (CAPA), RFC 2595 (STLS), RFC 5034 (AUTH); XCLIENT as Dovecot has it for its
`login_trusted_networks`. Rule: USER and PASS only where the credential says it all and there is no SASL.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Generator

from mailauth.backends.exchange import LINE, Login, Script, Step, Unable
from mailauth.dialogue import Send, StartTLS

_CODE = re.compile(rb"-ERR ?\[([A-Z/-]{1,40})\]", re.IGNORECASE)


def pop3_login(login: Login) -> Script:
    """See exchange.Exchange."""
    greeting = yield LINE
    if not greeting.startswith(b"+OK"):
        raise Unable("does not greet with +OK")
    if login.starttls:
        yield from _must(b"STLS")
        yield StartTLS()
    offered = yield from _capabilities()
    if b"[XCLIENT]" in greeting:
        offered.add("XCLIENT")
    client = login.ends.client
    if client.address and "XCLIENT" in offered:
        port = f" PORT={client.port}" if client.port else ""  # Dovecot takes no 0
        yield from _must(f"XCLIENT ADDR={client.address}{port}".encode())
    yield from _authenticated(login, offered)
    return ()


def _authenticated(login: Login, offered: set[str]) -> Generator[Step, bytes, None]:
    if "SASL PLAIN" not in offered:
        if login.authzid or "USER" not in offered:
            raise Unable("does not offer SASL PLAIN; let it take PLAIN from us, or secure the connection with tls")
        yield from _must(b"USER " + _word(login.authcid))
        yield Send(b"PASS " + _word(login.password) + b"\r\n")
    else:
        yield Send(b"AUTH PLAIN\r\n")
        line = yield LINE
        if not line.startswith(b"+ ") and line != b"+":
            raise Unable(f"refuses the login{_code(line)} before it has heard the password")
        yield Send(base64.b64encode(login.plain) + b"\r\n")
    line = yield LINE
    if not line.startswith(b"+OK"):
        raise Unable(f"refuses the login{_code(line)}; are user and password_file right, and has it this account?")


def _capabilities() -> Generator[Step, bytes, set[str]]:
    """What is offered, a word each, and `SASL PLAIN`. Servers before RFC 2449 offer USER alone."""
    yield Send(b"CAPA\r\n")
    line = yield LINE
    if not line.startswith(b"+OK"):
        return {"USER"}
    offered: set[str] = set()
    while (line := (yield LINE)) != b".":
        words = line.decode("ascii", "replace").upper().split()
        offered.update(words[:1])
        if words[:1] == ["SASL"]:
            offered.update(f"SASL {name}" for name in words[1:])
    return offered


def _must(command: bytes) -> Generator[Step, bytes, None]:
    yield Send(command + b"\r\n")
    line = yield LINE
    if not line.startswith(b"+OK"):
        raise Unable(f"refuses {command.split(b' ')[0].decode()}{_code(line)}")


def _code(line: bytes) -> str:
    match = _CODE.match(line)
    return "" if match is None else f" [{match[1].decode().upper()}]"


def _word(text: str) -> bytes:
    """An argument that ends with its line (RFC 1939 section 7: a password may hold spaces)."""
    return text.encode()
