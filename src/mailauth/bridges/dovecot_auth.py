"""The Dovecot auth client protocol, version 1, as its server: Postfix, Exim, maddy, Haraka and others ask by it.

Source: Dovecot's documentation, "Authentication Protocol"; Postfix's xsasl_dovecot_server.c and Exim's dovecot.c for
what they make of it. Rule: a dialogue of many exchanges, told apart by their ids. Postfix and Exim read every FAIL as a
wrong password, so a peer that announces version 1.0, as they do, hears of a Defer by the end of the connection.
"""

# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

import itertools
import os
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar, assert_never

from mailauth.attempt import Attempt, Credential
from mailauth.bridges.bridge import NOT_SERVED, Terms
from mailauth.bridges.dovecot_auth_words import Circumstances, circumstances, text
from mailauth.dialogue import Action, Actions, Again, Close, Judge, Reset, Send, Warn
from mailauth.factors.section import one_of, option, read
from mailauth.sasl.encoded import Broken, EncodedExchange, Prompt, Turn
from mailauth.sasl.login import Login
from mailauth.sasl.mechanism import Factory
from mailauth.sasl.plain import Plain
from mailauth.verdict import Accept, Defer, Outcome, Reason, Reject

MAJOR = b"1"
AUTH, TAB = b"AUTH\t", 9
NOBODY = (b"", "")
MAX_LINE_BYTES = 16_384  # AUTH_CLIENT_MAX_LINE_LENGTH of Dovecot's auth-client-interface.h
MAX_SAID_BYTES = 200  # of a reason, which Postfix puts into its reply line as it comes
MAX_NUMBER_BYTES = 10  # of a request or a process: 32 bits
MAX_NAME_BYTES = 255  # a login is said back up to here; Exim's buffer holds 8192 bytes of one line
MAX_PENDING = 16  # exchanges that wait for the client: Postfix never tells of one that the client has cancelled
PENDING_S = 180.0
MOST_TOLD = 64
MECHANISMS: Mapping[bytes, Factory] = {mechanism.name.encode(): mechanism for mechanism in (Plain(), Login())}
OFFER = b"VERSION\t1\t2\n" + b"".join(b"MECH\t%b\tplaintext\n" % name for name in MECHANISMS)
CODES = {
    **dict.fromkeys((Reason.DISABLED, Reason.DOMAIN_DISABLED, Reason.CLIENT_LOGON_OFF), b"user_disabled"),
    **dict.fromkeys((Reason.SERVICE_OFF, Reason.SUSPENDED), b"user_disabled"),
    Reason.EXPIRED: b"pass_expired",
    Reason.AUTHZID: b"authz_fail",
}
OK = b"OK\t%b\tuser=%b\n"
REFUSED = "Authentication failed."
NUMBERS = itertools.count(1)  # of connections


@dataclass(frozen=True, slots=True)
class DovecotAuth:
    """The bridge, and the keys of its [[bridge]] that are its own."""

    terms: Terms = option(doc="", wired=True)
    tempfail: str = option(
        "auto",
        check=one_of("auto", "close", "code"),
        doc="how `not now` is said: close ends the connection, code is for Dovecot's own programs; auto: by the peer",
    )
    host_waits: ClassVar[bool] = False
    silence_s: ClassVar[float | None] = None  # Postfix keeps its connection as long as a process lives

    def dialogue(self) -> DovecotAuthDialogue:
        return DovecotAuthDialogue(self.terms, self.tempfail, next(NUMBERS))


@dataclass(frozen=True, slots=True)
class Pending:
    """An exchange that waits for the client, since monotonic seconds."""

    exchange: EncodedExchange
    told: Circumstances
    since: float


class DovecotAuthDialogue:
    """One connection. number: unique among those of this bridge."""

    def __init__(self, terms: Terms, tempfail: str, number: int) -> None:
        self._terms = terms
        self._tempfail = tempfail
        self._number = number
        self._minor = 0  # until the peer says otherwise
        self._process = ""  # the peer's number of its own
        self._unread = b""
        self._now = 0.0
        self._pending: OrderedDict[bytes, Pending] = OrderedDict()
        self._judging: dict[int, tuple[bytes, str]] = {}  # by ticket: the id, the login to say back
        self._open: dict[bytes, int] = {}  # the ticket of each id that is still to be answered
        self._told: dict[bytes, Circumstances | None] = {}  # what was made of the words of earlier requests
        self._tickets = itertools.count(1)
        self._over = False
        self._done = False  # the peer says no more
        self._out: list[Action] = []

    # ---- inputs

    def opened(self) -> Actions:
        """All of it at once: Exim says nothing before DONE; and MECH before SPID, or they take it for the master's."""
        last = f"SPID\t{os.getpid()}\nCUID\t{self._number}\nCOOKIE\t{secrets.token_hex(16)}\nDONE\n"
        return [Send(OFFER + last.encode())]

    def received(self, data: bytes, now: float) -> Actions:
        self._now = now
        lines = (self._unread + data).split(b"\n")
        unread = self._unread = lines.pop()
        for line in lines:
            if self._over:
                break
            if len(line) >= MAX_LINE_BYTES:
                self._leave("sent a line longer than the protocol allows")
            elif line.startswith(AUTH):
                self._auth(line)
            else:
                self._line(line)
        if not self._over and len(unread) >= MAX_LINE_BYTES:
            self._leave("sent a line longer than the protocol allows")
        return self._flush()

    def judged(self, ticket: int, outcome: Outcome) -> Actions:
        number, login = self._judging.pop(ticket, NOBODY)
        if self._over:
            return []
        if self._open.get(number) == ticket:  # otherwise it was cancelled, and the id may be another's by now
            del self._open[number]
            match outcome:
                case Accept(principal):
                    self._out.append(Send(OK % (number, principal.login.encode())))
                case Reject(reason):
                    self._fail(number, _shown(login), CODES.get(reason, b""), _reason(self._terms.help_line))
                case Defer():
                    self._later(number, _shown(login))
                case _:
                    assert_never(outcome)
        if self._done:
            self._leave_if_done()
        return self._flush()

    def let_in(self, again: Again, accept: Accept) -> bytes:
        number = again.number
        if self._over or self._open.get(number) != again.ticket:
            return b""
        del self._open[number]
        return OK % (number, accept.principal.login.encode())

    def anew(self, again: Again) -> Actions:
        if not self._over and self._open.get(again.number) == again.ticket:
            del self._open[again.number]
            self._begin(again.number, again.words, again.question)
        return self._flush()

    def eof(self) -> Actions:
        self._done = True
        self._leave_if_done()
        return self._flush()

    # ---- what the peer says

    def _line(self, line: bytes) -> None:
        command, *words = line.split(b"\t", 2)
        if command == b"CONT" and len(words) == 2:
            self._cont(*words)
        elif command == b"CANCEL" and words:
            self._pending.pop(words[0], None)
            self._open.pop(words[0], None)
        elif command == b"VERSION":
            self._version(words)
        elif command == b"CPID" and words:
            self._process = text(words[0][:MAX_NUMBER_BYTES])
        # Whatever else there is (what later versions add) is passed over, as the protocol wants it.

    def _version(self, words: list[bytes]) -> None:
        if len(words) != 2 or words[0] != MAJOR or not words[1].isdigit():
            self._leave("speaks another version of the protocol")
        else:
            self._minor = int(words[1][:4])

    def _auth(self, line: bytes) -> None:
        end = line.find(b"\t", len(AUTH))
        number, words = line[len(AUTH) : end], line[end + 1 :]
        is_whole = end > 0 and number.isdigit() and len(number) <= MAX_NUMBER_BYTES and words and words[0] != TAB
        if not is_whole or number in self._open:
            self._leave("sent a request that cannot be told from another")
            return
        if self._pending:
            self._pending.pop(number, None)
        question = blake2b(words, digest_size=16, key=self._terms.secret).digest()
        if question in self._terms.recurring:
            ticket = self._open[number] = next(self._tickets)
            self._out.append(Again(ticket, question, self._process, number, words))
        else:
            self._begin(number, words, question)

    def _begin(self, number: bytes, words: bytes, question: bytes) -> None:
        head, _, response = words.partition(b"\tresp=")  # always the last: what stands behind it is its value
        mechanism, _, words = head.partition(b"\t")
        told = self._told.get(words)
        if told is None:
            if len(self._told) >= MOST_TOLD:
                self._told.clear()
            told = self._told[words] = circumstances(words.split(b"\t"), self._terms)
        if told is None:
            self._out.append(Warn(NOT_SERVED))
            self._later(number, b"")
            return
        factory = MECHANISMS.get(mechanism.upper())
        if factory is None:
            self._fail(number, reason=b"Unsupported authentication mechanism.")
            return
        exchange = EncodedExchange(factory)
        # Exim sends an empty value where the client has sent none.
        self._turn(number, exchange, told, exchange.begin(response or None), question)

    def _cont(self, number: bytes, response: bytes) -> None:
        pending = self._pending.pop(number, None)
        if pending is not None and self._now - pending.since < PENDING_S:
            self._turn(number, pending.exchange, pending.told, pending.exchange.answer(response))
        elif number not in self._open:
            self._later(number, b"")  # forgotten: says nothing about the password

    def _turn(
        self, number: bytes, exchange: EncodedExchange, told: Circumstances, turn: Turn, question: bytes = b""
    ) -> None:
        if isinstance(turn, Credential):
            ticket = next(self._tickets)
            self._judging[ticket] = number, turn.authcid
            self._open[number] = ticket
            attempt = Attempt(turn, told.service, told.peer, told.tls, told.name, question)
            self._out.append(Judge(ticket, attempt, self._process))
        elif isinstance(turn, Prompt):
            while len(self._pending) >= MAX_PENDING:
                self._pending.popitem(last=False)
            self._pending[number] = Pending(exchange, told, self._now)
            self._out.append(Send(b"CONT\t%b\t%b\n" % (number, turn.line)))
        else:
            self._broken(number, turn)

    # ---- what it hears

    def _broken(self, number: bytes, broken: Broken) -> None:
        self._fail(number, code=b"invalid_base64" if b"base64" in broken.text else b"", reason=broken.text)

    def _fail(self, number: bytes, login: bytes = b"", code: bytes = b"", reason: bytes = b"") -> None:
        said = [b"FAIL", number]
        said += [key + b"=" + value for key, value in ((b"user", login), (b"code", code), (b"reason", reason)) if value]
        self._out.append(Send(b"\t".join(said) + b"\n"))

    def _later(self, number: bytes, login: bytes) -> None:
        """Not judged. A connection that ends takes its other exchanges along: they are told later, too."""
        if self._tempfail == "code" or (self._tempfail == "auto" and self._minor > 0):
            user = b"\tuser=" + login if login else b""
            self._out.append(Send(b"FAIL\t%b%b\tcode=temp_fail\ttemp\n" % (number, user)))
            return
        self._over = True
        self._out.append(Reset())

    def _leave_if_done(self) -> None:
        if self._done and not self._judging and not self._over:
            self._leave()

    def _leave(self, why: str = "") -> None:
        self._over = True
        self._unread = b""
        if why:
            self._out.append(Warn(why))
        self._out.append(Close())

    def _flush(self) -> Actions:
        out, self._out = self._out, []
        return out


def _shown(login: str) -> bytes:
    """The login as it may be said back: neither Postfix nor Exim undoes an escape, so what would need one is not."""
    encoded = login.encode()
    return encoded if login.isprintable() and len(encoded) <= MAX_NAME_BYTES else b""


def _reason(help_line: str) -> bytes:
    """What Postfix shows behind its own words. SMTP replies are ASCII, so a help line that is not stays out."""
    said = f"{REFUSED} {help_line}" if help_line and help_line.isascii() else REFUSED
    return said.encode()[:MAX_SAID_BYTES]


def build(section: Mapping[str, object]) -> DovecotAuth:
    """The plug-in's entry. Raises BadSection."""
    bridge: DovecotAuth = read(DovecotAuth, section)
    return bridge
