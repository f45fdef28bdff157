"""The client's half of an SMTP login: EHLO, who the client is and whose mail it sends, EHLO once more.

Source: RFC 5321 sections 4.1 and 4.2, RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 3461 section 4 (xtext); Postfix's
XCLIENT_README. Rule: what is offered after the login counts, so EHLO is said anew after each step that changes it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace

from mailauth.backends.exchange import LINE, Login, Script, Step, Unable
from mailauth.dialogue import Send, StartTLS

_REPLY = re.compile(rb"([2-5][0-9][0-9])([ -]?)(.*)", re.DOTALL)
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*|\[[A-Za-z0-9.:]+\]")  # RFC 5321 section 4.1.3: or a literal
MOST_LINE_CHARS = 500  # of what is offered
UNKNOWN = "[UNAVAILABLE]"  # how XCLIENT says that something is not known

Reply = tuple[int, list[str]]


def smtp_login(login: Login, *, by_xclient: bool = False) -> Script:
    """See exchange.Exchange. by_xclient: XCLIENT LOGIN=authcid stands for the login."""
    offered = yield from _introduced(login)
    if by_xclient:
        if "LOGIN" not in _words(offered, "XCLIENT"):
            raise Unable("does not offer us XCLIENT LOGIN; name our address in its smtpd_authorized_xclient_hosts")
        yield from _xclient(login, _words(offered, "XCLIENT"), login.authcid)
        return (yield from _hello(_name_of_client(login)))
    if login.ends.client.address and "ADDR" in _words(offered, "XCLIENT"):
        yield from _xclient(login, _words(offered, "XCLIENT"))
        login = replace(login, hostname=_name_of_client(login))
        offered = yield from _hello(login.hostname)
    if "PLAIN" not in _words(offered, "AUTH"):
        raise Unable("does not offer AUTH PLAIN; let it take PLAIN from us, or secure the connection with tls")
    yield Send(b"AUTH PLAIN " + base64.b64encode(login.plain) + b"\r\n")
    number, lines = yield from _reply()
    if number != 235:
        raise Unable(
            f"refuses the login{_shown(number, lines)}; are user and password_file right, has it this account?"
        )
    return (yield from _hello(login.hostname))


def smtp_offer(login: Login) -> Script:
    """What EHLO says to somebody who is not logged in, and no more."""
    offered = yield from _introduced(login)
    yield Send(b"QUIT\r\n")
    return offered


def common_offer(offers: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The lines that all of them hold, in upper case; of SIZE the smallest, of other arguments those of all."""
    first, *others = [{line.split()[0]: line.split()[1:] for line in map(str.upper, offer)} for offer in offers]
    lines = []
    for keyword, arguments in first.items():
        if any(keyword not in other for other in others):
            continue
        every = [arguments, *[other[keyword] for other in others]]
        lines.append(" ".join([keyword, *(_smallest(every) if keyword == "SIZE" else _shared(every))]))
    return tuple(lines)


def _smallest(sizes: list[list[str]]) -> list[str]:
    """RFC 1870 section 4: none, and 0, say that there is no fixed limit."""
    numbers = [int(size[0]) for size in sizes if size and size[0].isascii() and size[0].isdigit() and int(size[0])]
    return [str(min(numbers))] if numbers else []


def _shared(every: list[list[str]]) -> list[str]:
    return [word for word in every[0] if all(word in words for words in every)]


def _introduced(login: Login) -> Generator[Step, bytes, tuple[str, ...]]:
    """Greeting, EHLO and TLS; what is offered then."""
    yield from _greeted()
    offered = yield from _hello(login.hostname)
    if not login.starttls:
        return offered
    yield Send(b"STARTTLS\r\n")
    number, lines = yield from _reply()
    if number != 220:
        raise Unable(f"refuses STARTTLS{_shown(number, lines)}")
    yield StartTLS()
    return (yield from _hello(login.hostname))


def _greeted() -> Generator[Step, bytes, None]:
    number, lines = yield from _reply()
    if number != 220:
        raise Unable(f"does not greet with 220{_shown(number, lines)}")


def _name_of_client(login: Login) -> str:
    """After XCLIENT the client's own name is expected, as far as it is one; it comes into Received."""
    return login.name if _NAME.fullmatch(login.name) else login.hostname


def _hello(name: str) -> Generator[Step, bytes, tuple[str, ...]]:
    yield Send(b"EHLO " + name.encode("ascii", "replace") + b"\r\n")
    number, lines = yield from _reply()
    if number != 250:
        raise Unable(f"refuses EHLO{_shown(number, lines)}")
    printable = ["".join(c for c in line if " " <= c <= "~")[:MOST_LINE_CHARS].strip() for line in lines[1:]]
    return tuple(filter(None, printable))


def _xclient(login: Login, attributes: set[str], account: str = "") -> Generator[Step, bytes, None]:
    """Who the client is, and whose mail it sends. An IPv6 address is not taken where the server has no IPv6."""
    client, server = login.ends.client, login.ends.server
    who = {"PROTO": "ESMTP", "HELO": login.name, "LOGIN": account}
    where = {"PORT": str(client.port or ""), "DESTADDR": _literal(server.address), "DESTPORT": str(server.port or "")}
    number, lines = yield from _told(_literal(client.address) or UNKNOWN, where | who, attributes)
    if number == 501 and client.address:
        number, lines = yield from _told(UNKNOWN, who, attributes)
    if number != 220:
        raise Unable(f"refuses XCLIENT{_shown(number, lines)}")


def _told(address: str, more: Mapping[str, str], attributes: set[str]) -> Generator[Step, bytes, Reply]:
    """Of more, what is known and among the attributes that the server takes."""
    told = [f"{name}={_xtext(value)}" for name, value in more.items() if value and name in attributes]
    yield Send(" ".join(["XCLIENT", f"ADDR={address}", f"NAME={UNKNOWN}", *told]).encode() + b"\r\n")
    return (yield from _reply())


def _literal(address: str) -> str:
    return f"IPV6:{address}" if ":" in address else address


def _reply() -> Generator[Step, bytes, Reply]:
    """One reply: its code and its lines. Raises Unable."""
    lines: list[str] = []
    while True:
        line = yield LINE
        match = _REPLY.fullmatch(line)
        if match is None:
            raise Unable("does not speak SMTP")
        lines.append(match[3].decode("ascii", "replace"))
        if match[2] != b"-":
            return int(match[1]), lines


def _words(offered: Sequence[str], keyword: str) -> set[str]:
    """The arguments of one keyword; empty when it is not offered."""
    lines = [line.upper().split() for line in offered]
    return {word for line in lines if line[0] == keyword for word in line[1:]}


def _xtext(value: str) -> str:
    """RFC 3461 section 4, of UTF-8."""
    return "".join(chr(o) if 33 <= o <= 126 and o not in b"+=" else f"+{o:02X}" for o in value.encode())


def _shown(number: int, lines: list[str]) -> str:
    """A reply's codes; never its text, which may say back what we said."""
    match = _ENHANCED.match(lines[-1])
    return f" ({number} {match[0]})" if match else f" ({number})"
