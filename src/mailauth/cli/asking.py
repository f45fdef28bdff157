"""Asking a running `mailauth serve` about one password, for programs that are started for each login.

Source: the Dovecot auth protocol, of which this is the client; see `bridges.dovecot_auth`. So bounds on guessing,
proofs and audit are the server's, and a start costs little. Rule: little is imported here. What is no clear answer is
NotJudged, and never a wrong password; no text that is shown holds what was shown to us.
"""

from __future__ import annotations

import os
import re
import socket
from binascii import b2a_base64
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

MAX_SHOWN_BYTES = 8192  # login and password together; the server bounds each
MAX_LINE_BYTES = 8192
MAX_LINES = 100  # of the server's greeting
ANSWER_S = 15.0  # a bridge answers in eight seconds
SERVICE = re.compile(r"[A-Za-z0-9_.-]{1,50}")
ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,45}")


class NotJudged(Exception):
    """Nobody can say now whether it is right. The text is for the operator."""


class Shown(NamedTuple):
    """What a client showed, and where. service: as the host calls it; client: its address, "" when it is not known."""

    login: bytes
    password: bytes
    service: str
    client: str
    tls: bool


def socket_of(config_file: str | None) -> str:
    """The socket of the first dovecot-auth bridge of the configuration, for those who name none. Raises NotJudged."""
    from mailauth import config  # noqa: PLC0415  takes longer than all the rest

    try:
        bridges = config.load(config.find(config_file)).bridge
    except config.ConfigError as error:
        raise NotJudged(str(error)) from None
    for bridge in bridges:
        if bridge.kind.replace("_", "-") == "dovecot-auth" and str(bridge.address).startswith("unix:"):
            return str(bridge.address).removeprefix("unix:")
    raise NotJudged('the configuration has no [[bridge]] of kind "dovecot-auth" at a UNIX socket; add one')


def told(environment: Mapping[str, str], service: str | None, login: bytes, password: bytes) -> Shown:
    """With what UCSPI programs and Dovecot say in the environment. service: in place of SERVICE. Raises NotJudged."""
    named = service or environment.get("SERVICE", "")
    if not SERVICE.fullmatch(named):
        raise NotJudged("for which service is it? Say --service, such as --service imap")
    proto = environment.get("PROTO", "TCP")
    client = environment.get(proto + "REMOTEIP") or environment.get("TCPREMOTEIP", "")
    tls = proto == "SSL" or environment.get("AUTH_SECURED", "").upper() == "TLS"
    return Shown(login, password, named, client if ADDRESS.fullmatch(client) else "", tls)


def ask(path: str, shown: Shown) -> bytes | None:
    """The login of the account that it opens, as UTF-8; None: judged and refused. Raises NotJudged."""
    if b"\0" in shown.login + shown.password or len(shown.login) + len(shown.password) > MAX_SHOWN_BYTES:
        raise NotJudged("login or password cannot be asked about: a NUL, or too long")
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(ANSWER_S)
            sock.connect(path)
            with sock.makefile("rb") as said:
                _greeted(said)
                sock.sendall(_request(shown))
                return _answer(said.readline(MAX_LINE_BYTES))
    except (OSError, ValueError) as fault:  # ValueError: a path with a NUL
        why = type(fault).__name__
        raise NotJudged(f"{path}: no answer from `mailauth serve` ({why}); is it running, and may we ask?") from None


def _greeted(said: BinaryIO) -> None:
    for _ in range(MAX_LINES):
        line = said.readline(MAX_LINE_BYTES)
        if line == b"DONE\n":
            return
        if not line or (line.startswith(b"VERSION\t") and not line.startswith(b"VERSION\t1\t")):
            break
    raise NotJudged("the socket of --socket is none of a dovecot-auth bridge")


def _request(shown: Shown) -> bytes:
    words = [f"service={shown.service}", "nologin", *(["secured"] if shown.tls else [])]
    words += [f"rip={shown.client}"] if shown.client else []
    response = b2a_base64(b"\0%b\0%b" % (shown.login, shown.password), newline=False)
    head = f"VERSION\t1\t2\nCPID\t{os.getpid()}\nAUTH\t1\tPLAIN\t" + "\t".join(words)
    return head.encode() + b"\tresp=" + response + b"\n"


def _answer(line: bytes) -> bytes | None:
    word, number, *fields = [*line.rstrip(b"\n").split(b"\t"), b""]
    if not line.endswith(b"\n") or number != b"1":
        raise NotJudged("the server ended the connection: it cannot say now")
    if word == b"FAIL" and b"temp" not in fields and b"code=temp_fail" not in fields:
        return None
    users = [value for field in fields for key, sign, value in (field.partition(b"="),) if key == b"user" and sign]
    if word == b"OK" and len(users) == 1:
        return users[0]
    raise NotJudged("the server cannot say now")
