"""IMAP up to login, and the few commands after it that need no mailbox (RFC 3501, RFC 4959, RFC 7888, RFC 2971).

Rule: a Dialogue: bytes in, actions out. The first command after login that needs a mailbox hands the connection over,
with that command unread, so a login that selects nothing costs the mailbox nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mailauth.attempt import Attempt, Credential, Service
from mailauth.dialogue import (
    Action,
    Actions,
    Close,
    Ending,
    Enter,
    Judge,
    Lines,
    LineTooLong,
    Send,
    StartTLS,
)
from mailauth.imap import replies, syntax
from mailauth.imap.offer import Offer
from mailauth.sasl.encoded import Broken, EncodedExchange, Prompt, Turn
from mailauth.verdict import Accept, Defer, Outcome, Principal

MAX_LINE_BYTES = 12_288 + 64  # a SASL response (RFC 4954 section 4.3 gives the figure) behind a tag and AUTHENTICATE
MAX_LITERAL_BYTES = 4096  # RFC 7888 section 5
MAX_COMMAND_BYTES = 16_384
MAX_BAD_COMMANDS = 20  # some clients try a dozen commands first; two were fatal to Outlook elsewhere
MAX_COMMANDS = 200  # before login; nobody needs a tenth of that
HTTP_VERBS = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"DELETE ", b"PATCH ", b"TRACE ")


class ImapDialogue:
    """One IMAP connection, from greeting to login."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._lines = Lines(MAX_LINE_BYTES)
        self._command = b""  # lines and literals of the command that is not yet whole
        self._literal_bytes = 0  # octets of a literal still to come
        self._exchange: EncodedExchange | None = None
        self._tag = b""
        self._peer = ""
        self._client = ""
        self._tls = False
        self._principal: Principal | None = None
        self._tickets = 0
        self._judging = False
        self._over = False
        self._failures = 0
        self._bad_commands = 0
        self._commands = 0
        self._out: list[Action] = []

    # ---- inputs

    def opened(self, peer: str, tls: bool, refuse: Ending | None) -> Actions:
        self._peer, self._tls = peer, tls
        if refuse is not None:
            return self.ending(refuse)
        self._say(b"* OK [CAPABILITY " + self._capabilities() + b"] IMAP ready.")
        return self._flush()

    def received(self, data: bytes) -> Actions:
        self._lines.feed(data)
        self._go_on()
        return self._flush()

    def tls_started(self) -> Actions:
        self._tls = True
        self._client = ""  # said in clear, by whoever
        return []

    def judged(self, ticket: int, outcome: Outcome) -> Actions:
        if not self._judging or ticket != self._tickets:
            return []
        self._judging = False
        self._say(self._tag + b" " + replies.reply(outcome, self._offer.logged_in, self._offer.help_line))
        if type(outcome) is Accept:
            self._principal = outcome.principal
        elif type(outcome) is not Defer:
            self._failures += 1
        if self._failures >= self._offer.max_failures:
            self._leave(b"* BYE Too many failed logins.")
        self._go_on()
        return self._flush()

    def ending(self, cause: Ending) -> Actions:
        if not self._over:
            self._leave(replies.bye(cause))
        return self._flush()

    def eof(self) -> Actions:
        if not self._over:
            self._over = True
            self._out.append(Close())
        return self._flush()

    # ---- the stream: lines, literals, responses

    def _go_on(self) -> None:
        """Act on what has come, until more is needed."""
        try:
            while not (self._judging or self._over) and self._take():
                pass
        except LineTooLong:
            self._leave(b"* BYE [UNAVAILABLE] Line too long.")

    def _take(self) -> bool:
        """Take one line or literal; False: it is not all there."""
        if self._literal_bytes:
            octets = self._lines.octets(self._literal_bytes)
            if octets is None:
                return False
            self._literal_bytes = 0
            self._command += octets
            return True
        line = self._lines.line()
        if line is None:
            return False
        if self._exchange is not None:
            self._turn(self._exchange, self._exchange.answer(line.rstrip(b"\r\n")))
        else:
            self._line(line)
        return True

    def _line(self, line: bytes) -> None:
        literal = syntax.announced(line)
        first = not self._command
        if first and self._principal is not None and not _needs_no_mailbox(line):
            self._over = True
            self._out.append(Enter(self._principal, line + self._lines.rest()))
            return
        if literal is None:
            command, self._command = self._command + line, b""
            self._execute(command)
            return
        if (
            len(self._command) + len(line) + literal.size_bytes > MAX_COMMAND_BYTES
            or literal.size_bytes > MAX_LITERAL_BYTES
        ):
            self._too_big(self._command + line, literal)
        elif literal.synchronising and self._asks_in_clear(self._command + line):
            self._reply(self._command + line, replies.PRIVACY_REQUIRED)
            self._command = b""
        else:
            self._command += line
            self._literal_bytes = literal.size_bytes
            if literal.synchronising:
                self._say(b"+ Ready")

    def _too_big(self, text: bytes, literal: syntax.Announced) -> None:
        self._command = b""
        self._reply(text, b"BAD [TOOBIG] Literal too big.")
        if not literal.synchronising:  # it is on its way: there is no getting back in step
            self._leave(b"* BYE [UNAVAILABLE] Literal too big.")

    def _turn(self, exchange: EncodedExchange, turn: Turn) -> None:
        self._exchange = None
        if isinstance(turn, Prompt):
            self._exchange = exchange
            self._say(b"+ " + turn.line)
        elif isinstance(turn, Broken):
            self._bad(self._tag, turn.text)
        else:
            self._judge(turn)

    # ---- commands

    def _execute(self, command: bytes) -> None:
        if not command.strip():  # an empty line is nothing (some clients send one after a literal)
            self._count_bad()
            return
        if (
            command.startswith(HTTP_VERBS) and self._principal is None
        ):  # a browser made to speak to us: not one word more
            self._over = True
            self._out.append(Close())
            return
        tag, _, rest = command.partition(b" ")
        name, _, arguments = rest.partition(b" ")
        self._commands += self._principal is None
        if self._commands > MAX_COMMANDS:
            self._leave(b"* BYE Too many commands.")
        elif not syntax.TAG.fullmatch(tag):
            self._bad(b"*", b"Unreadable tag.")
        elif (handler := COMMANDS.get(name.strip().upper())) is None:
            self._bad(tag, b"Unknown command, or not before login.")
        else:
            self._tag = tag
            handler(self, arguments)

    def _capability(self, arguments: bytes) -> None:
        if arguments.strip():
            return self._bad(self._tag, b"CAPABILITY takes no argument.")
        return self._ok(b"CAPABILITY completed.", b"* CAPABILITY " + self._capabilities())

    def _noop(self, arguments: bytes) -> None:
        if arguments.strip():
            return self._bad(self._tag, b"NOOP takes no argument.")
        return self._ok(b"NOOP completed.")

    def _logout(self, arguments: bytes) -> None:
        if arguments.strip():
            return self._bad(self._tag, b"LOGOUT takes no argument.")
        self._ok(b"LOGOUT completed.", b"* BYE Logging out.")
        self._over = True
        self._out.append(Close())
        return None

    def _id(self, arguments: bytes) -> None:
        try:
            said = syntax.pairs(arguments)
        except syntax.BadSyntax as bad:
            return self._bad(self._tag, str(bad).encode() + b".")
        words = (said.get(b"name", b""), said.get(b"version", b""))
        self._client = "".join(c for c in b" ".join(words).decode(errors="replace").strip()[:100] if c.isprintable())
        return self._ok(b"ID completed.", b'* ID ("name" "mailauth")')

    def _starttls(self, arguments: bytes) -> None:
        if arguments.strip():
            return self._bad(self._tag, b"STARTTLS takes no argument.")
        if self._tls or not self._offer.starttls:
            return self._bad(self._tag, b"TLS is on already." if self._tls else b"TLS is not available here.")
        if self._principal is not None:
            return self._bad(self._tag, b"Not after login.")
        self._say(self._tag + b" OK Begin TLS negotiation now.")
        self._lines.rest()  # what came behind in clear was not said under TLS: never acted on (RFC 3501 section 6.2.1)
        self._out.append(StartTLS())
        return None

    def _login(self, arguments: bytes) -> None:
        if self._refused_state():
            return None
        try:
            given = syntax.strings(arguments)
        except syntax.BadSyntax as bad:
            return self._bad(self._tag, str(bad).encode() + b".")
        if len(given) != 2 or not all(given):
            return self._bad(self._tag, b"LOGIN takes a login and a password.")
        if b"\0" in given[0] or b"\0" in given[1]:
            return self._bad(self._tag, b"NUL in the login or password.")
        login, password = (value.decode("utf-8", "surrogateescape") for value in given)
        return self._judge(Credential(login, password))

    def _authenticate(self, arguments: bytes) -> None:
        if self._refused_state():
            return None
        words = arguments.split()
        if not 1 <= len(words) <= 2:
            return self._bad(self._tag, b"AUTHENTICATE takes a mechanism and an optional initial response.")
        factory = self._offer.mechanisms.get(words[0].decode("ascii", "replace").upper())
        if factory is None:
            return self._reply_tagged(b"NO Unsupported authentication mechanism.")
        exchange = EncodedExchange(factory)
        return self._turn(exchange, exchange.begin(words[1] if len(words) == 2 else None))

    def _refused_state(self) -> bool:
        """Whether no password may be shown now; if so, that has been said."""
        if self._principal is not None:
            self._bad(self._tag, b"Already logged in.")
        elif not self._may_log_in():
            self._reply_tagged(replies.PRIVACY_REQUIRED)
        else:
            return False
        return True

    # ---- outputs

    def _capabilities(self) -> bytes:
        if self._principal is not None:
            return self._offer.logged_in
        return self._offer.with_tls if self._tls else self._offer.without_tls

    def _may_log_in(self) -> bool:
        return self._tls or self._offer.clear

    def _asks_in_clear(self, text: bytes) -> bool:
        words = text.split(None, 2)
        return not self._may_log_in() and len(words) > 1 and words[1].upper() == b"LOGIN"

    def _judge(self, credential: Credential) -> None:
        self._tickets += 1
        self._judging = True
        self._out.append(Judge(self._tickets, Attempt(credential, Service.IMAP, self._peer, self._tls, self._client)))

    def _say(self, line: bytes) -> None:
        self._out.append(Send(line + b"\r\n"))

    def _reply_tagged(self, text: bytes) -> None:
        self._say(self._tag + b" " + text)

    def _reply(self, command: bytes, text: bytes) -> None:
        """Answer a command that is not whole."""
        tag = command.partition(b" ")[0]
        self._say((tag if syntax.TAG.fullmatch(tag) else b"*") + b" " + text)
        self._count_bad()

    def _ok(self, text: bytes, untagged: bytes = b"") -> None:
        self._say((untagged + b"\r\n" if untagged else b"") + self._tag + b" OK " + text)

    def _bad(self, tag: bytes, text: bytes) -> None:
        self._say(tag + b" BAD " + text)
        self._count_bad()

    def _count_bad(self) -> None:
        self._bad_commands += 1
        if self._bad_commands >= MAX_BAD_COMMANDS:
            self._leave(b"* BYE Too many bad commands.")

    def _leave(self, bye: bytes) -> None:
        if self._over:
            return
        self._over = True
        self._say(bye)
        self._out.append(Close())

    def _flush(self) -> Actions:
        out, self._out = self._out, []
        return out


COMMANDS: Mapping[bytes, Callable[[ImapDialogue, bytes], None]] = {
    b"CAPABILITY": ImapDialogue._capability,
    b"NOOP": ImapDialogue._noop,
    b"LOGOUT": ImapDialogue._logout,
    b"ID": ImapDialogue._id,
    b"STARTTLS": ImapDialogue._starttls,
    b"LOGIN": ImapDialogue._login,
    b"AUTHENTICATE": ImapDialogue._authenticate,
}


def _needs_no_mailbox(line: bytes) -> bool:
    """Whether we can answer this command ourselves after login: then no mailbox is opened for it."""
    words = line.split(None, 2)
    return not words or (len(words) > 1 and words[1].upper() in COMMANDS)
