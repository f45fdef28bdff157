"""The part of IMAP's grammar that is needed up to login (RFC 3501 section 9, RFC 7888, RFC 2971).

Rule: parses bytes that are all there; no recursion, one pass, no backtracking.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

MAX_ID_PAIRS = 30  # RFC 2971 section 3.3

TAG = re.compile(rb"[!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]{1,64}")  # any ASTRING-CHAR except "+"
NO_TAG = b"*"
LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r?\n\Z")
# Atoms may hold more than the grammar allows: iOS sends `!`, others `%` and `*`, bare.
ARGUMENT = re.compile(
    rb"""[ ]*+ (?: ([^\x00-\x20(){"\\\x7f]++)            (?=[ ]|\Z)  # 1: an atom
               |  "((?:[^"\\\r\n\0]++|\\["\\])*+)"       (?=[ ]|\Z)  # 2: a quoted string
               |  \{(\d{1,10})\+?\}\r?\n                             # 3: a literal's size; its octets follow
               |  \Z )""",
    re.VERBOSE,
)
ESCAPED = re.compile(rb"\\(.)")


class BadSyntax(Exception):
    """Not IMAP. The text is ours and safe to send."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A literal that the line ends with. synchronising: the client waits for our go-ahead."""

    size_bytes: int
    synchronising: bool


def tag_of(word: bytes) -> bytes:
    """What the answer to this command begins with: its tag, if it is one."""
    return word if TAG.fullmatch(word) else NO_TAG


def announced(line: bytes) -> Announced | None:
    """The literal that this line announces, or None."""
    if not line.endswith((b"}\r\n", b"}\n")):
        return None
    found = LITERAL.search(line)
    if found is None:
        return None
    size_bytes = int(found[1]) if len(found[1]) <= 10 else sys.maxsize  # int() takes no more than 4300 digits
    return Announced(size_bytes, not found[2])


def strings(text: bytes) -> list[bytes]:
    """The arguments of a command: atoms, quoted strings and literals (whose octets follow in place).

    text: all after the command's name, without the line end. Raises BadSyntax, for a list too.
    """
    out: list[bytes] = []
    at, end = 0, len(text)
    while at < end:
        found = ARGUMENT.match(text, at)
        if found is None:
            raise BadSyntax("Unreadable argument")
        at = found.end()
        if found[1] is not None:
            out.append(found[1])
        elif found[2] is not None:
            out.append(ESCAPED.sub(rb"\1", found[2]) if b"\\" in found[2] else found[2])
        elif found[3] is not None:
            begin, at = at, at + int(found[3])
            if at > end or text[at : at + 1] not in b" ":
                raise BadSyntax("Unreadable literal")
            out.append(text[begin:at])
    return out


def pairs(text: bytes) -> dict[bytes, bytes]:
    """The parameter list of ID (RFC 2971 section 3.3): names in lower case, NIL as b"". Raises BadSyntax."""
    text = text.strip(b" ")
    if text.upper() == b"NIL":
        return {}
    if not (text.startswith(b"(") and text.endswith(b")")):
        raise BadSyntax("ID takes a list or NIL")
    flat = [b"" if value.upper() == b"NIL" else value for value in strings(text[1:-1])]
    if len(flat) % 2 or len(flat) > 2 * MAX_ID_PAIRS:
        raise BadSyntax(f"ID takes up to {MAX_ID_PAIRS} pairs")
    return {name.lower(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
