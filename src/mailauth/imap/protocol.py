"""IMAP up to login, and the few commands after it that need no mailbox (RFC 3501, RFC 4959, RFC 7888, RFC 2971).

Rule: a Dialogue: bytes in, actions out. The first command after login that is none of ours hands the connection over,
unread, so that a login which selects nothing costs the mailbox nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mailauth.attempt import Attempt, Credential, Service, client_name
from mailauth.dialogue import Action, Actions, Close, Ending, Enter, Judge, LineTooLong, Named, Send, StartTLS
from mailauth.imap import replies, syntax
from mailauth.imap.command import BARE, HTTP_VERBS, SHOW_A_PASSWORD, Commands, Partial, name_of
from mailauth.imap.offer import Offer
from mailauth.sasl.encoded import Broken, EncodedExchange, Prompt, Turn
from mailauth.verdict import Accept, Defer, Outcome, Principal

MAX_BAD_COMMANDS = 20  # some clients try a dozen commands first; two were fatal to Outlook elsewhere
MAX_COMMANDS = 200  # before login; nobody needs a tenth of that


class ImapDialogue:
    """One IMAP connection, from greeting to login."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._input = Commands()
        self._exchange: EncodedExchange | None = None
        self._tag = b""
        self._peer = ""
        self._client = ""
        self._tls = False
        self._principal: Principal | None = None
        self._tickets = 0
        self._judging = False
        self._over = False
        self._failures_count = self._bad_count = self._commands_count = 0
        self._out: list[Action] = []

    # ---- inputs

    def opened(self, peer: str, tls: bool, refuse: Ending | None) -> Actions:
        self._peer, self._tls = peer, tls
        if refuse is not None:
            return self.ending(refuse)
        self._say(b"* OK [CAPABILITY " + self._capabilities() + b"] IMAP ready.")
        return self._flush()

    def received(self, data: bytes) -> Actions:
        if self._over:
            return []
        self._input.feed(data)
        self._go_on()
        return self._flush()

    def tls_started(self) -> Actions:
        self._tls = True
        self._client = ""  # said in clear, by whoever
        return []

    def judged(self, ticket: int, outcome: Outcome, behind: Sequence[str] | None = None) -> Actions:
        if self._over or not self._judging or ticket != self._tickets:
            return []
        self._judging = False
        offered = self._offer.logged_in if behind is None else " ".join(behind).encode("ascii", "replace")
        self._say(self._tag + b" " + replies.reply(outcome, offered, self._offer.help_line))
        if type(outcome) is Accept:
            self._principal = outcome.principal
            if behind is not None:
                self._enter(outcome.principal, self._input.rest())
        elif type(outcome) is not Defer:
            self._failures_count += 1
        if self._failures_count >= self._offer.max_failures:
            self._leave(b"* BYE Too many failed logins.")
        self._go_on()
        return self._flush()

    def ending(self, cause: Ending) -> Actions:
        self._leave(replies.bye(cause))
        return self._flush()

    def eof(self) -> Actions:
        self._leave()
        return self._flush()

    # ---- the stream: commands, literals, responses

    def _go_on(self) -> None:
        """Act on what has come, until more is needed."""
        try:
            while not (self._judging or self._over) and self._take():
                pass
        except LineTooLong:
            self._leave(b"* BYE Line too long.")

    def _take(self) -> bool:
        """Take one command or response; False: it is not all there."""
        if self._exchange is not None:
            response = self._input.response()
            if response is not None:
                self._turn(self._exchange, self._exchange.answer(response.rstrip(b"\r\n")))
            return response is not None
        command = self._input.next()
        if command is None:
            return False
        text = command if isinstance(command, bytes) else command.text
        if self._principal is not None and text.strip() and name_of(text) not in COMMANDS:
            self._enter(self._principal, text + self._input.rest())
        elif isinstance(command, bytes):
            self._execute(text[:-2] if text.endswith(b"\r\n") else text[:-1])
        else:
            self._announced(command)
        return True

    def _announced(self, command: Partial) -> None:
        """Say whether a literal may come."""
        is_synchronising = command.literal.synchronising
        self._tag = syntax.tag_of(command.text.partition(b" ")[0])
        if command.is_too_big:
            self._bad(b"[TOOBIG] Literal too big.")
            if not is_synchronising:  # it is on its way: there is no getting back in step
                self._leave(b"* BYE Literal too big.")
        elif is_synchronising and name_of(command.text) in SHOW_A_PASSWORD and (refusal := self._not_now()):
            self._reply(refusal)
            self._count_bad()
        else:
            self._input.want(command)
            if is_synchronising:
                self._say(b"+ Ready")

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

    def _execute(self, command: bytes) -> None:
        """One whole command, without its line end."""
        if not command.strip():  # an empty line is nothing (some clients send one after a literal)
            self._count_bad()
            return
        if command.startswith(HTTP_VERBS) and self._principal is None:  # a browser, made to speak to us: not a word
            self._leave()
            return
        tag, _, rest = command.partition(b" ")
        name, _, arguments = rest.partition(b" ")
        name = name.upper()
        self._tag = syntax.tag_of(tag)
        self._commands_count += self._principal is None
        if self._commands_count > MAX_COMMANDS:
            self._leave(b"* BYE Too many commands.")
        elif self._tag == syntax.NO_TAG:
            self._bad(b"Unreadable tag.")
        elif (handler := COMMANDS.get(name)) is None:
            self._bad(b"Unknown command, or not before login.")
        elif arguments and name in BARE:
            self._bad(name + b" takes no argument.")
        else:
            handler(self, arguments)

    def _capability(self, arguments: bytes) -> None:  # noqa: ARG002
        self._ok(b"CAPABILITY completed.", b"* CAPABILITY " + self._capabilities())

    def _noop(self, arguments: bytes) -> None:  # noqa: ARG002
        self._ok(b"NOOP completed.")

    def _logout(self, arguments: bytes) -> None:  # noqa: ARG002
        self._ok(b"LOGOUT completed.", b"* BYE Logging out.")
        self._leave()

    def _id(self, arguments: bytes) -> None:
        try:
            said = syntax.pairs(arguments)
        except syntax.BadSyntax as bad:
            return self._bad(str(bad).encode() + b".")
        self._client = client_name(said)
        if self._principal is not None:
            self._out.append(Named(self._client))
        return self._ok(b"ID completed.", b'* ID ("name" "mailauth")')

    def _starttls(self, arguments: bytes) -> None:  # noqa: ARG002
        if self._tls or not self._offer.starttls:
            return self._bad(b"TLS is on already." if self._tls else b"TLS is not available here.")
        if self._principal is not None:
            return self._bad(b"Not after login.")
        self._say(self._tag + b" OK Begin TLS negotiation now.")
        self._input.rest()  # what came behind in clear was not said under TLS: never acted on (RFC 3501 section 6.2.1)
        self._out.append(StartTLS())
        return None

    def _login(self, arguments: bytes) -> None:
        given = self._strings(arguments)
        if given is None:
            return None
        if len(given) != 2 or not all(given):
            return self._bad(b"LOGIN takes a login and a password.")
        if b"\0" in given[0] or b"\0" in given[1]:
            return self._bad(b"NUL in the login or password.")
        login, password = (value.decode("utf-8", "surrogateescape") for value in given)
        return self._judge(Credential(login, password))

    def _authenticate(self, arguments: bytes) -> None:
        given = self._strings(arguments)
        if given is None:
            return None
        if not 1 <= len(given) <= 2:
            return self._bad(b"AUTHENTICATE takes a mechanism and an optional initial response.")
        factory = self._offer.mechanisms.get(given[0].decode("ascii", "replace").upper())
        if factory is None:
            return self._reply(b"NO Unsupported authentication mechanism.")
        if len(given) == 1 and (refusal := self._not_now()):
            return self._reply(refusal)
        exchange = EncodedExchange(factory)
        return self._turn(exchange, exchange.begin(given[1] if len(given) == 2 else None))

    def _strings(self, arguments: bytes) -> list[bytes] | None:
        """The arguments of a command that shows a password; None: not now, or unreadable, as has been said."""
        if self._principal is not None:
            self._bad(b"Already logged in.")
        elif not (self._tls or self._offer.clear):
            self._reply(replies.PRIVACY_REQUIRED)
        else:
            try:
                return syntax.strings(arguments)
            except syntax.BadSyntax as bad:
                self._bad(str(bad).encode() + b".")
        return None

    # ---- outputs

    def _capabilities(self) -> bytes:
        if self._principal is not None:
            return self._offer.logged_in
        return self._offer.with_tls if self._tls else self._offer.without_tls

    def _not_now(self) -> bytes | None:
        """Why no password is to be sent; None: let it come."""
        if not (self._tls or self._offer.clear):
            return replies.PRIVACY_REQUIRED
        return replies.DEFERRED if self._offer.unavailable() else None

    def _judge(self, credential: Credential) -> None:
        self._tickets += 1
        self._judging = True
        self._out.append(Judge(self._tickets, Attempt(credential, Service.IMAP, self._peer, self._tls, self._client)))

    def _say(self, line: bytes) -> None:
        self._out.append(Send(line + b"\r\n"))

    def _reply(self, text: bytes) -> None:
        self._say(self._tag + b" " + text)

    def _ok(self, text: bytes, untagged: bytes = b"") -> None:
        self._say((untagged + b"\r\n" if untagged else b"") + self._tag + b" OK " + text)

    def _bad(self, text: bytes) -> None:
        self._reply(b"BAD " + text)
        self._count_bad()

    def _count_bad(self) -> None:
        self._bad_count += 1
        if self._bad_count >= MAX_BAD_COMMANDS:
            self._leave(b"* BYE Too many bad commands.")

    def _enter(self, principal: Principal, leftover: bytes) -> None:
        self._over = True
        self._out.append(Enter(principal, leftover))

    def _leave(self, bye: bytes = b"") -> None:
        if self._over:
            return
        self._over = True
        self._input.rest()  # nobody acts on it any more
        if bye:
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
