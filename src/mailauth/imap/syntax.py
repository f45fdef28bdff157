"""The part of IMAP's grammar that is needed up to login (RFC 3501 section 9, RFC 7888, RFC 2971).

Rule: parses bytes that are all there; no recursion, one pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TAG = re.compile(rb"[!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]{1,64}")  # any ASTRING-CHAR except "+"
LITERAL = re.compile(rb"\{(\d{1,10})(\+?)\}\r?\n\Z")
ATOM = re.compile(rb"[^\x00-\x20(){\"\\\x7f]+")  # more than the grammar allows: iOS sends `!`, others `%` and `*`, bare
QUOTED = re.compile(rb'"((?:[^"\\\r\n\0]|\\["\\])*)"')
LITERAL_HERE = re.compile(rb"\{(\d{1,10})\+?\}\r?\n")
ESCAPED = re.compile(rb"\\(.)")


class BadSyntax(Exception):
    """Not IMAP. The text is ours and safe to send."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A literal that the line ends with. synchronising: the client waits for our go-ahead."""

    size_bytes: int
    synchronising: bool


def announced(line: bytes) -> Announced | None:
    """The literal that this line announces, or None."""
    if not line.endswith((b"}\r\n", b"}\n")):
        return None
    found = LITERAL.search(line)
    return Announced(int(found[1]), not found[2]) if found else None


def strings(text: bytes) -> list[bytes]:
    """The arguments of a command: atoms, quoted strings and literals (whose octets follow in place).

    text: all after the command's name, its line end included. Raises BadSyntax, for a list too.
    """
    out: list[bytes] = []
    at, end = 0, len(text)
    while at < end:
        if text[at] in b" \r\n":
            at += 1
        elif found := QUOTED.match(text, at):
            out.append(ESCAPED.sub(rb"\1", found[1]))
            at = found.end()
        elif found := LITERAL_HERE.match(text, at):
            at = found.end() + int(found[1])
            if at > end:
                raise BadSyntax("Literal cut short")
            out.append(text[found.end() : at])
        elif found := ATOM.match(text, at):
            out.append(found[0])
            at = found.end()
        else:
            raise BadSyntax("Unreadable argument")
    return out


def pairs(text: bytes) -> dict[bytes, bytes]:
    """The parameter list of ID (RFC 2971 section 3.3): names in lower case. NIL is an empty list. Raises BadSyntax."""
    text = text.strip()
    if text.upper() == b"NIL":
        return {}
    if not (text.startswith(b"(") and text.endswith(b")")):
        raise BadSyntax("ID takes a list or NIL")
    flat = strings(text[1:-1])
    if len(flat) % 2 or len(flat) > 2 * MAX_ID_PAIRS:
        raise BadSyntax("ID takes up to 30 pairs")
    return {name.lower(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


MAX_ID_PAIRS = 30  # RFC 2971 section 3.3
