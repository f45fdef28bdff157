"""A letter as a message: a few fields, and one plain text.

Source: RFC 5322 sections 2.1.1 and 3.6; RFC 2045 section 6, RFC 2047; RFC 3834 section 5 (Auto-Submitted); RFC 6532 for
addresses that are not ASCII.
Rule: whatever the texts hold, there are these fields and no others, and lines of at most 78 characters, but for an
address that is longer. All is ASCII, but for such an address.
"""

from __future__ import annotations

import base64
import quopri
import re
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.utils import format_datetime

from mailauth.factors.typed import visible

LINE_CHARACTERS = 76
PLAIN = re.compile(r"[A-Za-z0-9 !#$%&'*+,./?^_`{|}~():;-]*")  # and no "=?", which begins an encoded word
PHRASE = re.compile(r"[A-Za-z0-9 ]*")  # RFC 5322 section 3.2.5: atoms
# Controls, surrogates, other line ends, and what turns the direction of letters.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
LONGEST_FIELD = 250  # of what stands in one, in characters
LONGEST_WORD = 60  # longer ones cannot be folded
HOST = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")


@dataclass(frozen=True, slots=True)
class Letter:
    """subject, name (of who writes): one line each. text: lines with LF. language: BCP 47. id: unique, letters and
    digits; the same for what is sent again. host: a name for the id."""

    to: str
    sender: str
    name: str
    subject: str
    text: str
    language: str
    id: str
    host: str

    def message(self, now: datetime) -> bytes:
        """The message, with CRLF. now: with a time zone."""
        encoding, body = _encoded(self.text)
        host = self.host if HOST.fullmatch(self.host) else "localhost"
        fields = (
            ("Date", format_datetime(now)),
            ("From", _mailbox(self.name, self.sender)),
            ("To", self.to),
            ("Subject", _words("Subject", self.subject, PLAIN)),
            ("Message-ID", f"<{self.id}@{host}>"),
            ("Auto-Submitted", "auto-generated"),
            ("MIME-Version", "1.0"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Transfer-Encoding", encoding),
            ("Content-Language", self.language),
        )
        head = "".join([f"{name}: {value}\r\n" for name, value in fields])
        return head.encode() + b"\r\n" + body


def _mailbox(name: str, address: str) -> str:
    words = _words("From", name, PHRASE)
    if not words:
        return address
    is_short = len(words) + len(address) < LINE_CHARACTERS - len("From: <>") and "\r\n" not in words
    return f"{words}{'' if is_short else chr(13) + chr(10)} <{address}>"


def _words(field: str, text: str, plain: re.Pattern[str]) -> str:
    """As it is where nothing in it needs care, else in encoded words."""
    line = visible(text[: 2 * LONGEST_FIELD])[:LONGEST_FIELD].strip()
    is_plain = plain.fullmatch(line) and all(len(word) <= LONGEST_WORD for word in line.split(" "))
    charset = "us-ascii" if is_plain else "utf-8"
    return Header(line, charset, maxlinelen=LINE_CHARACTERS, header_name=field).encode(linesep="\r\n")


def _encoded(text: str) -> tuple[str, bytes]:
    """Text that is mostly ASCII stays readable as it is sent."""
    lines = HIDDEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    plain = (lines.rstrip("\n") + "\n").encode()
    if sum(octet > 126 for octet in plain) * 6 < len(plain):
        return "quoted-printable", quopri.encodestring(plain).replace(b"\n", b"\r\n")
    return "base64", base64.encodebytes(plain.replace(b"\n", b"\r\n")).replace(b"\n", b"\r\n")
