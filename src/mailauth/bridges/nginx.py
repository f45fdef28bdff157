"""nginx's `auth_http`, as its server: whether a client of its mail proxy may come in, and to which back end.

Source: nginx.org, ngx_mail_auth_http_module, and its source for what is escaped. It reads header fields only, neither
status nor body, so every answer has them: without, its clients hear of an internal error. Rule: what goes into a field
is ours or an account's own login; and nothing goes to a back end that it, or XCLIENT, could take for somebody else.
"""

# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import ClassVar, assert_never

from mailauth.attempt import Credential, Service
from mailauth.bridges.bridge import NOT_SERVED, Terms
from mailauth.bridges.http1 import Reply, Request, unquoted
from mailauth.bridges.http_dialogue import WRONG_TOKEN, Answer, HttpDialogue, Question, require_token
from mailauth.dialogue import BridgeDialogue
from mailauth.factors.section import BadSection, between, option, read, word
from mailauth.verdict import Accept, Defer, Outcome, Principal, Reject

LOGIN = "{login}"
TRIES = 5  # on one connection, which nginx then closes; our own listeners do the same
PATIENCE = {3: 2}  # the third refusal on a connection waits twice as long, those after it four times
MOST_PATIENCE = 4
# What a back end, its master login or XCLIENT (xtext, RFC 3461 section 4) gives a meaning of its own.
UNSAFE = re.compile(r"[*%\s\x00-\x1f\x7f-\x9f]")
XTEXT = re.compile(r"\+[0-9A-Fa-f]{2}")
ENTRY = re.compile(r"(?:(\S+) +)?(imap|pop3|smtp) +(\S+):([0-9]{1,5})")
METHOD = "asks by a method that shows no password; let imap_auth, pop3_auth and smtp_auth be plain and login only"
NO_BACK_END = "asks for a service that has no back end in `backends`; it is told: later"
UNSAFE_NAME = "would have to tell a back end a login that it takes for another; it is refused"

REFUSED = {
    Service.IMAP: b"[AUTHENTICATIONFAILED] Authentication failed.",
    Service.POP3: b"[AUTH] Authentication failed.",
    Service.SMTP: b"Authentication failed.",
}
LATER = b"Temporary authentication failure, try again later"
DEFERRED = {Service.IMAP: b"[UNAVAILABLE] " + LATER, Service.POP3: b"[SYS/TEMP] " + LATER, Service.SMTP: LATER}
CODES = {"refused": b"535 5.7.8", "deferred": b"454 4.7.0", "needed": b"530 5.7.0"}

Places = Mapping[tuple[str, Service], tuple[bytes, bytes]]  # address and port, for an account, a domain or "" for all


@dataclass(frozen=True, slots=True)
class Nginx:
    """The bridge, and the keys of its [[bridge]] that are its own."""

    terms: Terms = option(doc="", wired=True)
    backends: tuple[str, ...] = option(
        doc="where clients go that may come in: `SERVICE IP:PORT`; with an account's or a domain's name before it, "
        "those only"
    )
    token_header: str = option(
        "X-Auth-Key", check=word, doc="the header field of auth_http_header that has the token of token_file"
    )
    master_login: str = option(
        "",
        doc="the login that the back end is told in place of the client's, such as {login}*proxy; with password_file",
    )
    password: str = option(
        "", secret=True, doc="the password that the back end is told then; without it, it gets the client's own"
    )
    master_for: tuple[str, ...] = option((), doc="accounts and domains that are logged in so; none: all of them")
    wait_s: int = option(
        2, check=between(1, 30), doc="seconds that nginx keeps a refused client waiting; later up to four times as long"
    )
    host_waits: ClassVar[bool] = True
    silence_s: ClassVar[float | None] = 10.0  # one connection for each request

    def dialogue(self) -> BridgeDialogue:
        return HttpDialogue(Door(self, places(self.backends)).ask)


@dataclass(frozen=True, slots=True)
class Asked:
    """What nginx says of the client beside its password. tries: on this connection, this one too."""

    service: Service
    tries: int


@dataclass(frozen=True, slots=True)
class Door:
    """Answers requests. places: see `places`."""

    bridge: Nginx
    places: Places

    def ask(self, request: Request) -> Answer:
        """The answer to one. Raises Malformed."""
        bridge, terms = self.bridge, self.bridge.terms
        service = terms.service(_ascii(request.one(b"auth-protocol")))
        attempts = request.one(b"auth-login-attempt")
        asked = Asked(service or _told(request), int(attempts[:4]) if attempts.isdigit() else 1)
        if terms.admits is None or not terms.admits(request.one(bridge.token_header.lower().encode())):
            return self._deferred(asked).warned(WRONG_TOKEN)
        if service is None:
            return self._deferred(asked).warned(NOT_SERVED)
        method = request.one(b"auth-method")
        if method == b"none":
            return self._negative(asked, b"Authentication required", CODES["needed"])
        if method != b"plain":
            return self._deferred(asked).warned(METHOD)
        credential = Credential(unquoted(request.one(b"auth-user")), unquoted(request.one(b"auth-pass")))
        tls = request.one(b"auth-ssl") == b"on"
        attempt = terms.attempt(credential, service, _ascii(request.one(b"client-ip")), tls=tls)
        return Question(attempt, lambda outcome: self._spelt(asked, outcome))

    def _spelt(self, asked: Asked, outcome: Outcome) -> Reply:
        match outcome:
            case Accept(principal):
                return self._accepted(asked, principal)
            case Reject():
                return self._refused(asked)
            case Defer():
                return self._deferred(asked)
            case _:
                assert_never(outcome)

    def _accepted(self, asked: Asked, principal: Principal) -> Reply:
        login = principal.login
        if UNSAFE.search(login) or (asked.service is Service.SMTP and XTEXT.search(login)):
            return self._refused(asked).warned(UNSAFE_NAME)
        place = self._place(login, asked.service)
        if place is None:
            return self._deferred(asked).warned(NO_BACK_END)
        user, password = login, ""
        if self.bridge.password and _holds(self.bridge.master_for, login):
            user, password = (self.bridge.master_login or LOGIN).replace(LOGIN, login), self.bridge.password
        fields = [(b"Auth-Status", b"OK"), (b"Auth-Server", place[0]), (b"Auth-Port", place[1])]
        fields.append((b"Auth-User", user.encode()))
        if password:
            fields.append((b"Auth-Pass", password.encode()))
        return Reply(fields=fields)

    def _place(self, login: str, service: Service) -> tuple[bytes, bytes] | None:
        named = (login, login.rpartition("@")[2], "")
        return next((self.places[name, service] for name in named if (name, service) in self.places), None)

    def _refused(self, asked: Asked) -> Reply:
        help_line = self.bridge.terms.help_line
        text = REFUSED[asked.service]
        if help_line and (help_line.isascii() or asked.service is not Service.SMTP):
            text += b" " + help_line.encode()
        return self._negative(asked, text, CODES["refused"])

    def _deferred(self, asked: Asked) -> Reply:
        return self._negative(asked, DEFERRED[asked.service], CODES["deferred"])

    def _negative(self, asked: Asked, text: bytes, code: bytes) -> Reply:
        """Without Auth-Wait nginx closes the connection, and some programs take that for more than a wrong password."""
        fields = [(b"Auth-Status", text), (b"Auth-Error-Code", code)]
        if asked.tries < TRIES:
            longer = 1 if asked.tries < min(PATIENCE) else PATIENCE.get(asked.tries, MOST_PATIENCE)
            fields.append((b"Auth-Wait", b"%d" % (self.bridge.wait_s * longer)))
        return Reply(fields=fields)


def places(written: tuple[str, ...]) -> Places:
    """The back ends by whom and what they are for. Raises BadSection."""
    found: dict[tuple[str, Service], tuple[bytes, bytes]] = {}
    for entry in written:
        words = ENTRY.fullmatch(entry.strip())
        if words is None or not 0 < int(words[4]) < 65_536:
            raise BadSection("backends", "must be entries such as `imap 192.0.2.1:143` or `example.org imap [::1]:143`")
        try:
            host = str(ip_address(words[3].removeprefix("[").removesuffix("]")))
        except ValueError:
            raise BadSection("backends", "must hold IP addresses: nginx looks no names up here") from None
        name = (words[1] or "").lower(), Service(words[2])
        if name in found:
            raise BadSection("backends", "holds two entries for the same")
        found[name] = (host.encode(), words[4].encode())
    if not found:
        raise BadSection("backends", "is empty: nobody could go anywhere")
    return found


def _holds(names: tuple[str, ...], login: str) -> bool:
    return not names or login in names or login.rpartition("@")[2] in names


def _told(request: Request) -> Service:
    """How to speak to a client whose service is not served."""
    return {b"imap": Service.IMAP, b"pop3": Service.POP3}.get(request.one(b"auth-protocol"), Service.SMTP)


def _ascii(value: bytes) -> str:
    return value.decode("ascii", "replace")


def build(section: Mapping[str, object]) -> Nginx:
    """The plug-in's entry. Raises BadSection."""
    bridge: Nginx = read(Nginx, section)
    require_token(bridge.terms)
    places(bridge.backends)
    if bridge.master_login and (not bridge.password or LOGIN not in bridge.master_login):
        raise BadSection("master_login", "must have {login} in it, and a password_file beside it")
    for key, text in (("master_login", bridge.master_login), ("password_file", bridge.password)):
        if not text.isprintable():
            raise BadSection(key, "must be one line of printable text")
    return bridge
