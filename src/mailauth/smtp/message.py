"""The message on its way in: its transparency and line ends, and what a submission server adds to it.

Source: RFC 5321 sections 2.3.8, 4.4 and 4.5.2; RFC 6409 sections 8.2 and 8.3.
Rule: what leaves this file has no line end but CRLF, so that no server behind us sees an end of message where we
saw none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

END_OF_DATA = b"\r\n.\r\n"  # and nothing else (RFC 5321 section 4.1.1.4)
FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")  # RFC 5322 section 2.2
DATE = re.compile(rb"^Date[ \t]*:", re.IGNORECASE | re.MULTILINE)
MESSAGE_ID = re.compile(rb"^Message-ID[ \t]*:", re.IGNORECASE | re.MULTILINE)
UNDECIDED = re.compile(rb"(?:\r\n?|\n)\.?\Z")  # what the next octet may change
UNDOUBLED = re.compile(rb"\r\n\.(?!\.)")
CLIENT_NAME = re.compile(r"[A-Za-z0-9._-]+|\[[A-Za-z0-9.:]+\]")


def written(stuffed: bytes) -> bytes:
    """The message as its author wrote it. stuffed: as sent, up to and with the CRLF before the final dot.

    Line ends come first: a program that sends bare LF has doubled the dots behind them too, as smtplib does.
    """
    return (b"\r\n" + crlf_only(stuffed)).replace(b"\r\n.", b"\r\n")[2:]


def crlf_only(content: bytes) -> bytes:
    """The same lines with nothing but CRLF between them; some programs send bare LF or CR."""
    ends_count = content.count(b"\r\n")
    if ends_count == content.count(b"\n") == content.count(b"\r"):
        return content
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


class Restuffed:
    """Mail data on its way to a server behind us, piece by piece: what its author wrote, with the dots doubled again.

    A server that sees it finds an end of data nowhere, whatever it takes for one.
    """

    def __init__(self) -> None:
        self._held = b"\r\n"  # that of the DATA line; what follows may be a dot
        self._is_first = True

    def passed(self, piece: bytes) -> bytes:
        """The next piece as it goes on; what is undecided waits for the one after."""
        data = self._held + piece
        undecided = UNDECIDED.search(data[-3:])
        cut = len(data) if undecided is None else len(data) - len(undecided[0])
        self._held = data[cut:]
        return self._decided(data[:cut])

    def end(self) -> bytes:
        """The rest, and the end of data. To be called where a line has ended."""
        return self._decided(self._held) + END_OF_DATA[2:]

    def _decided(self, data: bytes) -> bytes:
        clean = UNDOUBLED.sub(b"\r\n", crlf_only(data))
        if not self._is_first or not clean:
            return clean
        self._is_first = False
        return clean[2:]


@dataclass(frozen=True, slots=True)
class Trace:
    """How a message came. client: what the client called itself; peer: its address as text, "" if it has none."""

    client: str
    peer: str
    hostname: str
    tls: bool
    smtp_utf8: bool

    def received(self, transmission_id: str, now: datetime) -> bytes:
        """The Received field (RFC 5321 section 4.4; protocol names: RFC 3848, RFC 6531 section 4.3)."""
        client = self.client if CLIENT_NAME.fullmatch(self.client) else "unknown"
        literal = f"IPv6:{self.peer}" if ":" in self.peer else self.peer
        source = f" ([{literal}])" if literal else ""
        protocol = ("UTF8SMTP" if self.smtp_utf8 else "ESMTP") + ("SA" if self.tls else "A")
        return (
            f"Received: from {client}{source}\r\n\tby {self.hostname} with {protocol} id {transmission_id};"
            f"\r\n\t{format_datetime(now)}\r\n"
        ).encode()


def stamped(content: bytes, trace: Trace, transmission_id: str, now: datetime) -> bytes:
    """The message with a Received field, and Date and Message-ID if it had none. transmission_id: unique."""
    has_header = FIELD.match(content) is not None
    header = content.partition(b"\r\n\r\n")[0] if has_header else b""
    added = trace.received(transmission_id, now)
    if not DATE.search(header):
        added += f"Date: {format_datetime(now)}\r\n".encode()
    if not MESSAGE_ID.search(header):
        added += f"Message-ID: <{transmission_id}@{trace.hostname}>\r\n".encode()
    if not has_header and not content.startswith(b"\r\n"):
        added += b"\r\n"
    return added + content
