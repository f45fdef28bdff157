"""What a mail server says to a bridge of a served site, and what it makes of the answer."""

from __future__ import annotations

import base64
import socket
import struct
from pathlib import Path

PATIENCE_S = 30.0
OK, FAIL, LATER = "OK", "FAIL", "LATER"


class DovecotHost:
    """One connection of a host by the Dovecot auth protocol. minor: of the version that it announces."""

    def __init__(self, path: Path, minor: int = 2) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(str(path))
        self._said = self.sock.makefile("rb")
        while self._said.readline() != b"DONE\n":
            pass
        self.sock.sendall(b"VERSION\t1\t%d\nCPID\t1\n" % minor)
        self._number = 0

    def send(self, login: str, password: str, *, service: str = "smtp", client: str = "192.0.2.1") -> int:
        """Ask, and do not wait; the request's number."""
        self._number += 1
        shown = base64.b64encode(f"\0{login}\0{password}".encode())
        words = f"AUTH\t{self._number}\tPLAIN\tservice={service}\trip={client}\tsecured\tresp="
        self.sock.sendall(words.encode() + shown + b"\n")
        return self._number

    def hear(self) -> tuple[int, str]:
        """The next answer: to which request, and what."""
        line = self._said.readline()
        if not line:
            return 0, LATER
        word, number, *rest = line.rstrip(b"\n").split(b"\t")
        return int(number), LATER if b"temp" in rest else word.decode()

    def ask(self, login: str, password: str, *, service: str = "smtp", client: str = "192.0.2.1") -> str:
        """One login."""
        number = self.send(login, password, service=service, client=client)
        answered, said = self.hear()
        assert answered in {number, 0}
        return said

    def close(self) -> None:
        self._said.close()
        self.sock.close()


def ask_dovecot(path: Path, login: str, password: str, *, service: str = "smtp", client: str = "192.0.2.1") -> str:
    """One login on a connection of its own."""
    host = DovecotHost(path)
    try:
        return host.ask(login, password, service=service, client=client)
    finally:
        host.close()


def ask_saslauthd(path: Path, login: str, password: str, *, service: str = "smtp", client: str = "") -> str:
    """One login. client: cannot be named."""
    user, _, realm = login.rpartition("@")
    if not user:
        user, realm = login, ""
    request = b"".join(struct.pack(">H", len(f)) + f for f in (t.encode() for t in (user, password, service, realm)))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(str(path))
        sock.sendall(request)
        with sock.makefile("rb") as said:
            answer = said.read()
    return {b"\0\x02OK": OK, b"": LATER}.get(answer, FAIL if answer[2:4] == b"NO" else repr(answer))


ASKING = {"dovecot-auth": ask_dovecot, "saslauthd": ask_saslauthd}
