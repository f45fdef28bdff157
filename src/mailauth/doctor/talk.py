"""A client of IMAP, POP3 and submission that only looks: what is offered, before TLS and after it, and one login.

Source: RFC 9051, RFC 1939, RFC 2449, RFC 5034, RFC 5321, RFC 4954, RFC 3207, RFC 2595.
Rule: what is no clear refusal of a password is none.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto

from mailauth.attempt import Service
from mailauth.doctor.hosts.host import Door
from mailauth.doctor.sources import is_own

GREETING_S = 8.0  # by then a server that is well has greeted, and begun TLS
PATIENCE_S = 20.0  # a refusal may be held back
WHOLE_TALK_S = 60.0  # however little is said at a time
MOST_LINE_BYTES = 8192
MOST_LINES = 200
CODED = re.compile(r"(NO|-ERR)\s+\[(?P<named>[A-Z/-]+)", re.IGNORECASE)
LATER = frozenset({"UNAVAILABLE", "INUSE", "IN-USE", "SERVERBUG", "LIMIT", "SYS/TEMP", "SYS/PERM", "CONTACTADMIN"})
LATER_WORDS = ("internal", "temporar", "try again")


class NoTalk(Exception):
    """The server cannot be talked to. The text says why."""


class Entry(Enum):
    """What came of a login."""

    IN = auto()
    REFUSED = auto()
    LATER = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """entry, and the line that said so."""

    entry: Entry
    line: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What a client is offered. mechanisms: of SASL; clear: whether the protocol's own login command is, too."""

    mechanisms: frozenset[str]
    starttls: bool
    clear: bool

    @property
    def lets_log_in(self) -> bool:
        """Whether a password could be sent now."""
        return bool(self.mechanisms) or self.clear

    def __str__(self) -> str:
        return " ".join([*(["LOGIN"] if self.clear else []), *[f"AUTH {name}" for name in sorted(self.mechanisms)]])


class Talk:
    """One connection. source: the address that it is made from; certificate: what was shown, DER, None before TLS."""

    def __init__(self, door: Door, sock: socket.socket, tls: ssl.SSLContext) -> None:
        self._door = door
        self._tls = tls
        self._sock = sock
        self._unread = b""
        self._ends_at = time.monotonic() + WHOLE_TALK_S
        self.source = str(sock.getsockname()[0])
        self.certificate: bytes | None = None

    def greet(self) -> None:
        """Hear its greeting, within TLS where that comes first. Raises NoTalk."""
        if self._door.implicit:
            self._secure()
        first = self._line()
        if not first.startswith(("* OK", "* PREAUTH", "+OK", "220")):
            raise NoTalk(f"it greets with {first!r}")
        self._rest_of(first)

    @property
    def is_secure(self) -> bool:
        """Whether TLS is up."""
        return self.certificate is not None

    def offer(self) -> Offer:
        """What it offers now. Raises NoTalk."""
        match self._door.service:
            case Service.IMAP:
                lines = self._imap("CAPABILITY")
                words = {word.upper() for line in lines if line.startswith("* CAPABILITY") for word in line.split()[2:]}
                mechanisms = {word[5:] for word in words if word.startswith("AUTH=")}
                return Offer(frozenset(mechanisms), "STARTTLS" in words, "LOGINDISABLED" not in words)
            case Service.POP3:
                offers = [line.upper().split() for line in self._capabilities() if line]
                mechanisms = {word for words in offers if words[0] == "SASL" for word in words[1:]}
                names = {words[0] for words in offers}
                return Offer(frozenset(mechanisms), "STLS" in names, "USER" in names)
            case Service.SMTP:
                offers = [
                    line[4:].upper().replace("=", " ").split() or [""] for line in self._smtp("EHLO mailauth.invalid")
                ]
                mechanisms = {word for words in offers if words[0] == "AUTH" for word in words[1:]}
                return Offer(frozenset(mechanisms), ["STARTTLS"] in offers, clear=False)

    def starttls(self) -> None:
        """Begin TLS. Raises NoTalk."""
        service = self._door.service
        said = self._ask("STLS") if service is Service.POP3 else self._lines("STARTTLS")[-1]
        if not said.startswith(("t OK", "+OK", "220")):
            raise NoTalk(f"it offers STARTTLS, and answers {said!r}")
        self._secure()

    def login(self, offer: Offer, login: str, password: str) -> Answer:
        """One try, by SASL PLAIN where that is offered, and a goodbye after it. Raises NoTalk."""
        self._sock.settimeout(PATIENCE_S)
        try:
            if self._door.service is Service.SMTP:
                return self._login_by_smtp(offer, login, password)
            answered = self._login(offer, login, password)
        except NoTalk as end:
            return Answer(Entry.LATER, str(end))
        if answered.startswith(("t OK", "+OK")):
            self._leave("t LOGOUT" if self._door.service is Service.IMAP else "QUIT")
            return Answer(Entry.IN, answered)
        return Answer(_meant(answered), answered)

    def cut(self) -> None:
        """End it from another thread, which hears of it at once."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Leave without a goodbye."""
        self._sock.close()

    # ---- inside

    def _login(self, offer: Offer, login: str, password: str) -> str:
        is_imap = self._door.service is Service.IMAP
        if "PLAIN" in offer.mechanisms:
            said = self._ask("t AUTHENTICATE PLAIN" if is_imap else "AUTH PLAIN")
            if said.startswith("+") and not said.startswith("+OK"):
                said = self._ask(_plain(login, password))
        elif is_imap:
            said = self._ask(" ".join(["t LOGIN", _quoted(login), _quoted(password)]))
        else:
            said = self._ask(f"USER {login}")
            said = self._ask("PASS " + password) if said.startswith("+OK") else said
        while is_imap and said.startswith("* "):
            said = self._line()
        return said

    def _login_by_smtp(self, offer: Offer, login: str, password: str) -> Answer:
        if "PLAIN" in offer.mechanisms:
            said = self._smtp("AUTH PLAIN " + _plain(login, password))[-1]
        else:
            said = self._smtp("AUTH LOGIN")[-1]
            for words in (_base64(login), _base64(password)):
                said = self._smtp(words)[-1] if said.startswith("334") else said
        number = said[:3]
        self._leave("QUIT")
        return Answer(Entry.IN if number == "235" else Entry.REFUSED if number == "535" else Entry.LATER, said)

    def _leave(self, goodbye: str) -> None:
        with suppress(NoTalk):
            self._ask(goodbye)

    def _ask(self, line: str) -> str:
        self._send(line)
        return self._line()

    def _imap(self, command: str) -> list[str]:
        lines = [self._ask(f"t {command}")]
        while not lines[-1].startswith("t ") and len(lines) < MOST_LINES:
            lines.append(self._line())
        return lines

    def _capabilities(self) -> list[str]:
        said = self._ask("CAPA")
        if not said.startswith("+OK"):  # RFC 1939: USER and PASS need not be announced
            return ["USER"]
        lines = [self._line()]
        while lines[-1] != "." and len(lines) < MOST_LINES:
            lines.append(self._line())
        return lines

    def _smtp(self, command: str) -> list[str]:
        return self._rest_of(self._ask(command))

    def _lines(self, command: str) -> list[str]:
        return self._imap(command) if self._door.service is Service.IMAP else self._smtp(command)

    def _rest_of(self, first: str) -> list[str]:
        lines = [first]
        while self._door.service is Service.SMTP and lines[-1][3:4] == "-" and len(lines) < MOST_LINES:
            lines.append(self._line())
        return lines

    def _secure(self) -> None:
        try:
            secure = self._tls.wrap_socket(self._sock, server_hostname=self._door.host)
        except ssl.SSLCertVerificationError as error:
            raise NoTalk(f"its certificate is not valid for {self._door.host}: {error.verify_message}") from None
        except OSError as error:
            raise NoTalk(f"TLS does not begin ({getattr(error, 'reason', None) or type(error).__name__})") from None
        self._sock = secure
        self._unread = b""
        self.certificate = secure.getpeercert(binary_form=True)

    def _send(self, line: str) -> None:
        try:
            self._sock.sendall(line.encode() + b"\r\n")
        except OSError as error:
            raise NoTalk(f"it ended the connection ({type(error).__name__})") from None

    def _line(self) -> str:
        while b"\n" not in self._unread:
            try:
                if time.monotonic() > self._ends_at:
                    raise TimeoutError
                more = self._sock.recv(MOST_LINE_BYTES)
            except TimeoutError:
                raise NoTalk("it does not answer") from None
            except OSError as error:
                raise NoTalk(f"it ended the connection ({type(error).__name__})") from None
            if not more or len(self._unread) > MOST_LINE_BYTES:
                raise NoTalk("it ended the connection" if not more else "it sends a line without an end")
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip("\r")


@contextmanager
def opened(door: Door, source: str = "") -> Iterator[Talk]:
    """A connection to this door, greeted. source: the local address to come from. Raises NoTalk."""
    try:
        sock = socket.create_connection((door.host, door.port), GREETING_S, (source, 0) if source else None)
    except OSError as error:
        raise NoTalk(f"no connection ({error.strerror or type(error).__name__})") from None
    with sock:
        talk = Talk(door, sock, _tls(sock))
        try:
            talk.greet()
            yield talk
        finally:
            talk.close()


def _tls(sock: socket.socket) -> ssl.SSLContext:
    """To others the name is proven; what goes to this machine itself passes nobody, and is connected to by address."""
    context = ssl.create_default_context()
    if is_own(sock.getpeername()[0]):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _meant(said: str) -> Entry:
    """Of IMAP and POP3, once it is no OK."""
    if not said.startswith(("t NO", "-ERR")):
        return Entry.LATER
    coded = CODED.search(said)
    if coded is not None:
        return Entry.LATER if coded["named"].upper() in LATER else Entry.REFUSED
    return Entry.LATER if any(word in said.lower() for word in LATER_WORDS) else Entry.REFUSED


def _plain(login: str, password: str) -> str:
    return _base64(f"\0{login}\0" + password)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
