"""The load: logins in a closed loop over real connections, every verdict held against the one that must come.

One login: connect, TLS if wanted, greeting, login, verdict, LOGOUT or QUIT, the server's close. A program of its own
(standard library only), so that its CPU is nobody else's: the plan is one line of JSON on standard input, the figures
are one on standard output.

    protocol, port   imap, pop3 or smtp, on 127.0.0.1
    tls              true: from the first byte, TLS 1.3, a full handshake each time; the certificate is not looked at
    connections      open at the same time
    credentials      [login, password, verdict] each; password null: another wrong one each time; one of several
                     verdicts: "refused|deferred"
    repeat           true: when the credentials are through, again from the first
    seconds          for how long logins are begun; null: as long as there are credentials
    hold             true: all connections are opened and kept until standard input ends; with credentials (imap only)
                     each logs in, opens its INBOX and goes to IDLE

Source: RFC 3501, 1939, 5321, 4954.
Rule: a verdict other than the expected one is a surprise, anything else out of order an error; both are counted and
quoted, and neither holds up the rest.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
import resource
import selectors
import socket
import ssl
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"
CONNECT_S = 10.0
STALLED_S = 30.0  # nothing from the server for so long: what is open counts as errors
QUOTED = 3  # replies that are shown
ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # a wrong password looks like an app password, or it would cost nothing


@dataclass(frozen=True)
class Protocol:
    """How a login is spelled. replies: what each must begin with; None: the verdict, in one of these spellings."""

    replies: tuple[bytes | None, ...]
    verdicts: dict[bytes, str]


PROTOCOLS = {
    "imap": Protocol(
        (b"* OK", None, b"b OK"),
        {
            b"a OK": "in",
            b"a NO [AUTHENTICATIONFAILED]": "refused",
            b"a NO [UNAVAILABLE]": "deferred",
            b"a NO [CONTACTADMIN]": "nologin",  # Dovecot: the right password, and no mailbox by configuration
        },
    ),
    "pop3": Protocol(
        (b"+OK", b"+OK", None, b"+OK"), {b"+OK": "in", b"-ERR [AUTH]": "refused", b"-ERR [SYS/TEMP]": "deferred"}
    ),
    "smtp": Protocol((b"220", b"250", None, b"221"), {b"235": "in", b"535": "refused", b"454": "deferred"}),
}


def commands(protocol: str, login: str, password: str) -> tuple[bytes, ...]:
    """What is said to each reply but the last."""
    name, secret = login.encode(), password.encode()
    if protocol == "imap":
        return b'a LOGIN "%b" "%b"\r\n' % (name, secret), b"b LOGOUT\r\n"
    if protocol == "pop3":
        return b"USER %b\r\n" % name, b"PASS %b\r\n" % secret, b"QUIT\r\n"
    plain = base64.b64encode(b"\0%b\0%b" % (name, secret))
    return b"EHLO client.example.test\r\n", b"AUTH PLAIN %b\r\n" % plain, b"QUIT\r\n"


def ends_reply(protocol: str, line: bytes, turn: int) -> bool:
    """Whether this line is the last of the reply to this turn."""
    if protocol == "imap":
        return turn == 0 or not line.startswith(b"* ")
    return protocol == "pop3" or line[3:4] == b" "


@dataclass
class Tally:
    """What came of it all. took_ms: from connect to verdict."""

    took_ms: list[float] = field(default_factory=list)
    surprises: int = 0
    errors: int = 0
    quotes: list[str] = field(default_factory=list)

    def quote(self, text: str) -> None:
        """Keep it, if it is among the first of its kind."""
        if len(self.quotes) < QUOTED and text not in self.quotes:
            self.quotes.append(text)


class Login:
    """One connection from connect to close. Raises OSError where there is nobody to connect to."""

    def __init__(self, plan: dict[str, Any], tls: ssl.SSLContext | None, tally: Tally, credential: list[Any]) -> None:
        login, password, self._expected = credential
        self._name = plan["protocol"]
        self._protocol = PROTOCOLS[self._name]
        self._commands = commands(self._name, login, password or "".join(random.choices(ALPHABET, k=16)))
        self._tally = tally
        self._turn = 0
        self._buffer = b""
        self._began = time.perf_counter()
        self.sock = _connected(plan["port"])
        self._shaking = tls is not None
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, do_handshake_on_connect=False)
        self.sock.setblocking(False)

    def go_on(self) -> bool:
        """Take what has come, or begin; False: this one is over."""
        try:
            if self._shaking:
                self.sock.do_handshake()
                self._shaking = False
            while data := self.sock.recv(65536):
                self._take(data)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError as error:
            return self._over(str(error))
        return self._over("closed")

    def fail(self, how: str) -> None:
        """Count this one as an error."""
        self._tally.errors += 1
        self._tally.quote(f"reply {self._turn}: {how}")

    def _over(self, how: str) -> bool:
        if self._turn != len(self._protocol.replies):
            self.fail(how)
        return False

    def _take(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n")) >= 0:
            line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
            if ends_reply(self._name, line, self._turn):
                self._answer(line)

    def _answer(self, line: bytes) -> None:
        replies = self._protocol.replies
        if self._turn == len(replies):
            self.fail(line.decode(errors="replace"))
            return
        wanted = replies[self._turn]
        if wanted is None:
            self._judged(line)
        elif not line.startswith(wanted):
            self.fail(line.decode(errors="replace"))
        if self._turn < len(self._commands):
            self.sock.send(self._commands[self._turn])
        self._turn += 1

    def _judged(self, line: bytes) -> None:
        self._tally.took_ms.append((time.perf_counter() - self._began) * 1000)
        verdict = next((word for start, word in self._protocol.verdicts.items() if line.startswith(start)), "unknown")
        if verdict not in self._expected.split("|"):
            self._tally.surprises += 1
            self._tally.quote(f"{self._expected} expected: {line.decode(errors='replace')}")


def _connected(port: int) -> socket.socket:
    sock = socket.create_connection((HOST, port), CONNECT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _client_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def drive(plan: dict[str, Any]) -> dict[str, Any]:
    """Carry out a plan of logins; the figures."""
    tls = _client_tls() if plan["tls"] else None
    tally = Tally()
    began, cpu_s = time.perf_counter(), _cpu_s()
    ends = began + (plan["seconds"] or float("inf"))
    waiting = itertools.cycle(plan["credentials"]) if plan["repeat"] else iter(plan["credentials"])
    with selectors.DefaultSelector() as selector:

        def begin() -> None:
            while time.perf_counter() < ends and (credential := next(waiting, None)) is not None:
                login = Login(plan, tls, tally, credential)
                if login.go_on():
                    selector.register(login.sock, selectors.EVENT_READ, login)
                    return
                login.sock.close()

        for _ in range(plan["connections"]):
            begin()
        while selector.get_map():
            ready = selector.select(STALLED_S)
            if not ready:
                for key in list(selector.get_map().values()):
                    key.data.fail("nothing came any more")
                break
            for key, _ in ready:
                if not key.data.go_on():
                    selector.unregister(key.fileobj)
                    key.data.sock.close()
                    begin()
    return _figures(tally, time.perf_counter() - began, _cpu_s() - cpu_s)


def _figures(tally: Tally, took_s: float, cpu_s: float) -> dict[str, Any]:
    count = len(tally.took_ms)
    cuts = statistics.quantiles(tally.took_ms, n=100, method="inclusive") if count > 1 else [0.0] * 99
    return {
        "logins": count,
        "per_s": count / took_s,
        "p50_ms": cuts[49],
        "p95_ms": cuts[94],
        "p99_ms": cuts[98],
        "surprises": tally.surprises,
        "errors": tally.errors,
        "quotes": tally.quotes,
        "generator_us": cpu_s * 1e6 / max(count, 1),
    }


def hold(plan: dict[str, Any], until: Iterable[str]) -> dict[str, Any]:
    """Open connections, each as far as the greeting or IDLE, say so, and keep them until this input ends."""
    tls = _client_tls() if plan["tls"] else None
    held = []
    credentials = itertools.cycle(plan.get("credentials") or [None])
    for _ in range(plan["connections"]):
        sock = _connected(plan["port"])
        held.append(sock if tls is None else tls.wrap_socket(sock))
        _expect(held[-1], PROTOCOLS[plan["protocol"]].replies[0] or b"", f"greeting on connection {len(held)}")
        if (credential := next(credentials)) is not None:
            _idle(held[-1], *credential[:2])
    print(json.dumps({"held": len(held)}), flush=True)
    for _ in until:
        pass
    for sock in held:
        sock.close()
    return {"closed": len(held)}


def _idle(sock: socket.socket, login: str, password: str) -> None:
    """Log in, open the INBOX, and wait for news of it (RFC 2177)."""
    for command, answer in (
        (f'a LOGIN "{login}" "{password}"', b"a OK"),
        ("b SELECT INBOX", b"b OK"),
        ("c IDLE", b"+"),
    ):
        sock.sendall(command.encode() + b"\r\n")
        _expect(sock, answer, f"{answer.decode()} to {command[:8]}")


def _expect(sock: socket.socket, start: bytes, what: str) -> None:
    """Read lines until one begins like this."""
    heard = b""
    while not any(line.startswith(start) for line in heard.splitlines(keepends=True) if line.endswith(b"\n")):
        data = sock.recv(4096)
        if not data:
            raise SystemExit(f"no {what}")
        heard += data


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    orders = json.loads(sys.stdin.readline())
    print(json.dumps(hold(orders, sys.stdin) if orders["hold"] else drive(orders)))
