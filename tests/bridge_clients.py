"""What a mail server says to a bridge of a served site, and what it makes of the answer."""

from __future__ import annotations

import base64
import json
import re
import socket
import struct
from pathlib import Path
from urllib.parse import quote, urlencode

from mailauth.cli import asking
from mailauth.cli.asking import NotJudged, Shown

PATIENCE_S = 30.0
OK, FAIL, LATER = "OK", "FAIL", "LATER"
TOKEN = "a token of this bridge's own"
FORM = "application/x-www-form-urlencoded"


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


def ask_by_http(path: Path, request: bytes) -> tuple[int, bytes]:
    """One request on a connection of its own; the status, and all that was said."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(str(path))
        sock.sendall(request)
        with sock.makefile("rb") as said:
            answer = said.read()
    return int(answer.split(b" ")[1]), answer


def post(path: Path, target: str, kind: str, body: bytes, **fields: str) -> tuple[int, bytes]:
    """The same, with a body."""
    told = {"Host": "x", "Connection": "close", "Content-Type": kind, "Content-Length": str(len(body)), **fields}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in told.items()]
    return ask_by_http(path, "\r\n".join([f"POST {target} HTTP/1.1", *lines, "", ""]).encode() + body)


def ask_nginx(path: Path, login: str, password: str, *, service: str = "smtp", client: str = "192.0.2.1") -> str:
    """One login."""
    shown = [re.sub(rb"[\x00-\x20%\x7f]", lambda c: b"%%%02X" % ord(c[0]), text.encode()) for text in (login, password)]
    head = f"GET / HTTP/1.0\r\nAuth-Method: plain\r\nAuth-Protocol: {service}\r\nClient-IP: {client}\r\n"
    words = b"X-Auth-Key: %b\r\nAuth-User: %b\r\nAuth-Pass: %b\r\n\r\n" % (TOKEN.encode(), *shown)
    said = ask_by_http(path, head.encode() + words)[1]
    if b"\r\nAuth-Status: OK\r\n" in said:
        return OK
    return FAIL if b"Authentication failed." in said else LATER if b"Temporary" in said else repr(said)


def ask_json(path: Path, login: str, password: str, *, service: str = "smtp", client: str = "192.0.2.1") -> str:
    """One login."""
    said = {"login": login, "password": password, "service": service, "client_address": client}
    shown = {"Authorization": f"Bearer {TOKEN}"}
    status, _ = post(path, "/v1/authenticate", "application/json", json.dumps(said).encode(), **shown)
    return {200: OK, 403: FAIL, 503: LATER}[status]


def ask_grant(path: Path, login: str, password: str, *, service: str = "smtp", client: str = "192.0.2.1") -> str:
    """One login."""
    said = {"grant_type": "password", "username": login, "password": password, "client_secret": TOKEN}
    told = {"X_Dovecot_Auth_Service": service, "X_Dovecot_Auth_Remote": f"{client}:4001"}
    status, _ = post(path, "/grant", FORM, urlencode(said, quote_via=quote).encode(), **told)
    return {200: OK, 400: FAIL, 503: LATER}[status]


def ask_lua(path: Path, login: str, password: str, *, service: str = "smtp", client: str = "192.0.2.1") -> str:
    """One login."""
    said = {"user": login, "password": password, "service": service, "rip": client, "secured": "tls"}
    shown = {"Authorization": f"Bearer {TOKEN}"}
    _, answer = post(path, "/login", FORM, urlencode(said, quote_via=quote).encode(), **shown)
    word = answer.partition(b"\r\n\r\nresult=")[2].partition(b"\n")[0]
    return {b"ok": OK, b"later": LATER}.get(
        word, FAIL if word in {b"mismatch", b"disabled", b"expired"} else repr(answer)
    )


def ask_as_a_program(path: Path, login: str, password: str, *, service: str = "smtp", client: str = "192.0.2.1") -> str:
    """One login, as `mailauth checkpassword` and `mailauth helper` ask at a dovecot-auth bridge."""
    shown = Shown(login.encode(), password.encode(), service, client, tls=True)
    try:
        return FAIL if asking.ask(str(path), shown) is None else OK
    except NotJudged:
        return LATER


def ask_policy(path: Path, login: str, *, client: str = "192.0.2.1") -> str:
    """Whether who logged in so from there may send a message."""
    lines = ["request=smtpd_access_policy", f"sasl_username={login}", f"client_address={client}", "instance=1.1.1.0"]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(str(path))
        sock.sendall("\n".join([*lines, "", ""]).encode())
        with sock.makefile("rb") as said:
            action = said.readline()
    words = {b"action=DUNNO\n": OK, b"action=421 ": FAIL, b"action=DEFER_IF_PERMIT ": LATER}
    return next((meant for word, meant in words.items() if action.startswith(word)), repr(action))


ASKING = {
    "dovecot-auth": ask_dovecot,
    "saslauthd": ask_saslauthd,
    "nginx": ask_nginx,
    "http": ask_json,
    "dovecot-grant": ask_grant,
    "dovecot-lua": ask_lua,
}
BY_HTTP = 'token_file = "token"\n'
KEYS = {  # that a kind needs in its [[bridge]]
    "nginx": BY_HTTP + 'backends = ["imap 127.0.0.1:1", "pop3 127.0.0.1:1", "smtp 127.0.0.1:1"]\n',
    **dict.fromkeys(("http", "dovecot-grant", "dovecot-lua"), BY_HTTP),
}
