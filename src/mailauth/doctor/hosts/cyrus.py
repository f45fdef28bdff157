"""Cyrus IMAP: its ports, from cyrus.conf, and the socket of saslauthd that its imapd.conf beside it names.

Source: cyrus.conf(5), imapd.conf(5), imapd(8).
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from pathlib import Path

from mailauth.attempt import Service
from mailauth.doctor.hosts.host import Asking, CannotRead, Door, Host, is_loopback, reachable
from mailauth.doctor.rights import user_named

USUAL = Path("/etc/imapd.conf")
SERVING = re.compile(r'^\s*\w+\s+.*?cmd\s*=\s*"(?:\S*/)?(imapd|pop3d)\b([^"]*)"(.*)$', re.MULTILINE)
LISTEN = re.compile(r'listen\s*=\s*"([^"]+)"')


def read(place: str) -> Host | None:
    """place: imapd.conf. None: there is none. Raises CannotRead."""
    file = Path(place) if place else USUAL
    try:
        text = file.read_text(errors="replace")
    except FileNotFoundError:
        if place:
            raise CannotRead(f"{file} is not there; name the right file") from None
        return None
    except OSError as error:
        raise CannotRead(f"{file} cannot be read: {error.strerror}; run this as root") from None
    doors = tuple(_doors(file.with_name("cyrus.conf")))
    lines = [line.partition(":") for line in text.splitlines() if not line.startswith("#")]
    told = {name.strip(): value.strip() for name, _, value in lines}
    user, path = user_named("cyrus"), told.get("sasl_saslauthd_path", "")
    if user is None or not path or told.get("sasl_pwcheck_method") != "saslauthd":
        return Host("Cyrus IMAP", str(file), doors)
    return Host("Cyrus IMAP", str(file), doors, (Asking("Cyrus imapd", user, path, "sasl_saslauthd_path"),))


def _doors(file: Path) -> list[Door]:
    """Without the file: none are known."""
    text = ""
    with suppress(OSError):
        text = file.read_text(errors="replace")
    doors = []
    for program, arguments, rest in SERVING.findall(text):
        listen = LISTEN.search(rest)
        host, _, name = listen[1].rpartition(":") if listen is not None else ("", "", "")
        port = _port(name)
        if port is None:
            continue
        service = Service.IMAP if program == "imapd" else Service.POP3
        implicit, everywhere = "-s" in arguments.split(), not is_loopback(host)
        doors.append(Door("Cyrus IMAP", service, reachable(host), port, implicit=implicit, everywhere=everywhere))
    return doors


def _port(name: str) -> int | None:
    """None: it is no TCP port, but a path, or unknown."""
    try:
        return int(name) if name.isdigit() else socket.getservbyname(name, "tcp")
    except OSError:
        return None
