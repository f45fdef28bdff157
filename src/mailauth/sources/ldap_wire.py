"""LDAP messages as bytes: what a bind, a search and StartTLS need, and no more.

Source: RFC 4511 (sections 4.1, 4.2, 4.5, 4.12, 4.14 and 5.1), ITU-T X.690 (BER, definite lengths only).
Rule: values in, bytes out, and the other way round; nothing here waits. What is not understood is Malformed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_MESSAGE_BYTES = 1024 * 1024
STARTTLS_OID = b"1.3.6.1.4.1.1466.20037"
NO_ATTRIBUTES = b"1.1"  # RFC 4511 section 4.5.1.8
NOTICE = 0  # the message id of what was not asked for, section 4.4

INTEGER, OCTETS, ENUMERATED, BOOLEAN, SEQUENCE = 0x02, 0x04, 0x0A, 0x01, 0x30
BIND_REQUEST, BIND_RESPONSE, UNBIND_REQUEST = 0x60, 0x61, 0x42
SEARCH_REQUEST, SEARCH_ENTRY, SEARCH_DONE, SEARCH_REFERENCE = 0x63, 0x64, 0x65, 0x73
EXTENDED_REQUEST, EXTENDED_RESPONSE = 0x77, 0x78
SIMPLE, REQUEST_NAME = 0x80, 0x80

SUCCESS, NO_SUCH_OBJECT, INVALID_CREDENTIALS = 0, 32, 49
SCOPES = {"one": 1, "subtree": 2}


class Malformed(ValueError):
    """Bytes that are no LDAP message."""


@dataclass(frozen=True, slots=True)
class Result:
    """How an operation ended. number: the result code; told: the server's diagnostic message."""

    number: int
    told: str


def element(tag: int, content: bytes) -> bytes:
    """One BER element."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def integer(value: int, tag: int = INTEGER) -> bytes:
    """A number of 0 or more."""
    return element(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def message(number: int, operation: bytes) -> bytes:
    """One message. number: its id, 1 to 2147483647."""
    return element(SEQUENCE, integer(number) + operation)


def bind(dn: str, password: bytes) -> bytes:
    """A simple bind. Raises ValueError without a password or a name: such a bind succeeds and proves nothing."""
    if not password or not dn:
        raise ValueError("a bind without a name or a password is anonymous (RFC 4513 section 5.1)")
    return element(BIND_REQUEST, integer(3) + element(OCTETS, dn.encode()) + element(SIMPLE, password))


def search(base: str, scope: str, encoded_filter: bytes, time_limit_s: int) -> bytes:
    """A search for the names of two entries at most, so that one too many is seen."""
    never_follow_aliases, size_limit = integer(0, ENUMERATED), integer(2)
    head = element(OCTETS, base.encode()) + integer(SCOPES[scope], ENUMERATED) + never_follow_aliases
    types_only = element(BOOLEAN, b"\xff")
    attributes = element(SEQUENCE, element(OCTETS, NO_ATTRIBUTES))
    limits = size_limit + integer(time_limit_s) + types_only
    return element(SEARCH_REQUEST, head + limits + encoded_filter + attributes)


def start_tls() -> bytes:
    """RFC 4511 section 4.14."""
    return element(EXTENDED_REQUEST, element(REQUEST_NAME, STARTTLS_OID))


def unbind() -> bytes:
    """The end of a connection."""
    return element(UNBIND_REQUEST, b"")


def expected_length(head: bytes) -> int | None:
    """How many bytes the message has that begins with these; None: more of them are needed to say. Raises Malformed."""
    if len(head) < 2:
        return None
    if head[0] != SEQUENCE:
        raise Malformed("no message begins so")
    size = head[1]
    if size < 0x80:
        return 2 + size
    count = size & 0x7F
    if not 1 <= count <= 4:
        raise Malformed("a length that is indefinite or absurd")
    if len(head) < 2 + count:
        return None
    total = 2 + count + int.from_bytes(head[2 : 2 + count], "big")
    if total > MAX_MESSAGE_BYTES:
        raise Malformed("a message that is too long")
    return total


def opened(raw: bytes) -> tuple[int, int, bytes]:
    """The id, the operation's tag and its content, of one whole message. Raises Malformed."""
    parts = list(elements(next(elements(raw))[1]))
    if len(parts) < 2 or parts[0][0] != INTEGER:
        raise Malformed("a message without an id or an operation")
    return _number(parts[0][1]), *parts[1]


def result(content: bytes) -> Result:
    """RFC 4511 section 4.1.9. Raises Malformed."""
    parts = list(elements(content))
    if len(parts) < 3 or [tag for tag, _ in parts[:3]] != [ENUMERATED, OCTETS, OCTETS]:
        raise Malformed("a result without its parts")
    return Result(_number(parts[0][1]), parts[2][1].decode("utf-8", "replace"))


def entry_name(content: bytes) -> str:
    """The name of a found entry. Raises Malformed."""
    tag, name = next(elements(content), (0, b""))
    if tag != OCTETS:
        raise Malformed("an entry without a name")
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise Malformed("an entry whose name is not UTF-8") from None


def elements(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements that stand one after the other: tag and content. Raises Malformed."""
    at = 0
    while at < len(raw):
        tag, rest = raw[at], raw[at + 1 : at + 6]
        if tag & 0x1F == 0x1F or not rest:
            raise Malformed("an element without a length, or of an unknown form")
        size, start = rest[0], at + 2
        if size >= 0x80:
            count = size & 0x7F
            if not 1 <= count <= 4 or len(rest) < 1 + count:
                raise Malformed("a length that is indefinite, absurd or cut off")
            size, start = int.from_bytes(rest[1 : 1 + count], "big"), start + count
        if start + size > len(raw):
            raise Malformed("an element that is cut off")
        yield tag, raw[start : start + size]
        at = start + size


def _number(content: bytes) -> int:
    if not 1 <= len(content) <= 8:
        raise Malformed("a number that is none")
    return int.from_bytes(content, "big", signed=True)
