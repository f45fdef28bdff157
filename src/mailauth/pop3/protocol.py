"""POP3 up to login: the AUTHORIZATION state (RFC 1939 section 4, RFC 2449, RFC 2595, RFC 5034).

Rule: a Dialogue: bytes in, actions out. After login the first command hands the connection over, unread, so a login
that only says QUIT costs the mailbox nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mailauth.attempt import Attempt, Credential, Service
from mailauth.dialogue import Action, Actions, Close, Ending, Enter, Judge, Lines, LineTooLong, Send, StartTLS
from mailauth.pop3 import replies
from mailauth.sasl.encoded import Broken, EncodedExchange, Prompt, Turn
from mailauth.sasl.mechanism import Factory
from mailauth.verdict import Accept, Defer, Outcome, Principal

MAX_LINE_BYTES = 12_288 + 64  # RFC 2449 allows 255; a SASL response may be as long as in SMTP
MAX_BAD_COMMANDS = 20
MAX_COMMANDS = 200  # before login
ALWAYS = (b"TOP", b"UIDL", b"RESP-CODES", b"AUTH-RESP-CODE", b"PIPELINING")
ALONE = (b"RESP-CODES", b"AUTH-RESP-CODE")  # what holds whatever the server can that takes over at login
HTTP_VERBS = frozenset(
    {b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH", b"TRACE", b"PRI"}
)


@dataclass(frozen=True, slots=True)
class Offer:
    """What one listener offers. mechanisms: by name; starttls: TLS can be started; clear: no TLS needed.

    always: capabilities, TLS or not. unavailable: whether nobody can be judged now, so that no password is to be asked
    for.
    """

    mechanisms: Mapping[str, Factory]
    starttls: bool
    clear: bool = False
    always: Sequence[bytes] = ALWAYS
    help_line: bytes = b""
    max_failures: int = 5
    unavailable: Callable[[], bool] = bool  # bool() is False: never


class Pop3Dialogue:
    """One POP3 connection, from greeting to login."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._lines = Lines(MAX_LINE_BYTES)
        self._exchange: EncodedExchange | None = None
        self._user: bytes | None = None
        self._peer = ""
        self._tls = False
        self._principal: Principal | None = None
        self._tickets = 0
        self._judging = False
        self._over = False
        self._failures_count = 0
        self._bad_count = 0
        self._commands_count = 0
        self._out: list[Action] = []

    # ---- inputs

    def opened(self, peer: str, tls: bool, refuse: Ending | None) -> Actions:
        self._peer, self._tls = peer, tls
        if refuse is not None:
            return self.ending(refuse)
        self._say(b"+OK POP3 ready.")
        return self._flush()

    def received(self, data: bytes) -> Actions:
        if self._over:
            return []
        self._lines.feed(data)
        self._go_on()
        return self._flush()

    def tls_started(self) -> Actions:
        self._tls = True
        self._user = None
        return []

    def judged(self, ticket: int, outcome: Outcome, behind: Sequence[str] | None = None) -> Actions:
        if self._over or not self._judging or ticket != self._tickets:
            return []
        self._judging = False
        self._say(replies.reply(outcome, self._offer.help_line))
        if type(outcome) is Accept:
            self._principal = outcome.principal
            if behind is not None:
                self._enter(outcome.principal, self._lines.rest())
        elif type(outcome) is not Defer:
            self._failures_count += 1
        if self._failures_count >= self._offer.max_failures:
            self._leave()
        self._go_on()
        return self._flush()

    def ending(self, cause: Ending) -> Actions:
        self._leave(replies.bye(cause))
        return self._flush()

    def eof(self) -> Actions:
        self._leave()
        return self._flush()

    # ---- the stream

    def _go_on(self) -> None:
        """Act on what has come, until more is needed."""
        try:
            while not (self._judging or self._over) and (line := self._lines.line()) is not None:
                if self._exchange is not None:
                    self._turn(self._exchange, self._exchange.answer(line.rstrip(b"\r\n")))
                else:
                    self._command(line)
        except LineTooLong:
            self._leave(b"-ERR Line too long.")

    def _command(self, line: bytes) -> None:
        name, _, argument = (line[:-2] if line.endswith(b"\r\n") else line[:-1]).partition(b" ")
        name = name.upper()
        if self._principal is not None and name != b"QUIT":
            self._enter(self._principal, line + self._lines.rest())
            return
        if name in HTTP_VERBS and self._principal is None:  # a browser made to speak to us: not one word more
            self._leave()
            return
        self._commands_count += self._principal is None
        if self._commands_count > MAX_COMMANDS:
            self._leave(b"-ERR Too many commands.")
        elif (handler := COMMANDS.get(name)) is None:
            self._bad(b"Unknown command, or not before login.")
        else:
            handler(self, argument)

    def _turn(self, exchange: EncodedExchange, turn: Turn) -> None:
        self._exchange = None
        if isinstance(turn, Prompt):
            self._exchange = exchange
            self._say(b"+ " + turn.line)
        elif isinstance(turn, Broken):
            self._bad(turn.text)
        else:
            self._judge(turn)

    # ---- commands

    def _capa(self, argument: bytes) -> None:  # noqa: ARG002
        capabilities = list(self._offer.always)
        if self._may_log_in():
            capabilities += [b"USER", b"SASL " + b" ".join(name.encode() for name in self._offer.mechanisms)]
        if self._offer.starttls and not self._tls:
            capabilities.append(b"STLS")
        self._say(b"\r\n".join([b"+OK Capabilities follow.", *capabilities, b"."]))

    def _stls(self, argument: bytes) -> None:
        if argument or self._tls or not self._offer.starttls or self._principal is not None:
            self._bad(b"TLS is on already." if self._tls else b"TLS cannot be started here.")
            return
        self._say(b"+OK Begin TLS negotiation now.")
        self._lines.rest()  # what came behind in clear was not said under TLS: never acted on
        self._out.append(StartTLS())

    def _user_name(self, argument: bytes) -> None:
        if not self._may_log_in():
            self._say(replies.NO_TLS)
        elif self._offer.unavailable():
            self._say(replies.DEFERRED)
        elif not argument or b"\0" in argument:
            self._bad(b"USER takes a login.")
        else:
            self._user = argument
            self._say(b"+OK Send PASS.")

    def _password(self, argument: bytes) -> None:
        """PASS: the password is the rest of the line, spaces and all (RFC 1939 section 7)."""
        user, self._user = self._user, None
        if not self._may_log_in():
            self._say(replies.NO_TLS)
        elif user is None:  # or it was deferred, and PASS came behind it unasked
            self._say(replies.DEFERRED) if self._offer.unavailable() else self._bad(b"USER first.")
        elif not argument or b"\0" in argument:
            self._bad(b"PASS takes a password.")
        else:
            self._judge(Credential(*(value.decode("utf-8", "surrogateescape") for value in (user, argument))))

    def _auth(self, argument: bytes) -> None:
        words = argument.split()
        if not self._may_log_in():
            self._say(replies.NO_TLS)
        elif not words:  # RFC 5034 dropped this form; Outlook Express and others still ask so
            self._say(b"\r\n".join([b"+OK", *(name.encode() for name in self._offer.mechanisms), b"."]))
        elif len(words) > 2:
            self._bad(b"AUTH takes a mechanism and an optional initial response.")
        elif (factory := self._offer.mechanisms.get(words[0].decode("ascii", "replace").upper())) is None:
            self._bad(b"Unsupported authentication mechanism.")
        elif len(words) == 1 and self._offer.unavailable():
            self._say(replies.DEFERRED)
        else:
            exchange = EncodedExchange(factory)
            self._turn(exchange, exchange.begin(words[1] if len(words) == 2 else None))

    def _noop(self, argument: bytes) -> None:  # noqa: ARG002
        self._say(b"+OK")

    def _quit(self, argument: bytes) -> None:  # noqa: ARG002
        self._leave(b"+OK Bye.")

    # ---- outputs

    def _may_log_in(self) -> bool:
        return self._tls or self._offer.clear

    def _judge(self, credential: Credential) -> None:
        self._tickets += 1
        self._judging = True
        self._out.append(Judge(self._tickets, Attempt(credential, Service.POP3, self._peer, self._tls)))

    def _say(self, line: bytes) -> None:
        self._out.append(Send(line + b"\r\n"))

    def _bad(self, text: bytes) -> None:
        self._say(b"-ERR " + text)
        self._bad_count += 1
        if self._bad_count >= MAX_BAD_COMMANDS:
            self._leave(b"-ERR Too many bad commands.")

    def _enter(self, principal: Principal, leftover: bytes) -> None:
        self._over = True
        self._out.append(Enter(principal, leftover))

    def _leave(self, bye: bytes = b"") -> None:
        if self._over:
            return
        self._over = True
        self._lines.rest()  # nobody acts on it any more
        if bye:
            self._say(bye)
        self._out.append(Close())

    def _flush(self) -> Actions:
        out, self._out = self._out, []
        return out


COMMANDS: Mapping[bytes, Callable[[Pop3Dialogue, bytes], None]] = {
    b"CAPA": Pop3Dialogue._capa,
    b"STLS": Pop3Dialogue._stls,
    b"USER": Pop3Dialogue._user_name,
    b"PASS": Pop3Dialogue._password,
    b"AUTH": Pop3Dialogue._auth,
    b"NOOP": Pop3Dialogue._noop,
    b"QUIT": Pop3Dialogue._quit,
}
